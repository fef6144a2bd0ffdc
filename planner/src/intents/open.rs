//! Making a planned change durable, if the ledger still admits it.

use holdfast_model::block::{Block, BlockState};
use holdfast_model::cloud::{CloudChange, TAG_CREATED_AT, TAG_INTENT};
use holdfast_model::eni::{EniPhase, EniRecord};
use holdfast_model::ids::{EniId, IntentId};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::{Now, WallTime};

use crate::brake;
use crate::claims::{busy, claimed_slots};
use crate::desired::Desired;
use crate::observed::Observed;
use crate::proof::{Accord, Seen};
use crate::source::follows;

/// Makes a planned change an intent: the changes to commit before the call is sent. `None` when the ledger no
/// longer admits it (an address was leased meanwhile, an ENI is busy): plan again.
///
/// A creation gets its [`TAG_INTENT`] and [`TAG_CREATED_AT`] here, since only here its id is known.
pub fn open(
    ledger: &Ledger,
    observed: &Observed,
    mut change: CloudChange,
    id: IntentId,
    now: &Now,
) -> Option<Vec<Change>> {
    if ledger.intents.contains_key(&id) {
        return None;
    }
    if change.gives_back() && !Accord::reached(ledger, observed, now)?.allows(&change) {
        return None;
    }
    let mut changes = Vec::new();
    match &mut change {
        CloudChange::CreateEni { slot, tags, .. } => {
            if claimed_slots(ledger).contains(slot) {
                return None;
            }
            tags.insert(TAG_INTENT.to_owned(), id.to_string());
            tags.insert(TAG_CREATED_AT.to_owned(), WallTime(now.wall.0 / 1000 * 1000).to_string());
        }
        CloudChange::AttachEni { eni, slot, .. } => {
            let record = idle(ledger, eni)?;
            if record.phase != EniPhase::Available || record.slot() != Some(*slot) {
                return None;
            }
        }
        CloudChange::SetDeleteOnTermination { eni, attachment } => {
            let record = ledger.enis.get(eni)?;
            let open = ledger.intents_on(eni).any(|intent| {
                matches!(
                    intent.change,
                    CloudChange::SetDeleteOnTermination { .. }
                        | CloudChange::DetachEni { .. }
                        | CloudChange::DeleteEni { .. }
                )
            });
            if open || record.attachment() != Some(attachment) {
                return None;
            }
        }
        CloudChange::Assign { eni, ask } => {
            if ask.count == 0 || !idle(ledger, eni)?.serves_pods() {
                return None;
            }
        }
        CloudChange::Unassign { eni, nets } => {
            for net in nets {
                let block = ledger.blocks.get(net).filter(|block| &block.eni == eni)?;
                changes.push(Change::PutBlock(Block { state: BlockState::Leaving(id), ..block.clone() }));
            }
        }
        CloudChange::SetSecurityGroups { eni, groups } => {
            let record = ledger.enis.get(eni)?;
            let open = ledger.intents_on(eni).any(|intent| {
                matches!(
                    intent.change,
                    CloudChange::SetSecurityGroups { .. }
                        | CloudChange::DetachEni { .. }
                        | CloudChange::DeleteEni { .. }
                )
            });
            if open || groups.is_empty() || !follows(record) {
                return None;
            }
        }
        CloudChange::DetachEni { .. } | CloudChange::DeleteEni { .. } => {}
    }
    if let Some(record) = change.eni().and_then(|eni| ledger.enis.get(eni)) {
        let mut record = record.clone();
        record.changed = now.boottime;
        changes.push(Change::PutEni(record));
    }
    changes.push(Change::PutIntent(Intent { id, change, sending: Sending::MaybeSent, planned: now.wall }));
    Some(changes)
}

/// Whether an intent's call may leave now. Between the plan and that moment lies the disk, which may have hung for long: what is
/// to be given back is then looked at again.
pub fn may_leave(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    intent: &Intent,
    now: &Now,
) -> bool {
    if !brake::lets_leave(desired.brake(), &intent.change) {
        return false;
    }
    let record = intent.change.eni().and_then(|eni| ledger.enis.get(eni));
    let Some(record) = record.filter(|_| intent.change.gives_back()) else { return true };
    Seen::lately(observed, record, now).is_some()
}

fn idle<'a>(ledger: &'a Ledger, eni: &EniId) -> Option<&'a EniRecord> {
    ledger.enis.get(eni).filter(|_| !busy(ledger, eni))
}

#[cfg(test)]
mod tests;
