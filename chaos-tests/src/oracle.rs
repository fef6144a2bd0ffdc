//! What must hold on a node, whoever made it so: from a [`Picture`] to a list of faults.
//!
//! ```text
//!   EC2's truth ─┐
//!   the kernel  ─┼─> Picture ──> judge ──> faults
//!   promises    ─┘
//! ```
//!
//! Pure, and written from the specification of the incumbent's datapath, never from what the product believes or
//! compares: it knows neither ledger nor plan. Whoever asks looks for itself (see [`crate::look`]) or fills the
//! picture from a kernel of its own making.
//!
//! A picture is closed: what was there before must be there, what is new must belong to a pod or an ENI, and nothing
//! else may be. Each pod is judged both ways: by what leads to it, and by what it has to get out.

mod enis;
mod nat;
pub mod picture;
mod pods;
mod rest;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use nat::OUTSIDE;
pub use picture::Picture;
use picture::{Flow, Rule};
pub(crate) use pods::{POD_GATEWAY, POD_GATEWAY_IPV6};

/// Sends a packet out of the primary ENI (specification 6.1).
pub(crate) const PRIMARY_MARK: u32 = 0x80;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// ADD told the truth.
    Answer,
    /// An address has one pod.
    AddressOnce,
    /// EC2 shows a pod's address on an ENI of its node.
    ShownByEc2,
    /// The host itself bears no pod's address.
    NotTheHosts,
    /// The host's end of a pod is there, up, and has its name.
    HostLink,
    /// IPv6 settings of a host's end.
    LinkSettings,
    /// Everything has the node's MTU.
    Mtu,
    /// Host route.
    RouteToPod,
    /// Rule 512.
    RuleToPod,
    /// What comes to a pod reaches it.
    WayToPod,
    /// Rule 1536 on a secondary ENI, none on the primary.
    RuleFromPod,
    /// What a pod sends leaves by the right ENI.
    WayFromPod,
    /// The sandbox's own link, address, routes and neighbour.
    Inside,
    /// An ENI's link is there and up.
    EniLink,
    /// A secondary ENI bears its own address only.
    EniAddress,
    /// A secondary ENI's table leads out of it.
    EniTable,
    /// A secondary ENI has no route in the main table.
    EniOutOfMain,
    /// Rule 32765.
    EniRule,
    /// What an ENI's own address sends leaves by it.
    WayFromEni,
    /// No ENI checks the way back strictly.
    ReversePath,
    /// Rule 1024.
    MarkedRule,
    /// Marks for the primary ENI.
    Marks,
    /// Source translation.
    Translation,
    /// The packet filter destroys nothing of pods'.
    Filtered,
    /// The node forwards.
    Forwarding,
    /// What was there is there.
    Lost,
    /// What was there is as it was.
    Changed,
    /// No rule of nobody.
    NobodysRule,
    /// No route of nobody.
    NobodysRoute,
    /// No link of nobody.
    NobodysLink,
    /// No address of nobody.
    NobodysAddress,
    /// No packet filter table of nobody.
    NobodysTable,
    /// EC2 has no ENI of nobody.
    LooseEni,
    /// No ENI outlives its node.
    OutlivesNode,
    /// What a user keeps from the node is left alone.
    KeptEni,
    /// ENIs that were made for the node bear the tags that were asked for.
    Tags,
    /// Pods are let through by the rules of their node's security groups, whatever ENI they are on.
    SecurityGroups,
    /// What was to be judged was looked at.
    Unseen,
}

impl Law {
    /// Whether it says something of one pod's path, whatever else is on the node.
    pub fn is_of_a_pod(self) -> bool {
        matches!(
            self,
            Self::Answer
                | Self::AddressOnce
                | Self::ShownByEc2
                | Self::NotTheHosts
                | Self::HostLink
                | Self::RouteToPod
                | Self::RuleToPod
                | Self::WayToPod
                | Self::RuleFromPod
                | Self::WayFromPod
                | Self::Inside
                | Self::KeptEni
        )
    }

    /// Whether it may be broken as long as EC2 takes to make an ENI or to take one away.
    pub fn waits_for_ec2(self) -> bool {
        matches!(
            self,
            Self::LooseEni
                | Self::OutlivesNode
                | Self::EniLink
                | Self::EniAddress
                | Self::EniTable
                | Self::EniRule
                | Self::WayFromEni
        )
    }
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Which law is broken.
    pub law: Law,
    /// How, for people.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Collects faults.
#[derive(Debug, Default)]
struct Findings(Vec<Fault>);

impl Findings {
    fn add(&mut self, law: Law, text: String) {
        self.0.push(Fault { law, text });
    }
}

/// What does not hold on a node.
pub fn judge(picture: &Picture) -> Vec<Fault> {
    let mut found = Findings::default();
    pods::judge(picture, &mut found);
    for pod in &picture.pods {
        let mut addresses = pod.faces().filter_map(|face| face.address);
        if addresses.any(|address| rest::host_bears(&picture.host, address)) {
            found.add(Law::NotTheHosts, format!("{} bears the address of {}", picture.node, pod.named()));
        }
    }
    enis::judge(picture, &mut found);
    nat::judge(picture, &mut found);
    rest::judge(picture, &mut found);
    found.0
}

/// What a pod's host link is called, unless another sandbox of its name bears that already.
pub fn host_link_name(namespace: &str, name: &str) -> String {
    format!("eni{}", pods::digits(namespace, name))
}

/// Whether a rule is one that pods have.
pub fn is_of_a_pod(rule: &Rule) -> bool {
    matches!(rule.priority, pods::TO_POD | pods::FROM_POD)
}

/// What does not hold on several nodes of one VPC: each by itself, and no address on two of them.
pub fn judge_all(pictures: &[Picture]) -> Vec<Fault> {
    let mut faults: Vec<Fault> = pictures.iter().flat_map(judge).collect();
    let mut holders: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
    for picture in pictures {
        for pod in &picture.pods {
            for address in pod.ips() {
                holders.entry(address).or_default().push(format!("{} on {}", pod.named(), picture.node));
            }
        }
    }
    for (address, pods) in holders.into_iter().filter(|(_, pods)| pods.len() > 1) {
        let text = format!("{address} was given to {}", pods.join(" and to "));
        // On one node it has been said.
        if !faults
            .iter()
            .any(|fault| fault.law == Law::AddressOnce && fault.text.starts_with(&address.to_string()))
        {
            faults.push(Fault { law: Law::AddressOnce, text });
        }
    }
    faults.sort();
    faults.dedup();
    faults
}

/// The packets about which [`judge`] wants to know what the packet filter makes of them: to be put into
/// [`picture::Kernel::fates`] of the host.
pub fn flows(picture: &Picture) -> Vec<Flow> {
    nat::flows(picture)
}

/// In each block of the VPC an address of nobody on the node: the last but one, which subnets give last.
fn inside_addresses(picture: &Picture) -> Vec<Ipv4Addr> {
    picture.cloud.vpc.iter().map(|block| Ipv4Addr::from_bits(block.broadcast().to_bits() - 1)).collect()
}
