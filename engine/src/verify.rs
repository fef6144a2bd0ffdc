//! A pod's wiring compared with the kernel: for CHECK, for a repeated ADD, and for what a start finds unfinished.

use std::net::IpAddr;

use holdfast_model::chain;
use holdfast_model::host::PodWiring;
use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::sandbox::{NetnsRef, SandboxKey};
use holdfast_ports::{HostFault, HostNet, Liveness, Netns, Spawner};
use tokio::sync::oneshot;

use crate::attachment::{Input, Verdict};
use crate::engine::Engine;
use crate::event::Event;
use crate::world::World;

impl<W: World> Engine<W> {
    /// Compares a lease with the kernel.
    pub(crate) fn verify(&self, sandbox: &SandboxKey, ticket: u64, netns: Option<Netns>) {
        let Some(lease) = self.book.ledger().leases.get(sandbox) else { return };
        let mut wirings = self.wirings(lease);
        let Some(pod) = wirings.first().cloned() else { return };
        let others: Vec<PodWiring> = wirings.iter().skip(1).cloned().collect();
        if netns.is_none() {
            // Whether it was wired to its end is asked, and not what became of its packets since: it may have been
            // answered for.
            for wiring in &mut wirings {
                wiring.ways.clear();
            }
        }
        let seen = lease.netns.clone();
        let (host, sandbox) = (self.ports.host.clone(), sandbox.clone());
        self.beside(async move {
            let netns = match netns {
                Some(netns) => Ok(netns),
                None => same_netns(&*host, &seen).await,
            };
            let compared = match netns {
                Ok(netns) => check_faces(&*host, wirings, Some(netns)).await,
                Err(fault) => Err(fault),
            };
            let verdict = match compared {
                Ok(differences) if differences.is_empty() => Verdict::Sound,
                Ok(differences) => Verdict::Unsound { why: differences.join("; ") },
                Err(fault) => match liveness_of(&*host, seen, pod, others).await {
                    Liveness::Gone => Verdict::Unsound { why: chain(&fault) },
                    Liveness::Joined
                        if matches!(fault, HostFault::Netns { .. } | HostFault::Barred { .. }) =>
                    {
                        Verdict::Hidden(fault)
                    }
                    Liveness::Joined | Liveness::Severed | Liveness::Unknown => Verdict::Unknown(fault),
                },
            };
            Event::Verified { sandbox, ticket, verdict }
        });
    }

    pub(crate) fn verified(&mut self, sandbox: &SandboxKey, ticket: u64, verdict: Verdict) {
        match &verdict {
            Verdict::Sound => {}
            Verdict::Unsound { why } => tracing::info!(%sandbox, why, "the wiring is not as it should be"),
            Verdict::Hidden(fault @ HostFault::Barred { .. }) => tracing::warn!(
                %sandbox, error = %chain(fault), "the sandbox lives and is not verified. It is kept"
            ),
            Verdict::Hidden(fault) => tracing::warn!(
                %sandbox, error = %chain(fault),
                "the sandbox lives, its namespace cannot be seen from here, and so not verified: is it mounted with \
                 HostToContainer propagation? It is kept"
            ),
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
        expected: &[IpAddr],
        reply: oneshot::Sender<Vec<String>>,
    ) {
        let lease = self.book.ledger().leases.get(sandbox);
        let Some(lease) = lease.filter(|lease| lease.phase != LeasePhase::Releasing) else {
            // An asker that went away needs no answer, here and below.
            drop(reply.send(vec![format!("{sandbox} holds no address")]));
            return;
        };
        let wirings = self.wirings(lease);
        let mut differences = unexpected(lease, expected);
        let host = self.ports.host.clone();
        self.ports.spawner.spawn(async move {
            let wrong = check_faces(&*host, wirings, netns).await.unwrap_or_else(|fault| vec![chain(&fault)]);
            differences.extend(wrong);
            drop(reply.send(differences));
        });
    }
}

/// Which addresses of a lease the runtime does not know of. One that kept none expects none.
fn unexpected(lease: &Lease, expected: &[IpAddr]) -> Vec<String> {
    let unknown = lease.addresses().filter(|address| !expected.is_empty() && !expected.contains(address));
    unknown.map(|address| format!("the runtime expects {expected:?}, the ledger has {address}")).collect()
}

/// The namespace that this path led to when the sandbox was added.
pub(crate) async fn same_netns(host: &impl HostNet, seen: &NetnsRef) -> Result<Netns, HostFault> {
    let (netns, opened) = host.open_netns(seen.path.clone()).await?;
    if opened.inode == seen.inode {
        return Ok(netns);
    }
    let cause = "another namespace is bound to this path now".to_owned();
    Err(HostFault::Netns { netns: opened.path, cause })
}

/// Whether a sandbox lives: one of its links that is there is enough.
async fn liveness_of(
    host: &impl HostNet,
    netns: NetnsRef,
    first: PodWiring,
    others: Vec<PodWiring>,
) -> Liveness {
    let mut seen = host.liveness(netns.clone(), first).await;
    for other in others {
        if seen == Liveness::Joined {
            break;
        }
        seen = match host.liveness(netns.clone(), other).await {
            Liveness::Joined => Liveness::Joined,
            _ => seen,
        };
    }
    seen
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

#[cfg(test)]
mod tests {
    use holdfast_model::eni::EniPlace;
    use holdfast_model::ids::{EniId, MacAddr};
    use holdfast_model::lease::Face;
    use holdfast_model::sandbox::PodRef;
    use holdfast_model::time::WallTime;

    use holdfast_model::sandbox::SandboxNames;

    use super::*;

    #[test]
    fn each_address_of_a_lease_is_one_that_the_runtime_kept() {
        let [first, second, other] = ["10.0.0.7", "10.0.1.7", "10.0.0.8"].map(|text| text.parse().unwrap());
        let face = |address| Face {
            ifname: "eth0".to_owned(),
            address,
            eni: EniId::new("eni-1"),
            place: EniPlace::PRIMARY,
            host_veth: "eni1".to_owned(),
            host_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
        };
        let lease = Lease {
            sandbox: SandboxKey::from(SandboxNames {
                container_id: "c".to_owned(),
                ifname: "eth0".to_owned(),
                network: "aws-cni".to_owned(),
            }),
            pod: PodRef { namespace: "default".to_owned(), name: "web-0".to_owned(), uid: None },
            netns: NetnsRef { path: "/run/netns/x".to_owned(), inode: 7 },
            faces: vec![face(first), face(second)],
            phase: LeasePhase::Active,
            created: WallTime(0),
        };
        assert!(unexpected(&lease, &[]).is_empty(), "a runtime that kept nothing expects nothing");
        assert!(unexpected(&lease, &[other, second, first]).is_empty(), "what else the pod has is not ours");
        let missing = unexpected(&lease, &[other, first]);
        assert!(
            matches!(missing.as_slice(), [why] if why.ends_with("the ledger has 10.0.1.7")),
            "{missing:?}"
        );
    }
}
