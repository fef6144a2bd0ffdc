//! What waits after a failure, and for what.

use std::collections::BTreeMap;

use holdfast_model::time::BootTime;

use crate::fault::Cause;
use crate::version::Version;
use crate::watch::Pauses;

/// Failures of one thing.
#[derive(Clone, Debug, Default)]
struct Hold {
    pauses: Pauses,
    until: BootTime,
    /// What the last try was based on: something newer is worth a try at once.
    based_on: Option<Version>,
}

/// What is held back, by what it is.
#[derive(Clone, Debug)]
pub(super) struct Held<K> {
    holds: BTreeMap<K, Hold>,
}

impl<K> Default for Held<K> {
    fn default() -> Self {
        Self { holds: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Held<K> {
    /// A try failed: the next one after a pause, or as soon as it can be based on something newer.
    pub(super) fn failed(
        &mut self,
        key: &K,
        cause: &Cause,
        based_on: Option<Version>,
        now: BootTime,
        random: u128,
    ) {
        let hold = self.holds.entry(key.clone()).or_default();
        hold.pauses.failed(cause);
        hold.until = now.after(hold.pauses.next(random));
        hold.based_on = based_on;
    }

    pub(super) fn succeeded(&mut self, key: &K) {
        self.holds.remove(key);
    }

    /// When it may be tried: now, or later.
    pub(super) fn ready(&self, key: &K, based_on: Option<&Version>, now: BootTime) -> BootTime {
        match self.holds.get(key) {
            None => now,
            Some(hold) if hold.based_on.is_some() && hold.based_on.as_ref() != based_on => now,
            Some(hold) => hold.until.max(now),
        }
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.holds.retain(|key, _| keep(key));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.holds.len()
    }
}
