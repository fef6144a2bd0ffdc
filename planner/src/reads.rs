//! Which reads of EC2 are due: what the queue says, what open intents need, and what is to be looked at before it is given back.
//!
//! At rest there are two in six hours, or as often as is set: a full one, and one for ENIs of ours that hang unattached; and with
//! subnet discovery one of the zone's subnets.

use std::collections::BTreeSet;

use holdfast_model::cloud::{Api, CloudRead};
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;
use holdfast_model::time::Now;

use crate::agenda::Agenda;
use crate::desired::Desired;
use crate::metadata_only;
use crate::observed::Observed;
use crate::subnets;
use crate::wanted::Periods;

#[cfg(test)]
mod tests;

pub(crate) fn reads(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    looks: &BTreeSet<EniId>,
    short: bool,
    now: &Now,
    agenda: &mut Agenda,
) -> Vec<CloudRead> {
    let Some(node) = &ledger.node else { return Vec::new() };
    let mut rests = |api| {
        let pause = observed.pause_of(api, None, None, now);
        pause.inspect(|pause| agenda.at(pause.until)).is_some()
    };
    let (enis_rest, subnets_rest) = (rests(Api::DescribeNetworkInterfaces), rests(Api::DescribeSubnets));
    let mut due = Vec::new();
    if !enis_rest {
        let unanswered = observed.unanswered(ledger);
        let periods = Periods::of(desired.config.ec2_read_interval.value, observed.share);
        due = observed.reads.due(&node.identity.instance, ledger, &unanswered, looks, periods, agenda);
    }
    if desired.config.metadata_only.value {
        return metadata_only::reads(due, &observed.reads, ledger, node);
    }
    if !subnets_rest {
        due.extend(observed.reads.subnets_due(ledger, agenda));
        let period = Periods::of(desired.config.ec2_read_interval.value, observed.share).full;
        due.extend(subnets::read_due(desired, ledger, observed, period, short, now, agenda));
    }
    due
}
