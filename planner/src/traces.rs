//! What the kernel tells of sandboxes that no lease explains.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use holdfast_model::host::{LinkAlias, LinkSeen};

/// What the kernel tells of sandboxes that no lease explains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Whether the kernel was looked at completely since the start. Before that every address that turns up is suspect.
    pub looked: bool,
    /// Addresses that lead to such a sandbox's link, and the link.
    pub in_use: BTreeMap<IpAddr, LinkSeen>,
    /// All such links, those that no address leads to among them.
    pub links: BTreeSet<LinkAlias>,
}

impl Traces {
    /// Whether the leases explain everything.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }
}
