//! Without EC2: what is attached, and what is on it, the metadata service tells, and it is not asked for anything else.
//!
//! Its word is weaker than EC2's: it lags, in both directions. In this mode there is no better one, and what it costs is bounded by what
//! holds anyway: nothing is given back, what a pod uses stays a pod's, what is found rests before it is leased and has to be shown twice,
//! and an ENI is there as long as its link is.

use holdfast_model::cloud::CloudRead;
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;
use holdfast_model::node::NodeRecord;

use crate::desired::Desired;
use crate::step::Step;
use crate::wanted::WantedReads;

#[cfg(test)]
mod tests;

/// Whether a step is none of EC2's, or one that the metadata service is asked in its place.
pub(crate) fn lets(desired: &Desired<'_>, ledger: &Ledger, step: &Step) -> bool {
    let asked = matches!(step, Step::Read(CloudRead::InstanceEnis { .. }));
    !desired.config.metadata_only.value || asked || step.api(ledger).is_none()
}

/// The one read that the metadata service can answer, in the place of those that are due and that it tells something of.
pub(crate) fn reads(
    due: Vec<CloudRead>,
    reads: &WantedReads,
    ledger: &Ledger,
    node: &NodeRecord,
) -> Vec<CloudRead> {
    let attached = |id: &EniId| ledger.enis.get(id).is_some_and(|eni| eni.attachment().is_some());
    let told = |read: &CloudRead| match read {
        CloudRead::InstanceEnis { .. } => true,
        CloudRead::Enis { enis } => enis.iter().any(attached),
        CloudRead::AvailableEnis { .. } | CloudRead::Subnets { .. } | CloudRead::ZoneSubnets { .. } => false,
    };
    let full = CloudRead::InstanceEnis { instance: node.identity.instance.clone() };
    let wanted = !reads.is_full_under_way() && due.iter().any(told);
    wanted.then_some(full).into_iter().collect()
}
