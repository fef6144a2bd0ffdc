//! How often each fault hit, of those in force and of the latest that were.

use std::collections::BTreeMap;

use crate::fault::FaultId;

/// Hits by fault.
#[derive(Debug, Default)]
pub(super) struct Tally {
    hits: BTreeMap<FaultId, u64>,
    dropped: u64,
}

impl Tally {
    /// Most faults whose hits are remembered, beside those in force.
    pub(super) const KEPT: usize = 10_000;

    /// Counts from now on what a new fault hits. Of too many, those that were set first and are over go.
    pub(super) fn begin(&mut self, id: FaultId, in_force: impl Fn(FaultId) -> bool) {
        self.hits.insert(id, 0);
        while self.hits.len() > Self::KEPT
            && let Some(oldest) = self.hits.keys().copied().find(|id| !in_force(*id))
        {
            self.hits.remove(&oldest);
            self.dropped += 1;
        }
    }

    /// One more.
    pub(super) fn count(&mut self, id: FaultId) {
        if let Some(hits) = self.hits.get_mut(&id) {
            *hits += 1;
        }
    }

    pub(super) fn hits(&self) -> &BTreeMap<FaultId, u64> {
        &self.hits
    }

    /// How many faults are not among them any more.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}
