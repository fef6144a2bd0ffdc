//! When time alone may change the plan.

use holdfast_model::time::{BootTime, Now};

pub(crate) struct Agenda {
    now: BootTime,
    next: Option<BootTime>,
}

impl Agenda {
    pub(crate) fn new(now: &Now) -> Self {
        Self { now: now.boottime, next: None }
    }

    /// Notes an instant; one that has come already is not noted, since the plan has seen it.
    pub(crate) fn at(&mut self, instant: BootTime) {
        if instant > self.now {
            self.next = Some(self.next.map_or(instant, |next| next.min(instant)));
        }
    }

    /// Whether an instant has come; notes it when not.
    pub(crate) fn reached(&mut self, instant: BootTime) -> bool {
        self.at(instant);
        instant <= self.now
    }

    pub(crate) fn next(&self) -> Option<BootTime> {
        self.next
    }
}
