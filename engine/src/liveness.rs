//! Sandboxes that may be gone without a DEL: looked for, and released when there is proof.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::host::{HostObserved, LinkAlias, NatWanted};
use holdfast_model::lease::LeasePhase;
use holdfast_model::sandbox::{NetnsRef, SandboxKey};
use holdfast_planner::{self as planner, NetnsSeen, Sighting};
use holdfast_ports::{HostNet, Liveness};
use tokio::sync::oneshot;

use crate::attachment::Input;
use crate::engine::Engine;
use crate::event::Event;
use crate::world::World;

impl<W: World> Engine<W> {
    /// Sandboxes whose link is gone may be gone themselves: ask for their namespaces.
    pub(crate) fn look_for_the_dead(&mut self, observed: &HostObserved) {
        let linked: BTreeSet<&LinkAlias> =
            observed.links.iter().filter_map(|link| link.alias.as_ref()).collect();
        let suspects: Vec<_> = self
            .book
            .ledger()
            .leases
            .values()
            .filter(|lease| lease.phase == LeasePhase::Active && !self.attachments.is_busy(&lease.sandbox))
            .filter(|lease| !linked.contains(&LinkAlias::of(&lease.sandbox)))
            .map(|lease| (lease.sandbox.clone(), lease.netns.clone()))
            .collect();
        if suspects.is_empty() {
            return;
        }
        let host = self.ports.host.clone();
        self.beside(async move { Event::Sighted { seen: look_for(&*host, suspects, |_| false).await } });
    }

    /// The runtime's list of what is valid: what it lacks, and whose namespace is gone, is released.
    pub(crate) fn collect(
        &mut self,
        network: &str,
        valid: &BTreeSet<SandboxKey>,
        reply: oneshot::Sender<()>,
    ) {
        let valid = valid.iter().map(|key| (key.container_id.clone(), key.ifname.clone())).collect();
        let listed = planner::collect_garbage(self.book.ledger(), network, &valid, &self.busy());
        let suspects = listed.into_iter().map(|lease| (lease.sandbox.clone(), lease.netns.clone())).collect();
        let host = self.ports.host.clone();
        self.beside(async move {
            // A path may be unbound while its namespace lives on, and then the link lives too.
            let linked = host.observe(&NatWanted::Undecided).await.map(|seen| {
                seen.links.into_iter().filter_map(|link| link.alias).collect::<BTreeSet<LinkAlias>>()
            });
            let is_linked = |sandbox: &SandboxKey| {
                linked.as_ref().map_or(true, |linked| linked.contains(&LinkAlias::of(sandbox)))
            };
            let seen = look_for(&*host, suspects, is_linked).await;
            // A list may be wrong or older than the sandbox; a live namespace or link is not.
            for (sandbox, sighting) in &seen {
                if sighting.link || sighting.seen != NetnsSeen::Gone {
                    tracing::warn!(%sandbox, "not in the runtime's list, yet its network is there: kept");
                }
            }
            // An asker that went away needs no answer.
            let _gone: Result<(), ()> = reply.send(());
            Event::Sighted { seen }
        });
    }

    /// Sandboxes were looked for: those that are gone give back what they hold.
    pub(crate) fn sighted(&mut self, seen: &BTreeMap<SandboxKey, Sighting>) {
        for ended in planner::reap(self.book.ledger(), seen, &self.busy()) {
            let sandbox = ended.sandbox().clone();
            tracing::info!(%sandbox, "the sandbox is gone without a DEL; its address is released");
            self.drive(&sandbox, Input::Ended(ended));
        }
    }
}

/// Looks for the namespaces of sandboxes; `linked` says whether the host end of one is there.
async fn look_for(
    host: &impl HostNet,
    sandboxes: Vec<(SandboxKey, NetnsRef)>,
    linked: impl Fn(&SandboxKey) -> bool,
) -> BTreeMap<SandboxKey, Sighting> {
    let mut sightings = BTreeMap::new();
    for (sandbox, netns) in sandboxes {
        let seen = match host.liveness(netns.clone()).await {
            Liveness::Alive => NetnsSeen::Alive,
            Liveness::Gone => NetnsSeen::Gone,
            Liveness::Unknown => NetnsSeen::Unknown,
        };
        let link = linked(&sandbox);
        sightings.insert(sandbox, Sighting { netns, seen, link });
    }
    sightings
}
