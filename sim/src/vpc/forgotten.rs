//! What the box has forgotten although nobody told it to: what it remembers is bounded, and the oldest goes first.

use serde::{Deserialize, Serialize};

use super::SimVpc;

/// How many were dropped, of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Forgotten {
    /// Client tokens that EC2 would have remembered still.
    pub client_tokens: u64,
    /// Callers with their own counts, since the last reset of the log. Their calls count together still.
    pub callers: u64,
    /// Faults that are over, with what they hit.
    pub faults: u64,
}

impl SimVpc {
    /// What is missing in what the box tells.
    pub fn forgotten(&self) -> Forgotten {
        Forgotten {
            client_tokens: self.world.tokens.dropped(),
            callers: self.log.forgotten_callers(),
            faults: self.faults.tally().dropped(),
        }
    }
}
