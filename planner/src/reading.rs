//! Reads, as they are answered.

use std::time::Duration;

use holdfast_model::cloud::{CloudRead, EniView};
use holdfast_model::ledger::Ledger;
use holdfast_model::time::BootTime;

/// Describes lag behind changes: absence is believed only by a read that began this long after our last change.
pub const ABSENCE_BELIEVED_AFTER: Duration = Duration::from_secs(30);

/// What was created is shown by a read that begins this much later.
pub(crate) const DESCRIBES_LAG: Duration = Duration::from_secs(60);

/// A view that is no older than this shows what there was before: an address that was given, or shown, less long ago may lack in
/// one that is merely late. Views were seen to be a minute old.
pub const VIEWS_ARE_OLD_AT_MOST: Duration = Duration::from_secs(90);

/// How long a tombstone is kept. Describes were seen to lag by tens of seconds, IMDS by minutes.
pub const TOMBSTONE: Duration = Duration::from_secs(300);

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

impl Reading<'_> {
    /// Whether a read's answer can be all that there is. An instance always has its primary ENI, so a list of its ENIs without
    /// that one is not whole, and no absence in it proves anything; EC2 refuses ids that it does not know, and the list that
    /// was asked for then shows all that are left.
    pub(crate) fn is_whole(self, ledger: &Ledger) -> bool {
        let Some(node) = &ledger.node else { return false };
        match self.read {
            CloudRead::InstanceEnis { .. } => {
                self.views.iter().any(|view| view.mac == node.identity.primary_mac)
            }
            CloudRead::Enis { .. }
            | CloudRead::AvailableEnis { .. }
            | CloudRead::Subnets { .. }
            | CloudRead::ZoneSubnets { .. } => true,
        }
    }
}
