//! Tags that ENIs of ours lack: above all the primary, which the instance came with.
//!
//! A policy that allows calls only on what bears the cluster's tag allows nothing on the primary before it bears one. So where the
//! cluster has a name, what lacks it is tagged first, and other calls about it wait for that a moment: a role that may not tag, or a call
//! that hangs, holds no pod back for longer. Tags are no memory of the ledger's: a read shows them, adding them twice changes nothing,
//! and no object is made, so that nothing has to be durable before the call.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_model::cloud::{Api, CloudChange, TAG_CLUSTER, TAG_INSTANCE};
use holdfast_model::eni::{EniKind, EniRecord, Management};
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;
use holdfast_model::node::NodeIdentity;
use holdfast_model::time::Now;

use crate::agenda::Agenda;
use crate::desired::Desired;
use crate::observed::Observed;
use crate::seen::{OWNER, TAG_OWNER, Tags};
use crate::step::Step;

#[cfg(test)]
mod tests;

/// The tags by which the cluster's ENIs are known; none where it has no name.
pub(crate) fn of_cluster(desired: &Desired<'_>) -> Tags {
    let Some(cluster) = &desired.config.cluster.value else { return Tags::new() };
    let tags = [(TAG_CLUSTER, cluster.as_str()), (TAG_OWNER, OWNER)];
    tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// So long other calls about an ENI wait for its tags, which take a tenth of this.
const WAITED_FOR: Duration = Duration::from_secs(2);

/// The calls that add what lacks, the primary's first.
pub(crate) fn steps(desired: &Desired<'_>, ledger: &Ledger, observed: &Observed, now: &Now) -> Vec<Step> {
    let Some(node) = &ledger.node else { return Vec::new() };
    let rests = |eni: &EniRecord| observed.pause_of(Api::CreateTags, Some(&eni.id), None, now).is_some();
    let mut enis: Vec<&EniRecord> = ledger.enis.values().filter(|eni| !rests(eni)).collect();
    enis.sort_by_key(|eni| eni.slot());
    let step = |eni: &EniRecord| {
        let tags = lacking(desired, &node.identity, observed, eni)?;
        let idle = !observed.tagging.under_way.contains(&eni.id);
        idle.then(|| Step::Tag { eni: eni.id.clone(), tags })
    };
    enis.into_iter().filter_map(step).collect()
}

/// Takes out what is asked about ENIs whose tags are awaited.
pub(crate) fn tags_first(
    mut steps: Vec<Step>,
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    now: &Now,
    agenda: &mut Agenda,
) -> Vec<Step> {
    let Some(node) = &ledger.node else { return steps };
    let tags = |step: &Step| match step {
        Step::Tag { eni, .. } => Some(eni.clone()),
        _ => None,
    };
    let planned: BTreeSet<EniId> = steps.iter().filter_map(tags).collect();
    let awaited = |eni: &EniId, agenda: &mut Agenda| {
        let lacks =
            ledger.enis.get(eni).is_some_and(|eni| lacking(desired, &node.identity, observed, eni).is_some());
        let pause = observed.pause_of(Api::CreateTags, Some(eni), None, now);
        if !lacks || pause.is_some_and(|pause| !pause.cause.is_outage()) {
            return false;
        }
        match observed.tagging.first(eni) {
            Some(first) => !agenda.reached(first.after(WAITED_FOR)),
            None => planned.contains(eni),
        }
    };
    steps.retain(|step| {
        let eni = step.change(ledger).and_then(CloudChange::eni);
        !eni.is_some_and(|eni| awaited(eni, agenda))
    });
    steps
}

/// Of ENIs whose tags this process has seen. A tag of that name with another value is somebody's word.
fn lacking(desired: &Desired<'_>, node: &NodeIdentity, observed: &Observed, eni: &EniRecord) -> Option<Tags> {
    let ours = eni.management == Management::Managed
        && matches!(eni.kind, EniKind::Standard | EniKind::Efa)
        && eni.attachment().is_some();
    let shown = observed.tagging.shown.get(&eni.id).filter(|_| ours)?;
    let mut wanted = of_cluster(desired);
    if wanted.is_empty() {
        return None;
    }
    // By this one an ENI that hangs unattached is known as left behind, and deleted: what others have made never bears it.
    if eni.created_by.is_some() {
        wanted.insert(TAG_INSTANCE.to_owned(), node.instance.to_string());
    }
    wanted.retain(|key, _| !shown.contains_key(key));
    (!wanted.is_empty()).then_some(wanted)
}
