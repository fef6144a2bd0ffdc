//! Which reads of EC2 are due.
//!
//! At rest there are two in six hours: a full one, and one for ENIs of ours that hang unattached.

use std::time::Duration;

use holdfast_model::cloud::{Api, CloudChange, CloudRead};
use holdfast_model::ids::EniId;
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::Ledger;
use holdfast_model::node::NodeRecord;
use holdfast_model::time::{BootTime, Now};

use crate::agenda::Agenda;
use crate::observed::Observed;

#[cfg(test)]
mod tests;

/// The safety net against what no hint tells.
pub(crate) const FULL_READ_EVERY: Duration = Duration::from_secs(6 * 3600);
/// Two reads because of hints are at least this far apart: the metadata service may be wrong for long.
const HINT_READ_EVERY: Duration = Duration::from_secs(60);
/// A hint that a read did not bear out is looked into again only after this long.
const SAME_HINT_READ_EVERY: Duration = Duration::from_secs(3600);

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
    let instance = || node.identity.instance.clone();
    let mut wanted: Vec<CloudRead> = observed.doubts.clone();

    let full = CloudRead::InstanceEnis { instance: instance() };
    let due = observed
        .last_full_read
        .is_none_or(|last| agenda.reached(last.after(FULL_READ_EVERY + observed.jitter)));
    // A read that began when it can tell has told what it can: another at once would tell no more.
    let mut tells = |from: Option<&BootTime>| {
        from.is_some_and(|from| {
            observed.last_full_read.is_none_or(|last| last < *from) && agenda.reached(*from)
        })
    };
    let unseen = tells(observed.unseen.values().max());
    let found = tells(observed.found.values().max());
    if (due || unseen || found || hint_wants_read(observed, agenda)) && !wanted.contains(&full) {
        wanted.push(full.clone());
    }
    let orphans_due = observed
        .last_orphan_read
        .is_none_or(|last| agenda.reached(last.after(FULL_READ_EVERY + observed.jitter)));
    let suspected = observed.orphan_suspected.is_some_and(|from| agenda.reached(from));
    if orphans_due || suspected {
        wanted.push(CloudRead::AvailableEnis { instance: instance() });
    }

    // A full read settles these as well.
    if !wanted.contains(&full) && !observed.reading.contains(&full) {
        let enis: Vec<EniId> = unsettled(ledger, observed).filter(|eni| !being_read(observed, eni)).collect();
        if !enis.is_empty() {
            wanted.push(CloudRead::Enis { enis });
        }
    }
    wanted.retain(|read| !observed.reading.contains(read));
    wanted
}

/// ENIs with an open intent whose outcome a read tells better than a repetition: an assignment has no token,
/// so a second one would assign twice; an attachment that was made refuses a second one.
fn unsettled<'a>(ledger: &'a Ledger, observed: &'a Observed) -> impl Iterator<Item = EniId> + 'a {
    let under_way = |intent: &&Intent| {
        observed.in_flight.contains_key(&intent.id) || intent.sending == Sending::NeverSent
    };
    ledger.intents.values().filter(move |intent| !under_way(intent)).filter_map(|intent| {
        match &intent.change {
            CloudChange::AssignAddresses { eni, .. } | CloudChange::AttachEni { eni, .. } => {
                Some(eni.clone())
            }
            _ => None,
        }
    })
}

fn being_read(observed: &Observed, eni: &EniId) -> bool {
    observed.reading.iter().chain(&observed.doubts).any(|read| match read {
        CloudRead::Enis { enis } => enis.contains(eni),
        CloudRead::InstanceEnis { .. } | CloudRead::AvailableEnis { .. } => false,
    })
}

fn hint_wants_read(observed: &Observed, agenda: &mut Agenda) -> bool {
    let Some(hint) = &observed.hint else { return false };
    let checked = observed.hint_checked.as_ref();
    let every = match checked {
        Some((same, _)) if same == hint => SAME_HINT_READ_EVERY,
        _ => HINT_READ_EVERY,
    };
    let last = observed.last_full_read.max(checked.map(|(_, began)| *began));
    last.is_none_or(|last| agenda.reached(last.after(every + observed.jitter)))
}
