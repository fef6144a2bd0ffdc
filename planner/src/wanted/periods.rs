//! How often EC2 is read although nothing calls for it.

use std::time::Duration;

/// ENIs of ours that hang unattached are looked for no more often than this: where one is known, it is looked at before anything
/// is done with it.
pub(super) const UNATTACHED_READ_EVERY: Duration = Duration::from_secs(6 * 3600);
/// A read is answered within this time.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// How often each listing is read although nothing calls for it: the safety net against what no hint tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Periods {
    pub(crate) full: Duration,
    pub(super) unattached: Duration,
}

impl Periods {
    /// What others do is to be noticed within this interval, so jitter, which spreads the reads of many nodes, shortens it: by an
    /// eighth at most.
    pub(crate) fn of(interval: Duration, jitter: Duration) -> Self {
        let within = |interval: Duration| {
            let span = u64::try_from((interval / 8).as_millis()).unwrap_or(u64::MAX).max(1);
            let jitter = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX) % span;
            interval.saturating_sub(ANSWERED_WITHIN + Duration::from_millis(jitter))
        };
        Self { full: within(interval), unattached: within(interval.max(UNATTACHED_READ_EVERY)) }
    }
}
