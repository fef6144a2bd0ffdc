//! A hook around the effect of each call, for a harness that kills the caller at a chosen point (F01).

use std::fmt;

use super::request::{Caller, Request};

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Arrived, nothing done.
    BeforeEffect,
    /// Carried out or refused, not answered.
    AfterEffect,
}

/// One point of a run. Equal runs pass equal points, so that a recorded run enumerates where to kill.
#[derive(Debug, Clone, Copy)]
pub struct CallPoint<'a> {
    /// Number of the call, as in the log.
    pub number: u64,
    /// Before or after.
    pub stage: Stage,
    /// Who calls.
    pub caller: &'a Caller,
    /// What.
    pub request: &'a Request,
}

/// What becomes of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on.
    Continue,
    /// Its connection closes: before the effect nothing is done, after it only the answer is lost.
    Drop,
}

/// Called synchronously at each [`CallPoint`].
pub type Hook = Box<dyn FnMut(CallPoint<'_>) -> Verdict + Send>;

/// The hook in force, if any.
#[derive(Default)]
pub(super) struct HookSlot(pub(super) Option<Hook>);

impl HookSlot {
    pub(super) fn at(&mut self, point: CallPoint<'_>) -> Verdict {
        self.0.as_mut().map_or(Verdict::Continue, |hook| hook(point))
    }
}

impl fmt::Debug for HookSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "HookSlot(set)" } else { "HookSlot(none)" })
    }
}
