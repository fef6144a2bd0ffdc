//! ADD: from a request to a wired pod.
//!
//! ```text
//!   request ──> Waiting ──address free──> Leased ──commit──> wire ──read back──> answered
//!                  │  ^                                        │
//!     deadline, or │  └── its older lease is being released    └─ failed: undone, answered with the cause
//!     no hope      v
//!               refused with the true cause
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::ids::MacAddr;
use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::pool::PoolKey;
use holdfast_model::refusal::Refusal;
use holdfast_model::sandbox::SandboxKey;
use holdfast_model::time::{BootTime, Now};
use holdfast_planner::{self as planner, Choice, LeaseRequest};
use holdfast_ports::{Clock, HostFault, HostNet};
use tokio::sync::oneshot;

use crate::book::{Then, chain};
use crate::engine::Engine;
use crate::event::{Event, Verdict, WiringFault};
use crate::handle::{AddError, AddRequest};
use crate::sandboxes::Deed;
use crate::world::World;

type Reply = oneshot::Sender<Result<Lease, AddError>>;

/// How far an ADD has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No address yet.
    Waiting,
    /// An older lease of this sandbox is compared with the kernel: it may be the answer.
    Checking,
    /// Leased; being made durable or wired.
    Leased,
}

/// One ADD that has not been answered.
pub(crate) struct Add {
    pub(crate) request: AddRequest,
    pub(crate) stage: Stage,
    pub(crate) since: BootTime,
    deadline: BootTime,
    order: u64,
    /// Nothing but an address is wanted, and there was none.
    lacks_address: bool,
    replies: Vec<Reply>,
}

/// All ADDs that have not been answered.
#[derive(Default)]
pub(crate) struct Adds {
    by_sandbox: BTreeMap<SandboxKey, Add>,
    arrived: u64,
}

impl Adds {
    /// When the first of them has waited long enough.
    pub(crate) fn next_deadline(&self) -> Option<BootTime> {
        self.by_sandbox.values().filter(|add| add.stage == Stage::Waiting).map(|add| add.deadline).min()
    }

    pub(crate) fn get(&self, sandbox: &SandboxKey) -> Option<&Add> {
        self.by_sandbox.get(sandbox)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SandboxKey, &Add)> {
        self.by_sandbox.iter()
    }

    fn stage(&mut self, sandbox: &SandboxKey, stage: Stage) {
        if let Some(add) = self.by_sandbox.get_mut(sandbox) {
            add.stage = stage;
        }
    }

    fn lacks_address(&mut self, sandbox: &SandboxKey, lacks: bool) {
        if let Some(add) = self.by_sandbox.get_mut(sandbox) {
            add.lacks_address = lacks;
        }
    }

    /// Those without an address, first come first.
    fn waiting(&self) -> Vec<SandboxKey> {
        let mut waiting: Vec<_> =
            self.by_sandbox.iter().filter(|(_, add)| add.stage == Stage::Waiting).collect();
        waiting.sort_by_key(|(_, add)| add.order);
        waiting.into_iter().map(|(sandbox, _)| sandbox.clone()).collect()
    }

    fn answer(&mut self, sandbox: &SandboxKey, result: &Result<Lease, AddError>) {
        for reply in self.by_sandbox.remove(sandbox).into_iter().flat_map(|add| add.replies) {
            // A plugin that was killed meanwhile needs no answer: its DEL follows.
            let _gone: Result<(), _> = reply.send(result.clone());
        }
    }
}

impl<W: World> Engine<W> {
    pub(crate) fn add(&mut self, request: AddRequest, reply: Reply) {
        let now = self.now();
        let sandbox = request.sandbox.clone();
        if self.is_stopping() {
            // A plugin that was killed meanwhile needs no answer.
            let _gone: Result<(), _> = reply.send(Err(AddError::Stopping));
            return;
        }
        if let Some(add) = self.adds.by_sandbox.get_mut(&sandbox) {
            if add.request.netns_ref.inode == request.netns_ref.inode {
                add.replies.push(reply);
            } else {
                // A plugin that was killed meanwhile needs no answer.
                let _gone: Result<(), _> = reply.send(Err(AddError::TwoNamespaces { sandbox }));
            }
            return;
        }
        let same_active = self.book.ledger().leases.get(&sandbox).is_some_and(|lease| {
            lease.phase == LeasePhase::Active && lease.netns.inode == request.netns_ref.inode
        });
        let hold = self.config.add_hold.value.min(request.patience.unwrap_or(Duration::MAX));
        self.adds.arrived += 1;
        let add = Add {
            stage: if same_active { Stage::Checking } else { Stage::Waiting },
            since: now.boottime,
            deadline: now.boottime.after(hold),
            order: self.adds.arrived,
            lacks_address: false,
            replies: vec![reply],
            request,
        };
        let netns = add.request.netns.clone();
        self.adds.by_sandbox.insert(sandbox.clone(), add);
        if same_active {
            self.verify(sandbox, Some(netns));
        }
    }

    /// Gives free addresses to those who wait, in the order in which they came. The plan learns how many get none.
    pub(crate) fn serve_waiting(&mut self, now: &Now) {
        let pool = PoolKey::DEFAULT;
        let mut free = planner::free_addresses(pool, self.book.ledger(), &self.observed, now).into_iter();
        let mut short = 0;
        for sandbox in self.adds.waiting() {
            let Some(host_veth) = self.ready_to_lease(&sandbox, now) else { continue };
            let served = free.as_slice().first().cloned();
            let served = served.is_some_and(|choice| self.lease(&sandbox, host_veth, &choice, now));
            // Who was refused has used none up.
            if !served || self.book.ledger().leases.contains_key(&sandbox) {
                free.next();
            }
            self.adds.lacks_address(&sandbox, !served);
            short += u32::from(!served);
        }
        self.observed.waiting.insert(pool, short);
    }

    /// Nobody can be served yet; the plan knows how many wait.
    pub(crate) fn count_waiting(&mut self) {
        let waiting = u32::try_from(self.adds.waiting().len()).unwrap_or(u32::MAX);
        self.observed.waiting.insert(PoolKey::DEFAULT, waiting);
    }

    /// What the host end is to be called, when nothing but an address is wanted; `None`: it was answered, or waits for
    /// something else.
    fn ready_to_lease(&mut self, sandbox: &SandboxKey, now: &Now) -> Option<String> {
        let add = self.adds.get(sandbox)?;
        let overdue = now.boottime >= add.deadline;
        if self.is_stopping() {
            self.adds.answer(sandbox, &Err(AddError::Stopping));
            return None;
        }
        if let Some(older) = self.book.ledger().leases.get(sandbox) {
            // An older attachment of this very sandbox ends first. One that is being verified is left to that.
            if older.phase == LeasePhase::Active {
                self.release(sandbox);
            } else if overdue {
                self.held_too_long(sandbox, "its older attachment is still being removed", now);
            }
            return None;
        }
        match self.book.ledger().lease_by_veth(&add.request.host_veth).map(|lease| lease.phase) {
            None => Some(add.request.host_veth.clone()),
            Some(LeasePhase::Releasing) if !overdue => None,
            // Another sandbox still bears the conventional name: a pod of the same name that is not gone yet.
            Some(_) => Some(add.request.fallback_veth.clone()),
        }
    }

    /// Leases the address, or refuses the ADD for what it names; false when the address is not to be had any more.
    fn lease(&mut self, sandbox: &SandboxKey, host_veth: String, choice: &Choice, now: &Now) -> bool {
        let Some(add) = self.adds.get(sandbox) else { return false };
        let request = LeaseRequest {
            sandbox: sandbox.clone(),
            pod: add.request.pod.clone(),
            netns: add.request.netns_ref.clone(),
            host_veth,
            host_mac: self.draw_mac(),
            mtu: add.request.mtu,
        };
        let Some(changes) = planner::open_lease(self.book.ledger(), choice, request, now) else {
            return false;
        };
        if let Err(error) = holdfast_store::admits(&changes) {
            // Names as no runtime gives them. They fail alone.
            let cause = chain(&error);
            tracing::warn!(pod = add.request.pod.name.get(..64).unwrap_or_default(), cause, "ADD refused");
            self.adds.answer(sandbox, &Err(AddError::Unkeepable { cause }));
            return true;
        }
        self.adds.stage(sandbox, Stage::Leased);
        self.book.commit(changes, Then::Wire(sandbox.clone()));
        true
    }

    /// Refuses those who lack an address and for whom there is no hope, by the last plan's report, and those who have
    /// waited long enough.
    pub(crate) fn refuse_hopeless(&mut self, now: &Now) {
        let shortage = self.report.shortage(self.config.add_hold.value, now);
        let hopeless = !shortage.hold && !self.observed_something_coming();
        for sandbox in self.adds.waiting() {
            let Some(add) = self.adds.get(&sandbox).filter(|add| add.lacks_address) else { continue };
            if hopeless {
                let (pod, cause) = (add.request.pod.clone(), shortage.cause.clone());
                tracing::warn!(%sandbox, %pod, %cause, "ADD refused");
                self.adds.answer(&sandbox, &Err(AddError::NoAddress { pod, cause }));
            } else if now.boottime >= add.deadline {
                let cause = self.report.refusal.as_ref().unwrap_or(&shortage.cause).to_string();
                self.held_too_long(&sandbox, &cause, now);
            }
        }
    }

    /// Before the first plan after a start nothing is known about what may come: nobody is refused for that.
    fn observed_something_coming(&self) -> bool {
        !self.identified && self.book.ledger().node.is_none()
    }

    fn held_too_long(&mut self, sandbox: &SandboxKey, cause: &str, now: &Now) {
        let Some(add) = self.adds.get(sandbox) else { return };
        let (pod, seconds) = (add.request.pod.clone(), now.boottime.since(add.since).as_secs());
        tracing::warn!(%sandbox, %pod, seconds, cause, "ADD held too long");
        self.adds.answer(sandbox, &Err(AddError::HeldTooLong { pod, seconds, cause: cause.to_owned() }));
    }

    /// While nothing can be served at all: those who have waited long enough are told why.
    pub(crate) fn refuse_overdue(&mut self, now: &Now) {
        let trouble = self.disk_trouble(now);
        let ledger = self.book.ledger();
        let waits_for = match (self.looked, ledger.node.is_some()) {
            (false, _) => Refusal::HostNotRead,
            (true, false) => Refusal::NotReady,
            (true, true) => Refusal::NatAwaited,
        };
        for sandbox in self.adds.waiting() {
            if let Some(cause) = trouble.clone() {
                self.adds.answer(&sandbox, &Err(AddError::Ledger { cause }));
            } else if self.adds.get(&sandbox).is_some_and(|add| now.boottime >= add.deadline) {
                self.held_too_long(&sandbox, &waits_for.to_string(), now);
            }
        }
    }

    /// The disk is stuck: pods whose lease is with it are refused; should it become durable after all, it is given up
    /// then. Pods whose release is with it are unwired: a DEL succeeds, and is found out anew should it be lost.
    pub(crate) fn go_on_without_the_disk(&mut self, now: &Now) {
        let Some(cause) = self.disk_trouble(now) else { return };
        let leased = self.adds.iter().filter(|(_, add)| add.stage == Stage::Leased);
        let unwritten: Vec<_> = leased
            .map(|(sandbox, _)| sandbox.clone())
            .filter(|sandbox| self.sandboxes.deed(sandbox).is_none())
            .collect();
        for sandbox in unwritten {
            tracing::error!(%sandbox, cause, "ADD refused");
            self.sandboxes.spare(&sandbox);
            self.adds.answer(&sandbox, &Err(AddError::Ledger { cause: cause.clone() }));
            self.answer_dels(&sandbox);
        }
        for sandbox in self.sandboxes.releasing() {
            tracing::warn!(%sandbox, cause, "unwired although the release is not durable yet");
            self.unwire(sandbox);
        }
    }

    pub(crate) fn refuse_all_stopping(&mut self) {
        for sandbox in self.adds.waiting() {
            self.adds.answer(&sandbox, &Err(AddError::Stopping));
        }
    }

    /// The lease is durable: wire the pod.
    pub(crate) fn wire(&mut self, sandbox: SandboxKey) {
        if self.sandboxes.is_doomed(&sandbox) {
            self.abandon(&sandbox);
            return;
        }
        let Some(lease) = self.book.ledger().leases.get(&sandbox) else { return };
        let Some(add) = self.adds.get(&sandbox).filter(|add| add.stage == Stage::Leased) else {
            // Whoever asked was told that the disk does not answer.
            self.release(&sandbox);
            return;
        };
        let wirings = self.wirings(lease);
        let netns = add.request.netns.clone();
        let host = self.ports.host.clone();
        self.sandboxes.begin(&sandbox, Deed::Wiring);
        self.beside(async move {
            let mut result = Ok(());
            for (made, wiring) in wirings.into_iter().enumerate() {
                if let Err(fault) = host.wire_pod(wiring, netns.clone()).await {
                    result = Err(WiringFault { fault, made });
                    break;
                }
            }
            Event::Wired { sandbox, result }
        });
    }

    pub(crate) fn wired(&mut self, sandbox: SandboxKey, result: Result<(), WiringFault>) {
        let now = self.now();
        self.sandboxes.end(&sandbox);
        if self.sandboxes.is_doomed(&sandbox) {
            self.abandon(&sandbox);
            return;
        }
        let Some(lease) = self.book.ledger().leases.get(&sandbox).cloned() else { return };
        self.note_settings(result.as_ref().err().map(|failed| &failed.fault));
        match result {
            Ok(()) => {
                // The pending lease is durable and the wiring was read back: a crash from here on adopts it.
                self.adds.answer(&sandbox, &Ok(lease));
                self.book.commit_lazily(planner::activate(self.book.ledger(), &sandbox));
            }
            Err(WiringFault { fault, made }) => {
                tracing::warn!(%sandbox, error = %chain(&fault), "wiring failed");
                let nothing_made = matches!(fault, HostFault::Netns { .. } | HostFault::Occupied { .. });
                if nothing_made && made == 0 {
                    self.book.commit(planner::undo(self.book.ledger(), &sandbox, &now), Then::Nothing);
                } else {
                    // Undone by the host, as far as it could: the release makes sure before the address rests.
                    self.release(&sandbox);
                }
                self.adds.answer(&sandbox, &Err(AddError::Wiring { pod: lease.pod, source: fault }));
            }
        }
    }

    /// A DEL came while the ADD was under way.
    fn abandon(&mut self, sandbox: &SandboxKey) {
        self.sandboxes.spare(sandbox);
        self.adds.answer(sandbox, &Err(AddError::Deleted { sandbox: sandbox.clone() }));
        self.release(sandbox);
    }

    /// A DEL came while the ADD had no address yet. True when that is all there was.
    pub(crate) fn forget_waiting(&mut self, sandbox: &SandboxKey) {
        if self.adds.get(sandbox).is_some_and(|add| add.stage != Stage::Leased) {
            self.adds.answer(sandbox, &Err(AddError::Deleted { sandbox: sandbox.clone() }));
        }
    }

    /// The disk refused the lease: nothing was done.
    pub(crate) fn lease_not_written(&mut self, sandbox: &SandboxKey, cause: &str) {
        self.sandboxes.spare(sandbox);
        self.adds.answer(sandbox, &Err(AddError::Ledger { cause: cause.to_owned() }));
        self.answer_dels(sandbox);
    }

    /// The comparison of an older lease with the kernel ended: it is the answer, or it has to go first. One that could
    /// not be compared is neither.
    pub(crate) fn rechecked(&mut self, sandbox: &SandboxKey, verdict: Verdict) {
        let Some(add) = self.adds.get(sandbox).filter(|add| add.stage != Stage::Leased) else { return };
        let same = |lease: &&Lease| {
            lease.phase == LeasePhase::Active && lease.netns.inode == add.request.netns_ref.inode
        };
        match (self.book.ledger().leases.get(sandbox).filter(same).cloned(), verdict) {
            (Some(lease), Verdict::Sound) => self.adds.answer(sandbox, &Ok(lease)),
            (Some(_), Verdict::Unknown(source) | Verdict::Hidden(source)) => {
                let pod = add.request.pod.clone();
                self.adds.answer(sandbox, &Err(AddError::Wiring { pod, source }));
            }
            _ => self.adds.stage(sandbox, Stage::Waiting),
        }
    }

    fn draw_mac(&self) -> MacAddr {
        let mut bytes = [0; 6];
        bytes.copy_from_slice(&self.ports.clock.random().to_le_bytes()[..6]);
        MacAddr::local_from(bytes)
    }
}
