//! ADDs and DELs, counted where they are answered.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holdfast_engine::{AddError, Deleted, Durations};

/// What came of an ADD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddOutcome {
    /// The pod has its network.
    Added,
    /// There was no address, and none was on its way.
    NoAddress,
    /// None came in time.
    HeldTooLong,
    /// The kernel refused the wiring.
    Wiring,
    /// The disk refused the lease.
    Ledger,
    /// The pod was deleted meanwhile.
    Deleted,
    /// Another one of the same sandbox is under way.
    Busy,
    /// What came with the request cannot be used.
    BadRequest,
    /// An earlier release of the sandbox could not be carried out.
    Unsettled,
    /// The daemon is not ready yet, or is stopping.
    NotReady,
    /// Nothing came of it within the plugin's patience.
    TimedOut,
}

impl AddOutcome {
    pub(crate) const ALL: [Self; 11] = [
        Self::Added,
        Self::NoAddress,
        Self::HeldTooLong,
        Self::Wiring,
        Self::Ledger,
        Self::Deleted,
        Self::Busy,
        Self::BadRequest,
        Self::Unsettled,
        Self::NotReady,
        Self::TimedOut,
    ];

    /// What the engine's refusal counts as.
    pub fn of(error: &AddError) -> Self {
        match error {
            AddError::NoAddress { .. } | AddError::NoAddressOnCard { .. } => Self::NoAddress,
            AddError::HeldTooLong { .. } => Self::HeldTooLong,
            AddError::Wiring { .. } => Self::Wiring,
            AddError::Ledger { .. } => Self::Ledger,
            AddError::Unkeepable { .. } | AddError::OneCardOnly { .. } => Self::BadRequest,
            AddError::Deleted { .. } => Self::Deleted,
            AddError::TwoNamespaces { .. } => Self::Busy,
            AddError::Stopping => Self::NotReady,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::NoAddress => "no_address",
            Self::HeldTooLong => "held_too_long",
            Self::Wiring => "wiring",
            Self::Ledger => "ledger",
            Self::Deleted => "deleted",
            Self::Busy => "busy",
            Self::BadRequest => "bad_request",
            Self::Unsettled => "unsettled",
            Self::NotReady => "not_ready",
            Self::TimedOut => "timed_out",
        }
    }
}

/// What came of a DEL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DelOutcome {
    /// The release is durable, or there was none to make.
    Done,
    /// The pod's network is gone, and the disk does not take the release.
    Owed,
    /// The daemon is not ready yet, or is stopping.
    NotReady,
    /// Nothing came of it within the plugin's patience.
    TimedOut,
}

impl DelOutcome {
    pub(crate) const ALL: [Self; 4] = [Self::Done, Self::Owed, Self::NotReady, Self::TimedOut];

    /// What the engine's answer counts as.
    pub fn of(deleted: Deleted) -> Self {
        match deleted {
            Deleted::Durable => Self::Done,
            Deleted::Owed => Self::Owed,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Owed => "owed",
            Self::NotReady => "not_ready",
            Self::TimedOut => "timed_out",
        }
    }
}

/// How long answers took, by what they said.
#[derive(Debug, Default)]
pub struct Answers {
    adds: Mutex<BTreeMap<AddOutcome, Durations>>,
    dels: Mutex<BTreeMap<DelOutcome, Durations>>,
}

impl Answers {
    /// An ADD was answered.
    pub fn added(&self, outcome: AddOutcome, took: Duration) {
        note(&self.adds, outcome, took);
    }

    /// A DEL was answered.
    pub fn deleted(&self, outcome: DelOutcome, took: Duration) {
        note(&self.dels, outcome, took);
    }

    /// Each outcome, those too that were none's so far.
    pub(crate) fn adds(&self) -> BTreeMap<AddOutcome, Durations> {
        all(&self.adds, AddOutcome::ALL)
    }

    pub(crate) fn dels(&self) -> BTreeMap<DelOutcome, Durations> {
        all(&self.dels, DelOutcome::ALL)
    }
}

fn note<K: Ord>(all: &Mutex<BTreeMap<K, Durations>>, outcome: K, took: Duration) {
    all.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default().note(took);
}

fn all<K: Ord + Copy, const N: usize>(
    known: &Mutex<BTreeMap<K, Durations>>,
    outcomes: [K; N],
) -> BTreeMap<K, Durations> {
    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let of = |outcome: K| (outcome, known.get(&outcome).cloned().unwrap_or_default());
    outcomes.map(of).into_iter().collect()
}
