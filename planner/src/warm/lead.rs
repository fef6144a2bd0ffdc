//! How long EC2 takes to bring addresses, from the decision to the first lease that could be.

use std::collections::VecDeque;
use std::time::Duration;

use holdfast_model::time::BootTime;

/// An ENI is created, attached and set up in about this time, when nothing is wrong. The pool is never sized for less: a few good
/// answers of a morning are no promise.
pub(super) const SHORTEST: Duration = Duration::from_secs(10);
/// Nor for more: what takes longer is an outage, and no number of spares outlasts one.
pub(super) const LONGEST: Duration = Duration::from_secs(60);
/// The longest of one such span counts until the end of the next.
const SPAN: Duration = Duration::from_secs(6 * 3600);
/// Calls that are told apart; what is asked for beyond counts as asked for with the last.
const TOLD_APART: usize = 64;

/// What was asked for and has not come yet, oldest first: what is asked for first is taken to come first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lead {
    awaited: VecDeque<(BootTime, u32)>,
    coming: u32,
    this: Option<Duration>,
    before: Option<Duration>,
    span: u64,
}

impl Lead {
    /// So much is on its way.
    pub(super) fn see(&mut self, coming: u32, now: BootTime) {
        let span = now.0 / u64::try_from(SPAN.as_millis()).unwrap_or(u64::MAX);
        if span > self.span {
            self.before = if span == self.span + 1 { self.this } else { None };
            (self.this, self.span) = (None, span);
        }
        if coming > self.coming {
            let more = coming - self.coming;
            if self.awaited.len() < TOLD_APART {
                self.awaited.push_back((now, more));
            } else if let Some(last) = self.awaited.back_mut() {
                last.1 = last.1.saturating_add(more);
            }
        }
        let mut come = self.coming.saturating_sub(coming);
        while come > 0 {
            let Some(first) = self.awaited.front_mut() else { break };
            let part = first.1.min(come);
            (first.1, come) = (first.1 - part, come - part);
            self.this = self.this.max(Some(now.since(first.0).min(LONGEST)));
            if first.1 == 0 {
                self.awaited.pop_front();
            }
        }
        self.coming = coming;
    }

    pub(super) fn seen(&self) -> Option<Duration> {
        self.this.max(self.before)
    }

    pub(super) fn time(&self) -> Duration {
        self.seen().unwrap_or(SHORTEST).clamp(SHORTEST, LONGEST)
    }
}
