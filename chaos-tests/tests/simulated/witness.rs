//! Looks at the disk whenever the world is touched or a promise leaves: what is not there by then is done too early.
//!
//! Death shows a wrong order only where the damage outlives it; a tag or a repeated ADD often repairs it. So the order
//! itself is looked at.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_model::cloud::CloudCall;
use holdfast_model::host::LinkAlias;
use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::ledger::Ledger;
use holdfast_model::sandbox::SandboxKey;
use holdfast_planner as planner;

use crate::disk::Disk;

/// Sees one node's deeds, or looks away: looking takes time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Witness {
    watched: Option<Arc<Watched>>,
}

#[derive(Debug)]
struct Watched {
    disk: Disk,
    seen: Mutex<BTreeMap<String, u32>>,
    faults: Mutex<Vec<String>>,
}

impl Witness {
    /// Watches the node of this disk.
    pub(crate) fn of(disk: &Disk) -> Self {
        let watched = Watched { disk: disk.clone(), seen: Mutex::default(), faults: Mutex::default() };
        Self { watched: Some(Arc::new(watched)) }
    }

    /// A call leaves for EC2: a change needs its intent.
    pub(crate) fn sees_call(&self, action: impl Display, call: &CloudCall) {
        if matches!(call, CloudCall::Change { .. }) {
            self.sees(action, |ledger| {
                ledger.intents.values().any(|intent| planner::call_of(intent) == *call)
            });
        }
    }

    /// A pod is wired: its lease is needed.
    pub(crate) fn sees_wiring(&self, pod: &LinkAlias) {
        self.sees("wiring", |ledger| phase(ledger, pod) == Some(LeasePhase::Pending));
    }

    /// A pod's rules, routes or link go: that it goes must be known.
    pub(crate) fn sees_unwiring(&self, what: &str, pod: &LinkAlias) {
        self.sees(what, |ledger| phase(ledger, pod) == Some(LeasePhase::Releasing));
    }

    /// An ADD is answered.
    pub(crate) fn sees_added(&self, lease: &Lease) {
        self.sees("an answer to ADD", |ledger| {
            ledger
                .leases
                .get(&lease.sandbox)
                .is_some_and(|kept| kept.faces[0].address == lease.faces[0].address)
        });
    }

    /// A DEL is answered.
    pub(crate) fn sees_deleted(&self, sandbox: &SandboxKey) {
        self.sees("an answer to DEL", |ledger| {
            ledger.leases.get(sandbox).is_none_or(|lease| lease.phase == LeasePhase::Releasing)
        });
    }

    /// How often each kind of deed was seen, and those that the disk did not know of.
    pub(crate) fn report(&self) -> (BTreeMap<String, u32>, Vec<String>) {
        let watched = self.watched.as_ref().expect("asked of a witness that watches");
        let seen = watched.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let faults = watched.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (seen, faults)
    }

    fn sees(&self, deed: impl Display, known: impl FnOnce(&Ledger) -> bool) {
        let Some(watched) = &self.watched else { return };
        let deed = deed.to_string();
        let ledger = watched.disk.ledger_after_power_cut();
        if !known(&ledger) {
            let mut faults = watched.faults.lock().unwrap_or_else(PoisonError::into_inner);
            faults.push(format!("{deed}, and the disk does not know: {ledger:?}"));
        }
        *watched.seen.lock().unwrap_or_else(PoisonError::into_inner).entry(deed).or_default() += 1;
    }
}

fn phase(ledger: &Ledger, pod: &LinkAlias) -> Option<LeasePhase> {
    ledger.leases.get(&pod.sandbox()?).map(|lease| lease.phase)
}
