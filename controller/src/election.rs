//! Who leads: one of the replicas, by a Lease. A state machine without a clock and without a connection.
//!
//! ```text
//!              free, or not renewed for as long as it says
//!   follows ───────────────── write ok ───────────────> leads
//!      ^                                                  │
//!      └── somebody else is the holder, or none of our ───┘
//!          writes succeeded since `renewal` ago
//! ```
//!
//! Clocks of machines differ, so nobody compares a time that another one wrote. Who follows counts from when *it* saw the Lease
//! change last, and waits for its whole `duration`. Who leads counts from when it *sent* the last write that succeeded, which is earlier
//! than anybody can have seen it, and stops after `renewal`. As long as clocks run at speeds that differ by less than a third, the
//! one has stopped before the other starts.

use std::time::Duration;

use holdfast_cluster::{Cause, Version};
use holdfast_model::time::BootTime;

/// How long is waited for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a Lease that is not renewed is its holder's.
    pub duration: Duration,
    /// How long who leads goes on without a renewal. Less than `duration`, by more than requests take.
    pub renewal: Duration,
    /// How often it is renewed, or looked at.
    pub retry: Duration,
}

impl Timing {
    /// Those of Kubernetes' own programs.
    pub const USUAL: Self = Self {
        duration: Duration::from_secs(15),
        renewal: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };
}

/// What a Lease says. Its times are for people, and not here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Whose it is; empty when it was given back.
    pub holder: String,
    /// For how long, when it is not renewed.
    pub duration: Duration,
    /// How often it went from one to another.
    pub transitions: u32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the Lease.
    Read,
    /// Write it.
    Write(Claim),
    /// Nothing before this instant.
    WaitUntil(BootTime),
}

/// A Lease to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it is to say.
    pub record: Record,
    /// Whether it was somebody else's: since when it is its holder's changes then.
    pub taken: bool,
    /// The version that it takes the place of. Nothing: there is none, and it is made.
    pub based_on: Option<Version>,
}

/// The Lease as it was last seen.
#[derive(Clone, Debug)]
struct Seen {
    /// Nothing: there is none.
    lease: Option<(Record, Version)>,
    /// When it was first seen so.
    at: BootTime,
}

/// One of those who may lead.
#[derive(Clone, Debug)]
pub struct Candidate {
    me: String,
    timing: Timing,
    seen: Option<Seen>,
    /// Whether what was seen must be read again before anything is based on it.
    doubtful: bool,
    leads_until: BootTime,
    next: BootTime,
}

impl Candidate {
    /// Under a name that no other process has or had.
    pub fn new(me: impl Into<String>, timing: Timing) -> Self {
        Self {
            me: me.into(),
            timing,
            seen: None,
            doubtful: true,
            leads_until: BootTime(0),
            next: BootTime(0),
        }
    }

    /// Until when it may act as the leader, if it leads. Nothing later.
    pub fn leads(&self, now: BootTime) -> Option<BootTime> {
        (now < self.leads_until).then_some(self.leads_until)
    }

    /// What to do.
    pub fn next(&self, now: BootTime) -> Step {
        if now < self.next {
            return Step::WaitUntil(self.next);
        }
        let Some(seen) = self.seen.as_ref().filter(|_| !self.doubtful) else {
            return Step::Read;
        };
        let (record, based_on) = match &seen.lease {
            None => (None, None),
            Some((record, version)) => (Some(record), Some(version.clone())),
        };
        let is_mine = record.is_some_and(|record| record.holder == self.me);
        if !is_mine && now < self.free_at(seen) {
            return Step::Read;
        }
        let transitions = record.map_or(0, |record| record.transitions);
        let taken = !is_mine;
        let record = Record {
            holder: self.me.clone(),
            duration: self.timing.duration,
            transitions: transitions.saturating_add(u32::from(taken && based_on.is_some())),
        };
        Step::Write(Claim { record, taken, based_on })
    }

    /// When a Lease that is not renewed is anybody's.
    fn free_at(&self, seen: &Seen) -> BootTime {
        match &seen.lease {
            Some((record, _)) if !record.holder.is_empty() => {
                seen.at.after(record.duration.max(self.timing.duration))
            }
            _ => seen.at,
        }
    }

    /// The Lease was read, or not.
    pub fn read(&mut self, outcome: Result<Option<(Record, Version)>, &Cause>, now: BootTime, random: u128) {
        let lease = match outcome {
            Ok(lease) => lease,
            Err(Cause::NotFound) => None,
            Err(cause) => return self.rest(cause, now, random),
        };
        let holder = lease.as_ref().map(|(record, _)| record.holder.as_str());
        if holder.is_some_and(|holder| holder != self.me) {
            self.leads_until = BootTime(0);
        }
        let version = |lease: &Option<(Record, Version)>| lease.as_ref().map(|(_, version)| version.clone());
        let at = match &self.seen {
            Some(seen) if version(&seen.lease) == version(&lease) => seen.at,
            _ => now,
        };
        let seen = Seen { lease, at };
        let may_write = holder_is(&seen, &self.me) || self.free_at(&seen) <= now;
        self.next = if may_write { now } else { now.after(self.jittered(random)) };
        self.seen = Some(seen);
        self.doubtful = false;
    }

    /// A write that was sent then succeeded, or not.
    pub fn wrote(
        &mut self,
        claim: &Claim,
        sent: BootTime,
        outcome: Result<Version, &Cause>,
        now: BootTime,
        random: u128,
    ) {
        match outcome {
            Ok(version) => {
                self.seen = Some(Seen { lease: Some((claim.record.clone(), version)), at: now });
                let is_mine = claim.record.holder == self.me;
                self.leads_until = if is_mine { sent.after(self.timing.renewal) } else { BootTime(0) };
                self.next = now.after(self.timing.retry);
            }
            // It may stand, or another one does: only a look tells.
            Err(cause) => {
                self.doubtful = true;
                self.rest(cause, now, random);
            }
        }
    }

    /// What gives the Lease back, so that nobody needs to wait. It acts as the leader no more, whatever becomes of that.
    pub fn resign(&mut self) -> Option<Claim> {
        self.leads_until = BootTime(0);
        let (record, version) = self.seen.as_ref()?.lease.as_ref()?;
        (record.holder == self.me).then(|| Claim {
            record: Record { holder: String::new(), ..record.clone() },
            taken: false,
            based_on: Some(version.clone()),
        })
    }

    fn rest(&mut self, cause: &Cause, now: BootTime, random: u128) {
        let asked = match cause {
            Cause::Busy { retry_after } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        self.next = now.after(self.jittered(random).max(asked));
    }

    /// So that those who wait for the same do not all ask at once.
    fn jittered(&self, random: u128) -> Duration {
        let more = self.timing.retry.as_millis() / 5;
        let more = u64::try_from(random % (more + 1)).unwrap_or(0);
        self.timing.retry + Duration::from_millis(more)
    }
}

fn holder_is(seen: &Seen, me: &str) -> bool {
    seen.lease.as_ref().is_some_and(|(record, _)| record.holder == me)
}

#[cfg(test)]
#[path = "election/tests.rs"]
mod tests;
