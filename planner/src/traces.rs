//! What the kernel tells of sandboxes that no lease explains.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use holdfast_model::host::{HostObserved, LinkAlias, LinkSeen};

use crate::host::borne;

/// What the kernel tells of sandboxes that no lease explains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Whether the kernel was looked at completely since the start. Before that every address that turns up is suspect.
    pub looked: bool,
    /// Addresses that lead to such a sandbox's link, or that the host itself bears; and the link.
    pub in_use: BTreeMap<IpAddr, LinkSeen>,
    /// All such links, those that no address leads to among them.
    pub links: BTreeSet<LinkAlias>,
}

impl Traces {
    /// Whether a sandbox that no lease explains has this address: rules and routes that name it are that one's.
    pub fn is_anothers(&self, address: IpAddr) -> bool {
        self.in_use.get(&address).is_some_and(|link| link.alias.is_some())
    }

    /// Whether the leases explain everything.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Together with the addresses that the host itself bears: what they are there for is for whoever put them there to
    /// say, and a pod that was given one would not be reached.
    pub fn and_of_the_host(mut self, observed: &HostObserved) -> Self {
        for (address, link) in borne(observed) {
            self.in_use.entry(address).or_insert_with(|| link.clone());
        }
        self
    }
}
