//! What is asked of EC2 beside changes and reads: about ENIs left behind, for tags, and what the type can carry.

use std::collections::BTreeSet;

use holdfast_model::cloud::{Api, EniView};
use holdfast_model::ids::{EniId, InstanceId};
use holdfast_model::leak::LeakCall;
use holdfast_model::ledger::Ledger;
use holdfast_model::time::{BootTime, Now};

use crate::observed::Observed;
use crate::outcome::{Fault, PauseScope, Setback};
use crate::seen::Tags;

impl Observed {
    /// Something is being asked about what ended instances have left behind.
    pub fn leak_asked(&mut self, call: &LeakCall, now: &Now) {
        self.budget.take(call.api(), now.boottime);
        self.leaks.asked();
    }

    /// These hang unattached, as far as EC2 can tell ours.
    pub fn leaks_listed(&mut self, ledger: &Ledger, views: &[EniView], cluster: &str, began: BootTime) {
        self.pauses.recovered(Api::DescribeNetworkInterfaces, None);
        if let Some(node) = &ledger.node {
            self.leaks.shown(views, cluster, &node.identity.instance, began);
        }
    }

    /// These instances there are.
    pub fn leaks_lived(&mut self, ledger: &Ledger, there: &BTreeSet<InstanceId>, began: BootTime) {
        self.pauses.recovered(Api::DescribeInstances, None);
        if let Some(node) = &ledger.node {
            self.leaks.lived(there, &node.identity.instance, began);
        }
    }

    /// One was deleted.
    pub fn leak_gone(&mut self, eni: &EniId) {
        self.pauses.recovered(Api::DeleteNetworkInterface, Some(eni));
        self.leaks.gone(eni);
    }

    /// A call failed; `fault` is `None` when no answer came. `draw` is random and spreads the pause.
    pub fn leak_failed(&mut self, call: &LeakCall, fault: Option<Fault>, cause: &str, now: &Now, draw: u64) {
        if let (LeakCall::Delete { eni }, Some(Fault::NotFound)) = (call, fault) {
            self.leaks.gone(eni);
            return;
        }
        let scope = match call {
            LeakCall::Delete { eni } => PauseScope::Eni(eni.clone()),
            LeakCall::List { .. } | LeakCall::Instances { .. } => PauseScope::Api,
        };
        let setback = Setback::of(call.api(), scope, fault.as_ref(), cause, None);
        self.leaks.failed(call, &setback.cause, now);
        // What EC2 has against these it need not have against calls of the same name that the node lives by: another account's ENIs are
        // shown to the owner of a shared VPC, and are not his to delete.
        if setback.cause.is_outage() || matches!(call, LeakCall::Instances { .. }) {
            self.pauses.setback(&setback, now.boottime, now, draw);
        }
    }

    /// Tags are being added to an ENI.
    pub fn tagging_began(&mut self, eni: &EniId, now: &Now) {
        self.budget.take(Api::CreateTags, now.boottime);
        self.tagging.began(eni, now);
    }

    /// EC2 has added them.
    pub fn tagged(&mut self, eni: &EniId, tags: &Tags, now: &Now) {
        self.tagging.ended(eni, Some(tags), now);
        self.pauses.recovered(Api::CreateTags, Some(eni));
    }

    /// It has not, or has not said so; `fault` is `None` when no answer came. `draw` is random and spreads the pause.
    pub fn untagged(&mut self, eni: &EniId, fault: Option<Fault>, cause: &str, now: &Now, draw: u64) {
        self.tagging.ended(eni, None, now);
        let scope = PauseScope::Eni(eni.clone());
        let setback = Setback::of(Api::CreateTags, scope, fault.as_ref(), cause, None);
        self.pauses.setback(&setback, now.boottime, now, draw);
    }

    /// EC2 is being asked what the node's type can carry.
    pub fn limits_asked(&mut self, now: &Now) {
        self.budget.take(Api::DescribeInstanceTypes, now.boottime);
        self.asking_limits = true;
    }

    /// EC2 told what the node's type can carry.
    pub fn limits_told(&mut self) {
        self.asking_limits = false;
        self.pauses.recovered(Api::DescribeInstanceTypes, None);
    }

    /// EC2 did not tell; `fault` is `None` when no answer came. `draw` is random and spreads the pause.
    pub fn limits_untold(&mut self, fault: Option<Fault>, cause: &str, now: &Now, draw: u64) {
        self.asking_limits = false;
        let setback = Setback::of(Api::DescribeInstanceTypes, PauseScope::Api, fault.as_ref(), cause, None);
        self.pauses.setback(&setback, now.boottime, now, draw);
    }
}
