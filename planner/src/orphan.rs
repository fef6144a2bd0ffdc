//! Unattached ENIs that are this node's to take over or to delete.

use std::time::Duration;

use holdfast_model::cloud::{EniView, TAG_INSTANCE, TAG_INTENT, TAG_NO_MANAGE};
use holdfast_model::eni::{EniKind, EniRecord};
use holdfast_model::ids::{InstanceId, IntentId};
use holdfast_model::ledger::Ledger;
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

/// Whether an ENI that is not attached here is none of ours by its tags: it is kept from us, or another instance's. Tags that
/// are missing say nothing.
pub(crate) fn is_claimed(view: &EniView, me: &InstanceId) -> bool {
    is_kept(view) || view.tags.get(TAG_INSTANCE).is_some_and(|owner| owner != me.as_str())
}

/// Whether an unattached ENI of this instance's that bears no intent, and that nobody keeps from us, was left behind: it was
/// seen so since that instant, and is of the kind that is made for pods.
pub(crate) fn is_stray(view: &EniView, since: Option<BootTime>, began: BootTime) -> bool {
    view.kind == EniKind::Standard && since.is_some_and(|since| began.since(since) >= STRAY_AFTER)
}

/// Whether an ENI that we made was detached by others and was kept for its pods, of whom none is left.
pub(crate) fn is_left(ledger: &Ledger, eni: &EniRecord) -> bool {
    eni.attachment().is_some()
        && eni.created_by.is_some()
        && ledger.is_known_gone(eni)
        && ledger.leases_on(&eni.id).next().is_none()
        && !ledger.blocks_on(&eni.id).any(|block| ledger.is_somebodys(block))
}

/// The intent that a tag names.
pub(crate) fn intent_tag(view: &EniView) -> Option<IntentId> {
    let text = view.tags.get(TAG_INTENT)?;
    Some(IntentId(text.parse().ok()?))
}
