//! What the node's type can carry: known by heart, or told by EC2.

use holdfast_model::cloud::Api;
use holdfast_model::ledger::Ledger;
use holdfast_model::time::Now;

use crate::observed::Observed;
use crate::step::Step;

#[cfg(test)]
mod tests;

/// Asks EC2 once, and again after a pause when it did not tell. What it told is in the ledger.
pub(crate) fn ask(ledger: &Ledger, observed: &Observed, now: &Now) -> Option<Step> {
    let node = ledger.node.as_ref()?;
    let due = ledger.limits().is_none()
        && !observed.asking_limits
        && observed.pause_of(Api::DescribeInstanceTypes, None, None, now).is_none();
    due.then(|| Step::AskLimits { instance_type: node.identity.instance_type.clone() })
}
