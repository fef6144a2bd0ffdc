//! What the ENIs of this node are to be made from. One answer for new ENIs and for those that are there.

use std::collections::BTreeSet;

use holdfast_model::cloud::{Api, CloudChange, EniView};
use holdfast_model::eni::{EniPhase, EniRecord, EniSource, Management};
use holdfast_model::ids::SecurityGroupId;
use holdfast_model::ledger::Ledger;
use holdfast_model::node::NodeIdentity;
use holdfast_model::time::Now;

use crate::looks::Looks;
use crate::observed::Observed;
use crate::reading::{ABSENCE_BELIEVED_AFTER, Reading};
use crate::step::Step;

#[cfg(test)]
mod tests;

/// The source of every ENI besides the primary: the primary's subnet and the primary's groups, as EC2 last showed them,
/// and as the metadata service told them while EC2 has not.
pub(crate) fn desired_source(ledger: &Ledger, node: &NodeIdentity) -> EniSource {
    let primary = ledger.enis.values().find(|eni| eni.is_primary());
    let shown = primary.and_then(|eni| eni.source.security_groups.clone());
    let groups = shown.unwrap_or_else(|| node.security_groups.iter().cloned().collect());
    EniSource { subnet: node.subnet.clone(), security_groups: Some(groups) }
}

/// What an ENI is made from, after a read has shown it: groups that are neither what we gave it nor what it is to have are somebody
/// else's doing, who has his reasons. They are left, until it has again what it is to have.
///
/// Of a change of ours that is younger than descriptions lag a view tells nothing, unless it shows what is wanted.
pub(crate) fn shown_source(
    ledger: &Ledger,
    reading: Reading<'_>,
    record: &EniRecord,
    view: &EniView,
) -> EniSource {
    let (shown, given) = (&view.security_groups, &record.source.security_groups);
    let settled = reading.began.since(record.changed) >= ABSENCE_BELIEVED_AFTER;
    let security_groups = if shown.is_empty() {
        // No ENI is without a group: nobody has told them.
        given.clone()
    } else if record.is_primary() || given.as_ref() == Some(shown) || is_wanted(ledger, reading, shown) {
        Some(shown.clone())
    } else {
        given.clone().filter(|_| !settled)
    };
    EniSource { subnet: view.subnet.clone(), security_groups }
}

/// The same of an ENI that is attached here and that the ledger does not have: whether we gave it its groups nobody knows.
pub(crate) fn found_source(
    ledger: &Ledger,
    reading: Reading<'_>,
    view: &EniView,
    is_primary: bool,
) -> EniSource {
    let known = is_primary || is_wanted(ledger, reading, &view.security_groups);
    EniSource { subnet: view.subnet.clone(), security_groups: known.then(|| view.security_groups.clone()) }
}

/// Whether these are the primary's groups, by the same read where it shows them.
fn is_wanted(ledger: &Ledger, reading: Reading<'_>, shown: &BTreeSet<SecurityGroupId>) -> bool {
    let Some(node) = &ledger.node else { return false };
    let primary = reading.views.iter().find(|view| view.mac == node.identity.primary_mac);
    match primary {
        Some(view) => view.security_groups == *shown,
        None => desired_source(ledger, &node.identity).security_groups.as_ref() == Some(shown),
    }
}

/// ENIs of ours that have the groups which we gave them follow when they are to have others. One that somebody has set others on is left
/// alone, and so is one whose groups were never shown. Nothing is changed before this process has read what the primary has now, and
/// lately what the ENI has.
pub(crate) fn follow_groups(
    ledger: &Ledger,
    observed: &Observed,
    now: &Now,
    looks: &mut Looks<'_>,
) -> Vec<Step> {
    let (Some(node), Some(_)) = (&ledger.node, observed.reads.last_full()) else { return Vec::new() };
    let Some(wanted) = desired_source(ledger, &node.identity).security_groups else { return Vec::new() };
    if wanted.is_empty() {
        // No ENI is without a group: nobody has told them.
        return Vec::new();
    }
    let api = Api::ModifyNetworkInterfaceAttribute;
    let behind = |eni: &&EniRecord| {
        follows(eni)
            && differs(eni, &wanted)
            && !observed.doubted(&eni.id)
            && observed.pause_of(api, Some(&eni.id), None, now).is_none()
            && ledger.intents_on(&eni.id).all(|intent| {
                !matches!(
                    intent.change,
                    CloudChange::SetSecurityGroups { .. }
                        | CloudChange::DetachEni { .. }
                        | CloudChange::DeleteEni { .. }
                )
            })
    };
    let change = |eni: &EniRecord| {
        Step::Open(CloudChange::SetSecurityGroups { eni: eni.id.clone(), groups: wanted.clone() })
    };
    let seen = |eni: &&EniRecord| looks.seen(eni).is_some();
    ledger.enis.values().filter(behind).filter(seen).map(change).collect()
}

/// Whether an ENI has the groups that we choose: ours, and not the primary, whose groups are its owner's.
pub(crate) fn follows(eni: &EniRecord) -> bool {
    eni.management == Management::Managed
        && !eni.is_primary()
        && matches!(eni.phase, EniPhase::Available | EniPhase::Attached { .. })
}

fn differs(eni: &EniRecord, wanted: &BTreeSet<SecurityGroupId>) -> bool {
    eni.source.security_groups.as_ref().is_some_and(|given| given != wanted)
}
