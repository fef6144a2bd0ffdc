//! That EC2 has lately shown an ENI as ours.

use std::time::Duration;

use holdfast_model::eni::EniRecord;
use holdfast_model::time::Now;

use crate::observed::Observed;

#[cfg(test)]
mod tests;

/// For so long an ENI passes for what a read has shown it to be.
pub(crate) const LOOKED_AT_FOR: Duration = Duration::from_secs(300);

/// A read has shown this ENI, lately and since it is in its phase, and what it showed is in the ledger.
///
/// Tags are in reads only, and what others do with an ENI is told by nothing else while they do it: whoever has marked it as not
/// to be managed, or taken it, did so before that read, or moments ago.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen(());

impl Seen {
    /// An ENI comes into its phase when it is decided what becomes of it: the read is newer than that.
    pub(crate) fn lately(observed: &Observed, record: &EniRecord, now: &Now) -> Option<Self> {
        let shown = observed.reads.shown(&record.id)?;
        (shown >= record.since && now.boottime.since(shown) < LOOKED_AT_FOR).then_some(Self(()))
    }
}
