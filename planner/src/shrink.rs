//! Giving back: whole ENIs that nothing needs; surplus addresses, with address targets, and surplus prefixes; and what is of
//! the unit that the pool does not want any more.
//!
//! Nothing is given back before this process has read EC2 once and knows what the node can carry, while an ADD waits, or while growth is under
//! way. What is given back never makes the pool want to grow: `Targets::spare` and `Targets::over` see to that.

use std::cmp::Reverse;
use std::time::Duration;

use holdfast_model::block::Unit;
use holdfast_model::cloud::{Api, CloudChange};
use holdfast_model::eni::EniPhase;
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;
use holdfast_model::pool::Family;
use holdfast_model::refusal::Refusal;
use holdfast_model::time::{BootTime, Now};
use ipnet::IpNet;

use crate::agenda::Agenda;
use crate::desired::Desired;
use crate::grow::{Growth, without_prefixes};
use crate::lifecycle::{MINIMUM_ENI_AGE, is_left_alone};
use crate::looks::Looks;
use crate::observed::Observed;
use crate::pool::{EniPool, Pool};
use crate::proof::Accord;
use crate::source::Fit;
use crate::step::Step;
use crate::targets::Level;

#[cfg(test)]
mod tests;

/// After any change in EC2, addresses are kept this long: upstream's gap between decreases.
const MINIMUM_GAP: Duration = Duration::from_secs(30);

/// A pool, and what is about to be asked for it.
#[derive(Clone, Copy)]
pub(crate) struct Outlook<'a> {
    pub(crate) pool: &'a Pool<'a>,
    pub(crate) grown: &'a Growth,
}

pub(crate) fn shrink(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    outlook: Outlook<'_>,
    now: &Now,
    looks: &mut Looks<'_>,
    agenda: &mut Agenda,
) -> Vec<Step> {
    let Outlook { pool, grown } = outlook;
    let growing = ledger.intents.values().any(|intent| {
        matches!(
            intent.change,
            CloudChange::CreateEni { .. } | CloudChange::AttachEni { .. } | CloudChange::Assign { .. }
        )
    }) || pool.enis.iter().any(|share| share.eni.phase == EniPhase::Available);
    // The one IPv6 prefix of a node stays, and so does what it has of IPv4.
    let keeps_all = desired.family() == Family::V6 || desired.brake().keeps();
    if !observed.may_change(desired) || pool.level.waiting > 0 || growing || keeps_all {
        return Vec::new();
    }
    let Some(accord) = Accord::reached(ledger, observed, now) else { return Vec::new() };
    let targets = pool.targets;
    let giving = Giving { observed, pool, accord: &accord, now };
    if pool.short() > 0 {
        // What will be asked for again needs no room made.
        let stays = grown.refusal.as_ref().is_none_or(Refusal::is_outage);
        if !grown.changes.is_empty() || stays || giving.others_are_what_there_is(targets.unit) {
            return Vec::new();
        }
        let mut steps = giving.back(Which::Room, None, looks, agenda);
        // One that is left over and empty has a slot that one in a wanted subnet could have.
        let leftover = pool.enis.iter().rev().find(|share| {
            share.fit == Fit::Leftover
                && share.is_idle()
                && grown.refusal.as_ref().is_some_and(Refusal::is_for_want_of_a_slot)
                && accord.surplus(share.eni).is_some()
                && agenda.reached(share.eni.since.after(MINIMUM_ENI_AGE))
        });
        let drained = leftover.and_then(|share| accord.surplus(share.eni)?.drain(now));
        steps.extend(drained.map(|change| Step::Adjust(vec![change])));
        return steps;
    }
    let mut steps = Vec::new();
    let mut level = pool.level;
    let stays = is_left_alone(desired, observed);
    let mut goes = |share: &&EniPool<'_>| {
        !stays
            && share.is_idle()
            && accord.surplus(share.eni).is_some()
            && match share.fit {
                Fit::Wanted => pool.spares(&level, share.free),
                // No target counts on it, and the others meet them.
                Fit::Leftover => true,
                Fit::Closed => false,
            }
            && agenda.reached(share.eni.since.after(MINIMUM_ENI_AGE))
    };
    // The highest slot first: leases go to the lowest, so that one is the likeliest to stay empty. What is not wanted goes
    // before what is.
    let leftover = pool.enis.iter().rev().filter(|share| share.fit == Fit::Leftover).find(&mut goes);
    let released = leftover.or_else(|| pool.enis.iter().rev().find(goes));
    if let Some(share) = released
        && let Some(change) = accord.surplus(share.eni).and_then(|idle| idle.drain(now))
    {
        steps.push(Step::Adjust(vec![change]));
        level.free = level.free.saturating_sub(share.free);
    }
    let released = released.map(|share| &share.eni.id);
    let kept = || {
        let open = pool.enis.iter().filter(|share| share.fit != Fit::Closed);
        open.filter(|share| Some(&share.eni.id) != released)
    };
    let which = if kept().any(|share| !share.beside.idle.is_empty()) {
        Which::Others
    } else {
        let idle: usize = kept().map(|share| share.idle.len()).sum();
        let idle = u32::try_from(idle).unwrap_or(u32::MAX);
        if targets.over(&Level { returning: 0, ..level }, idle) > targets.over(&level, idle)
            && let Some(ends) = pool.peak_ends
        {
            agenda.at(ends);
        }
        Which::Over(targets.over(&level, idle))
    };
    steps.extend(giving.back(which, released, looks, agenda));
    steps
}

/// ENIs that are closed go when nothing of them is used, and until then what is not. ADDs that wait do not hold this up, nor does
/// growth: nobody gets anything of them, and their slots are wanted.
pub(crate) fn give_up_closed(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    pool: &Pool<'_>,
    now: &Now,
    looks: &mut Looks<'_>,
    agenda: &mut Agenda,
) -> Vec<Step> {
    let kept = desired.brake().keeps() || is_left_alone(desired, observed);
    if kept || !pool.sources.are_settled() || !observed.may_change(desired) {
        return Vec::new();
    }
    let Some(accord) = Accord::reached(ledger, observed, now) else { return Vec::new() };
    let mut steps = Vec::new();
    for share in pool.enis.iter().filter(|share| share.fit == Fit::Closed) {
        if let Some(idle) = accord.surplus(share.eni).filter(|_| share.leased == 0) {
            // Settings that go to and fro cost an ENI a minute at most.
            if share.is_idle() && agenda.reached(share.eni.since.after(MINIMUM_ENI_AGE)) {
                steps.extend(idle.drain(now).map(|change| Step::Adjust(vec![change])));
            }
            continue;
        }
        let (eni, nets) = (share.eni, &share.beside.idle);
        let rests = observed.pause_of(Api::UnassignPrivateIpAddresses, Some(&eni.id), None, now);
        if rests.is_some() || nets.is_empty() || !agenda.reached(eni.changed.after(MINIMUM_GAP)) {
            continue;
        }
        if let Some(idle) = accord.blocks(eni, nets.clone()) {
            steps.extend(looks.seen(eni).map(|seen| Step::Open(idle.unassign(seen))));
        }
    }
    steps
}

/// Which blocks of those of which nothing is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// So many of the pool's unit.
    Over(u32),
    /// All of the other unit, and on ENIs that are left over: they serve nobody whom the pool's own would not.
    Others,
    /// All of the other unit on ENIs that the pool wants, to have their room.
    Room,
}

struct Giving<'a> {
    observed: &'a Observed,
    pool: &'a Pool<'a>,
    accord: &'a Accord<'a>,
    now: &'a Now,
}

impl<'a> Giving<'a> {
    /// Whether single addresses serve in the place of prefixes, which a subnet does not give.
    fn others_are_what_there_is(&self, unit: Unit) -> bool {
        let lacks = |share: &EniPool<'_>| {
            without_prefixes(self.observed, &share.eni.source.subnet, self.now).is_some()
        };
        unit == Unit::Prefix && self.pool.enis.iter().any(lacks)
    }

    /// The calls that give blocks back, but for those on the ENI that goes as a whole.
    fn back(
        &self,
        which: Which,
        released: Option<&EniId>,
        looks: &mut Looks<'_>,
        agenda: &mut Agenda,
    ) -> Vec<Step> {
        let mut left = match which {
            Which::Over(0) => return Vec::new(),
            Which::Over(over) => over as usize,
            Which::Others | Which::Room => usize::MAX,
        };
        let last_change = self.pool.enis.iter().map(|share| share.eni.changed).max().unwrap_or(BootTime(0));
        if !agenda.reached(last_change.after(MINIMUM_GAP)) {
            return Vec::new();
        }
        let mut steps = Vec::new();
        let kept = self.pool.enis.iter().filter(|share| match share.fit {
            Fit::Closed => false,
            Fit::Leftover => which != Which::Room && Some(&share.eni.id) != released,
            Fit::Wanted => Some(&share.eni.id) != released,
        });
        let mut order: Vec<&EniPool<'a>> = kept.collect();
        // Idle ones first, so that they become empty and can go as a whole.
        order.sort_by_key(|share| (!share.is_idle(), Reverse(share.eni.slot())));
        for share in order {
            let api = Api::UnassignPrivateIpAddresses;
            if self.observed.pause_of(api, Some(&share.eni.id), None, self.now).is_some() {
                continue;
            }
            let idle = if matches!(which, Which::Over(_)) { &share.idle } else { &share.beside.idle };
            let nets: Vec<IpNet> = idle.iter().rev().take(left).copied().collect();
            let count = nets.len();
            if let Some(idle) = self.accord.blocks(share.eni, nets) {
                // What waits for a look is as good as given back: others do not go in its place.
                steps.extend(looks.seen(share.eni).map(|seen| Step::Open(idle.unassign(seen))));
                left -= count;
            }
        }
        steps
    }
}
