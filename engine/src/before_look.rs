//! What the ledger had as a look at the host's network began: a look takes time, and what has changed meanwhile is not held
//! against what it shows.

use std::collections::BTreeSet;
use std::net::IpAddr;

use holdfast_model::host::LinkAlias;
use holdfast_model::ids::EniId;
use holdfast_model::sandbox::SandboxKey;

/// What there was when a look began: what came or changed later may be seen half made.
#[derive(Default)]
pub(crate) struct BeforeLook {
    /// The links of all leases.
    pub(crate) links: BTreeSet<LinkAlias>,
    /// Their addresses.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// Sandboxes that were wired, and about which nothing was being done.
    pub(crate) settled: BTreeSet<SandboxKey>,
    /// ENIs that were set up.
    pub(crate) enis: BTreeSet<EniId>,
    /// The NAT table that it is compared with is not the one that is wanted any more.
    pub(crate) outdated: bool,
}
