//! What of pods is in a node's kernel, and whether a lease stands behind each piece.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use holdfast_datapath::netlink::{AddressFamily, RouteFilter};
use holdfast_datapath::netns;
use holdfast_model::host::{LinkAlias, MAIN_TABLE, priority};
use holdfast_model::ledger::Ledger;

/// Pods' pieces in one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodPieces {
    /// Host ends of pods, by name, with the container that their alias names.
    pub links: BTreeMap<String, Option<String>>,
    /// Addresses that a rule of a pod's priority names.
    pub ruled: BTreeSet<IpAddr>,
    /// Addresses with a host route in the main table.
    pub routed: BTreeSet<IpAddr>,
}

impl PodPieces {
    /// Reads them.
    pub fn observe(node: &Arc<OwnedFd>) -> anyhow::Result<Self> {
        let mut socket = netns::socket_in(node)?;
        let mut pieces = Self::default();
        let mut indexes = BTreeSet::new();
        for link in socket.links()? {
            if link.kind.as_deref() == Some("veth") {
                let sandbox =
                    link.alias.as_deref().and_then(LinkAlias::parse).and_then(|alias| alias.sandbox());
                pieces.links.insert(link.name, sandbox.map(|sandbox| sandbox.container_id));
                indexes.insert(link.index);
            }
        }
        for rule in socket.rules(AddressFamily::Inet)? {
            let net = match rule.priority {
                priority::TO_POD => rule.to,
                priority::FROM_POD => rule.from,
                _ => None,
            };
            pieces.ruled.extend(net.map(|net| net.addr()));
        }
        let main = RouteFilter { table: Some(MAIN_TABLE), protocol: None };
        for route in socket.routes(AddressFamily::Inet, main)? {
            if route.to.prefix_len() == 32 && route.link.is_none_or(|link| indexes.contains(&link)) {
                pieces.routed.insert(route.to.addr());
            }
        }
        Ok(pieces)
    }

    /// Whether no pod has left anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What differs from the leases, both ways: pieces of nobody, and leases without their link, rule or route.
    pub fn differences(&self, ledger: &Ledger) -> Vec<String> {
        let mut found = Vec::new();
        let mut links = self.links.clone();
        let leased: BTreeSet<IpAddr> = ledger.leases.values().map(|lease| lease.address).collect();
        for lease in ledger.leases.values() {
            match links.remove(&lease.host_veth) {
                Some(Some(container)) if container == lease.sandbox.container_id => {}
                Some(other) => found
                    .push(format!("link {} belongs to {other:?}, not to {}", lease.host_veth, lease.sandbox)),
                None => found.push(format!("{} has no link {}", lease.sandbox, lease.host_veth)),
            }
        }
        found.extend(links.keys().map(|link| format!("link {link} belongs to no pod")));
        for (kind, addresses) in [("rule", &self.ruled), ("route", &self.routed)] {
            found.extend(
                addresses
                    .difference(&leased)
                    .map(|address| format!("a {kind} for {address}, which nobody has")),
            );
            found.extend(
                leased
                    .difference(addresses)
                    .map(|address| format!("no {kind} for {address}, which a pod has")),
            );
        }
        found
    }
}
