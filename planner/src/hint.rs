//! The metadata service's hint. It leads to a read of EC2, never to a lease or a release.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use holdfast_model::ids::{EniId, MacAddr};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::Now;
use ipnet::Ipv4Net;

/// How the hint differs from the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HintDiff {
    /// ENIs with other addresses than the ledger has.
    pub differing: BTreeSet<EniId>,
    /// ENIs that the hint lacks.
    pub missing: BTreeSet<EniId>,
    /// MACs that the ledger lacks.
    pub unknown: BTreeSet<MacAddr>,
}

/// Compares the hint (addresses by MAC, the ENI's own included) with the ledger. Differences that a change of
/// ours younger than a minute explains are left out. `None`: they agree.
pub fn compare_hint(
    _ledger: &Ledger,
    _enis: &BTreeMap<MacAddr, BTreeSet<IpAddr>>,
    _now: &Now,
) -> Option<HintDiff> {
    unimplemented!("being written")
}

/// Fills in the subnet ranges that the ledger lacks from what the metadata service shows.
pub fn learn_cidrs(_ledger: &Ledger, _cidrs: &BTreeMap<MacAddr, Ipv4Net>) -> Vec<Change> {
    unimplemented!("being written")
}
