//! DEL: from a request to a resting address.
//!
//! ```text
//!   request ──commit Releasing──> unwire (rules, routes) ──> answered ──> link removed ──commit──> address rests
//! ```
//!
//! The answer does not wait for the link: the kernel takes a grace period over it, many at once for the price of
//! one. The address does wait: it rests only when nothing in the kernel names it.

use std::collections::BTreeSet;

use holdfast_model::host::PodWiring;
use holdfast_model::lease::LeasePhase;
use holdfast_model::sandbox::SandboxKey;
use holdfast_planner as planner;
use holdfast_ports::{HostFault, HostNet, Liveness, Netns, Spawner};
use tokio::sync::oneshot;

use crate::adds::Stage;
use crate::book::{Then, chain};
use crate::engine::Engine;
use crate::event::{Event, Verdict};
use crate::handle::Deleted;
use crate::living::Suspect;
use crate::sandboxes::Deed;
use crate::timers::{self, KERNEL_RETRY};
use crate::world::World;

impl<W: World> Engine<W> {
    pub(crate) fn del(&mut self, sandbox: SandboxKey, reply: oneshot::Sender<Deleted>) {
        self.forget_waiting(&sandbox);
        let adding = self.adds.get(&sandbox).is_some_and(|add| add.stage == Stage::Leased);
        if adding {
            self.sandboxes.doom(&sandbox);
            self.sandboxes.await_del(&sandbox, reply);
            return;
        }
        let phase = self.book.ledger().leases.get(&sandbox).map(|lease| lease.phase);
        // Its rules and routes are gone; or what is left of it is tried again later, or owed to a disk that refuses.
        let unwired = match self.sandboxes.deed(&sandbox) {
            Some(Deed::Unlink(_) | Deed::UnlinkLater(_) | Deed::Unlinking) => true,
            None => self.looked && !self.sandboxes.is_busy(&sandbox),
            Some(Deed::Wiring | Deed::Rewiring | Deed::Releasing | Deed::Unwiring) => false,
        };
        match phase {
            // An asker that went away needs no answer, here and below.
            None => drop(reply.send(self.deleted(&sandbox))),
            Some(LeasePhase::Releasing) if unwired => drop(reply.send(self.deleted(&sandbox))),
            Some(LeasePhase::Releasing) => self.sandboxes.await_del(&sandbox, reply),
            Some(LeasePhase::Pending | LeasePhase::Active) => {
                self.sandboxes.await_del(&sandbox, reply);
                self.release(&sandbox);
            }
        }
    }

    /// What a DEL of this sandbox stands on that is answered now. While the disk refuses, what memory says of a release is
    /// no more than that.
    fn deleted(&self, sandbox: &SandboxKey) -> Deleted {
        let owed = self.sandboxes.is_owed(sandbox) || self.disk_trouble(&self.now()).is_some();
        if owed { Deleted::Owed } else { Deleted::Durable }
    }

    pub(crate) fn answer_dels(&mut self, sandbox: &SandboxKey) {
        let done = self.deleted(sandbox);
        self.sandboxes.answer_dels(sandbox, done);
    }

    /// Gives a lease up: durable first, then the kernel.
    pub(crate) fn release(&mut self, sandbox: &SandboxKey) {
        if self.sandboxes.deed(sandbox) == Some(&Deed::Rewiring) {
            self.sandboxes.doom(sandbox);
            return;
        }
        let now = self.now();
        let changes = planner::begin_release(self.book.ledger(), sandbox, &now);
        if changes.is_empty() {
            return;
        }
        if self.sandboxes.deed(sandbox).is_none() {
            self.sandboxes.begin(sandbox, Deed::Releasing);
        }
        self.book.commit(changes, Then::Unwire(sandbox.clone()));
    }

    /// The release is durable: remove the pod's rules and routes.
    pub(crate) fn unwire(&mut self, sandbox: SandboxKey) {
        match self.sandboxes.deed(&sandbox) {
            None | Some(Deed::Wiring | Deed::Rewiring | Deed::Releasing) => {}
            // The disk refused the release at first, and the kernel's part went on without it.
            Some(Deed::Unwiring) => return,
            Some(Deed::Unlink(_) | Deed::UnlinkLater(_) | Deed::Unlinking) => {
                self.answer_dels(&sandbox);
                return;
            }
        }
        let Some(lease) = self.book.ledger().leases.get(&sandbox) else {
            self.sandboxes.end(&sandbox);
            self.answer_dels(&sandbox);
            return;
        };
        let wirings = self.wirings(lease);
        self.sandboxes.begin(&sandbox, Deed::Unwiring);
        let host = self.ports.host.clone();
        self.beside(async move {
            let mut result = Ok(());
            for wiring in wirings {
                // What fails keeps nothing else from going.
                result = result.and(host.unwire_pod(wiring).await);
            }
            Event::Unwired { sandbox, result }
        });
    }

    pub(crate) fn unwired(&mut self, sandbox: SandboxKey, result: Result<(), HostFault>) {
        self.sandboxes.end(&sandbox);
        // The release is durable: what is left to do will be done, whatever happens.
        self.answer_dels(&sandbox);
        if let Err(fault) = result {
            tracing::error!(%sandbox, error = %chain(&fault), "removing rules and routes failed; trying again");
            self.retry_kernel();
            return;
        }
        if let Some(lease) = self.book.ledger().leases.get(&sandbox) {
            self.sandboxes.begin(&sandbox, Deed::Unlink(self.wirings(lease)));
            self.remove_links();
        }
    }

    /// Removes all links that wait for it, unless a batch is under way: the next one takes what has gathered.
    pub(crate) fn remove_links(&mut self) {
        let batch = self.sandboxes.take_links();
        if batch.is_empty() {
            return;
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
        let now = self.now();
        let mut changes = Vec::new();
        for (sandbox, result) in removed {
            self.sandboxes.end(&sandbox);
            match result {
                Ok(()) => {
                    changes.extend(planner::finish_release(
                        &self.desired(),
                        self.book.ledger(),
                        &sandbox,
                        &now,
                    ));
                }
                Err(fault) => {
                    tracing::error!(%sandbox, error = %chain(&fault), "removing a link failed; trying again");
                    if let Some(lease) = self.book.ledger().leases.get(&sandbox) {
                        let wirings = self.wirings(lease);
                        self.sandboxes.begin(&sandbox, Deed::UnlinkLater(wirings));
                    }
                    self.retry_kernel();
                }
            }
        }
        // Should it be lost, the release is done again, and the rest begins anew: longer, never shorter.
        self.book.commit_lazily(changes);
        self.remove_links();
    }

    fn retry_kernel(&mut self) {
        let at = self.now().boottime.after(KERNEL_RETRY);
        timers::sooner(&mut self.timers.kernel_retry, at);
    }

    /// The disk refused the release. DEL succeeds all the same: the kernel state goes, the debt is kept, and should
    /// the process die before it is paid, the sandbox is found gone at the next start.
    pub(crate) fn release_not_written(&mut self, sandbox: SandboxKey) {
        self.sandboxes.owe(&sandbox);
        self.unwire(sandbox);
    }

    /// The disk takes writes again: pay what is owed, and take up what was cut off.
    pub(crate) fn resumed(&mut self) {
        for sandbox in self.sandboxes.take_owed() {
            self.release(&sandbox);
        }
        // What was concluded from changes that the disk did not take is concluded anew, as after a start.
        self.looked = false;
        self.identified = false;
        self.observed.forget_reads();
        self.observe();
        self.ask_identity();
    }

    /// Takes up leases that nobody is working on: after a start, and after the disk had refused.
    pub(crate) fn pick_up_leases(&mut self) {
        let idle: Vec<_> = self
            .book
            .ledger()
            .leases
            .values()
            .filter(|lease| lease.phase != LeasePhase::Active && !self.is_busy(&lease.sandbox))
            .map(|lease| (lease.sandbox.clone(), lease.phase))
            .collect();
        for (sandbox, phase) in idle {
            match phase {
                LeasePhase::Pending => self.verify(sandbox, None),
                LeasePhase::Releasing => self.unwire(sandbox),
                LeasePhase::Active => {}
            }
        }
    }

    /// Whether something is being done about a sandbox.
    pub(crate) fn is_busy(&self, sandbox: &SandboxKey) -> bool {
        self.sandboxes.is_busy(sandbox)
            || self.adds.get(sandbox).is_some_and(|add| add.stage == Stage::Leased)
    }

    pub(crate) fn busy(&self) -> BTreeSet<SandboxKey> {
        self.book.ledger().leases.keys().filter(|sandbox| self.is_busy(sandbox)).cloned().collect()
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
        let suspects: Vec<_> = listed.into_iter().filter_map(|sandbox| self.suspect(&sandbox)).collect();
        let host = self.ports.host.clone();
        self.beside(async move {
            let mut gone = Vec::new();
            for Suspect { sandbox, netns, pod } in suspects {
                match host.liveness(netns, pod).await {
                    Liveness::Gone => gone.push(sandbox),
                    // A list may be wrong or older than the sandbox; a live namespace is not.
                    Liveness::Joined | Liveness::Severed | Liveness::Unknown => {
                        tracing::warn!(%sandbox, "not in the runtime's list, yet its network is there: kept");
                    }
                }
            }
            // An asker that went away needs no answer.
            let _gone: Result<(), ()> = reply.send(());
            Event::Looked { gone, severed: Vec::new(), unknown: Vec::new() }
        });
    }

    /// Compares a lease with the kernel.
    pub(crate) fn verify(&mut self, sandbox: SandboxKey, netns: Option<Netns>) {
        let Some(lease) = self.book.ledger().leases.get(&sandbox) else { return };
        let Some(suspect) = self.suspect(&sandbox) else { return };
        let mut wirings = self.wirings(lease);
        let (path, inode) = (lease.netns.path.clone(), lease.netns.inode);
        if !self.sandboxes.begin_verifying(&sandbox) {
            return;
        }
        if netns.is_none() {
            // Whether it was wired to its end is asked, and not what became of its packets since: it may have been
            // answered for.
            for wiring in &mut wirings {
                wiring.ways.clear();
            }
        }
        let host = self.ports.host.clone();
        self.beside(async move {
            let netns = match netns {
                Some(netns) => Ok(netns),
                None => same_netns(&*host, path, inode).await,
            };
            let compared = match netns {
                Ok(netns) => check_faces(&*host, wirings, Some(netns)).await,
                Err(fault) => Err(fault),
            };
            let verdict = match compared {
                Ok(differences) if differences.is_empty() => Verdict::Sound,
                Ok(differences) => Verdict::Unsound { why: differences.join("; ") },
                Err(fault) => match host.liveness(suspect.netns, suspect.pod).await {
                    Liveness::Gone => Verdict::Unsound { why: chain(&fault) },
                    Liveness::Joined if matches!(fault, HostFault::Netns { .. }) => Verdict::Hidden(fault),
                    Liveness::Joined | Liveness::Severed | Liveness::Unknown => Verdict::Unknown(fault),
                },
            };
            Event::Verified { sandbox, verdict }
        });
    }

    /// A comparison ended. A pending lease that verifies is adopted, one that does not is undone, and one that could
    /// not be compared is looked at again: not seeing a thing proves nothing.
    pub(crate) fn verified(&mut self, sandbox: SandboxKey, verdict: Verdict) {
        self.sandboxes.end_verifying(&sandbox);
        let pending =
            self.book.ledger().leases.get(&sandbox).is_some_and(|lease| lease.phase == LeasePhase::Pending);
        match &verdict {
            Verdict::Sound if pending && !self.sandboxes.has_del(&sandbox) => {
                self.book.commit(planner::activate(self.book.ledger(), &sandbox), Then::Nothing);
            }
            Verdict::Sound => {}
            Verdict::Hidden(fault) => {
                tracing::warn!(
                    %sandbox, error = %chain(fault),
                    "the sandbox lives, its namespace cannot be seen from here, and so not verified: is it mounted with \
                     HostToContainer propagation? It is kept"
                );
                if !self.sandboxes.has_del(&sandbox) {
                    self.book.commit(planner::activate(self.book.ledger(), &sandbox), Then::Nothing);
                }
            }
            Verdict::Unsound { why } => {
                tracing::info!(%sandbox, why, "the wiring is not as it should be");
                if pending {
                    self.release(&sandbox);
                }
            }
            Verdict::Unknown(fault) => {
                tracing::warn!(%sandbox, error = %chain(fault), "the wiring cannot be verified; trying again");
                self.retry_kernel();
            }
        }
        self.rechecked(&sandbox, verdict);
    }

    pub(crate) fn check(
        &mut self,
        sandbox: &SandboxKey,
        netns: Option<Netns>,
        reply: oneshot::Sender<Vec<String>>,
    ) {
        let lease = self.book.ledger().leases.get(sandbox);
        let Some(lease) = lease.filter(|lease| lease.phase != LeasePhase::Releasing) else {
            // An asker that went away needs no answer, here and below.
            drop(reply.send(vec![format!("{sandbox} holds no address")]));
            return;
        };
        let wirings = self.wirings(lease);
        let host = self.ports.host.clone();
        self.ports.spawner.spawn(async move {
            let differences =
                check_faces(&*host, wirings, netns).await.unwrap_or_else(|fault| vec![chain(&fault)]);
            drop(reply.send(differences));
        });
    }
}

/// The namespace that this path led to when the sandbox was added.
pub(crate) async fn same_netns(host: &impl HostNet, path: String, inode: u64) -> Result<Netns, HostFault> {
    let (netns, seen) = host.open_netns(path).await?;
    if seen.inode == inode {
        return Ok(netns);
    }
    let cause = "another namespace is bound to this path now".to_owned();
    Err(HostFault::Netns { netns: seen.path, cause })
}

/// What is wrong with a sandbox's wiring, all its faces taken together.
async fn check_faces(
    host: &impl HostNet,
    wirings: Vec<PodWiring>,
    netns: Option<Netns>,
) -> Result<Vec<String>, HostFault> {
    let mut differences = Vec::new();
    for wiring in wirings {
        differences.extend(host.check_pod(wiring, netns.clone()).await?);
    }
    Ok(differences)
}
