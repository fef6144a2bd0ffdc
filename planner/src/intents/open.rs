//! Making a planned change durable, if the ledger still admits it.

use std::collections::BTreeSet;

use holdfast_model::block::{Block, BlockState};
use holdfast_model::cloud::{CloudChange, TAG_CREATED_AT, TAG_INTENT};
use holdfast_model::eni::{EniPhase, EniRecord, EniSlot};
use holdfast_model::ids::{EniId, IntentId};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::{Now, WallTime};
use ipnet::IpNet;

use crate::observed::Observed;
use crate::proof::Brake;
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
    if change.gives_back() && !Brake::off(ledger, observed, now)?.allows(&change) {
        return None;
    }
    let mut changes = Vec::new();
    match &mut change {
        CloudChange::CreateEni { slot, tags, .. } => {
            if claimed_slots(ledger).contains(slot) {
                return None;
            }
            tags.insert(TAG_INTENT.to_owned(), id.to_string());
            tags.insert(TAG_CREATED_AT.to_owned(), rfc3339(now.wall));
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
        CloudChange::AssignAddresses { eni, count } => {
            if *count == 0 || !idle(ledger, eni)?.serves_pods() {
                return None;
            }
        }
        CloudChange::UnassignAddresses { eni, addresses } => {
            for ip in addresses {
                let block = ledger.blocks.get(&IpNet::from(*ip)).filter(|block| &block.eni == eni)?;
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

fn idle<'a>(ledger: &'a Ledger, eni: &EniId) -> Option<&'a EniRecord> {
    ledger.enis.get(eni).filter(|_| !busy(ledger, eni))
}

/// `YYYY-MM-DDTHH:MM:SSZ`. Civil date from days: Howard Hinnant's algorithm.
fn rfc3339(wall: WallTime) -> String {
    let seconds = wall.0 / 1000;
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creation_times_are_rfc3339() {
        // Oracle: `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(WallTime(seconds * 1000)), text);
        }
    }
}
