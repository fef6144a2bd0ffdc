//! How many addresses were in use, for as long as a lead time may be.

use std::collections::VecDeque;
use std::time::Duration;

use holdfast_model::time::BootTime;

use super::lead::LONGEST;

/// What happens within so many milliseconds is one change.
const SLOT: u64 = 250;

/// What was in use at the end of each slot in which that changed, oldest first: no more of them than the longest lead time has, and
/// the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recent {
    slots: VecDeque<(u64, u32)>,
    last: Option<BootTime>,
}

impl Recent {
    pub(super) fn see(&mut self, used: u32, now: BootTime) {
        self.last = Some(now);
        let slot = now.0 / SLOT;
        match self.slots.back_mut() {
            Some(last) if last.0 == slot => last.1 = used,
            Some(last) if last.1 == used => {}
            _ => self.slots.push_back((slot, used)),
        }
        while self.slots.get(1).is_some_and(|second| now.since(end(second.0)) > LONGEST) {
            self.slots.pop_front();
        }
    }

    pub(super) fn last(&self) -> Option<BootTime> {
        self.last
    }

    pub(super) fn used(&self) -> Option<u32> {
        self.slots.back().map(|(_, used)| *used)
    }

    /// What was in use so long before, or as long as is known.
    pub(super) fn used_at(&self, now: BootTime, before: Duration) -> Option<u32> {
        let known = self.slots.iter().rev().find(|(slot, _)| now.since(end(*slot)) >= before);
        known.or(self.slots.front()).map(|(_, used)| *used)
    }
}

fn end(slot: u64) -> BootTime {
    BootTime(slot.saturating_add(1).saturating_mul(SLOT))
}
