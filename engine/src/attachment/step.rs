//! From an input to the next state and what is to be done.

use std::collections::BTreeSet;

use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::sandbox::SandboxKey;
use holdfast_planner::Ended;
use holdfast_ports::{HostFault, Netns};
use tokio::sync::oneshot;

use crate::attachment::{Act, Add, Attachment, Input, RETRY, Verdict, WiringFault, Work};
use crate::request::{AddError, Deleted};

impl Attachment {
    /// Takes an input. `lease` is what the ledger has of the sandbox; `ticket` is another number each time.
    pub(crate) fn step(
        &mut self,
        sandbox: &SandboxKey,
        input: Input,
        lease: Option<&Lease>,
        ticket: u64,
    ) -> Vec<Act> {
        match input {
            Input::Add { request, reply, at, hold, order } => {
                let add = Add {
                    request: *request,
                    since: at,
                    deadline: at.after(hold),
                    order,
                    lacks: BTreeSet::new(),
                    replies: vec![reply],
                };
                self.asked(sandbox, add, lease, ticket)
            }
            Input::Del { reply, host_read } => self.deleted(sandbox, reply, host_read, lease, ticket),
            Input::Refuse(error) => self.waiting().map(|_| refused(error)).into_iter().collect(),
            Input::Leased { commit } => {
                (self.work, self.commit) = (Work::Leasing, commit);
                Vec::new()
            }
            Input::LeaseDurable { commit } if self.awaits(Work::Leasing, commit) => {
                self.leased(sandbox, lease, ticket)
            }
            Input::LeaseRefused { commit, cause } if self.awaits(Work::Leasing, commit) => {
                self.work = Work::Idle;
                vec![refused(AddError::Ledger { cause }), Act::AnswerDels]
            }
            // Should the lease become durable after all, it is given up then.
            Input::DiskHangs { cause } if self.work == Work::Leasing => {
                vec![refused(AddError::Ledger { cause }), Act::AnswerDels]
            }
            // A DEL succeeds; should its release be lost, it is found out anew.
            Input::DiskHangs { .. } if self.work == Work::Releasing => self.unwire(lease),
            Input::Wired(result) if self.work == Work::Wiring => self.wired(sandbox, result, lease, ticket),
            Input::Severed { inode } if self.work == Work::Idle => self.severed(inode, lease),
            Input::Rewired(result) if self.work == Work::Rewiring => self.rewired(&result, lease, ticket),
            Input::Verified { ticket: of, verdict } if self.work == Work::Verifying(of) => {
                self.verified(verdict, lease, ticket)
            }
            Input::Ended(ended) if self.work == Work::Idle => self.release(ended, lease, ticket),
            Input::ReleaseDurable { commit } => self.release_written(commit, lease),
            Input::ReleaseRefused { commit } => {
                self.owed = true;
                self.release_written(commit, lease)
            }
            Input::DiskIsBack if std::mem::take(&mut self.owed) => {
                lease.map(Ended::asked).map_or_else(Vec::new, |ended| self.release(ended, lease, ticket))
            }
            Input::Unwired(result) if self.work == Work::Unwiring => self.unwired(result, lease),
            Input::LinksTaken if self.work == Work::Unlink => {
                self.work = Work::Unlinking;
                Vec::new()
            }
            Input::LinksRemoved(result) if self.work == Work::Unlinking => {
                if result.is_err() {
                    self.work = Work::UnlinkLater;
                    return vec![self.retry()];
                }
                (self.work, self.failures) = (Work::Idle, 0);
                vec![Act::Finish]
            }
            Input::TakeUp => self.take_up(lease, ticket),
            // What was meant for a state that is over.
            Input::LeaseDurable { .. }
            | Input::LeaseRefused { .. }
            | Input::DiskHangs { .. }
            | Input::Wired(_)
            | Input::Severed { .. }
            | Input::Rewired(_)
            | Input::Verified { .. }
            | Input::Ended(_)
            | Input::DiskIsBack
            | Input::Unwired(_)
            | Input::LinksTaken
            | Input::LinksRemoved(_) => Vec::new(),
        }
    }

    fn awaits(&self, work: Work, commit: u64) -> bool {
        self.work == work && self.commit == commit
    }

    fn asked(&mut self, sandbox: &SandboxKey, mut add: Add, lease: Option<&Lease>, ticket: u64) -> Vec<Act> {
        if let Some(first) = &mut self.add {
            if first.request.netns_ref.inode == add.request.netns_ref.inode {
                first.replies.append(&mut add.replies);
            } else {
                for reply in add.replies {
                    // A plugin that was killed meanwhile needs no answer.
                    let _gone: Result<(), _> =
                        reply.send(Err(AddError::TwoNamespaces { sandbox: sandbox.clone() }));
                }
            }
            return Vec::new();
        }
        // Leased already, it may be the answer.
        let may_be_it = lease.is_some_and(|lease| is_answer(&add, lease));
        let netns = add.request.netns.clone();
        self.add = Some(add);
        if may_be_it && self.work == Work::Idle {
            return self.verify(ticket, Some(netns));
        }
        Vec::new()
    }

    fn deleted(
        &mut self,
        sandbox: &SandboxKey,
        reply: oneshot::Sender<Deleted>,
        host_read: bool,
        lease: Option<&Lease>,
        ticket: u64,
    ) -> Vec<Act> {
        self.dels.push(reply);
        if self.add.is_some() && matches!(self.work, Work::Leasing | Work::Wiring) {
            // It is released as soon as that ends.
            return Vec::new();
        }
        let mut acts: Vec<Act> = self
            .waiting()
            .map(|_| refused(AddError::Deleted { sandbox: sandbox.clone() }))
            .into_iter()
            .collect();
        match lease.map(|lease| lease.phase) {
            None => acts.push(Act::AnswerDels),
            Some(LeasePhase::Releasing) => {
                // Its rules and routes are gone; or what is left of it is tried again later, or owed to a disk that refuses.
                let unwired = match self.work {
                    Work::Unlink | Work::UnlinkLater | Work::Unlinking => true,
                    Work::Idle => host_read,
                    _ => false,
                };
                acts.extend(unwired.then_some(Act::AnswerDels));
            }
            // It is released as soon as that ends.
            Some(LeasePhase::Pending | LeasePhase::Active) if self.work == Work::Rewiring => {}
            Some(LeasePhase::Pending | LeasePhase::Active) => {
                acts.extend(
                    lease
                        .map(Ended::asked)
                        .map(|ended| self.release(ended, lease, ticket))
                        .into_iter()
                        .flatten(),
                );
            }
        }
        acts
    }

    /// The lease is durable: wire the pod, if anybody still wants it.
    fn leased(&mut self, sandbox: &SandboxKey, lease: Option<&Lease>, ticket: u64) -> Vec<Act> {
        self.work = Work::Idle;
        let wanted_by =
            |add: &Add| lease.is_some_and(|lease| lease.netns.inode == add.request.netns_ref.inode);
        if !self.add.as_ref().is_some_and(wanted_by) {
            // Whoever asked was told that the disk does not answer.
            let ended = lease.and_then(Ended::unanswered);
            return ended.map_or_else(Vec::new, |ended| self.release(ended, lease, ticket));
        }
        if !self.dels.is_empty() {
            return self.abandoned(sandbox, lease, ticket);
        }
        self.work = Work::Wiring;
        vec![Act::Wire]
    }

    fn wired(
        &mut self,
        sandbox: &SandboxKey,
        result: Result<(), WiringFault>,
        lease: Option<&Lease>,
        ticket: u64,
    ) -> Vec<Act> {
        self.work = Work::Idle;
        if !self.dels.is_empty() {
            return self.abandoned(sandbox, lease, ticket);
        }
        let Some(lease) = lease else {
            let cause = "the lease was lost while its pod was wired".to_owned();
            return vec![refused(AddError::Ledger { cause })];
        };
        match result {
            // The pending lease is durable and the wiring was read back: a crash from here on adopts it.
            Ok(()) => vec![Act::AnswerAdd(Box::new(Ok(lease.clone()))), Act::Activate],
            Err(WiringFault { fault, made }) => {
                let at_once = matches!(
                    fault,
                    HostFault::Netns { .. } | HostFault::Barred { .. } | HostFault::Occupied { .. }
                );
                let nothing_made = made == 0 && at_once;
                let mut acts = if nothing_made {
                    vec![Act::Undo]
                } else {
                    // Undone by the host, as far as it could: the release makes sure before the address rests.
                    let ended = Ended::unanswered(lease);
                    ended.map_or_else(Vec::new, |ended| self.release(ended, Some(lease), ticket))
                };
                acts.push(refused(AddError::Wiring { pod: lease.pod.clone(), source: fault }));
                acts
            }
        }
    }

    /// A DEL came while the ADD was under way.
    fn abandoned(&mut self, sandbox: &SandboxKey, lease: Option<&Lease>, ticket: u64) -> Vec<Act> {
        let mut acts = vec![refused(AddError::Deleted { sandbox: sandbox.clone() })];
        match lease.map(Ended::asked) {
            Some(ended) => acts.extend(self.release(ended, lease, ticket)),
            None => acts.push(Act::AnswerDels),
        }
        acts
    }

    /// What is about to go gets nothing back.
    fn severed(&mut self, inode: u64, lease: Option<&Lease>) -> Vec<Act> {
        let is_it = |lease: &Lease| lease.phase == LeasePhase::Active && lease.netns.inode == inode;
        if !lease.is_some_and(is_it) || self.owed || !self.dels.is_empty() {
            return Vec::new();
        }
        self.work = Work::Rewiring;
        vec![Act::Rewire]
    }

    fn rewired(&mut self, result: &Result<(), HostFault>, lease: Option<&Lease>, ticket: u64) -> Vec<Act> {
        self.work = Work::Idle;
        let Some(lease) = lease else { return vec![Act::AnswerDels] };
        if !self.dels.is_empty() {
            return self.release(Ended::asked(lease), Some(lease), ticket);
        }
        let answers = result.is_ok() && self.add.as_ref().is_some_and(|add| is_answer(add, lease));
        answers.then(|| Act::AnswerAdd(Box::new(Ok(lease.clone())))).into_iter().collect()
    }

    /// A comparison ended. A pending lease that verifies is adopted, one that does not is undone, and one that could
    /// not be compared is looked at again: not seeing a thing proves nothing. An ADD that may be answered with it, is.
    fn verified(&mut self, verdict: Verdict, lease: Option<&Lease>, ticket: u64) -> Vec<Act> {
        self.work = Work::Idle;
        if !matches!(verdict, Verdict::Unknown(_)) {
            self.failures = 0;
        }
        let Some(lease) = lease else { return Vec::new() };
        let mut acts = Vec::new();
        let is_hidden = matches!(verdict, Verdict::Hidden(_));
        if is_hidden
            && !self.by_handle
            && let Some(netns) = self.netns_of(lease)
        {
            // Whoever asks again brought the very namespace along.
            return self.verify(ticket, Some(netns));
        }
        match verdict {
            Verdict::Sound => {
                if lease.phase == LeasePhase::Pending {
                    acts.push(Act::Activate);
                }
                let active = Lease { phase: LeasePhase::Active, ..lease.clone() };
                if self.add.as_ref().is_some_and(|add| is_answer(add, &active)) {
                    acts.push(Act::AnswerAdd(Box::new(Ok(active))));
                }
            }
            Verdict::Unsound { .. } => {
                // One that was answered ends only for an ADD that wants another in its place: that one sees to it.
                if let Some(ended) = Ended::unanswered(lease) {
                    acts.extend(self.release(ended, Some(lease), ticket));
                }
            }
            Verdict::Hidden(source) | Verdict::Unknown(source) => {
                if is_hidden && lease.phase == LeasePhase::Pending {
                    // Wired or half wired, it lives; what it lacks is put right with the rest of the host's network.
                    acts.push(Act::Activate);
                } else if !is_hidden {
                    acts.push(self.retry());
                }
                // It may have been answered with what is kept here, so it gets nothing else in its place.
                let is_its_own = |add: &Add| is_answer(add, lease) || (is_hidden && is_for(add, lease));
                if self.add.as_ref().is_some_and(is_its_own) {
                    acts.push(refused(AddError::Wiring { pod: lease.pod.clone(), source }));
                }
            }
        }
        acts
    }

    fn release(&mut self, ended: Ended, lease: Option<&Lease>, commit: u64) -> Vec<Act> {
        if lease.is_none_or(|lease| lease.phase == LeasePhase::Releasing || !ended.is_of(lease)) {
            return Vec::new();
        }
        // Where the disk had refused a release, the kernel's part went on without it.
        if matches!(self.work, Work::Idle | Work::Leasing | Work::Wiring | Work::Verifying(_)) {
            (self.work, self.commit) = (Work::Releasing, commit);
        }
        vec![Act::Release { ended, commit }]
    }

    /// The disk took the release, or refused it. Where it had hung, the kernel's part went on without it, and the sandbox may have
    /// another lease by now.
    fn release_written(&mut self, commit: u64, lease: Option<&Lease>) -> Vec<Act> {
        match self.work {
            Work::Releasing if commit == self.commit => self.unwire(lease),
            Work::Unlink | Work::UnlinkLater | Work::Unlinking => vec![Act::AnswerDels],
            _ => Vec::new(),
        }
    }

    fn unwire(&mut self, lease: Option<&Lease>) -> Vec<Act> {
        if lease.is_none() {
            self.work = Work::Idle;
            return vec![Act::AnswerDels];
        }
        self.work = Work::Unwiring;
        vec![Act::Unwire]
    }

    fn unwired(&mut self, result: Result<(), HostFault>, lease: Option<&Lease>) -> Vec<Act> {
        self.work = Work::Idle;
        // The release is durable: what is left to do will be done, whatever happens.
        let mut acts = vec![Act::AnswerDels];
        if result.is_err() {
            acts.push(self.retry());
            return acts;
        }
        self.failures = 0;
        if lease.is_some() {
            self.work = Work::Unlink;
            acts.push(Act::RemoveLinks);
        }
        acts
    }

    /// The kernel refused: later again, and each time later.
    fn retry(&mut self) -> Act {
        let after = (RETRY.0 * 2_u32.pow(self.failures.min(16))).min(RETRY.1);
        self.failures = self.failures.saturating_add(1);
        Act::RetryKernel { after }
    }

    fn take_up(&mut self, lease: Option<&Lease>, ticket: u64) -> Vec<Act> {
        match (self.work, lease.map(|lease| lease.phase)) {
            (Work::UnlinkLater, _) => {
                self.work = Work::Unlink;
                vec![Act::RemoveLinks]
            }
            (Work::Idle, Some(LeasePhase::Pending)) => {
                let netns = lease.and_then(|lease| self.netns_of(lease));
                self.verify(ticket, netns)
            }
            (Work::Idle, Some(LeasePhase::Releasing)) => self.unwire(lease),
            (Work::Idle, _) => {
                self.failures = 0;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// This lease's namespace, if the ADD that waits brought it.
    fn netns_of(&self, lease: &Lease) -> Option<Netns> {
        self.add.as_ref().filter(|add| is_for(add, lease)).map(|add| add.request.netns.clone())
    }

    fn verify(&mut self, ticket: u64, netns: Option<Netns>) -> Vec<Act> {
        (self.work, self.by_handle) = (Work::Verifying(ticket), netns.is_some());
        vec![Act::Verify { ticket, netns }]
    }
}

/// Whether this lease answers this ADD.
fn is_answer(add: &Add, lease: &Lease) -> bool {
    lease.phase == LeasePhase::Active && is_for(add, lease)
}

/// Whether this lease is of the namespace that this ADD is for.
fn is_for(add: &Add, lease: &Lease) -> bool {
    lease.netns.inode == add.request.netns_ref.inode
}

fn refused(error: AddError) -> Act {
    Act::AnswerAdd(Box::new(Err(error)))
}
