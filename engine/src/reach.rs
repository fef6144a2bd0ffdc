//! Which pods nothing reaches: found after each look, told as it begins and ends.

use holdfast_model::host::HostObserved;
use holdfast_model::sandbox::SandboxKey;
use holdfast_planner as planner;

use crate::engine::Engine;
use crate::unreached::Told;
use crate::world::World;

impl<W: World> Engine<W> {
    /// After a look: which pods nothing reaches. Of one that is being made, changed or taken away it says nothing.
    pub(crate) fn look_for_the_unreached(&mut self, observed: &HostObserved) {
        let mut seen = planner::unreached(self.book.ledger(), observed);
        seen.retain(|sandbox, _| self.is_settled(sandbox));
        self.unreached.unmended.retain(|sandbox, _| seen.contains_key(sandbox));
        self.unreached.seen = seen;
        let mut diverted = std::mem::take(&mut self.unreached.diverted);
        diverted.retain(|sandbox, _| self.is_settled(sandbox));
        self.unreached.diverted = diverted;
        self.tell_who_is_unreached();
    }

    /// Whether it was served when the last look began, and nothing is under way for it.
    pub(crate) fn is_settled(&self, sandbox: &SandboxKey) -> bool {
        self.before_look.settled.contains(sandbox) && !self.attachments.is_busy(sandbox)
    }

    /// Its link is there again.
    pub(crate) fn link_is_back(&mut self, sandbox: &SandboxKey) {
        self.unreached.seen.remove(sandbox);
        self.unreached.unmended.remove(sandbox);
        self.tell_who_is_unreached();
    }

    /// Its link is gone and stays so, for this reason.
    pub(crate) fn link_stays_away(&mut self, sandbox: &SandboxKey, why: &str) {
        let cause = format!("its host link is gone, and it cannot be wired anew: {why}");
        self.unreached.unmended.insert(sandbox.clone(), cause);
        self.tell_who_is_unreached();
    }

    /// Whether it was said already that its link stays away.
    pub(crate) fn is_told_of(&self, sandbox: &SandboxKey) -> bool {
        self.unreached.unmended.contains_key(sandbox)
    }

    /// Its link is gone, and is put back later: somebody takes it away again and again.
    pub(crate) fn link_comes_back_later(&mut self, sandbox: &SandboxKey) {
        let cause = "its host link is gone: somebody takes it away again and again, and it is put back at growing distances";
        self.unreached.unmended.insert(sandbox.clone(), cause.to_owned());
        self.tell_who_is_unreached();
    }

    pub(crate) fn tell_who_is_unreached(&mut self) {
        let ledger = self.book.ledger();
        let told = |sandbox: &SandboxKey| {
            let cause = self.unreached.cause(sandbox)?;
            let lease = ledger.leases.get(sandbox)?;
            let addresses: Vec<_> = lease.addresses().map(|address| address.to_string()).collect();
            Some(Told { pod: format!("{} ({})", lease.pod, addresses.join(", ")), cause })
        };
        let seen = self.unreached.seen.keys().chain(self.unreached.diverted.keys());
        let told = seen.filter_map(|sandbox| Some((sandbox.clone(), told(sandbox)?))).collect();
        self.unreached.update(told);
    }
}
