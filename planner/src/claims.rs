//! What is spoken for: device indexes, and ENIs that EC2 is being asked to change.

use std::collections::BTreeSet;

use holdfast_model::cloud::CloudChange;
use holdfast_model::eni::{EniRecord, EniSlot};
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;

/// Slots that are held, or that an open intent is going to use.
pub(crate) fn claimed_slots(ledger: &Ledger) -> BTreeSet<EniSlot> {
    let held = ledger.enis.values().filter(|eni| eni.holds_slot()).filter_map(EniRecord::slot);
    let asked = ledger.intents.values().filter_map(|intent| match &intent.change {
        CloudChange::CreateEni { slot, .. } | CloudChange::AttachEni { slot, .. } => Some(*slot),
        _ => None,
    });
    held.chain(asked).collect()
}

/// The lowest device index that nothing claims. The primary's is never given.
pub(crate) fn lowest_free_slot(card: u8, claimed: &BTreeSet<EniSlot>) -> EniSlot {
    let first = u16::from(card == 0);
    (first..=u16::MAX)
        .map(|device| EniSlot { card, device })
        .find(|slot| !claimed.contains(slot))
        .unwrap_or(EniSlot { card, device: u16::MAX })
}

/// Whether an open intent changes this ENI in a way that excludes another change.
pub(crate) fn busy(ledger: &Ledger, eni: &EniId) -> bool {
    ledger.intents_on(eni).any(|intent| {
        !matches!(
            intent.change,
            CloudChange::SetDeleteOnTermination { .. } | CloudChange::SetSecurityGroups { .. }
        )
    })
}
