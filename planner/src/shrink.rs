//! Giving back: whole ENIs that nothing needs, and, with address targets, surplus addresses.
//!
//! Nothing is given back before this process has read EC2 once and knows what the node can carry, while an ADD waits, or while growth is under
//! way. What is given back never makes the pool want to grow: `Targets::spare` and `Targets::over` see to that.

use std::time::Duration;

use holdfast_model::cloud::{Api, CloudChange};
use holdfast_model::eni::EniPhase;
use holdfast_model::ledger::Ledger;
use holdfast_model::time::{BootTime, Now};

use crate::agenda::Agenda;
use crate::desired::Desired;
use crate::looks::Looks;
use crate::observed::Observed;
use crate::pool::{EniPool, Pool, targets};
use crate::proof::Brake;
use crate::step::Step;

#[cfg(test)]
mod tests;

/// An ENI younger than this is kept: upstream's figure. Pods that come and go in bursts cost no ENI.
pub(crate) const MINIMUM_ENI_AGE: Duration = Duration::from_secs(60);
/// After any change in EC2, addresses are kept this long: upstream's gap between decreases.
const MINIMUM_GAP: Duration = Duration::from_secs(30);

pub(crate) fn shrink(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    pool: &Pool<'_>,
    now: &Now,
    looks: &mut Looks<'_>,
    agenda: &mut Agenda,
) -> Vec<Step> {
    let growing = ledger.intents.values().any(|intent| {
        matches!(
            intent.change,
            CloudChange::CreateEni { .. }
                | CloudChange::AttachEni { .. }
                | CloudChange::AssignAddresses { .. }
        )
    }) || pool.enis.iter().any(|share| share.eni.phase == EniPhase::Available);
    if !observed.may_change(desired) || pool.level.waiting > 0 || growing {
        return Vec::new();
    }
    let Some(brake) = Brake::off(ledger, observed, now) else { return Vec::new() };
    let targets = targets(desired);
    if targets.short(&pool.level) > 0 {
        return Vec::new();
    }
    let mut steps = Vec::new();
    let mut level = pool.level;
    // The highest slot first: leases go to the lowest, so that one is the likeliest to stay empty.
    let released = pool.enis.iter().rev().find(|share| {
        share.idle()
            && brake.surplus(share.eni).is_some()
            && targets.spare(&level, share.free_count())
            && agenda.reached(share.eni.since.after(MINIMUM_ENI_AGE))
    });
    if let Some(share) = released
        && let Some(change) = brake.surplus(share.eni).and_then(|idle| idle.drain(now))
    {
        steps.push(Step::Adjust(vec![change]));
        level.free = level.free.saturating_sub(share.free_count());
    }

    let mut over = targets.over(&level);
    if over == 0 {
        return steps;
    }
    let last_change = pool.enis.iter().map(|share| share.eni.changed).max().unwrap_or(BootTime(0));
    if !agenda.reached(last_change.after(MINIMUM_GAP)) {
        return steps;
    }
    let kept = pool.enis.iter().filter(|share| released.is_none_or(|gone| gone.eni.id != share.eni.id));
    let mut order: Vec<&EniPool<'_>> = kept.collect();
    // Idle ones first, so that they become empty and can go as a whole.
    order.sort_by_key(|share| (!share.idle(), std::cmp::Reverse(share.eni.slot())));
    for share in order {
        let eni = &share.eni.id;
        let count = over.min(share.free_count());
        if observed.pause_of(Api::UnassignPrivateIpAddresses, Some(eni), None, now).is_some() {
            continue;
        }
        let addresses = share.free.iter().rev().take(count as usize).copied().collect();
        if let Some(idle) = brake.addresses(share.eni, addresses) {
            // What waits for a look is as good as given back: others do not go in its place.
            steps.extend(looks.seen(share.eni).map(|seen| Step::Open(idle.unassign(seen))));
            over -= count;
        }
    }
    steps
}
