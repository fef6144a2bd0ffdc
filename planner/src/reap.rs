//! Which leases are over.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::ledger::Ledger;
use holdfast_model::sandbox::SandboxKey;

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

/// Leases whose sandbox is gone: namespace and host link both. Those in `busy` (being added or removed right
/// now), and those not looked for, are left alone.
pub fn reap(
    _ledger: &Ledger,
    _seen: &BTreeMap<SandboxKey, Sighting>,
    _busy: &BTreeSet<SandboxKey>,
) -> Vec<SandboxKey> {
    unimplemented!("being written")
}

/// Leases of this network that the runtime's list of valid attachments (container id, interface) lacks.
pub fn collect_garbage(
    _ledger: &Ledger,
    _network: &str,
    _valid: &BTreeSet<(String, String)>,
    _busy: &BTreeSet<SandboxKey>,
) -> Vec<SandboxKey> {
    unimplemented!("being written")
}
