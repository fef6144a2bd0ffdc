//! ENIs that are to be looked at before something is done with them that cannot be undone.

use std::collections::BTreeSet;

use holdfast_model::eni::EniRecord;
use holdfast_model::ids::EniId;
use holdfast_model::time::Now;

use crate::observed::Observed;
use crate::proof::{LOOKED_AT_FOR, Seen};

/// What a plan has found to need a look.
pub(crate) struct Looks<'a> {
    observed: &'a Observed,
    now: &'a Now,
    wanted: BTreeSet<EniId>,
}

impl<'a> Looks<'a> {
    pub(crate) fn new(observed: &'a Observed, now: &'a Now) -> Self {
        Self { observed, now, wanted: BTreeSet::new() }
    }

    /// The proof that an ENI was lately seen to be ours. What asks for it does nothing else meanwhile: a read comes first.
    pub(crate) fn seen(&mut self, eni: &EniRecord) -> Option<Seen> {
        let seen = Seen::lately(self.observed, eni, self.now);
        if seen.is_none() {
            self.wanted.insert(eni.id.clone());
        }
        seen
    }

    /// The same for what takes nothing away: an ENI that was made, or found, a moment ago is known well enough.
    pub(crate) fn known(&mut self, eni: &EniRecord) -> bool {
        self.now.boottime.since(eni.since) < LOOKED_AT_FOR || self.seen(eni).is_some()
    }

    /// The ENIs that a read is to show.
    pub(crate) fn wanted(&self) -> &BTreeSet<EniId> {
        &self.wanted
    }
}
