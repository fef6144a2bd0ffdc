//! ADD: who wants an address, who gets one, and who is told why not.
//!
//! The way of one ADD is its attachment's ([`crate::attachment`]); here is what concerns all of them: the order in which
//! they came, the addresses that there are, and how long they have waited.

use std::time::Duration;

use holdfast_model::chain;
use holdfast_model::ids::MacAddr;
use holdfast_model::lease::LeasePhase;
use holdfast_model::sandbox::SandboxKey;
use holdfast_model::time::Now;
use holdfast_planner::{self as planner, Choice, Ended, LeaseRequest};
use holdfast_ports::Clock;

use crate::attachment::{AddReply, Input, Work};
use crate::book::Then;
use crate::condition::Condition;
use crate::engine::Engine;
use crate::request::{AddError, AddRequest};
use crate::world::World;

/// By which of its two names the host end goes.
#[derive(Clone, Copy)]
enum HostName {
    Conventional,
    Fallback,
}

impl<W: World> Engine<W> {
    pub(crate) fn add(&mut self, request: AddRequest, reply: AddReply) {
        if self.is_stopping() {
            // A plugin that was killed meanwhile needs no answer.
            let _gone: Result<(), _> = reply.send(Err(AddError::Stopping));
            return;
        }
        let sandbox = request.sandbox.clone();
        let hold = self.config.add_hold.value.min(request.patience.unwrap_or(Duration::MAX));
        let (at, order) = (self.now().boottime, self.attachments.next_number());
        self.drive(&sandbox, Input::Add { request: Box::new(request), reply, at, hold, order });
    }

    /// Gives free addresses to those who wait, in the order in which they came. The plan learns how many get none.
    pub(crate) fn serve_waiting(&mut self, now: &Now) {
        let pool = self.desired().pool();
        let in_line = self.attachments.in_line();
        // Most turns serve nobody, and all addresses of a large node are many.
        let free = if in_line.is_empty() { Vec::new() } else { self.free_addresses(pool, now) };
        let mut free = free.into_iter();
        let mut short = 0;
        for sandbox in in_line {
            let Some(name) = self.ready_to_lease(&sandbox, now) else { continue };
            let served = free.as_slice().first().cloned();
            let served = served.is_some_and(|choice| self.lease(&sandbox, name, &choice, now));
            // Who was refused has used none up.
            if !served || self.book.ledger().leases.contains_key(&sandbox) {
                free.next();
            }
            self.attachments.change(&sandbox, |attachment| attachment.lacks_address(!served));
            short += u32::from(!served);
        }
        self.observed.waiting.insert(pool, short);
    }

    /// Nobody can be served yet; the plan knows how many wait.
    pub(crate) fn count_waiting(&mut self) {
        let in_line = self.attachments.waiting().filter(|(sandbox, _)| !self.attachments.is_busy(sandbox));
        let waiting = u32::try_from(in_line.count()).unwrap_or(u32::MAX);
        let pool = self.desired().pool();
        self.observed.waiting.insert(pool, waiting);
    }

    /// What the host end is to be called, when nothing but an address is wanted; `None`: it was answered, or waits for
    /// something else.
    fn ready_to_lease(&mut self, sandbox: &SandboxKey, now: &Now) -> Option<HostName> {
        if self.is_stopping() {
            self.drive(sandbox, Input::Refuse(AddError::Stopping));
            return None;
        }
        let attachment = self.attachments.get(sandbox)?;
        let add = attachment.waiting()?;
        let overdue = now.boottime >= add.deadline;
        let older = self.book.ledger().leases.get(sandbox);
        if older.is_some() || attachment.work() != Work::Idle {
            // An older attachment of this very sandbox ends first. What is under way for it is left to that.
            match older.filter(|older| older.phase == LeasePhase::Active) {
                Some(older) if attachment.work() == Work::Idle => {
                    let ended = Ended::replaced(older);
                    self.drive(sandbox, Input::Ended(ended));
                }
                _ if overdue => {
                    let idle = attachment.work() == Work::Idle;
                    let cause =
                        if idle { "an older attachment of it ends first" } else { attachment.stage() };
                    self.held_too_long(sandbox, cause, now);
                }
                _ => {}
            }
            return None;
        }
        match self.book.ledger().lease_by_veth(&add.request.host_veth).map(|lease| lease.phase) {
            None => Some(HostName::Conventional),
            Some(LeasePhase::Releasing) if !overdue => None,
            // Another sandbox still bears the conventional name: a pod of the same name that is not gone yet.
            Some(_) => Some(HostName::Fallback),
        }
    }

    /// Leases the address, or refuses the ADD for what it names; false when the address is not to be had any more.
    fn lease(&mut self, sandbox: &SandboxKey, name: HostName, choice: &Choice, now: &Now) -> bool {
        let Some(add) = self.attachments.get(sandbox).and_then(|attachment| attachment.waiting()) else {
            return false;
        };
        let request = LeaseRequest {
            sandbox: sandbox.clone(),
            pod: add.request.pod.clone(),
            netns: add.request.netns_ref.clone(),
            host_veth: match name {
                HostName::Conventional => add.request.host_veth.clone(),
                HostName::Fallback => add.request.fallback_veth.clone(),
            },
            host_mac: self.draw_mac(),
            mtu: add.request.mtu,
            trace: add.request.trace.clone(),
        };
        let Some(changes) = planner::open_lease(self.book.ledger(), choice, request, now) else {
            return false;
        };
        if let Err(error) = holdfast_store::admits(&changes) {
            // Names as no runtime gives them. They fail alone.
            let cause = chain(&error);
            tracing::warn!(pod = add.request.pod.name.get(..64).unwrap_or_default(), cause, "ADD refused");
            self.drive(sandbox, Input::Refuse(AddError::Unkeepable { cause }));
            return true;
        }
        let commit = self.attachments.next_number();
        self.drive(sandbox, Input::Leased { commit });
        self.book.commit(changes, Then::Wire { sandbox: sandbox.clone(), commit });
        true
    }

    /// Refuses those who lack an address and for whom there is no hope, by the last plan's report, and those who have
    /// waited long enough.
    pub(crate) fn refuse_hopeless(&mut self, now: &Now) {
        let shortage = self.report.shortage(self.config.add_hold.value, now);
        // Before it is known who we are, nothing is known about what may come: nobody is refused for that.
        let hopeless = !shortage.hold && (self.identified || self.book.ledger().node.is_some());
        for sandbox in self.attachments.in_line() {
            let add = self.attachments.get(&sandbox).and_then(|attachment| attachment.waiting());
            let Some(add) = add.filter(|add| add.lacks_address) else { continue };
            if hopeless {
                let (pod, cause) = (add.request.pod.clone(), shortage.cause.clone());
                tracing::warn!(%sandbox, %pod, %cause, "ADD refused");
                self.drive(&sandbox, Input::Refuse(AddError::NoAddress { pod, cause }));
            } else if now.boottime >= add.deadline {
                let cause = self.report.refusal.as_ref().unwrap_or(&shortage.cause).to_string();
                self.held_too_long(&sandbox, &cause, now);
            }
        }
    }

    fn held_too_long(&mut self, sandbox: &SandboxKey, cause: &str, now: &Now) {
        let Some(add) = self.attachments.get(sandbox).and_then(|attachment| attachment.waiting()) else {
            return;
        };
        let (pod, seconds) = (add.request.pod.clone(), now.boottime.since(add.since).as_secs());
        tracing::warn!(%sandbox, %pod, seconds, cause, "ADD held too long");
        let error = AddError::HeldTooLong { pod, seconds, cause: cause.to_owned() };
        self.drive(sandbox, Input::Refuse(error));
    }

    /// While nothing can be served at all: those who have waited long enough are told why, and nobody waits for a disk that
    /// refuses or hangs.
    pub(crate) fn refuse_overdue(&mut self, condition: &Condition, now: &Now) {
        for sandbox in self.attachments.in_line() {
            if let Some(cause) = condition.disk_trouble() {
                let error = AddError::Ledger { cause: cause.to_owned() };
                self.drive(&sandbox, Input::Refuse(error));
                continue;
            }
            let add = self.attachments.get(&sandbox).and_then(|attachment| attachment.waiting());
            if add.is_some_and(|add| now.boottime >= add.deadline)
                && let Some(cause) = condition.refusal()
            {
                self.held_too_long(&sandbox, &cause.to_string(), now);
            }
        }
    }

    /// The disk is stuck: pods whose lease is with it are refused. Pods whose release is with it are unwired.
    pub(crate) fn go_on_without_the_disk(&mut self, cause: &str) {
        let held_up = self.attachments.iter().filter(|(_, attachment)| match attachment.work() {
            Work::Leasing => attachment.add().is_some(),
            work => work == Work::Releasing,
        });
        let held_up: Vec<_> = held_up.map(|(sandbox, _)| sandbox.clone()).collect();
        for sandbox in held_up {
            tracing::error!(%sandbox, cause, "not waiting for the disk any longer");
            self.drive(&sandbox, Input::DiskHangs { cause: cause.to_owned() });
        }
    }

    pub(crate) fn refuse_all_stopping(&mut self) {
        for sandbox in self.attachments.in_line() {
            self.drive(&sandbox, Input::Refuse(AddError::Stopping));
        }
    }

    fn draw_mac(&self) -> MacAddr {
        let mut bytes = [0; 6];
        bytes.copy_from_slice(&self.ports.clock.random().to_le_bytes()[..6]);
        MacAddr::local_from(bytes)
    }
}
