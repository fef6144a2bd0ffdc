//! ENIs that the ledger does not have.

use holdfast_model::cloud::{CloudRead, EniView};
use holdfast_model::eni::{EniPhase, EniPlace, EniRecord, EniSlot, Management};
use holdfast_model::ids::IntentId;
use holdfast_model::pool::PoolKey;

use crate::adopt::{Merge, New};
use crate::cards::managed_cards;
use crate::claims::{claimed_slots, lowest_free_slot};
use crate::draft::Draft;
use crate::intents::settle::source_of;
use crate::orphan::{intent_tag, is_kept, is_stray, is_unattached_of};
use crate::source::found_source;

impl Merge<'_> {
    /// Takes an ENI over, if it is attached here or an orphan of ours.
    pub(super) fn unknown(&self, draft: &mut Draft<'_>, view: &EniView) {
        let maker = intent_tag(view);
        if maker.is_some_and(|maker| draft.ledger.intents.contains_key(&maker)) {
            // Its creation is still open: the answer, or the repetition, brings it in.
            return;
        }
        if matches!(self.reading.read, CloudRead::AvailableEnis { .. }) {
            self.orphan(draft, view, maker);
            return;
        }
        let Some(here) = self.here(view) else { return };
        if !make_room(draft, here.slot) {
            draft.note(format!(
                "{} is attached at {:?}, where the ledger has another ENI: left alone for now",
                view.id, here.slot
            ));
            return;
        }
        let record = EniRecord {
            place: EniPlace::Device(here.slot),
            management: self.management(view, here.slot),
            source: found_source(&draft.ledger, self.reading, view, here.slot == EniSlot::PRIMARY),
            phase: Self::attached(here),
            ..self.record(draft, view, maker)
        };
        draft.put_eni(record.clone());
        draft.note(format!("{} was found attached at {:?}: {:?}", view.id, here.slot, record.management));
        if record.management == Management::Managed {
            self.blocks(draft, &record, view, New::Unasked);
        }
    }

    /// An unattached ENI of ours, told by our instance's tag and our intent's: put into service or deleted.
    fn orphan(&self, draft: &mut Draft<'_>, view: &EniView, maker: Option<IntentId>) {
        if !is_unattached_of(view, &self.me) || is_kept(view) {
            return;
        }
        if maker.is_none() {
            self.stray(draft, view);
            return;
        }
        let claimed = claimed_slots(&draft.ledger);
        // Which card it was made for is lost. While it is not known how many there may be, it is kept.
        let has_room = |card: &u8| {
            let held = claimed.iter().filter(|slot| slot.card == *card).count();
            self.desired.max_enis(*card).is_none_or(|most| held < most as usize)
        };
        let cards = managed_cards(self.desired, &draft.ledger).unwrap_or_default();
        let card = [PoolKey::DEFAULT.card].into_iter().chain(cards).find(has_room);
        let phase = if card.is_none() { EniPhase::Detached } else { EniPhase::Available };
        let record = EniRecord {
            place: EniPlace::Device(lowest_free_slot(card.unwrap_or(PoolKey::DEFAULT.card), &claimed)),
            management: Management::Managed,
            phase,
            ..self.record(draft, view, maker)
        };
        draft.put_eni(record.clone());
        draft.note(format!("{} is an orphan of ours: taken over", view.id));
        // It is attached to nothing, and an ENI is detached when all that was on it has rested.
        self.blocks(draft, &record, view, New::AskedFor);
    }

    /// An unattached ENI that bears our instance's tag and no intent's: whoever served this node before has left it, or
    /// is just about to attach it. It is deleted when it hangs about for longer than that takes.
    fn stray(&self, draft: &mut Draft<'_>, view: &EniView) {
        let since = self.observed.strays.get(&view.id).copied();
        if !is_stray(view, since, self.reading.began) {
            return;
        }
        let claimed = claimed_slots(&draft.ledger);
        draft.put_eni(EniRecord {
            place: EniPlace::Device(lowest_free_slot(0, &claimed)),
            management: Management::Managed,
            phase: EniPhase::Detached,
            ..self.record(draft, view, None)
        });
        draft.note(format!("{} was made for this node and left unattached: deleted", view.id));
    }

    fn record(&self, draft: &Draft<'_>, view: &EniView, created_by: Option<IntentId>) -> EniRecord {
        EniRecord {
            id: view.id.clone(),
            mac: view.mac,
            place: EniPlace::PRIMARY,
            kind: view.kind,
            management: Management::Unmanaged,
            phase: EniPhase::Available,
            source: source_of(view),
            primary_ipv4: view.primary_ipv4,
            created_by,
            since: draft.now(),
            changed: self.reading.began,
        }
    }
}

/// Frees a slot that an unattached ENI of ours has chosen, or that one had which others detached; false when an attached one
/// sits there, or one with pods: they are wired for its place, and others may attach it again.
pub(super) fn make_room(draft: &mut Draft<'_>, slot: EniSlot) -> bool {
    let holder = draft.ledger.enis.values().find(|eni| eni.holds_slot() && eni.slot() == Some(slot)).cloned();
    let Some(mut holder) = holder else { return true };
    let wired = draft.ledger.leases_on(&holder.id).next().is_some()
        || draft.ledger.blocks_on(&holder.id).any(|block| draft.ledger.is_somebodys(block));
    let gone = draft.ledger.is_known_gone(&holder) && !wired;
    if holder.phase != EniPhase::Available && !gone {
        return false;
    }
    let mut claimed = claimed_slots(&draft.ledger);
    claimed.insert(slot);
    holder.place = EniPlace::Device(lowest_free_slot(slot.card, &claimed));
    draft.put_eni(holder);
    true
}
