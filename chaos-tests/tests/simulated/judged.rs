//! What must hold on a node: the oracle's laws, and the ledger's own.

use std::collections::BTreeMap;

use holdfast_chaos_tests::oracle::{self, Fault, Law, Picture, picture};
use holdfast_model::cloud::TAG_INSTANCE;
use holdfast_model::invariants;
use holdfast_model::lease::LeasePhase;
use holdfast_model::ledger::Ledger;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::pool::Family;
use holdfast_sim::vpc::Caller;

use crate::node::{Node, Pod};
use crate::patience::too_many_calls;

/// MTU of everything.
const MTU: u32 = 9001;

impl Node {
    /// Everything that must hold whenever the daemon is at rest. Gives what does not.
    pub(crate) fn faults(&self, ledger: &Ledger) -> Vec<String> {
        let mut faults = self.ledger_faults(ledger);
        faults.extend(self.disorder());
        faults.extend(self.shared.now(|vpc| vpc.check()).into_iter().map(|found| format!("EC2: {found:?}")));
        faults.extend(self.changes_of_kept());
        faults.extend(self.answered().faults());
        faults.extend(too_many_calls(self.calls(), self.shared.elapsed()));
        faults
    }

    /// How often this node has called EC2.
    pub(crate) fn calls(&self) -> usize {
        self.shared.now(|vpc| vpc.log().by(&Caller::instance(&self.instance)).count())
    }

    /// What must hold at every instant: a pod that was answered has its path.
    pub(crate) fn broken_promises(&self) -> Vec<String> {
        self.broken(self.promised_pods(), Law::is_of_a_pod)
    }

    /// What is not as it should be in EC2 and in the kernel, whatever the ledger says.
    pub(crate) fn disorder(&self) -> Vec<String> {
        self.broken(self.promised_pods(), |_| true)
    }

    fn promised_pods(&self) -> impl Iterator<Item = Pod> {
        self.pods().into_values().filter(|pod| !pod.deleting && pod.address.is_some())
    }

    /// Pods of which the ledger says that they are wired, and what their paths lack.
    pub(crate) fn broken_leases(&self, ledger: &Ledger) -> Vec<String> {
        let pods = self.pods();
        let wired = ledger.leases.values().filter(|lease| lease.phase == LeasePhase::Active);
        let pods = wired.filter_map(|lease| {
            let pod = pods.get(&lease.sandbox.container_id)?;
            let further = lease.addresses().skip(1).collect();
            Some(Pod { address: Some(lease.faces[0].address), further, ..pod.clone() })
        });
        self.broken(pods, Law::is_of_a_pod)
    }

    fn broken(&self, pods: impl Iterator<Item = Pod>, asked: impl Fn(Law) -> bool) -> Vec<String> {
        let faults = oracle::judge(&self.picture(pods));
        faults.iter().filter(|fault| asked(fault.law)).map(Fault::to_string).collect()
    }

    fn picture(&self, pods: impl Iterator<Item = Pod>) -> Picture {
        let mut cloud = self.shared.cloud_of(&self.instance);
        // Others live in this VPC: what they have is not this node's fault.
        cloud.loose.retain(|id| self.is_mine(id));
        let pods = pods.map(|pod| self.promised(pod)).collect();
        let mut picture = Picture {
            node: self.instance.to_string(),
            mtu: MTU,
            ipv6: self.config.family.value == Family::V6,
            tags: self.tags(),
            cloud,
            before: self.kernel.before(),
            host: self.kernel.seen(),
            pods,
        };
        for flow in oracle::flows(&picture) {
            let fate = self.kernel.fate(&flow);
            picture.host.fates.insert(flow, Ok(fate));
        }
        picture
    }

    /// What ENIs that are made for this node bear (specification 2.4).
    fn tags(&self) -> BTreeMap<String, String> {
        let mut tags = self.config.extra_tags.value.clone();
        let mut add = |key: &str, value: &str| drop(tags.insert(key.to_owned(), value.to_owned()));
        add("node.k8s.amazonaws.com/instance_id", self.instance.as_str());
        if let Some(cluster) = &self.config.cluster.value {
            add("cluster.k8s.amazonaws.com/name", cluster);
            add("eks:eni:owner", "amazon-vpc-cni");
        }
        tags
    }

    fn is_mine(&self, eni: &str) -> bool {
        let enis = self.shared.now(|vpc| vpc.authoritative().network_interfaces());
        let mine = Some(self.instance.as_str());
        enis.iter().any(|one| {
            one.network_interface_id.as_str() == eni && one.tags.get(TAG_INSTANCE).map(String::as_str) == mine
        })
    }

    fn promised(&self, pod: Pod) -> picture::Pod {
        let Pod { key, pod, netns, namesake, address, further, .. } = pod;
        let further = (1..).zip(further).filter_map(|(number, address)| {
            let std::net::IpAddr::V4(address) = address else { return None };
            let ifname = format!("mNicIf{number}");
            let host_link = self.kernel.host_link_of(netns.inode, &ifname);
            Some(picture::Further { address, ifname, host_link })
        });
        picture::Pod {
            namespace: pod.namespace,
            name: pod.name,
            namesake,
            address: address.and_then(|address| match address {
                std::net::IpAddr::V4(address) => Some(address),
                std::net::IpAddr::V6(_) => None,
            }),
            address_v6: address.and_then(|address| match address {
                std::net::IpAddr::V4(_) => None,
                std::net::IpAddr::V6(address) => Some(address),
            }),
            ifname: key.ifname.clone(),
            netns: netns.path,
            result: None,
            inside: Some(self.kernel.inside(netns.inode)),
            host_link: self.kernel.host_link_of(netns.inode, &key.ifname),
            further: further.collect(),
        }
    }

    /// The ledger's invariants; and that it has what the runtime was promised, what EC2 has, and nothing else.
    fn ledger_faults(&self, ledger: &Ledger) -> Vec<String> {
        let instance_type = ledger.node.as_ref().map(|node| node.identity.instance_type.clone());
        let limits = instance_type.and_then(|name| InstanceLimits::of(&name));
        let broken = invariants::check(ledger, limits.as_ref());
        let mut faults: Vec<String> = broken.into_iter().map(|found| found.to_string()).collect();
        let pods = self.pods();
        for (container, pod) in pods.iter().filter(|(_, pod)| !pod.deleting && pod.address.is_some()) {
            let lease = ledger.leases.get(&pod.key);
            let further: Option<Vec<_>> = lease.map(|lease| lease.addresses().skip(1).collect());
            if lease.map(|lease| lease.faces[0].address) != pod.address
                || further.as_ref() != Some(&pod.further)
            {
                faults.push(format!("{container} was given {:?}, the ledger has {lease:?}", pod.address));
            }
        }
        for key in ledger.leases.keys().filter(|key| !pods.contains_key(&key.container_id)) {
            faults.push(format!("{key} holds a lease and no such sandbox is there"));
        }
        for eni in self.shared.cloud_of(&self.instance).enis {
            if !ledger.enis.keys().any(|id| id.as_str() == eni.id) {
                faults.push(format!("{} is attached and not in the ledger", eni.id));
            }
        }
        faults
    }
}
