//! DEL, and what is made up for later: releases that a disk did not take, and leases that nobody works on.

use std::collections::BTreeSet;

use holdfast_model::lease::LeasePhase;
use holdfast_model::sandbox::SandboxKey;
use tokio::sync::oneshot;

use crate::attachment::{Input, Work};
use crate::engine::Engine;
use crate::handle::Deleted;
use crate::world::World;

impl<W: World> Engine<W> {
    pub(crate) fn del(&mut self, sandbox: &SandboxKey, reply: oneshot::Sender<Deleted>) {
        self.drive(sandbox, Input::Del { reply, host_read: self.looked });
    }

    /// The disk takes writes again: pay what is owed, and take up what was cut off.
    pub(crate) fn resumed(&mut self) {
        for sandbox in self.attachments.keys() {
            self.drive(&sandbox, Input::DiskIsBack);
        }
        // What was concluded from changes that the disk did not take is concluded anew, as after a start.
        self.looked = false;
        self.identified = false;
        self.observed.forget_reads();
        self.observe();
        self.ask_identity();
    }

    /// Takes up what nobody is working on: after a start, after the disk had refused, and when the kernel refused something a
    /// while ago.
    pub(crate) fn take_up(&mut self) {
        let unfinished = self.book.ledger().leases.values().filter(|lease| lease.phase != LeasePhase::Active);
        let mut sandboxes: BTreeSet<_> = unfinished.map(|lease| lease.sandbox.clone()).collect();
        sandboxes.extend(self.attachments.doing(|work| work == Work::UnlinkLater));
        for sandbox in sandboxes {
            self.drive(&sandbox, Input::TakeUp);
        }
    }

    /// Sandboxes about which something is being done.
    pub(crate) fn busy(&self) -> BTreeSet<SandboxKey> {
        self.attachments.doing(|work| work != Work::Idle).into_iter().collect()
    }
}
