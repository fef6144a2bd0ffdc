//! A node whose EC2 takes a call and never answers it, so that everybody waits.

use std::collections::BTreeMap;
use std::future::pending;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use holdfast_engine::{AddRequest, Engine, EngineHandle, Ports, RuntimeTasks, World};
use holdfast_model::cloud::{AttachmentStatus, AttachmentView, CloudAnswer, CloudCall, CloudRead, EniView};
use holdfast_model::config::Config;
use holdfast_model::host::{EniWiring, HostAction, HostObserved, LinkAlias, NatWanted, PodWired, PodWiring};
use holdfast_model::ids::InstanceId;
use holdfast_model::ledger::Ledger;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::node::NodeIdentity;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey, SandboxNames};
use holdfast_model::time::Now;
use holdfast_ports::{
    Clock, Cloud, CloudError, HintAsked, HostFault, HostNet, Liveness, Metadata, MetadataError, MetadataHint,
    Netns,
};
use holdfast_store::{OpenOptions, Store};

use crate::node;

/// What EC2, the metadata service and the kernel show of a ledger's node.
pub(crate) struct Stage {
    ledger: Ledger,
    limits: InstanceLimits,
    kernel: HostObserved,
}

impl Cloud for Stage {
    async fn perform(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        match call {
            CloudCall::Read(CloudRead::InstanceEnis { .. }) => Ok(CloudAnswer::Enis(self.views())),
            CloudCall::Read(CloudRead::AvailableEnis { .. }) => Ok(CloudAnswer::Enis(Vec::new())),
            _ => pending().await,
        }
    }

    async fn limits_of(&self, _: &str) -> Result<InstanceLimits, CloudError> {
        Ok(self.limits.clone())
    }
}

impl Stage {
    fn identity(&self) -> NodeIdentity {
        self.ledger.node.as_ref().expect("it has a node").identity.clone()
    }

    fn views(&self) -> Vec<EniView> {
        let instance = self.identity().instance;
        let view = |eni: &holdfast_model::eni::EniRecord| EniView {
            id: eni.id.clone(),
            mac: eni.mac,
            kind: eni.kind,
            subnet: eni.source.subnet.clone(),
            security_groups: self.identity().security_groups.into_iter().collect(),
            primary_ipv4: eni.primary_ipv4,
            secondary: self.ledger.blocks_on(&eni.id).map(|block| block.net.addr()).collect(),
            prefixes: Vec::new(),
            tags: BTreeMap::new(),
            attachment: eni.attachment().zip(eni.slot()).map(|(id, slot)| AttachmentView {
                id: id.clone(),
                instance: instance.clone(),
                slot,
                delete_on_termination: true,
                status: AttachmentStatus::Attached,
            }),
        };
        self.ledger.enis.values().map(view).collect()
    }
}

impl Metadata for Stage {
    async fn identity(&self) -> Result<NodeIdentity, MetadataError> {
        Ok(Stage::identity(self))
    }

    async fn enis(&self, _: &InstanceId) -> Result<Vec<EniView>, MetadataError> {
        pending().await
    }

    async fn hint(&self, _: HintAsked) -> Result<MetadataHint, MetadataError> {
        pending().await
    }
}

impl HostNet for Stage {
    async fn observe(&self, _: &NatWanted) -> Result<HostObserved, HostFault> {
        Ok(self.kernel.clone())
    }

    async fn apply(&self, _: Vec<HostAction>) -> Result<(), HostFault> {
        Ok(())
    }

    async fn set_up_eni(&self, _: EniWiring) -> Result<(), HostFault> {
        Ok(())
    }

    async fn wire_pod(&self, _: PodWiring, _: Netns) -> Result<PodWired, HostFault> {
        pending().await
    }

    async fn unwire_pod(&self, _: PodWiring) -> Result<(), HostFault> {
        Ok(())
    }

    async fn remove_links(&self, pods: Vec<PodWiring>) -> Vec<Result<(), HostFault>> {
        pods.iter().map(|_| Ok(())).collect()
    }

    async fn check_pod(&self, _: PodWiring, _: Option<Netns>) -> Result<Vec<String>, HostFault> {
        Ok(Vec::new())
    }

    async fn diverted(&self, _: Vec<PodWiring>) -> Result<Vec<(LinkAlias, String)>, HostFault> {
        Ok(Vec::new())
    }

    async fn open_netns(&self, path: String) -> Result<(Netns, NetnsRef), HostFault> {
        Err(HostFault::Netns { netns: path, cause: "there is none on this stage".to_owned() })
    }

    async fn liveness(&self, _: NetnsRef, _: PodWiring) -> Liveness {
        Liveness::Joined
    }

    async fn drifted(&self) {
        pending::<()>().await;
    }
}

struct StageClock {
    begun: Instant,
    drawn: AtomicU64,
}

impl Clock for StageClock {
    fn now(&self) -> Now {
        let begun = node::now();
        Now { boottime: begun.boottime.after(self.begun.elapsed()), ..begun }
    }

    fn random(&self) -> u128 {
        self.drawn.fetch_add(1, Ordering::Relaxed).into()
    }
}

struct Node;

impl World for Node {
    type Cloud = Stage;
    type Metadata = Stage;
    type Host = Stage;
    type Clock = StageClock;
    type Spawner = RuntimeTasks;
}

/// A turn of the engine on a node of so many ENIs of so many addresses, all under pods, while so many more pods wait for an
/// ENI that is being made: one question that changes nothing, from asking to the answer to the next.
pub(crate) fn turn(enis: u16, per_eni: u32, waiting: u32, questions: u32) -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let mut store =
            Store::open(&folder.path().join("ledger.redb"), &OpenOptions::at(node::now().wall))?.store;
        let all = u32::from(enis) * per_eni;
        store.commit(&node::changes(enis, per_eni, all))?;
        let (ledger, config) = (store.durable()?, Arc::new(Config::default()));
        let kernel = node::kernel(&ledger, &config);
        let limits = InstanceLimits::of_addresses(vec![u32::from(enis) + 50], per_eni + 1);
        let stage = Arc::new(Stage { ledger, limits, kernel });
        let ports = Ports::<Node> {
            cloud: Arc::clone(&stage),
            metadata: Arc::clone(&stage),
            host: Arc::clone(&stage),
            clock: Arc::new(StageClock { begun: Instant::now(), drawn: AtomicU64::new(1) }),
            spawner: Arc::new(RuntimeTasks),
        };
        let (engine, handle) = Engine::new(ports, config, store)?;
        let running = tokio::spawn(engine.run());
        let netns = Netns::from(OwnedFd::from(std::fs::File::open("/dev/null")?));
        for number in 0..waiting {
            let (handle, request) = (handle.clone(), request(number, &netns));
            tokio::spawn(async move { handle.add(request).await });
        }
        at_work(&handle, waiting).await?;
        let nobody = request(u32::MAX, &netns).sandbox;
        let began = Instant::now();
        for _ in 0..questions {
            let said = handle.check(nobody.clone(), None, Vec::new()).await?;
            ensure!(said.len() == 1, "it is not known: {said:?}");
        }
        let took = began.elapsed() / questions;
        let dump = handle.dump().await?;
        ensure!(dump.waiting.len() == waiting as usize, "everybody waits still: {}", dump.waiting.len());
        handle.stop().await;
        running.await?;
        Ok(took)
    })
}

/// Once everybody waits and EC2 was asked for what they wait for.
async fn at_work(handle: &EngineHandle, waiting: u32) -> anyhow::Result<()> {
    for _ in 0..500 {
        let dump = handle.dump().await?;
        if dump.waiting.len() == waiting as usize && !dump.ledger.intents.is_empty() && dump.host_read {
            ensure!(dump.violations.is_empty(), "{:?}", dump.violations);
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let dump = handle.dump().await.context("after ten seconds")?;
    bail!(
        "nobody waits for EC2: {} wait, {:?}, {:?}",
        dump.waiting.len(),
        dump.ledger.intents.len(),
        dump.refusal
    )
}

fn request(number: u32, netns: &Netns) -> AddRequest {
    let container_id = node::container_id(number.wrapping_add(1 << 20));
    AddRequest {
        sandbox: SandboxKey::from(SandboxNames {
            container_id,
            ifname: "eth0".to_owned(),
            network: "aws-cni".to_owned(),
        }),
        pod: PodRef { namespace: "default".to_owned(), name: format!("new-{number}"), uid: None },
        netns: netns.clone(),
        netns_ref: NetnsRef {
            path: format!("/run/netns/new-{number}"),
            inode: 1_000_000 + u64::from(number),
        },
        host_veth: format!("new{number:011x}"),
        fallback_veth: format!("neu{number:011x}"),
        further: None,
        mtu: 9001,
        trace: None,
        patience: None,
    }
}
