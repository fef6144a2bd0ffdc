//! Which leases are over. Decided by sandbox and network namespace alone, never by a pod's name or phase.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::ledger::Ledger;
use holdfast_model::sandbox::{NetnsRef, SandboxKey};

#[cfg(test)]
mod tests;

/// A lease may end. It is about one sandbox in one network namespace: should the sandbox's key bear another lease by the
/// time that this is acted on, it proves nothing about that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    sandbox: SandboxKey,
    netns: NetnsRef,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Asked,
    Replaced,
    Unanswered,
    Gone,
}

impl Ended {
    /// The runtime asked for it.
    pub fn asked(lease: &Lease) -> Self {
        Self::of(lease, Why::Asked)
    }

    /// The runtime adds the sandbox anew: in another namespace, or since its wiring is not whole.
    pub fn replaced(lease: &Lease) -> Self {
        Self::of(lease, Why::Replaced)
    }

    /// Its ADD was not answered, and its wiring is not whole. `None` for one that was answered.
    pub fn unanswered(lease: &Lease) -> Option<Self> {
        (lease.phase == LeasePhase::Pending).then(|| Self::of(lease, Why::Unanswered))
    }

    fn of(lease: &Lease, why: Why) -> Self {
        Self { sandbox: lease.sandbox.clone(), netns: lease.netns.clone(), why }
    }

    /// Whose lease.
    pub fn sandbox(&self) -> &SandboxKey {
        &self.sandbox
    }

    /// Whether it is about this lease.
    pub fn is_of(&self, lease: &Lease) -> bool {
        // One that was answered meanwhile is counted on.
        let answered = self.why == Why::Unanswered && lease.phase != LeasePhase::Pending;
        lease.sandbox == self.sandbox && lease.netns == self.netns && !answered
    }

    /// The lease that it is about, if there is one still.
    pub(crate) fn lease<'a>(&self, ledger: &'a Ledger) -> Option<&'a Lease> {
        ledger.leases.get(&self.sandbox).filter(|lease| self.is_of(lease))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Why::Asked => "the runtime asked for it",
            Why::Replaced => "its sandbox is being added anew",
            Why::Unanswered => "its ADD was not answered",
            Why::Gone => "its namespace and its link are gone",
        })
    }
}

/// A sandbox's network namespace, as looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetnsSeen {
    /// It is there.
    Alive,
    /// The path is gone or leads elsewhere.
    Gone,
    /// It could not be told.
    Unknown,
}

/// What was seen of a lease's sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The network namespace that was looked for.
    pub netns: NetnsRef,
    /// What was seen of it.
    pub seen: NetnsSeen,
    /// Whether the host end of one of its links is there; where it could not be told, it counts as there.
    pub link: bool,
    /// Whether the host end of one of its links is not there.
    pub lacks_link: bool,
}

/// Leases whose sandbox is gone: namespace and host link both. A path may be unbound while the namespace lives
/// on in its processes; its link then lives on, too. Those in `busy` (being added or removed right now), those not
/// looked for, and those being released already are left out.
pub fn reap(
    ledger: &Ledger,
    seen: &BTreeMap<SandboxKey, Sighting>,
    busy: &BTreeSet<SandboxKey>,
) -> Vec<Ended> {
    let over = candidates(ledger, busy).filter(|lease| {
        seen.get(&lease.sandbox).is_some_and(|sighting| {
            sighting.netns == lease.netns && sighting.seen == NetnsSeen::Gone && !sighting.link
        })
    });
    over.map(|lease| Ended::of(lease, Why::Gone)).collect()
}

/// Leases of this network that the runtime's list of valid attachments (container id, interface) lacks. A list may be wrong or
/// older than a sandbox: it says whom to look for, and proves nothing.
pub fn collect_garbage<'a>(
    ledger: &'a Ledger,
    network: &str,
    valid: &BTreeSet<(String, String)>,
    busy: &BTreeSet<SandboxKey>,
) -> Vec<&'a Lease> {
    let listed = |key: &SandboxKey| valid.contains(&(key.container_id.clone(), key.ifname.clone()));
    candidates(ledger, busy)
        .filter(|lease| lease.sandbox.network == network && !listed(&lease.sandbox))
        .collect()
}

fn candidates<'a>(ledger: &'a Ledger, busy: &BTreeSet<SandboxKey>) -> impl Iterator<Item = &'a Lease> {
    ledger
        .leases
        .values()
        .filter(|lease| lease.phase != LeasePhase::Releasing && !busy.contains(&lease.sandbox))
}
