//! Unattached ENIs that are this node's to take over or to delete.

use std::time::Duration;

use holdfast_model::cloud::{EniView, TAG_INSTANCE, TAG_INTENT, TAG_NO_MANAGE};
use holdfast_model::eni::EniKind;
use holdfast_model::ids::{InstanceId, IntentId};
use holdfast_model::time::BootTime;

/// Whoever makes an ENI to attach it has done so, or never will: upstream's sweep waits as long.
pub(crate) const STRAY_AFTER: Duration = Duration::from_secs(300);

/// Whether an ENI is attached to nothing and made for this instance, by its tag.
pub(crate) fn is_unattached_of(view: &EniView, me: &InstanceId) -> bool {
    view.attachment.is_none() && view.tags.get(TAG_INSTANCE).is_some_and(|owner| owner == me.as_str())
}

/// Whether somebody has told us to keep our hands off it.
pub(crate) fn is_kept(view: &EniView) -> bool {
    view.tags.get(TAG_NO_MANAGE).is_some_and(|word| word == "true")
}

/// Whether an unattached ENI of this instance's that bears no intent was left behind: it was seen so since that instant,
/// and is not to be spared.
pub(crate) fn is_stray(view: &EniView, since: Option<BootTime>, began: BootTime) -> bool {
    let spared = view.kind != EniKind::Standard || is_kept(view);
    !spared && since.is_some_and(|since| began.since(since) >= STRAY_AFTER)
}

/// The intent that a tag names.
pub(crate) fn intent_tag(view: &EniView) -> Option<IntentId> {
    let text = view.tags.get(TAG_INTENT)?;
    Some(IntentId(text.parse().ok()?))
}
