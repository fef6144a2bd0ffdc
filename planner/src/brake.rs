//! The operator's brake over a plan, and over a call that was planned before it was pulled.
//!
//! Decisions that lead to something held back are not made where they would be ([`Desired::brake`]): what is to go would serve nobody
//! meanwhile. Whatever is planned all the same, by whomever, stops here.

use holdfast_model::brake::Brake;
use holdfast_model::cloud::CloudChange;
use holdfast_model::eni::EniPhase;
use holdfast_model::leak::LeakCall;
use holdfast_model::ledger::{Change, Ledger};

use crate::desired::Desired;
use crate::step::Step;

#[cfg(test)]
mod tests;

impl Desired<'_> {
    /// How hard the operator's brake is pulled.
    pub(crate) fn brake(&self) -> Brake {
        self.config.brake.value
    }
}

/// Whether the brake lets a step be carried out.
pub(crate) fn lets(brake: Brake, ledger: &Ledger, step: &Step) -> bool {
    if brake.is_silent() && step.api(ledger).is_some() {
        return false;
    }
    !(brake.keeps() && gives_back(ledger, step))
}

/// Whether the brake lets a call leave that has just become durable.
pub(crate) fn lets_leave(brake: Brake, change: &CloudChange) -> bool {
    !(brake.is_silent() || (brake.keeps() && change.gives_back()))
}

/// Whether a step gives something back, or decides that something is to go.
fn gives_back(ledger: &Ledger, step: &Step) -> bool {
    match step {
        Step::Open(change) => change.gives_back(),
        Step::Repeat(id) => ledger.intents.get(id).is_some_and(|intent| intent.change.gives_back()),
        Step::Adjust(changes) => changes.iter().any(|change| is_to_go(ledger, change)),
        Step::Leak(call) => matches!(call, LeakCall::Delete { .. }),
        Step::Read(_) | Step::Tag { .. } | Step::AskLimits { .. } | Step::SetUpEni(_) => false,
    }
}

fn is_to_go(ledger: &Ledger, change: &Change) -> bool {
    let Change::PutEni(next) = change else { return false };
    let before = ledger.enis.get(&next.id).map(|eni| &eni.phase);
    matches!(next.phase, EniPhase::Draining { .. } | EniPhase::Detached)
        && matches!(before, Some(EniPhase::Attached { .. } | EniPhase::Available))
}
