//! What this process knows of the tags of ENIs.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::cloud::CloudRead;
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;
use holdfast_model::time::{BootTime, Now};

use crate::reading::{DESCRIBES_LAG, Reading};

/// Tag that tells who owns an ENI; upstream sets it beside the cluster's name.
pub(crate) const TAG_OWNER: &str = "eks:eni:owner";
pub(crate) const OWNER: &str = "amazon-vpc-cni";

/// An ENI's tags, by key.
pub type Tags = BTreeMap<String, String>;

/// What this process knows of the tags of attached ENIs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagging {
    pub(crate) shown: BTreeMap<EniId, Tags>,
    pub(crate) under_way: BTreeSet<EniId>,
    /// When this process began to add what one lacks, for the first time.
    first: BTreeMap<EniId, BootTime>,
    /// When tags were added: a read that began soon after may not show them yet.
    added: BTreeMap<EniId, BootTime>,
}

impl Tagging {
    /// An ENI's tags are being added.
    pub(crate) fn began(&mut self, eni: &EniId, now: &Now) {
        self.under_way.insert(eni.clone());
        self.first.entry(eni.clone()).or_insert(now.boottime);
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

    /// When this process began to add what one lacks, if it has.
    pub(crate) fn first(&self, eni: &EniId) -> Option<BootTime> {
        self.first.get(eni).copied()
    }

    /// A read has shown ENIs.
    pub(crate) fn note(&mut self, ledger: &Ledger, reading: Reading<'_>) {
        if !matches!(reading.read, CloudRead::InstanceEnis { .. } | CloudRead::Enis { .. }) {
            return;
        }
        let kept = |id: &EniId| ledger.enis.contains_key(id);
        self.shown.retain(|id, _| kept(id));
        self.added.retain(|id, _| kept(id));
        self.first.retain(|id, _| kept(id));
        for view in reading.views.iter().filter(|view| kept(&view.id)) {
            let late = self.added.get(&view.id).is_some_and(|at| reading.began < at.after(DESCRIBES_LAG));
            if !late {
                self.shown.insert(view.id.clone(), view.tags.clone());
            }
        }
    }
}
