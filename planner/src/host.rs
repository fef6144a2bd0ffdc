//! The host's network: what it should hold, and how to get there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use holdfast_model::config::Config;
use holdfast_model::host::{HostAction, HostDesired, HostObserved, LinkAlias, PodWiring};
use holdfast_model::lease::Lease;
use holdfast_model::ledger::Ledger;

/// Kernel objects that are neither missing nor orphans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spared {
    /// Links of leases that are being wired or unwired.
    pub links: BTreeSet<LinkAlias>,
    /// Addresses of such leases, and quarantined ones.
    pub addresses: BTreeSet<IpAddr>,
    /// Remove no orphan at all: the ledger is being rebuilt, so a live sandbox may have no lease yet.
    pub all_orphans: bool,
}

/// The wiring of a lease.
pub fn wiring_of(_lease: &Lease) -> PodWiring {
    unimplemented!("being written")
}

/// What the ledger says must be left alone.
pub fn spared(_ledger: &Ledger) -> Spared {
    unimplemented!("being written")
}

/// All that the host's network namespace should hold of ours.
pub fn desired_host(_ledger: &Ledger, _config: &Config) -> HostDesired {
    unimplemented!("being written")
}

/// What turns `observed` into `desired`. Only what is ours is removed.
pub fn host_diff(_desired: &HostDesired, _observed: &HostObserved, _spared: &Spared) -> Vec<HostAction> {
    unimplemented!("being written")
}
