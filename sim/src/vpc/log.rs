//! The log of calls, for assertions on API budgets and for replaying a recorded run.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::error::ErrorCode;
use super::request::{Action, Caller, Request};
use super::time::Micros;

/// How a call ended, as its caller saw it and as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Carried out, answered.
    Done,
    /// Answered with an error; without effect unless a fault says otherwise.
    Failed(ErrorCode),
    /// Carried out or refused, but the answer was lost, or its connection reset.
    AnswerLost,
    /// Never arrived, or its connection was reset: no effect, no answer.
    RequestLost,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Number of the call since the box began, from 1; a reset of the log does not start it again.
    pub number: u64,
    /// When it took effect.
    pub at: Micros,
    /// Who.
    pub caller: Caller,
    /// What.
    pub action: Action,
    /// With all parameters.
    pub request: Request,
    /// The end of it.
    pub outcome: Outcome,
}

/// Calls since the last reset: all of them counted, the latest [`CallLog::KEPT`] kept whole, and counted for each of the
/// [`CallLog::CALLERS`] callers that came last.
#[derive(Debug, Clone, Default)]
pub struct CallLog {
    records: VecDeque<CallRecord>,
    counts: BTreeMap<Action, usize>,
    by_caller: BTreeMap<String, BTreeMap<Action, usize>>,
    /// The names in it, in the order of their first calls.
    callers: VecDeque<String>,
    forgotten_callers: u64,
    throttled: usize,
}

impl CallLog {
    /// Most calls that are kept whole.
    pub const KEPT: usize = 20_000;
    /// Most callers that are counted one by one. Whoever has a key to invent can call by any number of names.
    pub const CALLERS: usize = 10_000;

    /// The calls that are kept, in order.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &CallRecord> + ExactSizeIterator {
        self.records.iter()
    }

    /// Calls per action, all since the last reset.
    pub fn counts(&self) -> &BTreeMap<Action, usize> {
        &self.counts
    }

    /// The same for each caller, by name.
    pub fn counts_by_caller(&self) -> &BTreeMap<String, BTreeMap<Action, usize>> {
        &self.by_caller
    }

    /// Callers whose own counts are dropped: of too many those whose first call was longest ago.
    pub(super) fn forgotten_callers(&self) -> u64 {
        self.forgotten_callers
    }

    /// Calls of one action, all since the last reset.
    pub fn count(&self, action: Action) -> usize {
        self.counts.get(&action).copied().unwrap_or_default()
    }

    /// Calls that were answered with `RequestLimitExceeded`.
    pub fn throttled(&self) -> usize {
        self.throttled
    }

    /// Calls made by `caller`, of those that are kept.
    pub fn by<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a CallRecord> {
        self.records.iter().filter(move |record| record.caller == *caller)
    }

    /// Forgets all records and counts.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn push(&mut self, record: CallRecord) {
        // No entry for a known caller: its name need not be copied.
        if !self.by_caller.contains_key(&record.caller.name) {
            self.by_caller.insert(record.caller.name.clone(), BTreeMap::new());
            self.callers.push_back(record.caller.name.clone());
            if self.callers.len() > Self::CALLERS
                && let Some(first) = self.callers.pop_front()
            {
                self.by_caller.remove(&first);
                self.forgotten_callers += 1;
            }
        }
        if let Some(counts) = self.by_caller.get_mut(&record.caller.name) {
            *counts.entry(record.action).or_insert(0) += 1;
        }
        *self.counts.entry(record.action).or_insert(0) += 1;
        if record.outcome == Outcome::Failed(ErrorCode::RequestLimitExceeded) {
            self.throttled += 1;
        }
        if self.records.len() == Self::KEPT {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }
}
