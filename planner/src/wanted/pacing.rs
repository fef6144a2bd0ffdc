//! How far apart reads are that settle nothing.

use std::time::Duration;

use holdfast_model::ids::{EniId, SubnetId};
use holdfast_model::time::BootTime;

use super::Reason;
use crate::hint::HintDiff;

/// What is spaced out together. Reasons of which EC2 can bring up ever new ones share one pace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pacing {
    Contradicted(EniId),
    Miscounted,
    Unanswered(EniId),
    Looked(EniId),
    Range(SubnetId),
    Addresses,
    Hinted(HintDiff),
    PrimaryNotShown,
    LedgerLost,
    Reconfigured,
    IntentsLost,
}

impl Pacing {
    pub(super) fn of(reason: &Reason) -> Self {
        match reason {
            Reason::Contradicted(eni) => Self::Contradicted(eni.clone()),
            Reason::Miscounted => Self::Miscounted,
            Reason::NotShown(_) | Reason::Unasked(_) => Self::Addresses,
            Reason::Hinted(hint) => Self::Hinted(hint.clone()),
            Reason::PrimaryNotShown => Self::PrimaryNotShown,
            Reason::LedgerLost => Self::LedgerLost,
            Reason::Reconfigured => Self::Reconfigured,
            Reason::IntentsLost => Self::IntentsLost,
        }
    }

    /// The first and the longest distance between two reads that settle nothing.
    pub(super) fn distances(&self) -> (Duration, Duration) {
        let seconds = Duration::from_secs;
        match self {
            // An ENI waits for these.
            Self::Contradicted(_)
            | Self::Miscounted
            | Self::Unanswered(_)
            | Self::Looked(_)
            | Self::Reconfigured
            | Self::Range(_) => (seconds(5), seconds(300)),
            // Nothing is served before it is over.
            Self::PrimaryNotShown | Self::LedgerLost => (seconds(1), seconds(300)),
            Self::Addresses => (seconds(30), seconds(1200)),
            // The metadata service may be wrong for long.
            Self::Hinted(_) | Self::IntentsLost => (seconds(60), seconds(3600)),
        }
    }
}

/// How often a reason was looked into in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) reads: u32,
    pub(super) last: BootTime,
}

impl Pace {
    pub(super) fn next(self, pacing: &Pacing) -> BootTime {
        let (first, longest) = pacing.distances();
        self.last.after((first * 2_u32.pow(self.reads.saturating_sub(1).min(16))).min(longest))
    }
}
