//! Sandboxes that may be gone without a DEL: looked for, and released when there is proof. Those that live without a link are
//! wired anew.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::host::{HostObserved, LinkAlias, PodWiring};
use holdfast_model::sandbox::{NetnsRef, SandboxKey};
use holdfast_planner::{self as planner, NetnsSeen, Sighting};
use holdfast_ports::{HostNet, Liveness};
use tokio::sync::oneshot;

use crate::attachment::Input;
use crate::engine::Engine;
use crate::event::Event;
use crate::timers;
use crate::world::World;

impl<W: World> Engine<W> {
    /// Sandboxes whose link is gone may be gone themselves. One that was wired since the look began has a link that was not
    /// seen.
    pub(crate) fn look_for_the_unlinked(&mut self, observed: &HostObserved) {
        let linked: BTreeSet<&LinkAlias> =
            observed.links.iter().filter_map(|link| link.alias.as_ref()).collect();
        let settled = self.before_look.settled.iter().filter(|sandbox| !self.attachments.is_busy(sandbox));
        let leases = &self.book.ledger().leases;
        let lacks_one = |sandbox: &&SandboxKey| {
            leases
                .get(*sandbox)
                .is_some_and(|lease| !LinkAlias::all_of(lease).all(|alias| linked.contains(&alias)))
        };
        let unlinked = settled.filter(lacks_one);
        // One look at a time: the path is the client's word, and where it leads a look may hang.
        let unlinked = unlinked.filter(|sandbox| !self.looked_for.contains(*sandbox));
        let suspects: Vec<_> = unlinked.filter_map(|sandbox| self.suspect(sandbox)).collect();
        for suspect in suspects {
            self.looked_for.insert(suspect.sandbox.clone());
            let host = self.ports.host.clone();
            self.beside(async move { Event::Sighted { seen: look_for(&*host, vec![suspect]).await } });
        }
    }

    fn suspect(&self, sandbox: &SandboxKey) -> Option<Suspect> {
        let lease = self.book.ledger().leases.get(sandbox)?;
        Some(Suspect { sandbox: sandbox.clone(), netns: lease.netns.clone(), faces: self.wirings(lease) })
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
        let listed: Vec<_> = listed.into_iter().map(|lease| lease.sandbox.clone()).collect();
        let suspects: Vec<_> = listed.iter().filter_map(|sandbox| self.suspect(sandbox)).collect();
        let host = self.ports.host.clone();
        self.beside(async move {
            let seen = look_for(&*host, suspects).await;
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
        for sandbox in seen.keys() {
            self.looked_for.remove(sandbox);
        }
        for ended in planner::reap(self.book.ledger(), seen, &self.busy()) {
            let sandbox = ended.sandbox().clone();
            tracing::info!(%sandbox, "the sandbox is gone without a DEL; its address is released");
            self.drive(&sandbox, Input::Ended(ended));
        }
        for (sandbox, sighting) in seen.iter().filter(|(_, sighting)| sighting.lacks_link) {
            match sighting.seen {
                // By a ledger that is old, another sandbox may have its address by now.
                NetnsSeen::Alive if self.has_its_own(sandbox) => {
                    let now = self.now().boottime;
                    if let Some(at) = self.rewirings.rests_until(sandbox, now) {
                        self.link_comes_back_later(sandbox);
                        timers::sooner(&mut self.timers.observe, at);
                        continue;
                    }
                    self.drive(sandbox, Input::Severed { inode: sighting.netns.inode });
                }
                NetnsSeen::Alive => self.link_stays_away(sandbox, "another sandbox has its address"),
                NetnsSeen::Unknown => {
                    self.link_stays_away(sandbox, "its network namespace cannot be looked at");
                }
                NetnsSeen::Gone => {}
            }
        }
    }
}

/// A sandbox that may be gone, and what it is looked for by.
struct Suspect {
    sandbox: SandboxKey,
    netns: NetnsRef,
    faces: Vec<PodWiring>,
}

async fn look_for(host: &impl HostNet, suspects: Vec<Suspect>) -> BTreeMap<SandboxKey, Sighting> {
    let mut sightings = BTreeMap::new();
    for Suspect { sandbox, netns, faces } in suspects {
        let (mut link, mut lost) = (false, None);
        for face in faces {
            match host.liveness(netns.clone(), face).await {
                Liveness::Joined => link = true,
                Liveness::Severed => lost = Some(NetnsSeen::Alive),
                Liveness::Gone => lost = Some(NetnsSeen::Gone),
                Liveness::Unknown => lost = Some(NetnsSeen::Unknown),
            }
        }
        let seen = match lost {
            None => NetnsSeen::Alive,
            // A link of it is there, so the sandbox lives; where, its path does not tell.
            Some(NetnsSeen::Gone) if link => NetnsSeen::Unknown,
            Some(seen) => seen,
        };
        sightings.insert(sandbox, Sighting { netns, seen, link, lacks_link: lost.is_some() });
    }
    sightings
}
