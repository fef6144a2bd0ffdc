//! Tags that ENIs of ours lack: above all the primary, which the instance came with.
//!
//! A policy that allows calls only on what bears the cluster's tag allows nothing on the primary before it bears one. So where the
//! cluster has a name, what lacks it is tagged first; no call waits for that, and one that is refused before the tag is there is made
//! again. Tags are no memory of the ledger's: a read shows
//! them, adding them twice changes nothing, and no object is made, so that nothing has to be durable before the call.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::cloud::{Api, CloudRead, TAG_CLUSTER, TAG_INSTANCE};
use holdfast_model::eni::{EniKind, EniRecord, Management};
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;
use holdfast_model::node::NodeIdentity;
use holdfast_model::time::{BootTime, Now};

use crate::desired::Desired;
use crate::observed::{DESCRIBES_LAG, Observed};
use crate::reading::Reading;
use crate::step::Step;

#[cfg(test)]
mod tests;

/// Tag that tells who owns an ENI; upstream sets it beside the cluster's name.
pub(crate) const TAG_OWNER: &str = "eks:eni:owner";
pub(crate) const OWNER: &str = "amazon-vpc-cni";

/// An ENI's tags, by key.
pub type Tags = BTreeMap<String, String>;

/// What this process knows of the tags of attached ENIs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagging {
    shown: BTreeMap<EniId, Tags>,
    under_way: BTreeSet<EniId>,
    /// When tags were added: a read that began soon after may not show them yet.
    added: BTreeMap<EniId, BootTime>,
}

impl Tagging {
    /// An ENI's tags are being added.
    pub(crate) fn began(&mut self, eni: &EniId) {
        self.under_way.insert(eni.clone());
    }

    /// They were added, or not.
    pub(crate) fn ended(&mut self, eni: &EniId, added: Option<&Tags>, now: &Now) {
        self.under_way.remove(eni);
        if let Some(tags) = added {
            let known = self.shown.entry(eni.clone()).or_default();
            known.extend(tags.iter().map(|(key, value)| (key.clone(), value.clone())));
            self.added.insert(eni.clone(), now.boottime);
        }
    }

    /// A read has shown ENIs.
    pub(crate) fn note(&mut self, ledger: &Ledger, reading: Reading<'_>) {
        if !matches!(reading.read, CloudRead::InstanceEnis { .. } | CloudRead::Enis { .. }) {
            return;
        }
        let kept = |id: &EniId| ledger.enis.contains_key(id);
        self.shown.retain(|id, _| kept(id));
        self.added.retain(|id, _| kept(id));
        for view in reading.views.iter().filter(|view| kept(&view.id)) {
            let late = self.added.get(&view.id).is_some_and(|at| reading.began < at.after(DESCRIBES_LAG));
            if !late {
                self.shown.insert(view.id.clone(), view.tags.clone());
            }
        }
    }
}

/// The tags by which the cluster's ENIs are known; none where it has no name.
pub(crate) fn of_cluster(desired: &Desired<'_>) -> Tags {
    let Some(cluster) = &desired.config.cluster.value else { return Tags::new() };
    let tags = [(TAG_CLUSTER, cluster.as_str()), (TAG_OWNER, OWNER)];
    tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

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
    wanted.insert(TAG_INSTANCE.to_owned(), node.instance.to_string());
    wanted.retain(|key, _| !shown.contains_key(key));
    (!wanted.is_empty()).then_some(wanted)
}
