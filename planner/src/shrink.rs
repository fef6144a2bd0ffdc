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
use holdfast_model::refusal::Refusal;
use holdfast_model::time::{BootTime, Now};
use ipnet::IpNet;

use crate::agenda::Agenda;
use crate::desired::Desired;
use crate::grow::{Growth, without_prefixes};
use crate::looks::Looks;
use crate::observed::Observed;
use crate::pool::{EniPool, Pool};
use crate::proof::Brake;
use crate::step::Step;

#[cfg(test)]
mod tests;

/// An ENI younger than this is kept: upstream's figure. Pods that come and go in bursts cost no ENI.
pub(crate) const MINIMUM_ENI_AGE: Duration = Duration::from_secs(60);
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
    if !observed.may_change(desired) || pool.level.waiting > 0 || growing {
        return Vec::new();
    }
    let Some(brake) = Brake::off(ledger, observed, now) else { return Vec::new() };
    let targets = pool.targets;
    let giving = Giving { observed, pool, brake: &brake, now };
    if pool.short() > 0 {
        // What will be asked for again needs no room made.
        let stays = grown.refusal.as_ref().is_none_or(Refusal::is_outage);
        if !grown.changes.is_empty() || stays || giving.others_are_what_there_is(targets.unit) {
            return Vec::new();
        }
        return giving.back(Which::Others, None, looks, agenda);
    }
    let mut steps = Vec::new();
    let mut level = pool.level;
    // The highest slot first: leases go to the lowest, so that one is the likeliest to stay empty.
    let released = pool.enis.iter().rev().find(|share| {
        share.is_idle()
            && brake.surplus(share.eni).is_some()
            && pool.spares(&level, share.free)
            && agenda.reached(share.eni.since.after(MINIMUM_ENI_AGE))
    });
    if let Some(share) = released
        && let Some(change) = brake.surplus(share.eni).and_then(|idle| idle.drain(now))
    {
        steps.push(Step::Adjust(vec![change]));
        level.free = level.free.saturating_sub(share.free);
    }
    let released = released.map(|share| &share.eni.id);
    let kept = || pool.enis.iter().filter(|share| Some(&share.eni.id) != released);
    let which = if kept().any(|share| !share.beside.idle.is_empty()) {
        Which::Others
    } else {
        let idle: usize = kept().map(|share| share.idle.len()).sum();
        Which::Over(targets.over(&level, u32::try_from(idle).unwrap_or(u32::MAX)))
    };
    steps.extend(giving.back(which, released, looks, agenda));
    steps
}

/// Which blocks of those of which nothing is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// So many of the pool's unit.
    Over(u32),
    /// All of the other unit: they serve nobody whom the pool's own would not.
    Others,
}

struct Giving<'a> {
    observed: &'a Observed,
    pool: &'a Pool<'a>,
    brake: &'a Brake<'a>,
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
            Which::Others => usize::MAX,
        };
        let last_change = self.pool.enis.iter().map(|share| share.eni.changed).max().unwrap_or(BootTime(0));
        if !agenda.reached(last_change.after(MINIMUM_GAP)) {
            return Vec::new();
        }
        let mut steps = Vec::new();
        let kept = self.pool.enis.iter().filter(|share| Some(&share.eni.id) != released);
        let mut order: Vec<&EniPool<'a>> = kept.collect();
        // Idle ones first, so that they become empty and can go as a whole.
        order.sort_by_key(|share| (!share.is_idle(), Reverse(share.eni.slot())));
        for share in order {
            let api = Api::UnassignPrivateIpAddresses;
            if self.observed.pause_of(api, Some(&share.eni.id), None, self.now).is_some() {
                continue;
            }
            let idle = if which == Which::Others { &share.beside.idle } else { &share.idle };
            let nets: Vec<IpNet> = idle.iter().rev().take(left).copied().collect();
            let count = nets.len();
            if let Some(idle) = self.brake.blocks(share.eni, nets) {
                // What waits for a look is as good as given back: others do not go in its place.
                steps.extend(looks.seen(share.eni).map(|seen| Step::Open(idle.unassign(seen))));
                left -= count;
            }
        }
        steps
    }
}
