//! What there is to learn from at one instant: how many addresses of the first card are in use, what is on its way, and what the
//! subnets have left.

use std::collections::BTreeSet;

use holdfast_model::block::BlockState;
use holdfast_model::cloud::CloudChange;
use holdfast_model::eni::{EniPhase, EniRecord, Management};
use holdfast_model::ids::SubnetId;
use holdfast_model::ledger::Ledger;
use holdfast_model::pool::{Family, PoolKey};
use holdfast_model::time::{BootTime, Now};
use holdfast_model::uses::Use;

use crate::agenda::Agenda;
use crate::cards::Wanted;
use crate::desired::Desired;
use crate::observed::Observed;
use crate::pool::{Pool, is_on};
use crate::subnets;
use crate::warm::{Room, Seen};

/// Takes in what there is now. Call it before each plan, with `waiting` as it is: what is learned is the same whatever the
/// mode, so that a node that is switched to the other knows at once.
pub fn learn(desired: &Desired<'_>, ledger: &Ledger, observed: &mut Observed, now: &Now) {
    // Leases that a rebuilt ledger takes in are no arrivals.
    if desired.family() != Family::V4 || !observed.traces.looked {
        return;
    }
    let pool = PoolKey::first(Family::V4);
    let in_use = |what: &Use| match what {
        Use::Leased(_) => true,
        Use::Cooling(_) => !what.is_over(now),
        Use::Suspect(_) => false,
    };
    let all = ledger.uses.iter().filter(|(ip, what)| ip.is_ipv4() && in_use(what)).count();
    let besides = ledger
        .enis
        .values()
        .filter(|eni| eni.slot().is_some_and(|slot| slot.card != pool.card))
        .flat_map(|eni| ledger.blocks_on(&eni.id))
        .flat_map(|block| ledger.uses_in(block.net))
        .filter(|(ip, what)| ip.is_ipv4() && in_use(what))
        .count();
    let used = u32::try_from(all.saturating_sub(besides)).unwrap_or(u32::MAX);
    let used = used.saturating_add(observed.waiting_for(pool));
    let coming = coming(ledger, observed);
    let found = if observed.warm.has_begun() { None } else { found(desired, ledger, observed, now) };
    observed.warm.see(Seen { used, coming, found }, now.boottime);
    if let Some((room, began)) = scarcest(ledger, observed, now) {
        let held = free(ledger, now);
        observed.warm.yields(room, held, began);
    }
}

/// When time alone may change what is learned, or wanted.
pub(crate) fn next_looks(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    now: &Now,
    agenda: &mut Agenda,
) {
    if !desired.is_adaptive() {
        return;
    }
    let learned = observed.warm.learned_at();
    let wanted = observed.warm.changes_at(now.boottime);
    learned.into_iter().chain(wanted).for_each(|at| agenda.at(at));
    // An ADD that comes when a rest has ended is told from one that comes for nobody's end only by a look in between.
    let rests = ledger.uses.values().filter_map(|what| match what {
        Use::Cooling(rest) => rest.remaining(now),
        Use::Leased(_) | Use::Suspect(_) => None,
    });
    rests.min().into_iter().for_each(|left| agenda.at(now.boottime.after(left)));
}

fn is_ours(eni: &EniRecord) -> bool {
    eni.management == Management::Managed
        && is_on(eni, PoolKey::DEFAULT)
        && matches!(eni.phase, EniPhase::Available | EniPhase::Attached { .. })
}

/// Addresses that are asked for, or on ENIs that are not in service yet.
fn coming(ledger: &Ledger, observed: &Observed) -> u32 {
    let asked = ledger.intents.values().map(|intent| match &intent.change {
        CloudChange::CreateEni { ask, slot, .. }
            if ask.unit.family() == Family::V4 && slot.card == PoolKey::DEFAULT.card =>
        {
            ask.brings()
        }
        CloudChange::Assign { ask, eni }
            if ask.unit.family() == Family::V4 && ledger.enis.get(eni).is_some_and(is_ours) =>
        {
            ask.brings()
        }
        _ => 0,
    });
    let not_ready = ledger.enis.values().filter(|eni| is_ours(eni) && !observed.ready_enis.contains(&eni.id));
    let held = not_ready
        .flat_map(|eni| ledger.blocks_on(&eni.id))
        .filter(|block| block.state == BlockState::Held && block.family() == Family::V4);
    asked.chain(held.map(|block| block.unit().addresses())).fold(0, u32::saturating_add)
}

/// Free addresses of those that are wanted; `None`: the node has been given none, free or not.
fn found(desired: &Desired<'_>, ledger: &Ledger, observed: &Observed, now: &Now) -> Option<u32> {
    let wanted = Wanted { key: PoolKey::first(Family::V4), retires: false };
    let level = Pool::of(wanted, desired, ledger, observed, now).level;
    (level.total() > 0).then_some(level.free)
}

/// Free addresses, whatever the reason that they are.
fn free(ledger: &Ledger, now: &Now) -> u32 {
    let held = ledger.enis.values().filter(|eni| is_ours(eni)).flat_map(|eni| ledger.blocks_on(&eni.id));
    let held = held.filter(|block| block.state == BlockState::Held && block.family() == Family::V4);
    let free = held.map(|block| {
        let used = ledger.uses_in(block.net).filter(|(_, what)| !what.is_over(now)).count();
        block.unit().addresses().saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    });
    free.fold(0, u32::saturating_add)
}

/// What that subnet has, of those that our ENIs are in, which has the least; and when that was seen.
fn scarcest(ledger: &Ledger, observed: &Observed, now: &Now) -> Option<(Room, BootTime)> {
    let ours: BTreeSet<&SubnetId> =
        ledger.enis.values().filter(|eni| is_ours(eni)).map(|eni| &eni.source.subnet).collect();
    let rooms = ours.into_iter().filter_map(|subnet| {
        let shown = subnets::shown(observed, subnet);
        let full = observed.pauses.low_subnet(subnet, now);
        // What EC2 has refused since it was read is the truth.
        if let Some(full) = full.filter(|full| shown.is_none_or(|(.., began)| full.since >= began)) {
            return Some((Room::None, full.since));
        }
        shown.map(|(free, kept, began)| (Room::Some { free, kept }, began))
    });
    rooms.min_by_key(|(room, _)| match room {
        Room::None => (0, 0),
        Room::Some { free, kept } => (1, u64::from(*free) * 1000 / u64::from((*kept).max(1))),
    })
}
