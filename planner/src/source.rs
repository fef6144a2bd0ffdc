//! What the ENIs of this node are to be made from. One answer for new ENIs and for those that are there.

use std::collections::BTreeSet;

use holdfast_model::cloud::{Api, CloudChange};
use holdfast_model::eni::{EniPhase, EniRecord, EniSource, Management};
use holdfast_model::ids::SecurityGroupId;
use holdfast_model::ledger::Ledger;
use holdfast_model::node::NodeIdentity;
use holdfast_model::time::Now;

use crate::observed::Observed;
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

/// ENIs of ours with other groups than they are to have follow. An ENI whose groups were never shown is left alone, and
/// nothing is changed before this process has read what the primary has now.
pub(crate) fn follow_groups(ledger: &Ledger, observed: &Observed, now: &Now) -> Vec<Step> {
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
    ledger.enis.values().filter(behind).map(change).collect()
}

/// Whether an ENI has the groups that we choose: ours, and not the primary, whose groups are its owner's.
pub(crate) fn follows(eni: &EniRecord) -> bool {
    eni.management == Management::Managed
        && !eni.is_primary()
        && matches!(eni.phase, EniPhase::Available | EniPhase::Attached { .. })
}

fn differs(eni: &EniRecord, wanted: &BTreeSet<SecurityGroupId>) -> bool {
    eni.source.security_groups.as_ref().is_some_and(|shown| shown != wanted)
}
