//! What time alone sets off.

use std::time::Duration;

use holdfast_model::time::BootTime;

/// How often the metadata service is asked for a hint. With three ENIs that is about 320 requests an hour, and what
/// somebody else changes in EC2 is known within two minutes, but for tags, which it does not show.
pub(crate) const HINT_EVERY: Duration = Duration::from_secs(82);
/// How soon after a start on a known ledger it is asked a second time: it lags behind EC2 by seconds, mostly.
pub(crate) const HINT_AGAIN: Duration = Duration::from_secs(20);
/// Every so many hints the VPC's ranges are asked for as well.
pub(crate) const VPC_EVERY: u32 = 4;
/// How often the host's network is read although nothing told of a change.
pub(crate) const OBSERVE_EVERY: Duration = Duration::from_secs(60);
/// How long after a sign of drift the host's network is read: signs come in bursts, our own changes among them.
pub(crate) const DRIFT_SETTLE: Duration = Duration::from_millis(500);
/// How soon a failed step in the kernel is tried again.
pub(crate) const KERNEL_RETRY: Duration = Duration::from_secs(1);
/// How soon a step that failed again, and for the same cause, is tried once more; likewise a look at the NAT table.
pub(crate) const STUBBORN_RETRY: Duration = Duration::from_secs(10);
/// How soon a disk that refused is asked again.
pub(crate) const DISK_RETRY: Duration = Duration::from_secs(1);
/// How long a change that nobody waits for may stay in memory only: long enough to share the next commit, short
/// enough to be no news after a crash.
pub(crate) const FLUSH_AFTER: Duration = Duration::from_millis(50);
/// How long the first ADD waits for the NAT table after the kernel was read and the node is known. A host whose table cannot be written
/// still serves traffic inside the VPC.
pub(crate) const NAT_PATIENCE: Duration = Duration::from_secs(5);
/// The first and the longest pause before the metadata service is asked again who we are.
pub(crate) const IDENTITY_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Instants at which the loop looks again.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// The next hint.
    pub(crate) hint: Option<BootTime>,
    /// The next read of the host's network.
    pub(crate) observe: Option<BootTime>,
    /// The next try to unwire or unlink what failed.
    pub(crate) kernel_retry: Option<BootTime>,
    /// The next try to learn the identity.
    pub(crate) identity: Option<BootTime>,
    /// When time alone may change the plan.
    pub(crate) plan: Option<BootTime>,
    /// When what is in memory only goes to the disk.
    pub(crate) flush: Option<BootTime>,
    /// When ADDs stop waiting for the NAT table.
    pub(crate) nat: Option<BootTime>,
}

impl Timers {
    /// The earliest instant set.
    pub(crate) fn next(&self) -> Option<BootTime> {
        [self.hint, self.observe, self.kernel_retry, self.identity, self.plan, self.flush, self.nat]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Takes the instant if it has come.
pub(crate) fn due(timer: &mut Option<BootTime>, now: BootTime) -> bool {
    let come = timer.is_some_and(|at| at <= now);
    if come {
        *timer = None;
    }
    come
}

/// Moves a timer forward, never back.
pub(crate) fn sooner(timer: &mut Option<BootTime>, at: BootTime) {
    *timer = Some(timer.map_or(at, |set| set.min(at)));
}
