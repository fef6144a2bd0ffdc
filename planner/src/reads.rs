//! Which reads of EC2 are due: what the queue says, and what open intents need.
//!
//! At rest there are two in six hours: a full one, and one for ENIs of ours that hang unattached.

use std::collections::BTreeSet;

use holdfast_model::cloud::{Api, CloudChange, CloudRead};
use holdfast_model::ids::EniId;
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::Ledger;
use holdfast_model::node::NodeRecord;
use holdfast_model::time::Now;

use crate::agenda::Agenda;
use crate::observed::Observed;

#[cfg(test)]
mod tests;

pub(crate) fn reads(
    ledger: &Ledger,
    observed: &Observed,
    node: &NodeRecord,
    now: &Now,
    agenda: &mut Agenda,
) -> Vec<CloudRead> {
    if let Some(pause) = observed.pause_of(Api::DescribeNetworkInterfaces, None, None, now) {
        agenda.at(pause.until);
        return Vec::new();
    }
    let unanswered = unanswered(ledger, observed);
    observed.reads.due(&node.identity.instance, ledger, &unanswered, observed.jitter, agenda)
}

/// ENIs with an open intent whose outcome a read tells better than a repetition: an assignment has no token,
/// so a second one would assign twice; an attachment that was made refuses a second one.
pub(crate) fn unanswered(ledger: &Ledger, observed: &Observed) -> BTreeSet<EniId> {
    let under_way = |intent: &&Intent| {
        observed.in_flight.contains_key(&intent.id) || intent.sending == Sending::NeverSent
    };
    let open = ledger.intents.values().filter(|intent| !under_way(intent));
    open.filter_map(|intent| match &intent.change {
        CloudChange::AssignAddresses { eni, .. } | CloudChange::AttachEni { eni, .. } => Some(eni.clone()),
        _ => None,
    })
    .collect()
}
