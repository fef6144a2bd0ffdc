//! Intents: changes to EC2 that were made durable before they were sent.

use serde::{Deserialize, Serialize};

use crate::cloud::CloudChange;
use crate::ids::IntentId;
use crate::time::WallTime;

/// What is known of an intent's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sending {
    /// It leaves as soon as this is durable, and its answer tells what became of it.
    MaybeSent,
    /// It surely never left, nor did one before it.
    NeverSent,
    /// One was not answered, or was cut off by the end of a process: it may have been carried out, whatever the next is
    /// answered.
    Unanswered,
}

/// One change we mean to make, or may have made.
///
/// It stays in the ledger until EC2's answer, and what follows from it, is durable. It is plain data with a stable id:
/// whoever carries it out is behind a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its id, from which the client token is derived.
    pub id: IntentId,
    /// What to do.
    pub change: CloudChange,
    /// What is known of its call. An intent is opened as [`Sending::MaybeSent`], since its call leaves as soon as it is
    /// durable.
    pub sending: Sending,
    /// When it was planned, for people.
    pub planned: WallTime,
}
