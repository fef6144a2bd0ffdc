//! What must hold: at every instant for a pod whose ADD was answered, and at rest for everything.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use holdfast_chaos_tests::look::{self, Answer, Promise};
use holdfast_chaos_tests::oracle::picture::Cloud;
use holdfast_chaos_tests::oracle::{self, Fault, Picture};
use holdfast_chaos_tests::packets::{PORT, ask_internet, udp_in};
use holdfast_model::ids::EniId;
use holdfast_model::invariants;
use holdfast_model::ledger::Ledger;
use holdfast_model::limits::InstanceLimits;
use holdfast_sim::admin::State;
use holdfast_sim::fabric::ECHO_PORT;

use crate::node::Node;

/// A packet takes microseconds, also where the machine is busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// More calls of EC2 than any two lives need.
const CALLS: usize = 400;

impl Node {
    /// What does not hold of the pods whose ADD was answered and whose DEL was not sent: each has an address of its own,
    /// its node reaches it, and it reaches the internet by the ENI that EC2 shows its address on, and through the node's
    /// NAT table. Needs no daemon.
    pub(crate) fn broken_promises(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut owners: BTreeMap<IpAddr, &str> = BTreeMap::new();
        for (container, sandbox) in &self.sandboxes {
            let (Some(address), false) = (sandbox.address, sandbox.deleting) else { continue };
            if let Some(other) = owners.insert(address, container) {
                faults.push(format!("UNIQUE: {container} and {other} were both given {address}"));
            }
            if let Err(error) = self.exchange(sandbox.pod.netns(), address) {
                faults.push(format!("ADD-MEANS-REACHABLE: {container} at {address}: {error:#}"));
            }
        }
        faults
    }

    /// A question from the node to the pod and its answer, and one from the pod to the internet.
    fn exchange(&self, pod: &Arc<OwnedFd>, address: IpAddr) -> anyhow::Result<()> {
        let IpAddr::V4(address) = address else { bail!("not an IPv4 address") };
        let (server, client) = (udp_in(pod, PORT)?, udp_in(&self.netns, 0)?);
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(PATIENCE))?;
        }
        let (mut buffer, there) = ([0; 16], SocketAddrV4::new(address, PORT));
        client.send_to(b"are you there?", there).context("sending from the node")?;
        let (length, from) = server.recv_from(&mut buffer).context("nothing arrives from the node")?;
        ensure!(&buffer[..length] == b"are you there?", "something else arrived");
        server.send_to(b"yes", from).context("answering the node")?;
        let (_, from) = client.recv_from(&mut buffer).context("no answer arrives at the node")?;
        ensure!(from == SocketAddr::V4(there), "{from} answered");
        let internet = SocketAddrV4::new(self.fabric.internet_address(), ECHO_PORT);
        let seen = ask_internet(pod, internet, PATIENCE)?;
        ensure!(Some(seen) == self.primary_address(), "the internet saw {seen}");
        Ok(())
    }

    fn primary_address(&self) -> Option<Ipv4Addr> {
        self.shared.with(|vpc| vpc.imds_view(&self.instance))?.local_ipv4
    }

    /// Everything that must hold when the daemon is at rest with this ledger; gives what does not. Besides what the pods
    /// were promised: the oracle's laws, the ledger's invariants, and that it has what EC2 has and the runtime was told.
    pub(crate) fn faults(&self, ledger: &Ledger) -> anyhow::Result<Vec<String>> {
        let mut faults = self.broken_promises();
        faults.extend(oracle::judge(&self.picture()?).iter().map(Fault::to_string));
        let instance_type = ledger.node.as_ref().map(|node| node.identity.instance_type.clone());
        let limits = instance_type.and_then(|name| InstanceLimits::of(&name));
        ensure!(limits.is_some(), "the ledger does not know the node");
        faults.extend(invariants::check(ledger, limits.as_ref()).into_iter().map(|found| found.to_string()));
        for (container, sandbox) in self.sandboxes.iter().filter(|(_, sandbox)| !sandbox.deleting) {
            let lease = ledger.leases.get(&sandbox.key);
            if lease.map(|lease| lease.faces[0].address) != sandbox.address || lease.is_none() {
                let address = sandbox.address;
                faults.push(format!("{container} was given {address:?}, and the ledger has {lease:?}"));
            }
        }
        for key in ledger.leases.keys().filter(|key| !self.sandboxes.contains_key(&key.container_id)) {
            faults.push(format!("{key} holds a lease, and no such sandbox is there"));
        }
        for eni in self.cloud()?.enis {
            if !ledger.enis.contains_key(&EniId::new(&eni.id)) {
                faults.push(format!("{} is attached and not in the ledger", eni.id));
            }
        }
        let calls: usize = self.shared.with(|vpc| vpc.log().counts().values().sum());
        if calls > CALLS {
            faults.push(format!("EC2 was called {calls} times in {} s", self.now / 1000));
        }
        faults.extend(self.shared.with(|vpc| vpc.check()).into_iter().map(|found| format!("EC2: {found:?}")));
        Ok(faults)
    }

    fn cloud(&self) -> anyhow::Result<Cloud> {
        let state = self.shared.with(|vpc| State::of(vpc));
        look::cloud_of(&state, &self.instance)
    }

    fn picture(&self) -> anyhow::Result<Picture> {
        let promised = self.sandboxes.values().filter_map(|sandbox| {
            let address = sandbox.address.filter(|_| !sandbox.deleting)?;
            let to = Promise::to(&sandbox.pod, Answer::Address(address));
            Some(Promise { namesake: sandbox.namesake, ..to })
        });
        self.watched.picture_in(&self.netns, self.cloud()?, &promised.collect::<Vec<_>>())
    }
}
