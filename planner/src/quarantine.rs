//! Addresses that may be in use although no lease says so.

use std::collections::BTreeSet;
use std::net::IpAddr;

use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::Now;

use crate::desired::Desired;

/// What the kernel and the sandboxes tell about addresses that no lease explains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Addresses that a rule, a route or a live sandbox of ours names.
    pub in_use: BTreeSet<IpAddr>,
    /// The ledger was lost and the kernel has not been looked at completely yet: every address that turns up is
    /// suspect.
    pub rebuilding: bool,
}

/// Looks at the quarantined addresses again: one without any trace left goes to rest; one that a lease was
/// found for is not touched. Nothing happens while the traces are incomplete (`rebuilding`).
pub fn review_quarantine(
    _desired: &Desired<'_>,
    _ledger: &Ledger,
    _traces: &Traces,
    _now: &Now,
) -> Vec<Change> {
    unimplemented!("being written")
}
