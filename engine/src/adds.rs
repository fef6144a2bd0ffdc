//! ADD: who wants an address, who gets one, and who is told why not.
//!
//! The way of one ADD is its attachment's ([`crate::attachment`]); here is what concerns all of them: the order in which
//! they came, the addresses that there are, and how long they have waited.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_model::chain;
use holdfast_model::ids::MacAddr;
use holdfast_model::lease::LeasePhase;
use holdfast_model::pool::PoolKey;
use holdfast_model::sandbox::SandboxKey;
use holdfast_model::time::Now;
use holdfast_planner::{self as planner, Choice, Ended, HostEnd, LeaseRequest};
use holdfast_ports::Clock;

use crate::attachment::{AddReply, Input, Work};
use crate::book::Then;
use crate::condition::Condition;
use crate::engine::Engine;
use crate::request::{AddError, AddRequest, VethNames};
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
        let in_line = self.attachments.in_line();
        let mut short: BTreeMap<PoolKey, u32> = BTreeMap::from([(self.desired().pool(), 0)]);
        // Most turns serve nobody, and all addresses of a large node are many.
        if in_line.is_empty() {
            self.observed.waiting = short;
            return;
        }
        let mut free = self.free(now);
        for sandbox in in_line {
            let Some(name) = self.ready_to_lease(&sandbox, now) else { continue };
            let on_each = self.interfaces_of(&sandbox);
            let (taken, mut lacking) = match on_each {
                Some(most) => free.take_each(most),
                None => (free.take_one(), BTreeSet::new()),
            };
            let served = lacking.is_empty() && !taken.is_empty() && self.lease(&sandbox, name, &taken, now);
            if served {
                // Who was refused has used none up.
                if !self.book.ledger().leases.contains_key(&sandbox) {
                    free.put_back(taken);
                }
                lacking.clear();
            } else {
                if lacking.is_empty() {
                    lacking.insert(PoolKey::DEFAULT.card);
                }
                for card in self.waits_for(on_each) {
                    *short.entry(self.desired().pool_on(card)).or_default() += 1;
                }
            }
            self.attachments.change(&sandbox, |attachment| attachment.lacks(lacking));
        }
        self.observed.waiting = short;
    }

    /// How many interfaces the one that waits can have; `None`: it wants one, of whatever card.
    fn interfaces_of(&self, sandbox: &SandboxKey) -> Option<usize> {
        let add = self.attachments.get(sandbox).and_then(|attachment| attachment.waiting())?;
        Some(add.request.further.as_ref()?.len().saturating_add(1))
    }

    /// The cards of which an address is wanted for who has none yet: for each of several interfaces one; else the first, and
    /// where that is no use another one.
    fn waits_for(&self, on_each: Option<usize>) -> Vec<u8> {
        let first = PoolKey::DEFAULT.card;
        if let Some(most) = on_each {
            return self.pools().into_iter().map(|pool| pool.card).take(most).collect();
        }
        let another = self.hopeless.contains(&first).then(|| self.another_card()).flatten();
        [first].into_iter().chain(another).collect()
    }

    /// Nobody can be served yet; the plan knows how many wait.
    pub(crate) fn count_waiting(&mut self) {
        let in_line = self.attachments.waiting().filter(|(sandbox, _)| !self.attachments.is_busy(sandbox));
        let waiting = u32::try_from(in_line.count()).unwrap_or(u32::MAX);
        self.observed.waiting = BTreeMap::from([(self.desired().pool(), waiting)]);
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
        if add.request.further.is_some() && !self.config.multi_nic.value {
            let pod = add.request.pod.clone();
            tracing::warn!(%sandbox, %pod, "ADD refused: ENABLE_MULTI_NIC is not set");
            self.drive(sandbox, Input::Refuse(AddError::OneCardOnly { pod }));
            return None;
        }
        let further = add.request.further.iter().flatten().map(|names| &names.conventional);
        let names = [&add.request.host_veth].into_iter().chain(further);
        let ledger = self.book.ledger();
        let phases = names.filter_map(|name| ledger.lease_by_veth(name).map(|lease| lease.phase));
        match phases.max_by_key(|phase| *phase != LeasePhase::Releasing) {
            None => Some(HostName::Conventional),
            Some(LeasePhase::Releasing) if !overdue => None,
            // Another sandbox still bears the conventional name: a pod of the same name that is not gone yet.
            Some(_) => Some(HostName::Fallback),
        }
    }

    /// Leases the addresses, or refuses the ADD for what it names; false when one of them is not to be had any more.
    fn lease(&mut self, sandbox: &SandboxKey, name: HostName, choices: &[Choice], now: &Now) -> bool {
        let Some(add) = self.attachments.get(sandbox).and_then(|attachment| attachment.waiting()) else {
            return false;
        };
        let request = LeaseRequest {
            sandbox: sandbox.clone(),
            pod: add.request.pod.clone(),
            netns: add.request.netns_ref.clone(),
            ends: (choices.iter().zip(names_of(&add.request, name)))
                .map(|(_, veth)| HostEnd { veth, mac: self.draw_mac() })
                .collect(),
            mtu: add.request.mtu,
            trace: add.request.trace.clone(),
        };
        let Some(changes) = planner::open_lease(self.book.ledger(), choices, request, now) else {
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
        // Before it is known who we are, nothing is known about what may come: nobody is refused for that.
        let who_is_known = self.identified || self.book.ledger().node.is_some();
        for sandbox in self.attachments.in_line() {
            let add = self.attachments.get(&sandbox).and_then(|attachment| attachment.waiting());
            let Some(add) = add.filter(|add| !add.lacks.is_empty()) else { continue };
            let on_each = add.request.further.is_some();
            // Of several cards that lack an address the one for which there is no hope.
            let no_hope = add.lacks.iter().find(|card| self.hopeless.contains(card));
            let no_hope = no_hope.filter(|_| on_each || self.another_card().is_none());
            let Some(card) = no_hope.or(add.lacks.first()).copied() else { continue };
            let shortage = self.shortage_on(card, now);
            if no_hope.is_some() && who_is_known {
                let (pod, cause) = (add.request.pod.clone(), shortage.cause);
                tracing::warn!(%sandbox, %pod, card, %cause, "ADD refused");
                let error = if card == PoolKey::DEFAULT.card {
                    AddError::NoAddress { pod, cause }
                } else {
                    AddError::NoAddressOnCard { pod, card, cause }
                };
                self.drive(&sandbox, Input::Refuse(error));
            } else if now.boottime >= add.deadline {
                let refusal = self.report_on(card).and_then(|report| report.refusal.clone());
                let mut cause = refusal.unwrap_or(shortage.cause).to_string();
                if card != PoolKey::DEFAULT.card {
                    cause = format!("on network card {card}: {cause}");
                }
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

/// What the host ends are called, in the order of the interfaces.
fn names_of(request: &AddRequest, by: HostName) -> Vec<String> {
    let first =
        VethNames { conventional: request.host_veth.clone(), fallback: request.fallback_veth.clone() };
    let all = [first].into_iter().chain(request.further.clone().unwrap_or_default());
    all.map(|names| match by {
        HostName::Conventional => names.conventional,
        HostName::Fallback => names.fallback,
    })
    .collect()
}
