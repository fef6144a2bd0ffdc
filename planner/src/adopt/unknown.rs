//! ENIs that the ledger does not have.

use holdfast_model::address::AddressState;
use holdfast_model::cloud::{CloudRead, EniView, TAG_INSTANCE};
use holdfast_model::eni::{EniPhase, EniRecord, EniSlot, Management};
use holdfast_model::ids::IntentId;

use crate::adopt::{Merge, intent_tag};
use crate::draft::Draft;
use crate::intents::open::{claimed_slots, lowest_free_slot};
use crate::intents::settle::known_cidr;

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
            slot: here.slot,
            management: self.management(view, here.slot == EniSlot::PRIMARY),
            phase: Self::attached(here),
            ..self.record(draft, view, maker)
        };
        draft.put_eni(record.clone());
        draft.note(format!("{} was found attached at {:?}: {:?}", view.id, record.slot, record.management));
        if record.management == Management::Managed {
            self.addresses(draft, &record, view, &self.rested_first());
        }
    }

    /// An unattached ENI of ours, told by our instance's tag and our intent's: put into service or deleted.
    fn orphan(&self, draft: &mut Draft<'_>, view: &EniView, maker: Option<IntentId>) {
        let ours = view.tags.get(TAG_INSTANCE).is_some_and(|owner| owner == self.me.as_str());
        if !ours || maker.is_none() || view.attachment.is_some() {
            return;
        }
        let claimed = claimed_slots(&draft.ledger);
        let held = claimed.iter().filter(|slot| slot.card == 0).count();
        let phase =
            if held < self.desired.max_enis() as usize { EniPhase::Available } else { EniPhase::Detached };
        let record = EniRecord {
            slot: lowest_free_slot(0, &claimed),
            management: Management::Managed,
            phase,
            ..self.record(draft, view, maker)
        };
        draft.put_eni(record.clone());
        draft.note(format!("{} is an orphan of ours: taken over", view.id));
        // It is attached to nothing, and an ENI is detached when all that was on it has rested.
        self.addresses(draft, &record, view, &AddressState::Free);
    }

    fn record(&self, draft: &Draft<'_>, view: &EniView, created_by: Option<IntentId>) -> EniRecord {
        EniRecord {
            id: view.id.clone(),
            mac: view.mac,
            slot: EniSlot::PRIMARY,
            kind: view.kind,
            management: Management::Unmanaged,
            phase: EniPhase::Available,
            subnet: view.subnet.clone(),
            subnet_cidr: known_cidr(&draft.ledger, &view.subnet),
            primary_ipv4: view.primary_ipv4,
            created_by,
            since: draft.now(),
            changed: self.reading.began,
        }
    }
}

/// Frees a slot that an unattached ENI of ours has chosen; false when an attached one sits there.
pub(super) fn make_room(draft: &mut Draft<'_>, slot: EniSlot) -> bool {
    let holder = draft.ledger.enis.values().find(|eni| eni.holds_slot() && eni.slot == slot).cloned();
    let Some(mut holder) = holder else { return true };
    if holder.phase != EniPhase::Available {
        return false;
    }
    let mut claimed = claimed_slots(&draft.ledger);
    claimed.insert(slot);
    holder.slot = lowest_free_slot(slot.card, &claimed);
    draft.put_eni(holder);
    true
}
