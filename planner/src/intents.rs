//! Intents: opened before a call is sent, closed by what the call's outcome proves.

pub(crate) mod open;
pub(crate) mod settle;

use holdfast_model::cloud::CloudCall;
use holdfast_model::intent::Intent;

pub use open::{may_leave, open};
pub use settle::settle;

/// The call that carries out an intent: the same each time.
pub fn call_of(intent: &Intent) -> CloudCall {
    CloudCall::Change { change: intent.change.clone(), token: intent.id.client_token() }
}
