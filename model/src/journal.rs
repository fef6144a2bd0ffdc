//! The journal: a bounded ring of what happened, for support. Nothing is decided by it.

use serde::{Deserialize, Serialize};

use crate::time::WallTime;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// When.
    pub at: WallTime,
    /// What, in words a person reads: names the objects, never a secret.
    pub what: String,
}
