//! Memory and disk, held together: the ledger in memory runs ahead of the disk, and whatever depends on the disk
//! waits here until the disk has it.
//!
//! ```text
//!            commit(changes, then)                    Report::Committed
//!   Writing ───────────────────────> pending ───────────────────────────────> `then` is carried out
//!      │                                └──────── Report::Failed ───────────> `then` is told so
//!      v Report::Failed
//!   Failing: memory is ahead of a disk that refused; nothing is planned, every commit fails at once
//!      │ Report::Resumed(ledger)
//!      v
//!   Writing, with memory set back to the disk
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use holdfast_model::chain;
use holdfast_model::ids::IntentId;
use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::sandbox::SandboxKey;
use holdfast_model::time::BootTime;
use holdfast_store::{Report, Writer};

/// A commit takes a millisecond or a few. A disk that has not made one for this long is taken for stuck: who waits is
/// told, and what can be done without it is done.
pub(crate) const SLOW_DISK: Duration = Duration::from_secs(2);

/// What waits for a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing does: losing it costs a repetition after the next start.
    Nothing,
    /// The lease is durable: wire the pod.
    Wire { sandbox: SandboxKey, commit: u64 },
    /// The release is durable: unwire the pod.
    Unwire { sandbox: SandboxKey, commit: u64 },
    /// The intent is durable: send its call.
    Send(IntentId),
}

/// What a report from the writer means for those who waited.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// These may go on.
    Durable(Vec<Then>),
    /// These did not happen.
    Failed { thens: Vec<Then>, cause: String },
    /// Memory was set back to what the disk has; work lost in between has to be picked up.
    Resumed,
    /// The disk still refuses.
    StillFailing,
}

struct Pending {
    sequence: u64,
    then: Then,
}

/// The ledger, in memory and on disk.
pub(crate) struct Book {
    ledger: Ledger,
    writer: Option<Writer>,
    pending: VecDeque<Pending>,
    failing: Option<String>,
    /// Commits asked for while the disk refuses; told so by the loop.
    refused: Vec<Then>,
    /// When the disk is asked again.
    retry_at: Option<BootTime>,
    /// In memory, not handed to the disk yet: nobody waits for it.
    lazy: Vec<Change>,
    /// Counts what changed in memory.
    version: u64,
    /// The commit that the disk has had longest, and since when it was seen to be that.
    oldest: Option<(u64, BootTime)>,
}

impl Book {
    pub(crate) fn new(ledger: Ledger, writer: Writer) -> Self {
        Self {
            ledger,
            writer: Some(writer),
            pending: VecDeque::new(),
            failing: None,
            refused: Vec::new(),
            retry_at: None,
            lazy: Vec::new(),
            version: 0,
            oldest: None,
        }
    }

    /// Looks which commit the disk has had longest. To be called at the beginning and at the end of each turn of the loop.
    pub(crate) fn watch(&mut self, now: BootTime) {
        let oldest = self.pending.front().map(|pending| pending.sequence);
        if self.oldest.map(|(sequence, _)| sequence) != oldest {
            self.oldest = oldest.map(|sequence| (sequence, now));
        }
    }

    /// When the disk counts as stuck, unless it answers before.
    pub(crate) fn stuck_at(&self) -> Option<BootTime> {
        self.oldest.map(|(_, since)| since.after(SLOW_DISK))
    }

    /// Another number after each change in memory.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Whether something waits for [`Book::flush`].
    pub(crate) fn has_lazy(&self) -> bool {
        !self.lazy.is_empty()
    }

    /// Makes the changes in memory at once, and durable with the next commit, or by [`Book::flush`]. For what a start
    /// finds out anew: losing it costs a repetition.
    pub(crate) fn commit_lazily(&mut self, changes: Vec<Change>) {
        if self.failing.is_none() && !changes.is_empty() {
            self.version += 1;
            self.ledger.apply_all(&changes);
            self.lazy.extend(changes);
        }
    }

    /// Hands what waits to the disk.
    pub(crate) fn flush(&mut self) {
        if let Some(writer) = self.writer.as_ref().filter(|_| self.failing.is_none() && !self.lazy.is_empty())
        {
            let sequence = writer.submit(std::mem::take(&mut self.lazy));
            self.pending.push_back(Pending { sequence, then: Then::Nothing });
        }
    }

    /// The ledger as of the last commit that was asked for.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Why the disk refuses, while it does.
    pub(crate) fn failing(&self) -> Option<&str> {
        self.failing.as_deref()
    }

    /// Whether everything asked for is durable.
    pub(crate) fn settled(&self) -> bool {
        self.pending.is_empty() && self.refused.is_empty()
    }

    /// Makes the changes in memory, and durable; `then` follows once the disk has them. An empty commit has
    /// nothing to wait for, and must not be used to wait.
    pub(crate) fn commit(&mut self, changes: Vec<Change>, then: Then) {
        debug_assert!(!changes.is_empty() || then == Then::Nothing, "{then:?} waits for no change");
        if changes.is_empty() {
            return;
        }
        let Some(writer) = self.writer.as_ref().filter(|_| self.failing.is_none()) else {
            self.refused.push(then);
            return;
        };
        self.version += 1;
        self.ledger.apply_all(&changes);
        // In order: what is lazy came first.
        let mut all = std::mem::take(&mut self.lazy);
        all.extend(changes);
        let sequence = writer.submit(all);
        self.pending.push_back(Pending { sequence, then });
    }

    /// Those whose commit was refused without being tried, and why.
    pub(crate) fn take_refused(&mut self) -> Option<(Vec<Then>, String)> {
        if self.refused.is_empty() {
            return None;
        }
        let cause = self.failing.clone().unwrap_or_else(|| "the ledger is closed".to_owned());
        Some((std::mem::take(&mut self.refused), cause))
    }

    /// Takes a report from the writer.
    pub(crate) fn turn(&mut self, report: Report) -> Turned {
        match report {
            Report::Committed { through } => Turned::Durable(self.covered(through)),
            Report::Failed { through, cause } => {
                let thens = self.covered(through);
                let cause = chain(&*cause);
                if self.failing.is_none()
                    && let Some(writer) = &self.writer
                {
                    writer.resume();
                }
                self.failing = Some(cause.clone());
                self.lazy.clear();
                Turned::Failed { thens, cause }
            }
            Report::Resumed { ledger } => {
                debug_assert!(self.pending.is_empty(), "a resumed writer has reported all it was given");
                self.ledger = *ledger;
                self.version += 1;
                self.failing = None;
                self.retry_at = None;
                if let Some(writer) = &self.writer {
                    writer.proceed();
                }
                Turned::Resumed
            }
            Report::NotResumed { cause } => {
                self.failing = Some(chain(&*cause));
                Turned::StillFailing
            }
        }
    }

    /// Sets when the disk is asked again.
    pub(crate) fn retry_at(&mut self, when: BootTime) {
        self.retry_at = Some(when);
    }

    /// When the disk is to be asked again.
    pub(crate) fn retry_due(&self) -> Option<BootTime> {
        self.retry_at
    }

    /// Asks the disk again.
    pub(crate) fn retry(&mut self) {
        self.retry_at = None;
        if let Some(writer) = &self.writer {
            writer.resume();
        }
    }

    /// Hands the newest journal entries to `reply`, on the writer's thread; none when they cannot be read.
    pub(crate) fn journal(&self, limit: usize, reply: impl FnOnce(Vec<JournalEntry>) + Send + 'static) {
        match &self.writer {
            Some(writer) => writer.journal(limit, move |read| reply(read.unwrap_or_default())),
            None => reply(Vec::new()),
        }
    }

    /// Leaves the file as it is: nothing of what is with the disk is waited for.
    pub(crate) fn abandon(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.abandon();
        }
    }

    /// Closes the file in order.
    pub(crate) fn close(&mut self) -> Result<(), String> {
        self.flush();
        self.writer.take().map_or(Ok(()), |writer| writer.close().map_err(|error| chain(&error)))
    }

    fn covered(&mut self, through: u64) -> Vec<Then> {
        let mut thens = Vec::new();
        while let Some(next) = self.pending.front()
            && next.sequence <= through
        {
            thens.extend(self.pending.pop_front().map(|pending| pending.then));
        }
        thens
    }
}

#[cfg(test)]
mod tests;
