//! Which way a packet takes through rules and routes: what the kernel would do, done on the picture.

use std::net::{IpAddr, Ipv4Addr};

use super::picture::{Kernel, Route, Rule, Way};

/// A packet that looks for its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Packet<'p> {
    pub(super) from: Option<Ipv4Addr>,
    pub(super) to: Option<Ipv4Addr>,
    /// In by which link; none: made by the host itself.
    pub(super) iif: Option<&'p str>,
    pub(super) mark: u32,
}

/// The route that is taken, if there is one.
pub(super) fn route<'k>(kernel: &'k Kernel, packet: &Packet<'_>) -> Option<&'k Route> {
    let to = IpAddr::V4(packet.to?);
    let mut rules: Vec<&Rule> = kernel.rules.iter().filter(|rule| !rule.ipv6).collect();
    rules.sort_by_key(|rule| rule.priority);
    for rule in rules.into_iter().filter(|rule| selects(rule, packet)) {
        let best = kernel
            .routes
            .iter()
            .filter(|route| route.table == rule.table && route.to.contains(&to))
            .min_by_key(|route| (std::cmp::Reverse(route.to.prefix_len()), route.metric));
        match best {
            Some(route) if route.way != Way::Throw => return Some(route),
            _ => {}
        }
    }
    None
}

fn selects(rule: &Rule, packet: &Packet<'_>) -> bool {
    let within = |net: Option<ipnet::IpNet>, address: Option<Ipv4Addr>| match (net, address) {
        (None, _) => true,
        (Some(net), None) => net.prefix_len() == 0,
        (Some(net), Some(address)) => net.contains(&IpAddr::V4(address)),
    };
    within(rule.from, packet.from)
        && within(rule.to, packet.to)
        && rule.mark.is_none_or(|(mark, mask)| packet.mark & mask == mark)
        // What the host itself makes comes in by its loopback.
        // What is not understood may select anything. Such a rule is no pod's and no ENI's, so none may rely on it.
        && rule.others.is_empty()
        && rule.iif.as_deref().is_none_or(|iif| iif == packet.iif.unwrap_or("lo"))
}
