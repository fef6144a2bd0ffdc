//! Intents: opened before a call is sent, closed by what the call's outcome proves.

use std::time::Duration;

use holdfast_model::cloud::{Api, CloudAnswer, CloudCall, CloudChange, CloudRead};
use holdfast_model::ids::{EniId, IntentId, SubnetId};
use holdfast_model::intent::Intent;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::refusal::Refusal;
use holdfast_model::time::Now;

use crate::observed::PauseScope;

/// How a change that was sent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// EC2 carried it out and answered.
    Answered(CloudAnswer),
    /// EC2 said that it did not carry it out.
    NotCarriedOut {
        /// What may be done about it.
        fault: Fault,
        /// EC2's words.
        cause: String,
    },
    /// It may or may not have been carried out.
    Unknown {
        /// What was seen.
        cause: String,
    },
}

/// Why a change was not carried out. Mirrors the classes of the cloud port, the unknown outcome excepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too many calls.
    Throttled {
        /// How long EC2 asked to wait, if it said.
        retry_after: Option<Duration>,
    },
    /// The subnet has no free address or block.
    SubnetFull,
    /// The ENI carries as many addresses as it can.
    AddressLimit,
    /// The instance has as many ENIs as it can, or the slot is taken.
    AttachmentLimit,
    /// The object does not exist.
    NotFound,
    /// The object is in a state that forbids it.
    Conflict,
    /// The token was used for another creation.
    TokenMismatch,
    /// The role lacks the right.
    Denied,
    /// The request itself is refused.
    Rejected,
}

/// What an outcome means: for the ledger, to be committed; and for the running process, to be noted by
/// [`crate::Observed::settled`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// The ledger's changes, to be committed together.
    pub changes: Vec<Change>,
    /// What went wrong; `None` after success.
    pub setback: Option<Setback>,
    /// Read this before trusting the ledger about it again.
    pub doubt: Option<CloudRead>,
}

/// Something went wrong with a call, and similar calls rest for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setback {
    /// The call.
    pub api: Api,
    /// How far the rest reaches.
    pub scope: PauseScope,
    /// The cause, for people.
    pub cause: Refusal,
    /// The first rest; it doubles with each setback in a row, up to `longest`.
    pub first: Duration,
    /// The longest rest.
    pub longest: Duration,
}

/// Makes a planned change an intent: the changes to commit before the call is sent. `None` when the ledger no
/// longer admits it (an address was leased meanwhile, an ENI is busy): plan again.
pub fn open(_ledger: &Ledger, _change: CloudChange, _id: IntentId, _now: &Now) -> Option<Vec<Change>> {
    unimplemented!("being written")
}

/// The call that carries out an intent: the same each time.
pub fn call_of(intent: &Intent) -> CloudCall {
    CloudCall::Change { change: intent.change.clone(), token: intent.id.client_token() }
}

/// What an outcome means. An intent that is no longer open means nothing.
pub fn settle(_ledger: &Ledger, _id: IntentId, _outcome: &Outcome, _now: &Now) -> Settlement {
    unimplemented!("being written")
}

#[expect(dead_code, reason = "signatures first")]
fn scope_of(_eni: &EniId, _subnet: &SubnetId, _change: &CloudChange) {}
