//! What is under way for each sandbox.
//!
//! ```text
//!   ADD: lease durable ──> Wiring ──> (nothing: it is wired) ──link taken away──> Rewiring ──> (nothing)
//!   DEL: Releasing ──durable──> Unwiring ──rules, routes gone──> Unlink ──> Unlinking ──> (nothing: the lease ended)
//!                                  ^ after a failure, or a start, taken up here
//! ```

use std::collections::BTreeMap;

use holdfast_model::host::PodWiring;
use holdfast_model::sandbox::SandboxKey;
use tokio::sync::oneshot;

use crate::handle::Deleted;

/// What is being done about a sandbox in the kernel, or comes next: never two of these.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It is being wired.
    Wiring,
    /// It lives, its link was taken away, and it is being wired anew.
    Rewiring,
    /// That it goes is being made durable.
    Releasing,
    /// Its rules and routes are being removed.
    Unwiring,
    /// They are gone, and its links are to be removed.
    Unlink(Vec<PodWiring>),
    /// One of them would not go: it is tried again later, and the others do not wait for it.
    UnlinkLater(Vec<PodWiring>),
    /// Its link is being removed.
    Unlinking,
}

/// One sandbox about which something is to be remembered besides its lease.
#[derive(Default)]
struct Sandbox {
    deed: Option<Deed>,
    verifying: bool,
    doomed: bool,
    owed: bool,
    dels: Vec<oneshot::Sender<Deleted>>,
}

impl Sandbox {
    fn is_at_rest(&self) -> bool {
        self.deed.is_none() && !self.verifying && !self.doomed && !self.owed && self.dels.is_empty()
    }
}

/// All sandboxes with something under way.
#[derive(Default)]
pub(crate) struct Sandboxes {
    by_key: BTreeMap<SandboxKey, Sandbox>,
}

impl Sandboxes {
    /// What is being done in the kernel.
    pub(crate) fn deed(&self, key: &SandboxKey) -> Option<&Deed> {
        self.by_key.get(key)?.deed.as_ref()
    }

    /// Something is done in the kernel from now on, in the place of what was.
    pub(crate) fn begin(&mut self, key: &SandboxKey, deed: Deed) {
        self.by_key.entry(key.clone()).or_default().deed = Some(deed);
    }

    /// Nothing is done in the kernel any more.
    pub(crate) fn end(&mut self, key: &SandboxKey) {
        self.change(key, |sandbox| sandbox.deed = None);
    }

    /// Those whose release is being made durable.
    pub(crate) fn releasing(&self) -> Vec<SandboxKey> {
        let releasing = self.by_key.iter().filter(|(_, sandbox)| sandbox.deed == Some(Deed::Releasing));
        releasing.map(|(key, _)| key.clone()).collect()
    }

    /// Whether the kernel is being changed for any sandbox right now.
    pub(crate) fn any_in_the_kernel(&self) -> bool {
        let mut deeds = self.by_key.values().filter_map(|sandbox| sandbox.deed.as_ref());
        deeds.any(|deed| matches!(deed, Deed::Wiring | Deed::Rewiring | Deed::Unwiring | Deed::Unlinking))
    }

    /// Links that would not go are to be removed again.
    pub(crate) fn retry_links(&mut self) {
        for sandbox in self.by_key.values_mut() {
            if let Some(Deed::UnlinkLater(wirings)) =
                sandbox.deed.take_if(|deed| matches!(deed, Deed::UnlinkLater(_)))
            {
                sandbox.deed = Some(Deed::Unlink(wirings));
            }
        }
    }

    /// Takes all links that are to be removed, unless some are being removed already.
    pub(crate) fn take_links(&mut self) -> Vec<(SandboxKey, Vec<PodWiring>)> {
        if self.by_key.values().any(|sandbox| sandbox.deed == Some(Deed::Unlinking)) {
            return Vec::new();
        }
        let mut links = Vec::new();
        for (key, sandbox) in &mut self.by_key {
            if let Some(Deed::Unlink(wirings)) = sandbox.deed.take_if(|deed| matches!(deed, Deed::Unlink(_)))
            {
                sandbox.deed = Some(Deed::Unlinking);
                links.push((key.clone(), wirings));
            }
        }
        links
    }

    /// Its wiring is being compared with the kernel from now on; false when it was before.
    pub(crate) fn begin_verifying(&mut self, key: &SandboxKey) -> bool {
        !std::mem::replace(&mut self.by_key.entry(key.clone()).or_default().verifying, true)
    }

    /// The comparison ended.
    pub(crate) fn end_verifying(&mut self, key: &SandboxKey) {
        self.change(key, |sandbox| sandbox.verifying = false);
    }

    /// Whether something is being done about it or found out of it.
    pub(crate) fn is_busy(&self, key: &SandboxKey) -> bool {
        self.by_key.get(key).is_some_and(|sandbox| sandbox.deed.is_some() || sandbox.verifying)
    }

    /// It is being wired, and it is to be released as soon as that ends.
    pub(crate) fn doom(&mut self, key: &SandboxKey) {
        self.by_key.entry(key.clone()).or_default().doomed = true;
    }

    /// Whether it is to be released as soon as its wiring ends.
    pub(crate) fn is_doomed(&self, key: &SandboxKey) -> bool {
        self.by_key.get(key).is_some_and(|sandbox| sandbox.doomed)
    }

    /// Its wiring ended.
    pub(crate) fn spare(&mut self, key: &SandboxKey) {
        self.change(key, |sandbox| sandbox.doomed = false);
    }

    /// Its DEL was answered, and the ledger could not take the release.
    pub(crate) fn owe(&mut self, key: &SandboxKey) {
        self.by_key.entry(key.clone()).or_default().owed = true;
    }

    /// Those whose release the ledger could not take.
    pub(crate) fn take_owed(&mut self) -> Vec<SandboxKey> {
        let owed = self.by_key.iter().filter(|(_, sandbox)| sandbox.owed);
        let owed: Vec<_> = owed.map(|(key, _)| key.clone()).collect();
        for key in &owed {
            self.change(key, |sandbox| sandbox.owed = false);
        }
        owed
    }

    /// A DEL waits for it to be gone.
    pub(crate) fn await_del(&mut self, key: &SandboxKey, reply: oneshot::Sender<Deleted>) {
        self.by_key.entry(key.clone()).or_default().dels.push(reply);
    }

    /// Whether a DEL waits.
    pub(crate) fn has_del(&self, key: &SandboxKey) -> bool {
        self.by_key.get(key).is_some_and(|sandbox| !sandbox.dels.is_empty())
    }

    /// Whether the ledger could not take its release.
    pub(crate) fn is_owed(&self, key: &SandboxKey) -> bool {
        self.by_key.get(key).is_some_and(|sandbox| sandbox.owed)
    }

    /// Answers the DELs that wait.
    pub(crate) fn answer_dels(&mut self, key: &SandboxKey, done: Deleted) {
        for reply in self.change(key, |sandbox| std::mem::take(&mut sandbox.dels)).into_iter().flatten() {
            // A plugin that was killed meanwhile needs no answer.
            let _gone: Result<(), Deleted> = reply.send(done);
        }
    }

    fn change<T>(&mut self, key: &SandboxKey, change: impl FnOnce(&mut Sandbox) -> T) -> Option<T> {
        let sandbox = self.by_key.get_mut(key)?;
        let result = change(sandbox);
        if sandbox.is_at_rest() {
            self.by_key.remove(key);
        }
        Some(result)
    }
}
