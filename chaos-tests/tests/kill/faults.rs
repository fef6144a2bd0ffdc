//! What must hold: at every instant for a pod whose ADD was answered, and at rest for everything.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use holdfast_datapath::{Host, HostOptions};
use holdfast_model::cloud::TAG_INSTANCE;
use holdfast_model::ids::EniId;
use holdfast_model::invariants;
use holdfast_model::ledger::Ledger;
use holdfast_model::limits::InstanceLimits;
use holdfast_planner as planner;
use holdfast_ports::HostNet;
use holdfast_sim::fabric::ECHO_PORT;

use crate::config;
use crate::node::Node;
use holdfast_chaos_tests::orphans::PodPieces;
use holdfast_chaos_tests::packets::{PORT, ask_internet, udp_in};

/// A packet takes microseconds, also where the machine is busy.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// were promised: the ledger's invariants, and the same in EC2 and in the kernel.
    pub(crate) fn faults(&self, ledger: &Ledger) -> anyhow::Result<Vec<String>> {
        let mut faults = self.broken_promises();
        let instance_type = ledger.node.as_ref().map(|node| node.identity.instance_type.clone());
        let limits = instance_type.and_then(|name| InstanceLimits::of(&name));
        ensure!(limits.is_some(), "the ledger does not know the node");
        faults.extend(invariants::check(ledger, limits.as_ref()).into_iter().map(|found| found.to_string()));
        for (container, sandbox) in self.sandboxes.iter().filter(|(_, sandbox)| !sandbox.deleting) {
            match (ledger.leases.get(&sandbox.key), sandbox.address) {
                (Some(lease), Some(address)) if lease.address == address => {}
                (lease, address) => faults.push(format!(
                    "CRASH-EQUIV: {container} was given {address:?}, and the ledger has {lease:?}"
                )),
            }
        }
        for key in ledger.leases.keys().filter(|key| !self.sandboxes.contains_key(&key.container_id)) {
            faults.push(format!("NO-ORPHAN: {key} holds a lease, and no such sandbox is there"));
        }
        faults.extend(self.kernel_faults(ledger)?);
        faults.extend(self.cloud_faults(ledger));
        Ok(faults)
    }

    /// Pods' pieces are counted one by one, by nothing that the daemon uses; of the rest (ENIs, NAT) the daemon's own
    /// comparison must find nothing to do.
    fn kernel_faults(&self, ledger: &Ledger) -> anyhow::Result<Vec<String>> {
        let orphans = PodPieces::observe(&self.netns)?.differences(ledger).into_iter();
        let mut faults: Vec<String> = orphans.map(|found| format!("NO-KERNEL-ORPHAN: {found}")).collect();
        let desired = planner::desired_host(ledger, &config(self.ledger()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let observed = runtime.block_on(async {
            let host =
                Host::new(HostOptions { netns: Some(Arc::clone(&self.netns)), threads: 1, interrupt: None })?;
            host.observe(&desired.nat).await
        })?;
        let to_do = planner::host_diff(&desired, &observed, &planner::spared(ledger));
        faults.extend(to_do.into_iter().map(|action| format!("KERNEL-CONVERGES: still to do: {action:?}")));
        Ok(faults)
    }

    fn cloud_faults(&self, ledger: &Ledger) -> Vec<String> {
        let mut faults = Vec::new();
        let (attached, unattached, violations) = self.shared.with(|vpc| {
            let view = vpc.authoritative();
            let ours = view.network_interfaces().into_iter().filter(|eni| {
                eni.attachment.is_none()
                    && eni.tags.get(TAG_INSTANCE).map(String::as_str) == Some(self.instance.as_str())
            });
            let unattached: Vec<_> = ours.map(|eni| eni.network_interface_id).collect();
            (view.network_interfaces_of(&self.instance), unattached, vpc.check())
        });
        faults.extend(violations.into_iter().map(|found| format!("EC2: {found:?}")));
        for eni in unattached {
            faults.push(format!("NO-ORPHAN: {eni} is ours, unattached, and nobody deletes it"));
        }
        for eni in &attached {
            let id = EniId::new(eni.network_interface_id.as_str());
            if !ledger.enis.contains_key(&id) {
                faults.push(format!("NO-ORPHAN: {id} is attached and not in the ledger"));
            }
            if eni.attachment.as_ref().is_some_and(|attachment| !attachment.delete_on_termination) {
                faults.push(format!("NO-ORPHAN: {id} would outlive the instance"));
            }
        }
        for lease in ledger.leases.values() {
            let shown = attached.iter().any(|eni| {
                eni.network_interface_id.as_str() == lease.eni.as_str()
                    && eni.secondary_ips().any(|ip| IpAddr::V4(ip) == lease.address)
            });
            if !shown {
                faults.push(format!("PROVEN-ASSIGNED: {} is leased and EC2 does not show it", lease.address));
            }
        }
        faults
    }
}
