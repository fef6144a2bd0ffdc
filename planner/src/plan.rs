//! The plan: what to do next, as data.

use holdfast_model::cloud::{CloudChange, CloudRead};
use holdfast_model::host::EniWiring;
use holdfast_model::ids::IntentId;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::refusal::Refusal;
use holdfast_model::time::{BootTime, Now};

use crate::desired::Desired;
use crate::observed::Observed;

/// One step. The steps of a plan are independent of each other: they may be carried out in parallel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make this change an intent ([`crate::open`] with a fresh id), commit, send, [`crate::settle`].
    Open(CloudChange),
    /// Send the call of this open intent again; its outcome is unknown or it was never sent.
    Repeat(IntentId),
    /// Read, and [`crate::adopt`] the answer.
    Read(CloudRead),
    /// Set the ENI up in the kernel and read it back.
    SetUpEni(EniWiring),
    /// Commit these changes together; nothing in the world changes by them.
    Adjust(Vec<Change>),
}

/// What to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do now. Empty: all is as it should be, or has to wait until `next_look`.
    pub steps: Vec<Step>,
    /// Why the pool does not grow although it should. `None` while it need not, or while it does.
    pub refusal: Option<Refusal>,
    /// When time alone may change the plan. `None`: only an event can.
    pub next_look: Option<BootTime>,
}

/// Decides what to do next. Pure, total, deterministic; planning again after the plan was carried out gives, in
/// a bounded number of rounds, an empty one.
pub fn plan(_desired: &Desired<'_>, _ledger: &Ledger, _observed: &Observed, _now: &Now) -> Plan {
    unimplemented!("being written")
}
