//! Pods that were answered for and that nothing reaches any more. No runtime asks for them, so it is told: in the log as
//! it begins and ends, and in status and dump while it lasts.

use std::collections::BTreeMap;

use holdfast_model::host::HostObserved;
use holdfast_model::sandbox::SandboxKey;
use holdfast_planner::{self as planner, UnreachedBy};

use crate::engine::Engine;
use crate::world::World;

/// How many are named in one line.
const NAMED: usize = 3;

/// Pods that nothing reaches, and why.
#[derive(Default)]
pub(crate) struct Unreached {
    /// What the last look showed.
    seen: BTreeMap<SandboxKey, UnreachedBy>,
    /// Why those are without a link that are: it could not be put back.
    unmended: BTreeMap<SandboxKey, String>,
    /// As it was told.
    pods: BTreeMap<SandboxKey, Told>,
}

struct Told {
    pod: String,
    cause: String,
}

impl Unreached {
    /// Each in words.
    pub(crate) fn words(&self) -> Vec<String> {
        self.pods.values().map(|told| format!("{}: {}", told.pod, told.cause)).collect()
    }

    /// All in one line; `None` when all pods are reached.
    pub(crate) fn summary(&self) -> Option<String> {
        let count = self.pods.len();
        let mut named = self.words();
        named.truncate(NAMED);
        let more = if count > NAMED { "; …" } else { "" };
        let pods = if count == 1 { "1 pod is" } else { &format!("{count} pods are") };
        (count > 0).then(|| format!("{pods} cut off: {}{more}", named.join("; ")))
    }

    /// A link that is gone is told of once it is clear that it stays so.
    fn cause(&self, sandbox: &SandboxKey) -> Option<String> {
        match self.seen.get(sandbox)? {
            UnreachedBy::LinkGone(_) => self.unmended.get(sandbox).cloned(),
            other => Some(other.to_string()),
        }
    }

    fn update(&mut self, now: BTreeMap<SandboxKey, Told>) {
        for (sandbox, told) in &now {
            if self.pods.get(sandbox).is_none_or(|before| before.cause != told.cause) {
                tracing::error!(%sandbox, pod = told.pod, cause = told.cause, "a pod is cut off");
            }
        }
        for (sandbox, told) in self.pods.iter().filter(|(sandbox, _)| !now.contains_key(*sandbox)) {
            tracing::info!(%sandbox, pod = told.pod, "the pod is cut off no more, or gone");
        }
        self.pods = now;
    }
}

impl<W: World> Engine<W> {
    /// After a look: which pods nothing reaches. Of one that is being made, changed or taken away it says nothing.
    pub(crate) fn look_for_the_unreached(&mut self, observed: &HostObserved) {
        let settled = |sandbox: &SandboxKey| {
            self.before_look.settled.contains(sandbox) && !self.attachments.is_busy(sandbox)
        };
        let mut seen = planner::unreached(self.book.ledger(), observed);
        seen.retain(|sandbox, _| settled(sandbox));
        self.unreached.unmended.retain(|sandbox, _| seen.contains_key(sandbox));
        self.unreached.seen = seen;
        self.tell_who_is_unreached();
    }

    /// Its link is there again.
    pub(crate) fn link_is_back(&mut self, sandbox: &SandboxKey) {
        self.unreached.seen.remove(sandbox);
        self.unreached.unmended.remove(sandbox);
        self.tell_who_is_unreached();
    }

    /// Its link is gone and stays so, for this reason.
    pub(crate) fn link_stays_away(&mut self, sandbox: &SandboxKey, why: &str) {
        let cause = format!("its host link is gone, and it cannot be wired anew: {why}");
        self.unreached.unmended.insert(sandbox.clone(), cause);
        self.tell_who_is_unreached();
    }

    fn tell_who_is_unreached(&mut self) {
        let ledger = self.book.ledger();
        let told = |sandbox: &SandboxKey| {
            let cause = self.unreached.cause(sandbox)?;
            let lease = ledger.leases.get(sandbox)?;
            let addresses: Vec<_> = lease.addresses().map(|address| address.to_string()).collect();
            Some(Told { pod: format!("{} ({})", lease.pod, addresses.join(", ")), cause })
        };
        let seen = self.unreached.seen.keys();
        let told = seen.filter_map(|sandbox| Some((sandbox.clone(), told(sandbox)?))).collect();
        self.unreached.update(told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_a_few_and_counts_all() {
        let mut unreached = Unreached::default();
        assert_eq!(unreached.summary(), None);
        let sandbox = |number: usize| SandboxKey {
            container_id: format!("c{number}"),
            ifname: "eth0".into(),
            network: "aws-cni".into(),
        };
        let told = |number| {
            let told = Told { pod: format!("default/web-{number}"), cause: "gone".into() };
            (sandbox(number), told)
        };
        unreached.update((0..1).map(told).collect());
        assert_eq!(unreached.summary().as_deref(), Some("1 pod is cut off: default/web-0: gone"));
        unreached.update((0..5).map(told).collect());
        let summary = unreached.summary().unwrap_or_default();
        assert!(summary.starts_with("5 pods are cut off: default/web-0: gone; "), "{summary}");
        assert!(summary.ends_with("default/web-2: gone; …"), "{summary}");
        assert_eq!(unreached.words().len(), 5);
    }
}
