//! One sandbox's attachment: what is under way for it, and who waits for an answer. Pure: an input, beside what the ledger
//! has of the sandbox, gives the next state and what is to be done, as data.
//!
//! ```text
//!                 Leased         LeaseDurable      Wired
//!        Idle ──────────> Leasing ────────> Wiring ──────> Idle: wired and answered
//!         │ ^                │ a DEL came, or nobody waits │ or it failed
//!         │ │                v                             v
//!     DEL │ └────────── Releasing <────────────────────────┘
//!         v  links gone      │ ReleaseDurable, or the disk refuses or hangs
//!     Releasing          Unwiring ──> Unlink ──> Unlinking
//!                            ^ tried again          │ one that will not go
//!                            └───────── UnlinkLater <┘
//! ```
//!
//! A wired pod that lives and whose link somebody took away is wired anew ([`Work::Rewiring`]) and idle again; a DEL waits for
//! that, since two things at once would undo each other.
//!
//! A lease that a start finds unfinished is taken up by [`Input::TakeUp`]: one that is pending is compared with the kernel
//! ([`Work::Verifying`]), one that is being released goes on being released.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_model::lease::Lease;
use holdfast_model::time::BootTime;
use holdfast_planner::Ended;
use holdfast_ports::{HostFault, Netns};
use tokio::sync::oneshot;

use crate::request::{AddError, AddRequest, Deleted};

mod step;
#[cfg(test)]
mod tests;

/// Who asked for an ADD.
pub(crate) type AddReply = oneshot::Sender<Result<Lease, AddError>>;

/// How soon a step that failed in the kernel is tried again, the first time and at most: something of somebody else's may be in
/// the way for days.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// What is being done about a sandbox: one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing.
    Idle,
    /// Its lease is being made durable.
    Leasing,
    /// It is being wired.
    Wiring,
    /// It was wired and lost its link, and is being wired anew.
    Rewiring,
    /// Its wiring is being compared with the kernel; the number tells this comparison from others.
    Verifying(u64),
    /// That it goes is being made durable.
    Releasing,
    /// Its rules and routes are being removed.
    Unwiring,
    /// They are gone, and its links are to be removed with the next batch.
    Unlink,
    /// One of its links would not go: it is tried again later, and others do not wait for it.
    UnlinkLater,
    /// Its links are being removed.
    Unlinking,
}

/// An ADD that has not been answered.
#[derive(Debug)]
pub(crate) struct Add {
    pub(crate) request: AddRequest,
    pub(crate) since: BootTime,
    pub(crate) deadline: BootTime,
    pub(crate) order: u64,
    /// Nothing but an address is wanted, and on these network cards there was none.
    pub(crate) lacks: BTreeSet<u8>,
    replies: Vec<AddReply>,
}

/// What the comparison of a lease with the kernel gave.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is wired as it should be.
    Sound,
    /// It is not, or its namespace is gone.
    Unsound { why: String },
    /// Its sandbox lives, and its namespace cannot be seen from here, or not entered.
    Hidden(HostFault),
    /// It could not be compared.
    Unknown(HostFault),
}

/// Why a pod was not wired.
#[derive(Debug)]
pub(crate) struct WiringFault {
    /// What the host said of the face that failed.
    pub(crate) fault: HostFault,
    /// How many faces had been wired before.
    pub(crate) made: usize,
}

/// What happens to an attachment.
#[derive(Debug)]
pub(crate) enum Input {
    /// An ADD. It is held for that long at most.
    Add { request: Box<AddRequest>, reply: AddReply, at: BootTime, hold: Duration, order: u64 },
    /// A DEL; whether the kernel was read since the start: before, nobody knows what is left of a release.
    Del { reply: oneshot::Sender<Deleted>, host_read: bool },
    /// Its ADD is refused.
    Refuse(AddError),
    /// Its lease is with the disk; the number tells this commit from others.
    Leased { commit: u64 },
    /// The disk has its lease.
    LeaseDurable { commit: u64 },
    /// The disk refused its lease.
    LeaseRefused { commit: u64, cause: String },
    /// The disk does not answer.
    DiskHangs { cause: String },
    /// The wiring ended.
    Wired(Result<(), WiringFault>),
    /// It lives, in the namespace of this number, and its link is gone.
    Severed { inode: u64 },
    /// It was wired anew, or not.
    Rewired(Result<(), HostFault>),
    /// A comparison ended.
    Verified { ticket: u64, verdict: Verdict },
    /// Its lease is over.
    Ended(Ended),
    /// The disk has its release.
    ReleaseDurable { commit: u64 },
    /// The disk refused its release.
    ReleaseRefused { commit: u64 },
    /// The disk takes writes again.
    DiskIsBack,
    /// Its rules and routes were removed, or not.
    Unwired(Result<(), HostFault>),
    /// A batch of links takes its own along.
    LinksTaken,
    /// Its links were removed, or not.
    LinksRemoved(Result<(), HostFault>),
    /// What was left undone is to be taken up: after a start, and when something failed a while ago.
    TakeUp,
}

/// What is to be done about it. In order.
#[derive(Debug)]
pub(crate) enum Act {
    /// Answer the ADD.
    AnswerAdd(Box<Result<Lease, AddError>>),
    /// Answer the DELs.
    AnswerDels,
    /// Make it durable that the lease is being released; [`Input::ReleaseDurable`] follows, with this number.
    Release { ended: Ended, commit: u64 },
    /// Make it durable that the lease never was: nothing was made for it.
    Undo,
    /// The lease was answered for: it may be written down when the disk is written next.
    Activate,
    /// Wire it; [`Input::Wired`] follows.
    Wire,
    /// Wire it once more; [`Input::Rewired`] follows.
    Rewire,
    /// Compare it with the kernel, in this namespace or in the one that its path leads to; [`Input::Verified`] follows.
    Verify { ticket: u64, netns: Option<Netns> },
    /// Remove its rules and routes; [`Input::Unwired`] follows.
    Unwire,
    /// Some links are to be removed.
    RemoveLinks,
    /// Nothing in the kernel names its addresses: they rest, and the lease ends.
    Finish,
    /// Something failed in the kernel: try again in so long.
    RetryKernel { after: Duration },
}

/// One sandbox, as far as something is under way or somebody waits.
#[derive(Debug)]
pub(crate) struct Attachment {
    work: Work,
    /// The commit that is waited for. Where the disk hangs, earlier ones of the same sandbox may be with it still.
    commit: u64,
    add: Option<Add>,
    dels: Vec<oneshot::Sender<Deleted>>,
    /// What is being compared was reached by the handle that the ADD brought, not by the path.
    by_handle: bool,
    /// Its DEL was answered, and the disk could not take the release.
    owed: bool,
    /// How often in a row the kernel refused what is to be done.
    failures: u32,
}

impl Default for Attachment {
    fn default() -> Self {
        Self {
            work: Work::Idle,
            commit: 0,
            add: None,
            dels: Vec::new(),
            by_handle: false,
            owed: false,
            failures: 0,
        }
    }
}

impl Attachment {
    pub(crate) fn work(&self) -> Work {
        self.work
    }

    /// What its ADD waits for, for people.
    pub(crate) fn stage(&self) -> &'static str {
        match self.work {
            Work::Idle => "waits for an address",
            Work::Leasing => "its lease is being written",
            Work::Wiring => "it is being wired",
            Work::Rewiring => "its link was taken away, and it is being wired anew",
            Work::Verifying(_) => "an older lease of it is being compared with the kernel",
            Work::Releasing | Work::Unwiring | Work::Unlink | Work::UnlinkLater | Work::Unlinking => {
                "an older attachment of it is being removed"
            }
        }
    }

    /// The ADD that has not been answered.
    pub(crate) fn add(&self) -> Option<&Add> {
        self.add.as_ref()
    }

    /// The ADD that waits for its turn: no lease of its own yet.
    pub(crate) fn waiting(&self) -> Option<&Add> {
        self.add.as_ref().filter(|_| !matches!(self.work, Work::Leasing | Work::Wiring))
    }

    /// On which network cards it lacks an address.
    pub(crate) fn lacks(&mut self, cards: BTreeSet<u8>) {
        if let Some(add) = &mut self.add {
            add.lacks = cards;
        }
    }

    /// Whether the kernel refused what is to be done.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Whether the ledger could not take its release.
    pub(crate) fn is_owed(&self) -> bool {
        self.owed
    }

    /// Nothing is to be remembered of it besides its lease.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.work == Work::Idle
            && self.add.is_none()
            && self.dels.is_empty()
            && !self.owed
            && self.failures == 0
    }

    pub(crate) fn answer_add(&mut self, result: &Result<Lease, AddError>) {
        for reply in self.add.take().into_iter().flat_map(|add| add.replies) {
            // A plugin that was killed meanwhile needs no answer: its DEL follows.
            let _gone: Result<(), _> = reply.send(result.clone());
        }
    }

    pub(crate) fn answer_dels(&mut self, done: Deleted) {
        for reply in self.dels.drain(..) {
            // A plugin that was killed meanwhile needs no answer.
            let _gone: Result<(), Deleted> = reply.send(done);
        }
    }
}
