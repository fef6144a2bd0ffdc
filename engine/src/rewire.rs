//! A pod that lives and whose link somebody took away, and with it all that the pod had: it gets the same again. At once
//! the first time; whoever takes it away again and again has the pod wired at growing distances.

use holdfast_model::chain;
use holdfast_model::sandbox::SandboxKey;
use holdfast_planner as planner;
use holdfast_ports::{HostFault, HostNet, Liveness};

use crate::attachment::Input;
use crate::engine::Engine;
use crate::event::Event;
use crate::tally::Repair;
use crate::timers::{self, STUBBORN_RETRY};
use crate::verify::same_netns;
use crate::world::World;

impl<W: World> Engine<W> {
    pub(crate) fn rewire(&mut self, sandbox: &SandboxKey) {
        let now = self.now().boottime;
        let Some(lease) = self.book.ledger().leases.get(sandbox) else { return };
        self.rewirings.begun(sandbox, now);
        if !self.is_told_of(sandbox) {
            tracing::warn!(%sandbox, pod = %lease.pod, "the pod lives and its link is gone; it is wired anew");
        }
        let (wirings, seen) = (self.wirings(lease), lease.netns.clone());
        let (host, sandbox) = (self.ports.host.clone(), sandbox.clone());
        self.beside(async move {
            let wire = async {
                let netns = same_netns(&*host, &seen).await?;
                for wiring in wirings {
                    // Of several links those that are there go on carrying what they carry.
                    let there = host.liveness(seen.clone(), wiring.clone()).await == Liveness::Joined;
                    if !there {
                        host.wire_pod(wiring, netns.clone()).await?;
                    }
                }
                Ok(())
            };
            let result = wire.await;
            Event::Rewired { sandbox, result }
        });
    }

    pub(crate) fn rewired(&mut self, sandbox: &SandboxKey, result: Result<(), HostFault>) {
        let now = self.now();
        match &result {
            Ok(()) => {
                tracing::info!(%sandbox, "the pod is wired anew");
                self.tally.repaired([Repair::PodLink]);
                self.link_is_back(sandbox);
                self.book.commit_lazily(planner::rewired(self.book.ledger(), sandbox, &now));
            }
            Err(fault) => self.link_stays_away(sandbox, &chain(fault)),
        }
        self.drive(sandbox, Input::Rewired(result));
        // Not at once: whoever takes its link away may do so again and again.
        timers::sooner(&mut self.timers.observe, now.boottime.after(STUBBORN_RETRY));
    }
}
