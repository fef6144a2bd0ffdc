//! What the node's type can carry: known by heart, or told by EC2.

use holdfast_model::cloud::Api;
use holdfast_model::ledger::Ledger;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::time::Now;

use crate::observed::Observed;
use crate::step::Step;

#[cfg(test)]
mod tests;

/// What the node's type can carry; `None` while neither the table nor EC2 has told, or the node is not known.
pub fn limits_of(ledger: &Ledger, observed: &Observed) -> Option<InstanceLimits> {
    let node = ledger.node.as_ref()?;
    InstanceLimits::of(&node.identity.instance_type).or_else(|| observed.type_limits.clone())
}

/// Asks EC2 once, and again after a pause when it did not tell.
pub(crate) fn ask(ledger: &Ledger, observed: &Observed, now: &Now) -> Option<Step> {
    let node = ledger.node.as_ref()?;
    let due = limits_of(ledger, observed).is_none()
        && !observed.asking_limits
        && observed.pause_of(Api::DescribeInstanceTypes, None, None, now).is_none();
    due.then(|| Step::AskLimits { instance_type: node.identity.instance_type.clone() })
}
