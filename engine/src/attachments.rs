//! All sandboxes about which something is under way or somebody waits, and the way from an input to what it sets off.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_model::lease::Lease;
use holdfast_model::sandbox::SandboxKey;

use crate::attachment::{Act, Add, Attachment, Input, Work};

/// All attachments that are not at rest.
#[derive(Default)]
pub(crate) struct Attachments {
    /// Shared keys: each turn goes through all ADDs that wait, and changes some of them on its way.
    by_key: BTreeMap<Arc<SandboxKey>, Attachment>,
    numbers: u64,
}

impl Attachments {
    /// A number that tells ADDs, commits and comparisons from earlier ones.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Gives an input to a sandbox's attachment. `lease` is what the ledger has of it.
    pub(crate) fn step(&mut self, key: &SandboxKey, input: Input, lease: Option<&Lease>) -> Vec<Act> {
        let ticket = self.next_number();
        self.change(key, |attachment| attachment.step(key, input, lease, ticket))
    }

    /// Changes an attachment, and forgets it when it is at rest.
    pub(crate) fn change<T>(&mut self, key: &SandboxKey, change: impl FnOnce(&mut Attachment) -> T) -> T {
        if let Some(attachment) = self.by_key.get_mut(key) {
            let result = change(attachment);
            if attachment.is_at_rest() {
                self.by_key.remove(key);
            }
            return result;
        }
        let mut attachment = Attachment::default();
        let result = change(&mut attachment);
        if !attachment.is_at_rest() {
            self.by_key.insert(Arc::new(key.clone()), attachment);
        }
        result
    }

    pub(crate) fn get(&self, key: &SandboxKey) -> Option<&Attachment> {
        self.by_key.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SandboxKey, &Attachment)> {
        self.by_key.iter().map(|(key, attachment)| (&**key, attachment))
    }

    /// Whether something is being done about it or found out of it.
    pub(crate) fn is_busy(&self, key: &SandboxKey) -> bool {
        self.get(key).is_some_and(|attachment| attachment.work() != Work::Idle)
    }

    /// Whether the kernel is being changed for any sandbox right now.
    pub(crate) fn any_in_the_kernel(&self) -> bool {
        self.any(|work| matches!(work, Work::Wiring | Work::Rewiring | Work::Unwiring | Work::Unlinking))
    }

    pub(crate) fn any(&self, is: impl Fn(Work) -> bool) -> bool {
        self.by_key.values().any(|attachment| is(attachment.work()))
    }

    /// Those about whom such a thing is under way.
    pub(crate) fn doing(&self, is: impl Fn(Work) -> bool) -> Vec<SandboxKey> {
        let doing = self.by_key.iter().filter(|(_, attachment)| is(attachment.work()));
        doing.map(|(key, _)| (**key).clone()).collect()
    }

    /// Those for which the kernel refused something.
    pub(crate) fn failed(&self) -> Vec<SandboxKey> {
        let failed = self.by_key.iter().filter(|(_, attachment)| attachment.has_failed());
        failed.map(|(key, _)| (**key).clone()).collect()
    }

    /// All that something is remembered of.
    pub(crate) fn keys(&self) -> Vec<SandboxKey> {
        self.by_key.keys().map(|key| (**key).clone()).collect()
    }

    /// ADDs that wait for their turn.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&SandboxKey, &Add)> {
        self.iter().filter_map(|(key, attachment)| Some((key, attachment.waiting()?)))
    }

    /// Those whose ADD waits for its turn, first come first.
    pub(crate) fn in_line(&self) -> Vec<Arc<SandboxKey>> {
        let waits = |(key, attachment): (&Arc<SandboxKey>, &Attachment)| {
            Some((attachment.waiting()?.order, Arc::clone(key)))
        };
        let mut waiting: Vec<_> = self.by_key.iter().filter_map(waits).collect();
        waiting.sort_unstable_by_key(|(order, _)| *order);
        waiting.into_iter().map(|(_, key)| key).collect()
    }
}

#[cfg(test)]
mod tests;
