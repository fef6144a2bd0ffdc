//! ENIs that instances of this cluster have left behind when they ended: between two calls of theirs, as happens every day. Nobody but
//! another node can delete them, and they cost the subnet addresses.
//!
//! ```text
//!   listed once in six hours ──an hour later──> listed again ──> their instances asked for ──none left──> deleted, the oldest first
//! ```
//!
//! Ours is what bears this cluster's name, the owner's tag and an instance's: without a name for the cluster nobody's are touched but the
//! node's own ([`crate::orphan`]). Dead is what was unattached an hour ago and is so now, while a node that lives would have attached it or
//! given it up long before ([`crate::lifecycle`]), and whose instance EC2 does not know while it knows us: of another account's
//! instances it knows none, so a node of such an account proves nothing.

use std::time::Duration;

use holdfast_model::ids::{EniId, InstanceId};
use holdfast_model::leak::LeakCall;
use holdfast_model::ledger::Ledger;
use holdfast_model::time::{BootTime, Now};

use crate::agenda::Agenda;
use crate::desired::Desired;
use crate::observed::Observed;
use crate::seen::{DEAD_AFTER, Found, Leaks};
use crate::share::Share;
use crate::step::Step;

#[cfg(test)]
mod tests;

/// How often they are looked for.
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// What a start costs comes first, and a fleet that starts at once spreads over the rest of an hour.
const FIRST: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(3300));
/// For so long an instance that EC2 did not know counts as ended.
const PROVEN_FOR: Duration = Duration::from_secs(300);

/// From when on they are to be listed; `None`: nothing was read yet.
fn list_from(leaks: &Leaks, share: Share) -> Option<BootTime> {
    let begun = leaks.begun?;
    let Some(listed) = leaks.listed else {
        return Some(begun.after(FIRST.0 + share.part(FIRST.1)));
    };
    let waits = leaks.found.values().filter(|found| !found.has_hung()).map(|found| found.since).min();
    Some(waits.map_or(listed.after(EVERY), |since| since.after(DEAD_AFTER).max(listed.after(PROVEN_FOR))))
}

/// The next call, if one is due: one at a time.
pub(crate) fn step(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    now: &Now,
    agenda: &mut Agenda,
) -> Option<Step> {
    let node = &ledger.node.as_ref()?.identity;
    let cluster = desired.config.cluster.value.clone().filter(|name| !name.is_empty())?;
    let leaks = &observed.leaks;
    let off = desired.config.leaks_left.value || desired.brake().keeps() || !observed.may_change(desired);
    if off || leaks.under_way {
        return None;
    }
    let call = next(leaks, &node.instance, now).or_else(|| {
        let list = LeakCall::List { vpc: node.vpc.clone(), cluster };
        agenda.reached(list_from(leaks, observed.share)?).then_some(list)
    })?;
    let eni = match &call {
        LeakCall::Delete { eni } => Some(eni),
        LeakCall::List { .. } | LeakCall::Instances { .. } => None,
    };
    let rests = observed.pause_of(call.api(), eni, None, now).is_some();
    (!rests).then_some(Step::Leak(call))
}

/// What is to be done about those that have hung for long.
fn next(leaks: &Leaks, me: &InstanceId, now: &Now) -> Option<LeakCall> {
    let mut hung: Vec<(&EniId, &Found)> = leaks.found.iter().filter(|(_, found)| found.has_hung()).collect();
    hung.sort_by(|(a, one), (b, other)| (&one.created, a).cmp(&(&other.created, b)));
    let (eni, oldest) = hung.first()?;
    let proven = leaks.known.as_ref().is_some_and(|(at, there)| {
        *at >= oldest.last
            && now.boottime.since(*at) < PROVEN_FOR
            && there.contains(me)
            && !there.contains(&oldest.instance)
    });
    if proven {
        return Some(LeakCall::Delete { eni: (*eni).clone() });
    }
    let instances = hung.iter().map(|(_, found)| found.instance.clone()).chain([me.clone()]).collect();
    Some(LeakCall::Instances { instances })
}
