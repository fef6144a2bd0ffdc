//! ENIs that the ledger has.

use holdfast_model::block::{Ask, BlockState, Unit};
use holdfast_model::cloud::{AttachmentStatus, AttachmentView, CloudChange, CloudRead, EniView};
use holdfast_model::eni::{EniPhase, EniPlace, EniRecord, Management};
use holdfast_model::pool::PoolKey;

use crate::adopt::unknown::make_room;
use crate::adopt::{Merge, New};
use crate::claims::claimed_slots;
use crate::draft::Draft;
use crate::intents::settle::{departed, not_unassigned};
use crate::orphan::is_claimed;
use crate::proof::Left;
use crate::reading::TOMBSTONE;
use crate::source::shown_source;

#[cfg(test)]
mod tests;

impl Merge<'_> {
    /// An ENI that the read shows.
    pub(super) fn known(&self, draft: &mut Draft<'_>, record: &EniRecord, view: &EniView) {
        // The list of unattached ENIs is for orphans; it lags, and what we know has better sources. But who marks one as
        // none of ours has done so, however late it is shown.
        let orphans = matches!(self.reading.read, CloudRead::AvailableEnis { .. });
        let unattached = matches!(record.phase, EniPhase::Available | EniPhase::Detached);
        let says_nothing = orphans && !(unattached && Left::taken(view, &self.me).is_some());
        if says_nothing || record.phase == EniPhase::Gone || !self.proves(draft, record) {
            return;
        }
        let asked = draft
            .ledger
            .intents_on(&record.id)
            .any(|intent| matches!(intent.change, CloudChange::Assign { .. }));
        let new = if asked { New::AskedFor } else { New::Unasked };
        self.settle_by_read(draft, record, Some(view));
        let Some(here) = self.here(view) else {
            let detaching = view.attachment.as_ref().is_some_and(|other| {
                other.instance == self.me && other.status == AttachmentStatus::Detaching
            });
            match &record.phase {
                // A binding that is being undone by somebody is looked at again soon; until then nobody new gets an
                // address there.
                EniPhase::Attached { .. } if detaching && !record.is_primary() => {
                    draft.put_eni(EniRecord { management: Management::Excluded, ..record.clone() });
                }
                EniPhase::Attached { .. } | EniPhase::Draining { .. }
                    if !detaching && self.covers(record) =>
                {
                    self.absent(draft, record, Some(view));
                }
                EniPhase::Available | EniPhase::Detached => {
                    if let Some(left) = Left::taken(view, &self.me) {
                        draft.bury(&view.id, &left);
                    } else if record.phase == EniPhase::Available && !detaching {
                        self.blocks(draft, record, view, New::AskedFor);
                    }
                }
                _ => {}
            }
            return;
        };

        let Some(mut next) = draft.ledger.enis.get(&record.id).cloned() else { return };
        let management = self.shown_management(record, view, here);
        match &mut next.phase {
            EniPhase::Available | EniPhase::Attached { .. } => next.phase = Self::attached(here),
            // It is not ours to give back any more.
            EniPhase::Draining { .. } if management == Management::Unmanaged => {
                next.phase = Self::attached(here);
            }
            EniPhase::Draining { attachment } => *attachment = here.id.clone(),
            // Our own detachment, seen late; after that much time it is somebody's new attachment.
            EniPhase::Detached if self.reading.began.since(record.since) >= TOMBSTONE => {
                // Its slot has passed for free, so another may have chosen it, and cannot have got it.
                if !make_room(draft, here.slot) {
                    return;
                }
                next.phase = Self::attached(here);
                next.place = EniPlace::Device(here.slot);
            }
            EniPhase::Detached => {
                // Its tags are as new as the view, though its attachment may be an old one.
                if let Some(left) = Left::taken(view, &self.me) {
                    draft.bury(&view.id, &left);
                }
                return;
            }
            EniPhase::Gone => return,
        }
        if std::mem::discriminant(&next.phase) != std::mem::discriminant(&record.phase) {
            next.since = draft.now();
        }
        let there = EniPlace::Device(here.slot);
        let leased = draft.ledger.leases_on(&record.id).next().is_some();
        if next.place != there && !leased && !claimed_slots(&draft.ledger).contains(&here.slot) {
            next.place = there;
        }
        next.management = management;
        next.source = shown_source(&draft.ledger, self.reading, record, view);
        draft.put_eni(next);
        if management == Management::Managed {
            self.blocks(draft, record, view, new);
        }
    }

    /// Whose an ENI of the ledger is that is attached here. An empty set of tags says nothing: upstream's rule, from an outage
    /// where tags were missing.
    fn shown_management(&self, record: &EniRecord, view: &EniView, here: &AttachmentView) -> Management {
        // One that was left alone for its card had no tags to be told by: where others show theirs, none is missing.
        let had_no_say = here.slot.card != PoolKey::DEFAULT.card
            && record.management == Management::Unmanaged
            && self.reading.views.iter().any(|other| !other.tags.is_empty());
        if view.tags.is_empty() && record.management != Management::Excluded && !had_no_say {
            return record.management;
        }
        self.management(view, here.slot)
    }

    /// An ENI that the read does not show where the ledger has it. `view` is what it shows instead.
    pub(super) fn absent(&self, draft: &mut Draft<'_>, record: &EniRecord, view: Option<&EniView>) {
        if record.phase == EniPhase::Gone || !self.proves(draft, record) {
            return;
        }
        self.settle_by_read(draft, record, view);
        let Some(current) = draft.ledger.enis.get(&record.id).cloned() else { return };
        let still_busy = draft.ledger.intents_on(&record.id).next().is_some();
        let may_have_link = current.attachment().is_some() && self.observed.may_have_link(&current);
        if may_have_link && self.desired.config.metadata_only.value {
            // The metadata service leaves attached ENIs out for minutes, and nobody else is asked: the link is there.
            return;
        }
        let left = Left::unbound(self.reading, record, may_have_link);
        let Some(left) = left.filter(|_| !still_busy && !current.is_primary()) else { return };
        match &current.phase {
            EniPhase::Available | EniPhase::Detached => {
                let taken = || view.and_then(|view| Left::taken(view, &self.me));
                if let Some(left) = Left::unknown(self.reading, record, view).or_else(taken) {
                    draft.bury(&record.id, &left);
                }
            }
            EniPhase::Attached { .. } | EniPhase::Draining { .. } => {
                let held = draft.ledger.leases_on(&record.id).count();
                draft.note(format!("{}: {left}; sandboxes on it: {held}", record.id));
                let nobodys =
                    !draft.ledger.blocks_on(&record.id).any(|block| draft.ledger.is_somebodys(block));
                if nobodys && current.created_by.is_some() {
                    self.ours_left(draft, current, view, &left);
                    return;
                }
                draft.strip(&record.id, &left);
                if draft.ledger.blocks_on(&record.id).next().is_some() {
                    // Kept for what is owed on it, and closed to everything new.
                    draft.put_eni(EniRecord { management: Management::Excluded, ..current });
                } else {
                    draft.drop_eni(&record.id, &left);
                }
            }
            EniPhase::Gone => {}
        }
    }

    /// An ENI of ours that is not attached here any more, and on which nothing is anybody's.
    fn ours_left(&self, draft: &mut Draft<'_>, current: EniRecord, view: Option<&EniView>, left: &Left) {
        let Some(view) = view else {
            if let Some(left) = Left::unknown(self.reading, &current, None) {
                draft.bury(&current.id, &left);
            } else {
                // It is not here. Whether it is elsewhere, or nowhere, a read of it tells.
                draft.put_eni(EniRecord { management: Management::Excluded, ..current });
            }
            return;
        };
        let by_tags = !view.tags.is_empty() || current.management == Management::Excluded;
        let management = match current.slot() {
            Some(slot) if by_tags => self.management(view, slot),
            _ => current.management,
        };
        let anothers = view.attachment.is_some() || is_claimed(view, &self.me);
        if anothers || management != Management::Managed {
            draft.strip(&current.id, left);
            draft.drop_eni(&current.id, left);
            return;
        }
        // It hangs about, with all that is on it: it is attached again if it is wanted, and else deleted.
        let phase = match current.phase {
            EniPhase::Draining { .. } => EniPhase::Detached,
            _ => EniPhase::Available,
        };
        let source = shown_source(&draft.ledger, self.reading, &current, view);
        let next = EniRecord { phase, management, source, since: draft.now(), ..current };
        draft.put_eni(next.clone());
        self.blocks(draft, &next, view, New::Unasked);
    }

    /// Closes the open intents on this ENI that the read settles. None of them is under way.
    fn settle_by_read(&self, draft: &mut Draft<'_>, record: &EniRecord, view: Option<&EniView>) {
        let here = view.and_then(|view| self.here(view));
        // What is others' now is not asked for again, whatever became of the first call.
        let others = view
            .zip(here)
            .is_some_and(|(view, here)| self.shown_management(record, view, here) == Management::Unmanaged);
        for mut intent in draft.intents_on(&record.id) {
            let id = intent.id;
            match &mut intent.change {
                // Or there would be two, and none is given back: a view may be older than what it was asked of.
                CloudChange::Assign { ask: Ask { unit: Unit::Ipv6Prefix, .. }, .. } => {
                    let is_one = |net: ipnet::IpNet| net.addr().is_ipv6();
                    let there = view.is_some_and(|view| view.blocks().any(is_one));
                    if there || others || self.proves_absence(record).is_some() {
                        draft.drop_intent(id);
                    }
                }
                // Whatever came of it is in the read; groups that it still lacks are set anew.
                CloudChange::AttachEni { .. }
                | CloudChange::Assign { .. }
                | CloudChange::SetSecurityGroups { .. } => draft.drop_intent(id),
                CloudChange::Unassign { nets, .. } => {
                    let (left, gone): (Vec<_>, Vec<_>) =
                        nets.iter().copied().partition(|net| view.is_some_and(|view| view.shows(*net)));
                    for net in gone {
                        departed(draft, id, net);
                    }
                    if left.is_empty() {
                        draft.drop_intent(id);
                    } else if others || (self.proves_absence(record).is_some() && view.is_some()) {
                        // Shown so long after the last call: no call has taken them away, nor will one any more.
                        not_unassigned(draft, &intent);
                    } else {
                        *nets = left;
                        draft.put_intent(intent);
                    }
                }
                CloudChange::DetachEni { .. } if here.is_none() => {
                    draft.drop_intent(id);
                    draft.enter(&record.id, EniPhase::Detached);
                }
                CloudChange::DetachEni { .. } if others || self.proves_absence(record).is_some() => {
                    draft.drop_intent(id);
                }
                CloudChange::DeleteEni { .. } => {
                    let taken = view.is_some_and(|view| Left::taken(view, &self.me).is_some());
                    if here.is_some() || taken {
                        draft.drop_intent(id);
                    } else if let Some(left) = Left::unknown(self.reading, record, view) {
                        draft.drop_intent(id);
                        draft.bury(&record.id, &left);
                    }
                }
                CloudChange::SetDeleteOnTermination { .. }
                    if here.is_none_or(|here| here.delete_on_termination) =>
                {
                    draft.drop_intent(id);
                }
                CloudChange::DetachEni { .. }
                | CloudChange::SetDeleteOnTermination { .. }
                | CloudChange::CreateEni { .. } => {}
            }
        }
        debug_assert!(
            draft.ledger.blocks_on(&record.id).all(|block| match &block.state {
                BlockState::Leaving(intent) => draft.ledger.intents.contains_key(intent),
                _ => true,
            }),
            "a block leaves by an open intent only"
        );
    }
}
