//! An ENI's way from phase to phase, and what is forgotten when.
//!
//! Tagging the primary ENI is not decided here: the ledger does not carry tags.

use std::time::Duration;

use holdfast_model::block::BlockState;
use holdfast_model::cloud::{Api, CloudChange};
use holdfast_model::eni::{EniKind, EniPhase, EniPlace, EniRecord, Management};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::pool::Family;
use holdfast_model::time::Now;
use holdfast_model::uses::Use;

use crate::agenda::Agenda;
use crate::claims::{busy, claimed_slots, lowest_free_slot};
use crate::desired::Desired;
use crate::host::{eni_wiring, wants_set_up};
use crate::looks::Looks;
use crate::observed::Observed;
use crate::pool::{Pool, targets};
use crate::proof::Accord;
use crate::reading::TOMBSTONE;
use crate::source::Fit;
use crate::step::Step;

#[cfg(test)]
mod cordoned;
#[cfg(test)]
mod tests;

/// An ENI younger than this is kept: upstream's figure. Pods that come and go in bursts cost no ENI.
pub(crate) const MINIMUM_ENI_AGE: Duration = Duration::from_secs(60);

/// An ENI that EC2 refuses to attach for this long is deleted, unless EC2 is merely slow.
pub(crate) const GIVE_UP_ATTACHING: Duration = Duration::from_secs(600);
/// An ENI that EC2 does not know for this long after its creation is deleted, to find out.
pub(crate) const GIVE_UP_ATTACHING_UNKNOWN: Duration = Duration::from_secs(30);
/// Longer than any ordinary detachment.
pub(crate) const DETACHMENT_TAKES_AT_MOST: Duration = Duration::from_secs(30);
/// A deletion right after the detachment only answers that the ENI is still in use.
const DETACHMENT_TAKES: Duration = Duration::from_secs(2);

/// Steps that bring each ENI to its next phase.
pub(crate) fn advance(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    pool: &Pool<'_>,
    now: &Now,
    looks: &mut Looks<'_>,
    agenda: &mut Agenda,
) -> Vec<Step> {
    let mut steps = Vec::new();
    if !observed.may_change(desired) {
        return steps;
    }
    let Some(node) = &ledger.node else { return steps };
    // What is to go waits for a look: none is made for what does not go.
    let keeps = desired.brake().keeps();
    let mut surplus = surplus_slots(desired, ledger);
    let mut level = pool.level;
    let accord = Accord::reached(ledger, observed, now);
    // From the highest slot down, so that surplus falls on the last ones.
    let mut enis: Vec<&EniRecord> = ledger.enis.values().collect();
    enis.sort_by_key(|eni| std::cmp::Reverse(eni.slot()));
    for eni in enis {
        let pause = |api| observed.pause_of(api, Some(&eni.id), None, now);
        let waits = busy(ledger, &eni.id) || observed.doubted(&eni.id);
        let idle = accord.as_ref().and_then(|accord| accord.eni(eni));
        let give_up = || {
            let change = accord.as_ref().filter(|_| !keeps)?.unattached(eni)?.give_up(now)?;
            Some(Step::Adjust(vec![change]))
        };
        match &eni.phase {
            EniPhase::Available if !waits => {
                if pool.sources.are_settled() && pool.sources.fit(eni) == Fit::Closed {
                    steps.extend(give_up());
                    continue;
                }
                if surplus > 0 {
                    surplus -= 1;
                    steps.extend(give_up());
                    continue;
                }
                let refused =
                    pause(Api::AttachNetworkInterface).is_some_and(|pause| !pause.cause.is_outage());
                if refused
                    && agenda.reached(eni.since.after(GIVE_UP_ATTACHING))
                    && let Some(step) = give_up()
                {
                    steps.push(step);
                    continue;
                }
                let free =
                    pool.enis.iter().find(|share| share.eni.id == eni.id).map_or(0, |share| share.free);
                if desired.limits.is_some() && targets(desired, observed, now).spare(&level, free) {
                    level.free = level.free.saturating_sub(free);
                    // Left over from a growth that died with an earlier process. Its ADDs may well come again.
                    if agenda.reached(eni.since.after(MINIMUM_ENI_AGE)) {
                        steps.extend(give_up());
                    }
                } else if let Some(slot) = eni.slot()
                    && pause(Api::AttachNetworkInterface).is_none()
                {
                    let attach = CloudChange::AttachEni {
                        eni: eni.id.clone(),
                        instance: node.identity.instance.clone(),
                        slot,
                    };
                    // While EC2 refused it, or we had no cause to act, somebody may have made it theirs.
                    if looks.known(eni) {
                        steps.push(Step::Open(attach));
                    }
                }
            }
            EniPhase::Attached { attachment, delete_on_termination: false }
                if eni.created_by.is_some()
                    && eni.management == Management::Managed
                    && !eni.is_primary()
                    && !ledger.intents_on(&eni.id).any(|intent| {
                        matches!(intent.change, CloudChange::SetDeleteOnTermination { .. })
                    })
                    && pause(Api::ModifyNetworkInterfaceAttribute).is_none() =>
            {
                steps.push(Step::Open(CloudChange::SetDeleteOnTermination {
                    eni: eni.id.clone(),
                    attachment: attachment.clone(),
                }));
            }
            EniPhase::Draining { .. }
                if !keeps
                    && !is_left_alone(desired, observed)
                    && pause(Api::DetachNetworkInterface).is_none() =>
            {
                let detach = idle.and_then(|idle| idle.detach(looks.seen(eni)?));
                steps.extend(detach.map(Step::Open));
            }
            EniPhase::Detached
                if !keeps
                    && agenda.reached(eni.since.after(DETACHMENT_TAKES))
                    && pause(Api::DeleteNetworkInterface).is_none() =>
            {
                let delete = idle.and_then(|idle| idle.delete(looks.seen(eni)?));
                steps.extend(delete.map(Step::Open));
            }
            _ => {}
        }
    }
    steps.reverse();
    steps
}

/// Whether ENIs stay attached because the node takes no new pods: it may end between the detachment and the deletion, and leave one
/// behind that is nobody's (cni#1223).
pub(crate) fn is_left_alone(desired: &Desired<'_>, observed: &Observed) -> bool {
    observed.cordoned && !desired.config.manage_cordoned.value
}

/// ENIs that were to be given back and are wanted after all: no detachment of them is under way, and none was carried
/// out. They serve before anything new is asked of EC2; and where they may not go any more.
pub(crate) fn take_back(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    pool: &Pool<'_>,
    now: &Now,
) -> Option<Step> {
    let stays = desired.brake().keeps() || is_left_alone(desired, observed);
    // An ENI brings no IPv6 pod an address.
    let wanted = desired.limits.is_some()
        && pool.key.family == Family::V4
        && targets(desired, observed, now).short(&pool.level) > 0;
    if !stays && (!wanted || surplus_slots(desired, ledger) > 0) {
        return None;
    }
    let fits = |eni: &&EniRecord| pool.sources.fit(eni) == Fit::Wanted;
    let idle = ledger.enis.values().filter(fits);
    let idle = idle.filter(|eni| !busy(ledger, &eni.id) && !observed.doubted(&eni.id));
    let changes: Vec<Change> = idle
        .filter_map(|eni| {
            let EniPhase::Draining { attachment } = &eni.phase else { return None };
            let mut record = eni.clone();
            record.phase =
                EniPhase::Attached { attachment: attachment.clone(), delete_on_termination: false };
            record.since = now.boottime;
            Some(Change::PutEni(record))
        })
        .collect();
    if changes.is_empty() && (!wanted || surplus_slots(desired, ledger) > 0) {
        return None;
    }
    if changes.is_empty() {
        return unattached_again(desired, ledger, observed, pool, now);
    }
    Some(Step::Adjust(changes))
}

/// A detached ENI of ours that may not be deleted: it is attached again before another is made.
fn unattached_again(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    pool: &Pool<'_>,
    now: &Now,
) -> Option<Step> {
    let claimed = claimed_slots(ledger);
    let held = claimed.iter().filter(|slot| slot.card == 0).count();
    if desired.max_enis(0).is_none_or(|most| held >= most as usize) {
        return None;
    }
    let stuck = ledger.enis.values().find(|eni| {
        eni.phase == EniPhase::Detached
            && eni.kind == EniKind::Standard
            && pool.sources.fit(eni) == Fit::Wanted
            && !busy(ledger, &eni.id)
            && !observed.doubted(&eni.id)
            && now.boottime.since(eni.since) >= DETACHMENT_TAKES_AT_MOST
            && observed.pause_of(Api::DeleteNetworkInterface, Some(&eni.id), None, now).is_some()
    })?;
    Some(Step::Adjust(vec![Change::PutEni(EniRecord {
        phase: EniPhase::Available,
        place: EniPlace::Device(lowest_free_slot(0, &claimed)),
        since: now.boottime,
        ..stuck.clone()
    })]))
}

/// Kernel set-up for attached ENIs that this process has not read back yet.
pub(crate) fn set_ups(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    agenda: &mut Agenda,
) -> Vec<Step> {
    let mut enis: Vec<&EniRecord> = ledger.enis.values().filter(|eni| wants_set_up(ledger, eni)).collect();
    enis.sort_by_key(|eni| eni.slot());
    let mut steps = Vec::new();
    for eni in enis {
        if observed.ready_enis.contains(&eni.id) || observed.setting_up.contains(&eni.id) {
            continue;
        }
        let rested = observed.set_up_rests.get(&eni.id).is_none_or(|rest| agenda.reached(rest.next_try));
        if rested && let Some(wiring) = eni_wiring(ledger, eni, desired.config) {
            steps.push(Step::SetUpEni(wiring));
        }
    }
    steps
}

/// What the ledger may forget: tombstones whose time is over, and rests that are over.
pub(crate) fn forget(ledger: &Ledger, now: &Now, agenda: &mut Agenda) -> Option<Step> {
    let mut changes = Vec::new();
    for (ip, what) in &ledger.uses {
        let Use::Cooling(rest) = what else { continue };
        match rest.remaining(now) {
            Some(left) => agenda.at(now.boottime.after(left)),
            // The free address that has rested longest is taken first, so where it is held its rest is remembered.
            None if !ledger.is_held(*ip) => changes.push(Change::DropUse(*ip)),
            None => {}
        }
    }
    for block in ledger.blocks.values() {
        let over = match block.state {
            BlockState::Gone(at) => agenda.reached(at.after(TOMBSTONE)),
            BlockState::Withdrawn => !ledger.is_somebodys(block),
            BlockState::Held | BlockState::Leaving(_) => false,
        };
        if over {
            changes.push(Change::DropBlock(block.net));
        }
    }
    for eni in ledger.enis.values() {
        let bare = ledger.blocks_on(&eni.id).all(|block| changes.contains(&Change::DropBlock(block.net)));
        let over = match eni.phase {
            EniPhase::Gone => agenda.reached(eni.since.after(TOMBSTONE)),
            // Vanished from EC2 under its pods: kept for their sake only.
            EniPhase::Attached { .. } => eni.management == Management::Excluded && !eni.is_primary(),
            _ => false,
        };
        if !over || ledger.intents_on(&eni.id).next().is_some() {
            continue;
        }
        // What others detached of ours may hang about, or have become somebody else's: a read of it tells.
        let unclear = eni.attachment().is_some() && eni.created_by.is_some();
        if bare && !unclear {
            changes.push(Change::DropEni(eni.id.clone()));
        }
    }
    (!changes.is_empty()).then_some(Step::Adjust(changes))
}

/// How many ENIs hold a slot beyond what the node may have; none as long as that is not known.
fn surplus_slots(desired: &Desired<'_>, ledger: &Ledger) -> usize {
    let held = ledger.enis.values().filter(|eni| eni.holds_slot());
    let held = held.filter(|eni| eni.slot().is_some_and(|slot| slot.card == 0)).count();
    desired.max_enis(0).map_or(0, |most| held.saturating_sub(most as usize))
}
