//! Sandboxes whose link is not there: those that are gone are released, those that live are wired anew.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::host::{HostObserved, LinkAlias, PodWiring};
use holdfast_model::lease::LeasePhase;
use holdfast_model::sandbox::{NetnsRef, SandboxKey};
use holdfast_planner::{self as planner, NetnsSeen, Sighting};
use holdfast_ports::{HostFault, HostNet, Liveness};

use crate::book::chain;
use crate::dels::same_netns;
use crate::engine::Engine;
use crate::event::Event;
use crate::sandboxes::Deed;
use crate::timers::{self, STUBBORN_RETRY};
use crate::world::World;

/// A sandbox that may be gone, and what it is looked for by.
pub(crate) struct Suspect {
    pub(crate) sandbox: SandboxKey,
    pub(crate) netns: NetnsRef,
    pub(crate) pod: PodWiring,
}

impl<W: World> Engine<W> {
    /// What a leased sandbox is looked for by.
    pub(crate) fn suspect(&self, sandbox: &SandboxKey) -> Option<Suspect> {
        let lease = self.book.ledger().leases.get(sandbox)?;
        let pod = self.wirings(lease).into_iter().next()?;
        Some(Suspect { sandbox: sandbox.clone(), netns: lease.netns.clone(), pod })
    }

    /// Sandboxes whose link is gone may be gone themselves. One that was wired since the look began has a link that
    /// was not seen.
    pub(crate) fn look_for_the_unlinked(&mut self, observed: &HostObserved) {
        let linked: BTreeSet<&LinkAlias> =
            observed.links.iter().filter_map(|link| link.alias.as_ref()).collect();
        let settled = self.before_look.settled.iter().filter(|sandbox| !self.is_busy(sandbox));
        let suspects: Vec<_> = settled
            .filter(|sandbox| !linked.contains(&LinkAlias::of(sandbox)))
            .filter_map(|sandbox| self.suspect(sandbox))
            .collect();
        if suspects.is_empty() {
            return;
        }
        let (ledger, busy) = (self.book.ledger().clone(), self.busy());
        let host = self.ports.host.clone();
        self.beside(async move {
            let (mut seen, mut severed, mut unknown) = (BTreeMap::new(), Vec::new(), Vec::new());
            for Suspect { sandbox, netns, pod } in suspects {
                let (netns, link) = match host.liveness(netns, pod).await {
                    Liveness::Joined => (NetnsSeen::Alive, true),
                    Liveness::Severed => {
                        severed.push(sandbox.clone());
                        (NetnsSeen::Alive, false)
                    }
                    Liveness::Gone => (NetnsSeen::Gone, false),
                    Liveness::Unknown => {
                        unknown.push(sandbox.clone());
                        (NetnsSeen::Unknown, false)
                    }
                };
                seen.insert(sandbox, Sighting { netns, link });
            }
            Event::Looked { gone: planner::reap(&ledger, &seen, &busy), severed, unknown }
        });
    }

    /// Sandboxes were looked for: release what the gone ones hold, wire those anew that live.
    pub(crate) fn looked_for(
        &mut self,
        gone: Vec<SandboxKey>,
        severed: Vec<SandboxKey>,
        unknown: &[SandboxKey],
    ) {
        for sandbox in gone {
            if !self.is_busy(&sandbox) {
                tracing::info!(%sandbox, "the sandbox is gone without a DEL; its address is released");
                self.release(&sandbox);
            }
        }
        for sandbox in severed {
            self.rewire(sandbox);
        }
        for sandbox in unknown {
            self.link_stays_away(sandbox, "its network namespace cannot be looked at");
        }
    }

    /// Somebody took its link away, and with the link went all that the pod had: it gets the same again.
    fn rewire(&mut self, sandbox: SandboxKey) {
        let lease = self.book.ledger().leases.get(&sandbox);
        let Some(lease) = lease.filter(|lease| lease.phase == LeasePhase::Active) else { return };
        if self.is_busy(&sandbox) || self.is_stopping() {
            return;
        }
        let (path, inode) = (lease.netns.path.clone(), lease.netns.inode);
        let wirings = self.wirings(lease);
        tracing::warn!(%sandbox, pod = %lease.pod, "the pod lives and its link is gone; it is wired anew");
        self.sandboxes.begin(&sandbox, Deed::Rewiring);
        let host = self.ports.host.clone();
        self.beside(async move {
            let wire = async {
                let netns = same_netns(&*host, path, inode).await?;
                for wiring in wirings {
                    host.wire_pod(wiring, netns.clone()).await?;
                }
                Ok::<(), HostFault>(())
            };
            let result = wire.await;
            Event::Rewired { sandbox, result }
        });
    }

    pub(crate) fn rewired(&mut self, sandbox: SandboxKey, result: Result<(), HostFault>) {
        self.sandboxes.end(&sandbox);
        if self.sandboxes.is_doomed(&sandbox) {
            // A DEL came meanwhile, or a newer ADD.
            self.sandboxes.spare(&sandbox);
            self.release(&sandbox);
            return;
        }
        let now = self.now();
        match result {
            Ok(()) => {
                tracing::info!(%sandbox, "the pod is wired anew");
                self.link_is_back(&sandbox);
                self.book.commit_lazily(planner::rewired(self.book.ledger(), &sandbox, &now));
            }
            Err(fault) => self.link_stays_away(&sandbox, &chain(&fault)),
        }
        // Not at once: whoever takes its link away may do so again and again.
        timers::sooner(&mut self.timers.observe, now.boottime.after(STUBBORN_RETRY));
    }
}
