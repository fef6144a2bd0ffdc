//! Intents: changes to EC2 that were made durable before they were sent.

use serde::{Deserialize, Serialize};

use crate::cloud::CloudChange;
use crate::ids::IntentId;
use crate::time::WallTime;

/// One change we mean to make, or may have made.
///
/// It stays in the ledger until EC2's answer, and what follows from it, is durable. An intent found open at
/// start may or may not have been carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its id, from which the client token is derived.
    pub id: IntentId,
    /// What to do.
    pub change: CloudChange,
    /// When it was planned, for people.
    pub planned: WallTime,
}
