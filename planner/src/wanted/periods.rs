//! How often EC2 is read although nothing calls for it.

use std::time::Duration;

use crate::share::Share;

/// ENIs of ours that hang unattached are looked for no more often than this: where one is known, it is looked at before anything
/// is done with it.
pub(super) const UNATTACHED_READ_EVERY: Duration = Duration::from_secs(6 * 3600);
/// The first of each listing by a process that goes on from a ledger comes within these times. Nothing waits for one: what the
/// ledger lacks the metadata service tells, and that brings it at once. Where two thousand daemons are started together, they
/// take nine of the twenty reads a second that EC2 grants an account, so that others have theirs.
pub(super) const FIRST_READ_WITHIN: Duration = Duration::from_secs(5 * 60);
/// The same of ENIs that hang unattached.
pub(super) const FIRST_UNATTACHED_READ_WITHIN: Duration = Duration::from_secs(20 * 60);
/// A read is answered within this time.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// How often each listing is read although nothing calls for it: the safety net against what no hint tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Periods {
    pub(crate) full: Duration,
    pub(super) unattached: Duration,
}

impl Periods {
    /// What others do is to be noticed within this interval, so what spreads the reads of many nodes shortens it: by an eighth
    /// at most.
    pub(crate) fn of(interval: Duration, share: Share) -> Self {
        let within = |interval: Duration| interval.saturating_sub(ANSWERED_WITHIN + share.part(interval / 8));
        Self { full: within(interval), unattached: within(interval.max(UNATTACHED_READ_EVERY)) }
    }
}
