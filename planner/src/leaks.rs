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

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_model::cloud::{EniView, TAG_CLUSTER, TAG_CREATED_AT, TAG_INSTANCE};
use holdfast_model::eni::EniKind;
use holdfast_model::ids::{EniId, InstanceId};
use holdfast_model::leak::LeakCall;
use holdfast_model::ledger::Ledger;
use holdfast_model::refusal::Refusal;
use holdfast_model::time::{BootTime, Now};

use crate::agenda::Agenda;
use crate::desired::Desired;
use crate::observed::Observed;
use crate::orphan::is_kept;
use crate::share::Share;
use crate::step::Step;
use crate::tagging::{OWNER, TAG_OWNER};

#[cfg(test)]
mod tests;

/// How often they are looked for.
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// What a start costs comes first, and a fleet that starts at once spreads over the rest of an hour.
const FIRST: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(3300));
/// Longer than a node that lives leaves an ENI unattached.
const DEAD_AFTER: Duration = Duration::from_secs(3600);
/// For so long an instance that EC2 did not know counts as ended.
const PROVEN_FOR: Duration = Duration::from_secs(300);
/// As many are looked after at once; what is left comes with the next round.
const MOST: usize = 100;

/// What this process has seen of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// When this process began to see EC2.
    begun: Option<BootTime>,
    listed: Option<BootTime>,
    found: BTreeMap<EniId, Found>,
    /// Which instances there were, and when that was asked.
    known: Option<(BootTime, BTreeSet<InstanceId>)>,
    under_way: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    instance: InstanceId,
    /// RFC 3339, which sorts by age; as others may have written it.
    created: String,
    since: BootTime,
    last: BootTime,
}

impl Found {
    fn has_hung(&self) -> bool {
        self.last.since(self.since) >= DEAD_AFTER
    }
}

impl Leaks {
    /// EC2 was read.
    pub(crate) fn begin(&mut self, at: BootTime) {
        self.begun.get_or_insert(at);
    }

    /// A call is being sent.
    pub(crate) fn asked(&mut self) {
        self.under_way = true;
    }

    /// A list was answered.
    pub(crate) fn shown(&mut self, views: &[EniView], cluster: &str, me: &InstanceId, began: BootTime) {
        self.under_way = false;
        self.listed = Some(began);
        let confirms = !self.found.is_empty();
        let ours: BTreeMap<&EniId, Found> =
            views.iter().filter_map(|view| Some((&view.id, found(view, cluster, me, began)?))).collect();
        self.found.retain(|id, known| {
            let again = ours.get(id).filter(|again| again.instance == known.instance);
            known.last = began;
            again.is_some()
        });
        if !confirms {
            let mut oldest: Vec<(&EniId, Found)> = ours.into_iter().collect();
            oldest.sort_by(|(a, one), (b, other)| (&one.created, a).cmp(&(&other.created, b)));
            self.found = oldest.into_iter().take(MOST).map(|(id, found)| (id.clone(), found)).collect();
        }
    }

    /// Instances were asked for, and these are there. A view without ourselves is none of this account's.
    pub(crate) fn lived(&mut self, there: &BTreeSet<InstanceId>, me: &InstanceId, began: BootTime) {
        self.under_way = false;
        if there.contains(me) {
            self.found.retain(|_, found| !there.contains(&found.instance));
            self.known = Some((began, there.clone()));
        } else {
            self.found.clear();
        }
    }

    /// One was deleted, or is not there.
    pub(crate) fn gone(&mut self, eni: &EniId) {
        self.under_way = false;
        self.found.remove(eni);
    }

    /// A call failed. What EC2 refuses is not asked for again before they are looked for anew.
    pub(crate) fn failed(&mut self, call: &LeakCall, cause: &Refusal, now: &Now) {
        self.under_way = false;
        if cause.is_outage() {
            return;
        }
        match call {
            LeakCall::Delete { eni } if !matches!(cause, Refusal::Denied { .. }) => {
                self.found.remove(eni);
            }
            LeakCall::Instances { .. } | LeakCall::Delete { .. } => self.found.clear(),
            LeakCall::List { .. } => {
                self.found.clear();
                self.listed = Some(now.boottime);
            }
        }
    }

    /// From when on they are to be listed; `None`: nothing was read yet.
    fn list_from(&self, share: Share) -> Option<BootTime> {
        let begun = self.begun?;
        let Some(listed) = self.listed else {
            return Some(begun.after(FIRST.0 + share.part(FIRST.1)));
        };
        let waits = self.found.values().filter(|found| !found.has_hung()).map(|found| found.since).min();
        Some(waits.map_or(listed.after(EVERY), |since| since.after(DEAD_AFTER).max(listed.after(PROVEN_FOR))))
    }
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
    let call = leaks.next(&node.instance, now).or_else(|| {
        let list = LeakCall::List { vpc: node.vpc.clone(), cluster };
        agenda.reached(leaks.list_from(observed.share)?).then_some(list)
    })?;
    let eni = match &call {
        LeakCall::Delete { eni } => Some(eni),
        LeakCall::List { .. } | LeakCall::Instances { .. } => None,
    };
    let rests = observed.pause_of(call.api(), eni, None, now).is_some();
    (!rests).then_some(Step::Leak(call))
}

impl Leaks {
    /// What is to be done about those that have hung for long.
    fn next(&self, me: &InstanceId, now: &Now) -> Option<LeakCall> {
        let mut hung: Vec<(&EniId, &Found)> =
            self.found.iter().filter(|(_, found)| found.has_hung()).collect();
        hung.sort_by(|(a, one), (b, other)| (&one.created, a).cmp(&(&other.created, b)));
        let (eni, oldest) = hung.first()?;
        let proven = self.known.as_ref().is_some_and(|(at, there)| {
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
}

/// What speaks for an ENI's being one of them; `None`: something does not.
fn found(view: &EniView, cluster: &str, me: &InstanceId, at: BootTime) -> Option<Found> {
    let tag = |key: &str| view.tags.get(key).map(String::as_str);
    let instance = tag(TAG_INSTANCE).filter(|id| id.starts_with("i-") && *id != me.as_str())?;
    let ours = view.attachment.is_none()
        && view.kind == EniKind::Standard
        && tag(TAG_CLUSTER) == Some(cluster)
        && tag(TAG_OWNER) == Some(OWNER)
        && !is_kept(view);
    ours.then(|| Found {
        instance: InstanceId::new(instance),
        created: tag(TAG_CREATED_AT).unwrap_or_default().to_owned(),
        since: at,
        last: at,
    })
}
