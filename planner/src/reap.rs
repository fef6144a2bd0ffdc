//! Which leases are over. Decided by sandbox and network namespace alone, never by a pod's name or phase.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::lease::LeasePhase;
use holdfast_model::ledger::Ledger;
use holdfast_model::sandbox::SandboxKey;

#[cfg(test)]
mod tests;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its network namespace.
    pub netns: NetnsSeen,
    /// Whether a complete read of the kernel's links showed its host end.
    pub link: bool,
}

/// Leases whose sandbox is gone: namespace and host link both. A path may be unbound while the namespace lives
/// on in its processes; its link then lives on, too. Those in `busy` (being added or removed right now), those not
/// looked for, and those being released already are left out.
pub fn reap(
    ledger: &Ledger,
    seen: &BTreeMap<SandboxKey, Sighting>,
    busy: &BTreeSet<SandboxKey>,
) -> Vec<SandboxKey> {
    over(ledger, busy, |key| {
        seen.get(key).is_some_and(|sighting| sighting.netns == NetnsSeen::Gone && !sighting.link)
    })
}

/// Leases of this network that the runtime's list of valid attachments (container id, interface) lacks.
pub fn collect_garbage(
    ledger: &Ledger,
    network: &str,
    valid: &BTreeSet<(String, String)>,
    busy: &BTreeSet<SandboxKey>,
) -> Vec<SandboxKey> {
    over(ledger, busy, |key| {
        key.network == network && !valid.contains(&(key.container_id.clone(), key.ifname.clone()))
    })
}

fn over(
    ledger: &Ledger,
    busy: &BTreeSet<SandboxKey>,
    is_over: impl Fn(&SandboxKey) -> bool,
) -> Vec<SandboxKey> {
    ledger
        .leases
        .iter()
        .filter(|(key, lease)| lease.phase != LeasePhase::Releasing && !busy.contains(key) && is_over(key))
        .map(|(key, _)| key.clone())
        .collect()
}
