//! The log of calls, for assertions on API budgets and for replaying a recorded run.

use std::collections::BTreeMap;

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
    /// Carried out or refused, but the answer was lost.
    AnswerLost,
    /// Never arrived: no effect, no answer.
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

/// Every call since the last reset, in order.
#[derive(Debug, Clone, Default)]
pub struct CallLog {
    records: Vec<CallRecord>,
}

impl CallLog {
    /// The calls.
    pub fn records(&self) -> &[CallRecord] {
        &self.records
    }

    /// Calls per action.
    pub fn counts(&self) -> BTreeMap<Action, usize> {
        let mut counts = BTreeMap::new();
        for record in &self.records {
            *counts.entry(record.action).or_insert(0) += 1;
        }
        counts
    }

    /// Calls of one action.
    pub fn count(&self, action: Action) -> usize {
        self.records.iter().filter(|record| record.action == action).count()
    }

    /// Calls made by `caller`.
    pub fn by<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a CallRecord> {
        self.records.iter().filter(move |record| record.caller == *caller)
    }

    /// Forgets all records.
    pub fn reset(&mut self) {
        self.records.clear();
    }

    pub(super) fn push(&mut self, record: CallRecord) {
        self.records.push(record);
    }
}
