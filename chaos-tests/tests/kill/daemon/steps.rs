//! Counts the steps, tells the test of each, and dies at the appointed one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::wire::{Death, FromNode, Passed, Side};
use holdfast_store::CommitObserver;
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;

use crate::daemon::line::Line;

/// The steps of this life.
#[derive(Debug)]
pub(crate) struct Steps {
    line: Arc<Line>,
    death: Option<Death>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    of_kind: BTreeMap<(Side, String), u64>,
    all: u64,
}

impl Steps {
    pub(crate) fn new(line: Arc<Line>, death: Option<Death>) -> Self {
        Self { line, death, counts: Mutex::default() }
    }

    /// Nothing of this is done yet.
    pub(crate) fn before(&self, deed: &str) {
        self.pass(Side::Before, deed);
    }

    /// Some of this is done.
    pub(crate) fn amid(&self, deed: &str) {
        self.pass(Side::Amid, deed);
    }

    /// This is done.
    pub(crate) fn after(&self, deed: &str) {
        self.pass(Side::After, deed);
    }

    /// The kernel is being read, or that is over.
    pub(crate) fn reading(&self, begins: bool) {
        self.line.say(&FromNode::Reading(begins));
    }

    fn pass(&self, side: Side, deed: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.of_kind.entry((side, deed.to_owned())).or_insert(0);
        let passed = Passed { side, deed: deed.to_owned(), nth: *count };
        *count += 1;
        let number = counts.all;
        counts.all += 1;
        let last = match &self.death {
            None => false,
            Some(Death::At(step)) => *step == passed,
            Some(Death::AtNth(nth)) => *nth == number,
        };
        // Under the lock: no other thread comes to a step of its own after this one is told.
        self.line.say(&FromNode::Step(passed));
        if last {
            // Delivered before the call returns; the loop is for the compiler.
            let _delivered: nix::Result<()> = kill(getpid(), Signal::SIGKILL);
            loop {
                std::thread::park();
            }
        }
    }
}

impl CommitObserver for Steps {
    fn before(&self, _n: u64) {
        self.pass(Side::Before, "commit");
    }

    fn after(&self, _n: u64) {
        self.pass(Side::After, "commit");
    }
}
