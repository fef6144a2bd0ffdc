//! What an attachment sets off: the ledger's part is committed, the kernel's part runs beside the loop and comes back as an
//! event.
//!
//! The answer to a DEL does not wait for the link: the kernel takes a grace period over it, many at once for the price of
//! one. The address does wait: it rests only when nothing in the kernel names it.

use holdfast_model::chain;
use holdfast_model::host::PodWiring;
use holdfast_model::lease::Lease;
use holdfast_model::sandbox::SandboxKey;
use holdfast_planner as planner;
use holdfast_ports::{Clock, HostFault, HostNet};

use crate::attachment::{Act, Attachment, Input, WiringFault, Work};
use crate::book::Then;
use crate::engine::Engine;
use crate::event::Event;
use crate::phases::Point;
use crate::request::Deleted;
use crate::timers;
use crate::world::World;

impl<W: World> Engine<W> {
    /// Gives an input to a sandbox's attachment, and does what it says.
    pub(crate) fn drive(&mut self, sandbox: &SandboxKey, input: Input) {
        let lease = self.book.ledger().leases.get(sandbox);
        let point = Point::of(&input);
        let acts = self.attachments.step(sandbox, input, lease);
        if let Some(point) = point {
            let work = self.attachments.get(sandbox).map_or(Work::Idle, Attachment::work);
            self.phases.passed(sandbox, point, work, self.ports.clock.elapsed());
        }
        for act in acts {
            self.act(sandbox, act);
        }
    }

    fn act(&mut self, sandbox: &SandboxKey, act: Act) {
        let now = self.now();
        match act {
            Act::AnswerAdd(result) => {
                self.phases.answered(sandbox);
                self.attachments.change(sandbox, |attachment| attachment.answer_add(&result));
            }
            Act::AnswerDels => self.answer_dels(sandbox),
            Act::Release { ended, commit } => {
                tracing::debug!(%sandbox, why = %ended, "released");
                let changes = planner::begin_release(self.book.ledger(), &ended, &now);
                self.book.commit(changes, Then::Unwire { sandbox: sandbox.clone(), commit });
            }
            Act::Undo => {
                self.book.commit(planner::undo(self.book.ledger(), sandbox, &now), Then::Nothing);
            }
            Act::Activate => self.book.commit_lazily(planner::activate(self.book.ledger(), sandbox)),
            Act::Wire => self.wire(sandbox),
            Act::Rewire => self.rewire(sandbox),
            Act::Verify { ticket, netns } => self.verify(sandbox, ticket, netns),
            Act::Unwire => self.unwire(sandbox),
            Act::RemoveLinks => self.remove_links(),
            Act::Finish => {
                let changes = planner::finish_release(
                    &self.desired(),
                    self.book.ledger(),
                    &self.observed.traces,
                    sandbox,
                    &now,
                );
                // Should it be lost, the release is done again, and the rest begins anew: longer, never shorter.
                self.book.commit_lazily(changes);
            }
            Act::RetryKernel { after } => {
                timers::sooner(&mut self.timers.kernel_retry, now.boottime.after(after));
            }
        }
    }

    /// What a DEL of this sandbox stands on that is answered now: while the disk refuses or hangs, what memory says of a
    /// release is no more than that.
    fn answer_dels(&mut self, sandbox: &SandboxKey) {
        let trouble = self.condition().disk_trouble().is_some();
        self.attachments.change(sandbox, |attachment| {
            let owed = trouble || attachment.is_owed();
            attachment.answer_dels(if owed { Deleted::Owed } else { Deleted::Durable });
        });
    }

    fn wire(&mut self, sandbox: &SandboxKey) {
        let add = self.attachments.get(sandbox).and_then(|attachment| attachment.add());
        let (Some(lease), Some(add)) = (self.book.ledger().leases.get(sandbox), add) else { return };
        let (wirings, netns) = (self.wirings(lease), add.request.netns.clone());
        let (host, sandbox) = (self.ports.host.clone(), sandbox.clone());
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

    pub(crate) fn wired(&mut self, sandbox: &SandboxKey, result: Result<(), WiringFault>) {
        let fault = result.as_ref().err().map(|failed| &failed.fault);
        if let Some(fault) = fault {
            tracing::warn!(%sandbox, error = %chain(fault), "wiring failed");
        }
        self.note_settings(fault);
        self.note_addresses(sandbox, result.as_ref());
        self.drive(sandbox, Input::Wired(result));
    }

    /// Which addresses of a lease the kernel has taken, and which it refuses whoever has it.
    fn note_addresses(&mut self, sandbox: &SandboxKey, result: Result<&(), &WiringFault>) {
        let Some(lease) = self.book.ledger().leases.get(sandbox) else { return };
        let addresses: Vec<_> = lease.addresses().collect();
        let wired = result.map_or_else(|failed| failed.made, |()| addresses.len());
        for address in addresses.iter().take(wired) {
            self.observed.wiring_done(*address);
        }
        let Err(WiringFault { fault, made }) = result else { return };
        let is_its_own =
            matches!(fault, HostFault::Refused { .. } | HostFault::Foreign { .. } | HostFault::ReadBack(_));
        if let Some(address) = addresses.get(*made).filter(|_| is_its_own)
            && self.observed.wiring_failed(*address, &chain(fault), &self.ports.clock.now())
        {
            tracing::warn!(%address, error = %chain(fault), "an address is out of service: others are given instead");
        }
    }

    /// Whether no other sandbox has an address of this one's lease.
    pub(crate) fn has_its_own(&self, sandbox: &SandboxKey) -> bool {
        let lease = self.book.ledger().leases.get(sandbox);
        lease.is_some_and(|lease| !lease.addresses().any(|ip| self.observed.traces.is_anothers(ip)))
    }

    /// What in the kernel is this lease's: where the ledger is old, another sandbox may have its address by now.
    fn own_wirings(&self, lease: &Lease) -> Vec<PodWiring> {
        let traces = &self.observed.traces;
        self.wirings(lease).into_iter().filter(|wiring| !traces.is_anothers(wiring.address)).collect()
    }

    fn unwire(&mut self, sandbox: &SandboxKey) {
        let Some(lease) = self.book.ledger().leases.get(sandbox) else { return };
        let wirings = self.own_wirings(lease);
        let (host, sandbox) = (self.ports.host.clone(), sandbox.clone());
        self.beside(async move {
            let mut result = Ok(());
            for wiring in wirings {
                // What fails keeps nothing else from going.
                result = result.and(host.unwire_pod(wiring).await);
            }
            Event::Unwired { sandbox, result }
        });
    }

    pub(crate) fn unwired(&mut self, sandbox: &SandboxKey, result: Result<(), HostFault>) {
        if let Err(fault) = &result {
            tracing::error!(%sandbox, error = %chain(fault), "removing rules and routes failed; trying again");
        }
        self.drive(sandbox, Input::Unwired(result));
    }

    /// Removes all links that wait for it, unless a batch is under way: the next one takes what has gathered.
    fn remove_links(&mut self) {
        if self.attachments.any(|work| work == Work::Unlinking) {
            return;
        }
        let sandboxes = self.attachments.doing(|work| work == Work::Unlink);
        if sandboxes.is_empty() {
            return;
        }
        let mut batch = Vec::new();
        for sandbox in sandboxes {
            self.drive(&sandbox, Input::LinksTaken);
            let lease = self.book.ledger().leases.get(&sandbox);
            let pods = lease.map_or_else(Vec::new, |lease| self.own_wirings(lease));
            batch.push((sandbox, pods));
        }
        let host = self.ports.host.clone();
        self.beside(async move {
            let pods: Vec<PodWiring> = batch.iter().flat_map(|(_, pods)| pods).cloned().collect();
            let mut results = host.remove_links(pods).await.into_iter();
            // A sandbox is rid of its links when it is rid of them all.
            let removed = batch
                .into_iter()
                .map(|(sandbox, pods)| {
                    let of_sandbox: Vec<_> = results.by_ref().take(pods.len()).collect();
                    (sandbox, of_sandbox.into_iter().collect::<Result<(), HostFault>>())
                })
                .collect();
            Event::LinksRemoved { removed }
        });
    }

    pub(crate) fn links_removed(&mut self, removed: Vec<(SandboxKey, Result<(), HostFault>)>) {
        for (sandbox, result) in removed {
            if let Err(fault) = &result {
                tracing::error!(%sandbox, error = %chain(fault), "removing a link failed; trying again");
            }
            self.drive(&sandbox, Input::LinksRemoved(result));
        }
        self.remove_links();
    }
}
