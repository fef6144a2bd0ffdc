//! Merging an authoritative read into the ledger.

use holdfast_model::cloud::{CloudRead, EniView};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::{BootTime, Now};

use crate::desired::Desired;
use crate::observed::Observed;
use crate::quarantine::Traces;

/// A read's complete answer.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// What was asked.
    pub read: &'a CloudRead,
    /// What was shown: all of it.
    pub views: &'a [EniView],
    /// When the call was sent.
    pub began: BootTime,
}

/// Merges a read. Also closes open intents that the read settles. Call it before
/// [`crate::Observed::read_answered`].
pub fn adopt(
    _desired: &Desired<'_>,
    _ledger: &Ledger,
    _observed: &Observed,
    _reading: Reading<'_>,
    _traces: &Traces,
    _now: &Now,
) -> Vec<Change> {
    unimplemented!("being written")
}
