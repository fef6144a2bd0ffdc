//! A pod's wiring compared with the kernel: for CHECK, for a repeated ADD, and for what a start finds unfinished.

use holdfast_model::host::PodWiring;
use holdfast_model::lease::LeasePhase;
use holdfast_model::sandbox::SandboxKey;
use holdfast_planner as planner;
use holdfast_ports::{HostFault, HostNet, Liveness, Netns, Spawner};
use tokio::sync::oneshot;

use crate::attachment::{Input, Verdict};
use crate::book::chain;
use crate::engine::Engine;
use crate::event::Event;
use crate::world::World;

impl<W: World> Engine<W> {
    /// Compares a lease with the kernel.
    pub(crate) fn verify(&self, sandbox: &SandboxKey, ticket: u64, netns: Option<Netns>) {
        let Some(lease) = self.book.ledger().leases.get(sandbox) else { return };
        let wirings: Vec<_> = planner::wirings_of(lease).collect();
        let seen = lease.netns.clone();
        let (host, sandbox) = (self.ports.host.clone(), sandbox.clone());
        self.beside(async move {
            let netns = match netns {
                Some(netns) => Ok(netns),
                None => match host.open_netns(seen.path.clone()).await {
                    Ok((netns, opened)) if opened.inode == seen.inode => Ok(netns),
                    Ok((_, opened)) => Err(HostFault::Netns {
                        netns: opened.path,
                        cause: "another namespace is bound to this path now".to_owned(),
                    }),
                    Err(fault) => Err(fault),
                },
            };
            let compared = match netns {
                Ok(netns) => check_faces(&*host, wirings, Some(netns)).await,
                Err(fault) => Err(fault),
            };
            let verdict = match compared {
                Ok(differences) if differences.is_empty() => Verdict::Sound,
                Ok(differences) => Verdict::Unsound { why: differences.join("; ") },
                Err(fault) if host.liveness(seen).await == Liveness::Gone => {
                    Verdict::Unsound { why: chain(&fault) }
                }
                Err(fault) => Verdict::Unknown(fault),
            };
            Event::Verified { sandbox, ticket, verdict }
        });
    }

    pub(crate) fn verified(&mut self, sandbox: &SandboxKey, ticket: u64, verdict: Verdict) {
        match &verdict {
            Verdict::Sound => {}
            Verdict::Unsound { why } => tracing::info!(%sandbox, why, "the wiring is not as it should be"),
            Verdict::Unknown(fault) => {
                tracing::warn!(%sandbox, error = %chain(fault), "the wiring cannot be verified; trying again");
            }
        }
        self.drive(sandbox, Input::Verified { ticket, verdict });
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
        let wirings: Vec<_> = planner::wirings_of(lease).collect();
        let host = self.ports.host.clone();
        self.ports.spawner.spawn(async move {
            let differences =
                check_faces(&*host, wirings, netns).await.unwrap_or_else(|fault| vec![chain(&fault)]);
            drop(reply.send(differences));
        });
    }
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
