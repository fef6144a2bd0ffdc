//! One node: what outlives its daemon (box, kernel, disk, clock, sandboxes), and its daemon's lives.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use holdfast_aws::{Ec2Cloud, Ec2Settings, Imds, ImdsSettings, Surroundings};
use holdfast_engine::{AddError, AddRequest, Engine, EngineHandle, Ports, World};
use holdfast_model::cloud::TAG_INSTANCE;
use holdfast_model::config::Config;
use holdfast_model::eni::EniPhase;
use holdfast_model::invariants;
use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::ledger::Ledger;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey};
use holdfast_model::time::WallTime;
use holdfast_ports::{Clock, Spawner};
use holdfast_sim::server::ImdsService;
use holdfast_sim::vpc::{self as sim, EniId};
use holdfast_store::{CommitObserver, OpenOptions, Store, Writer};
use tokio::sync::{Notify, oneshot};

use crate::clock::VirtualClock;
use crate::cloud::{CountedCloud, MetadataReach, Wire};
use crate::disk::Disk;
use crate::kernel::{self, Kernel, SimHost};
use crate::shared::{SharedBox, Stage};
use crate::steps::Steps;
use crate::tasks::Tasks;
use crate::witness::Witness;

/// The ports of a simulated node.
#[derive(Debug)]
pub(crate) struct SimWorld;

impl World for SimWorld {
    type Cloud = CountedCloud;
    type Metadata = Imds;
    type Host = SimHost;
    type Clock = VirtualClock;
    type Spawner = Tasks;
}

/// No script takes longer, in virtual time.
const LONGEST_LIFE: Duration = Duration::from_secs(3 * 60 * 60);

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The script came to its end, and the daemon was stopped in order.
    Finished,
    /// The process died at its appointed step.
    Killed,
}

/// A sandbox as its runtime sees it.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    /// Who.
    pub(crate) key: SandboxKey,
    /// The pod.
    pub(crate) pod: PodRef,
    /// Its namespace.
    pub(crate) netns: NetnsRef,
    /// The address, once an ADD was answered.
    pub(crate) address: Option<std::net::IpAddr>,
    /// A DEL was sent; answered or not.
    pub(crate) deleting: bool,
}

/// What outlives the daemon.
#[derive(Debug)]
pub(crate) struct Node {
    stage: Stage,
    /// The box.
    pub(crate) shared: SharedBox,
    /// The instance.
    pub(crate) instance: sim::InstanceId,
    /// Virtual time.
    pub(crate) clock: VirtualClock,
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// The disk.
    pub(crate) disk: Disk,
    /// The daemon's configuration.
    pub(crate) config: Config,
    /// EC2 and IMDS cannot be reached.
    pub(crate) cut_off: bool,
    /// Whether the metadata service can be reached.
    pub(crate) metadata: MetadataReach,
    /// Who sees what the daemon does.
    pub(crate) witness: Witness,
    imds: Arc<ImdsService>,
    pods: Arc<Mutex<BTreeMap<String, Pod>>>,
}

/// One life of the daemon, as its clients see it.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// The daemon.
    pub(crate) engine: EngineHandle,
    kernel: Kernel,
    witness: Witness,
    pods: Arc<Mutex<BTreeMap<String, Pod>>>,
}

impl Life {
    /// A new sandbox for a pod of this name, and its ADD.
    pub(crate) async fn add(&self, name: &str, container: &str) -> Result<Lease, AddError> {
        let key = SandboxKey {
            container_id: container.to_owned(),
            ifname: "eth0".to_owned(),
            network: "aws-cni".to_owned(),
        };
        let netns = self.kernel.new_sandbox(&format!("/run/netns/{container}"));
        let pod = PodRef { namespace: "default".to_owned(), name: name.to_owned(), uid: None };
        let pod = Pod { key, pod, netns, address: None, deleting: false };
        lock(&self.pods).insert(container.to_owned(), pod);
        self.add_again(container).await
    }

    /// The same ADD once more.
    pub(crate) async fn add_again(&self, container: &str) -> Result<Lease, AddError> {
        let pod = lock(&self.pods)[container].clone();
        let request = AddRequest {
            sandbox: pod.key,
            host_veth: format!("eni{}", pod.pod.name),
            fallback_veth: format!("eni{container}"),
            pod: pod.pod,
            netns: kernel::handle().expect("/dev/null opens"),
            netns_ref: pod.netns,
            mtu: 9001,
            patience: None,
        };
        let lease = self.engine.add(request).await?;
        self.witness.sees_added(&lease);
        if let Some(pod) = lock(&self.pods).get_mut(container) {
            pod.address = Some(lease.address);
        }
        Ok(lease)
    }

    /// DEL; after its answer the runtime removes the namespace.
    pub(crate) async fn del(&self, container: &str) {
        let Some(pod) = lock(&self.pods).get_mut(container).map(|pod| {
            pod.deleting = true;
            pod.clone()
        }) else {
            return;
        };
        if self.engine.del(pod.key.clone()).await.is_ok() {
            self.witness.sees_deleted(&pod.key);
            self.kernel.end_sandbox(pod.netns.inode);
            lock(&self.pods).remove(container);
        }
    }

    /// Waits until the pool needs nothing more: no open intent, no ENI on its way in or out, no lease on its way, and
    /// the same again two seconds later.
    pub(crate) async fn quiet(&self) -> Ledger {
        let mut last = None;
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let Ok(dump) = self.engine.dump().await else { continue };
            let settled = dump.ledger.intents.is_empty()
                && dump.ledger.leases.values().all(|lease| lease.phase == LeasePhase::Active)
                && dump
                    .ledger
                    .enis
                    .values()
                    .all(|eni| matches!(eni.phase, EniPhase::Attached { .. } | EniPhase::Gone));
            if settled && last.as_ref() == Some(&dump.ledger) {
                return dump.ledger;
            }
            last = Some(dump.ledger);
        }
        panic!("not quiet within twenty minutes: {last:#?}");
    }
}

struct Observer(Steps);

impl CommitObserver for Observer {
    fn before(&self, n: u64) {
        self.0.pass(format!("before commit {n}"));
    }

    fn after(&self, n: u64) {
        self.0.pass(format!("after commit {n}"));
    }
}

impl Node {
    /// A node on this instance of this stage's box.
    pub(crate) fn new(stage: &Stage, instance: sim::InstanceId, config: Config, seed: u64) -> Self {
        let (shared, kernel) = (stage.shared.clone(), Kernel::default());
        shared.connect(&instance, &kernel);
        Self {
            stage: stage.clone(),
            imds: Arc::new(ImdsService::new(shared.vpc().clone(), instance)),
            clock: VirtualClock::new(&shared, seed),
            shared,
            instance,
            kernel,
            disk: Disk::default(),
            config,
            cut_off: false,
            metadata: MetadataReach::default(),
            witness: Witness::default(),
            pods: Arc::default(),
        }
    }

    /// Sandboxes that the runtime has, by container id.
    pub(crate) fn pods(&self) -> BTreeMap<String, Pod> {
        lock(&self.pods).clone()
    }

    /// The node restarts: every sandbox is gone.
    pub(crate) fn reboot(&mut self) {
        self.clock.reboot();
        self.kernel.reboot();
        lock(&self.pods).clear();
    }

    /// Lets something happen on the stage that this node shares with others.
    pub(crate) fn on_stage<T>(&self, work: impl Future<Output = T>) -> T {
        self.stage.block_on(work)
    }

    /// One life of the daemon, alone on the stage; see [`Node::life`].
    pub(crate) fn live<F>(&self, steps: &Steps, script: impl FnOnce(Life) -> F) -> anyhow::Result<Outcome>
    where
        F: Future<Output = ()>,
    {
        self.on_stage(self.life(steps, script))
    }

    /// One life of the daemon: started on what is there, used by the script, ended in order or killed at its
    /// appointed step. Others go on meanwhile.
    pub(crate) async fn life<F>(
        &self,
        steps: &Steps,
        script: impl FnOnce(Life) -> F,
    ) -> anyhow::Result<Outcome>
    where
        F: Future<Output = ()>,
    {
        let tasks = Tasks::of(steps);
        let outcome = self.lived(steps, &tasks, script).await;
        // Whatever is left of the process ends here, wherever it stood.
        steps.kill();
        let panics = tasks.end().await;
        anyhow::ensure!(panics.is_empty(), "something in the daemon panicked: {}", panics.join("; "));
        outcome
    }

    async fn lived<F>(
        &self,
        steps: &Steps,
        tasks: &Tasks,
        script: impl FnOnce(Life) -> F,
    ) -> anyhow::Result<Outcome>
    where
        F: Future<Output = ()>,
    {
        let ports = self.ports(steps, tasks).await?;
        let begun = std::panic::catch_unwind(AssertUnwindSafe(|| self.start(steps, tasks, ports)));
        let (engine, handle) = match begun {
            // The store takes a panic below it for damage.
            Ok(Err(_)) if steps.is_dead() => return Ok(Outcome::Killed),
            Ok(started) => started?,
            Err(_killed) if steps.is_dead() => return Ok(Outcome::Killed),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let (ended, end) = oneshot::channel();
        tasks.spawn(async move {
            engine.run().await;
            // Nobody waits for the end of one that is killed.
            let _killed: Result<(), ()> = ended.send(());
        });
        let life = Life {
            engine: handle.clone(),
            kernel: self.kernel.clone(),
            witness: self.witness.clone(),
            pods: Arc::clone(&self.pods),
        };
        tokio::select! {
            biased;
            () = steps.died() => return Ok(Outcome::Killed),
            () = script(life) => {}
            () = tokio::time::sleep(LONGEST_LIFE) => panic!("something was never answered: {:#?}", handle.dump().await),
        }
        tokio::select! {
            biased;
            () = steps.died() => return Ok(Outcome::Killed),
            () = handle.stop() => {}
        }
        end.await.context("the engine ended badly")?;
        Ok(Outcome::Finished)
    }

    /// The shipping adapter over the box's faces, and the rest of the node's world.
    async fn ports(&self, steps: &Steps, tasks: &Tasks) -> anyhow::Result<Ports<SimWorld>> {
        let wire = Wire {
            ec2: self.shared.ec2(),
            imds: Arc::clone(&self.imds),
            cut_off: self.cut_off,
            metadata: self.metadata.clone(),
        };
        let clock = Arc::new(self.clock.clone());
        let surroundings = Some(Surroundings { transport: Arc::new(wire), clock: Arc::clone(&clock) as _ });
        let settings = Ec2Settings {
            surroundings: surroundings.clone(),
            ..Ec2Settings::new(self.shared.vpc().region(), "simulated")
        };
        let (steps, witness) = (steps.clone(), self.witness.clone());
        Ok(Ports {
            host: Arc::new(self.kernel.host(&steps, &witness)),
            cloud: Arc::new(CountedCloud { cloud: Ec2Cloud::new(settings).await, steps, witness }),
            metadata: Arc::new(Imds::new(ImdsSettings { surroundings, ..ImdsSettings::default() })?),
            clock,
            spawner: Arc::new(tasks.clone()),
        })
    }

    fn start(
        &self,
        steps: &Steps,
        tasks: &Tasks,
        ports: Ports<SimWorld>,
    ) -> anyhow::Result<(Engine<SimWorld>, EngineHandle)> {
        let options = OpenOptions {
            observer: Some(Arc::new(Observer(steps.clone()))),
            ..OpenOptions::at(WallTime(self.clock.now().wall.0))
        };
        let opened = Store::on_medium(self.disk.of(steps), &options)?;
        let config = Arc::new(self.config.clone());
        let (clock, disk, woken) = (self.clock.clone(), self.disk.clone(), Arc::new(Notify::new()));
        let wake = Arc::clone(&woken);
        Ok(Engine::with_writer(ports, config, opened.store, move |store, report| {
            let (writer, drive) = Writer::driven(store, report, move || wake.notify_one());
            tasks.spawn(async move {
                loop {
                    woken.notified().await;
                    tokio::time::sleep(sync_takes(&clock)).await;
                    while disk.is_stuck() {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    drive.turn();
                }
            });
            Ok(writer)
        })?)
    }

    /// Everything that must hold whenever the daemon is at rest: the ledger's invariants, the same in EC2 and in
    /// the kernel, and what the runtime was promised. Gives what does not hold.
    pub(crate) fn faults(&self, ledger: &Ledger) -> Vec<String> {
        let mut faults = Vec::new();
        let instance_type = ledger.node.as_ref().map(|node| node.identity.instance_type.clone());
        let limits = instance_type.and_then(|name| InstanceLimits::of(&name));
        faults.extend(invariants::check(ledger, limits.as_ref()).into_iter().map(|found| found.to_string()));
        let pods = self.pods();
        let mut owners: BTreeMap<std::net::IpAddr, &str> = BTreeMap::new();
        for (container, pod) in pods.iter().filter(|(_, pod)| !pod.deleting) {
            let Some(address) = pod.address else { continue };
            if let Some(other) = owners.insert(address, container) {
                faults.push(format!("UNIQUE: {container} and {other} were both given {address}"));
            }
            match ledger.leases.get(&pod.key) {
                Some(lease) if lease.address == address => {}
                other => faults
                    .push(format!("CRASH-EQUIV: {container} was given {address}, the ledger has {other:?}")),
            }
        }
        faults.extend(self.unreachable(ledger));
        for key in ledger.leases.keys().filter(|key| !pods.contains_key(&key.container_id)) {
            faults.push(format!("SAFE-INUSE: {key} holds a lease and no such sandbox is there"));
        }
        let leased: BTreeSet<_> = ledger.leases.values().map(|lease| lease.address).collect();
        let (links, named) = self.kernel.pod_objects();
        for alias in links {
            if alias.sandbox().is_none_or(|sandbox| !ledger.leases.contains_key(&sandbox)) {
                faults.push(format!("NO-KERNEL-ORPHAN: link {alias:?}"));
            }
        }
        for net in named.into_iter().filter(|net| !leased.contains(&net.addr())) {
            faults.push(format!("NO-KERNEL-ORPHAN: a rule or route names {net}"));
        }
        faults.extend(self.cloud_faults(ledger));
        faults
    }

    /// Leases that say that a pod is wired although its address does not lead there.
    pub(crate) fn unreachable(&self, ledger: &Ledger) -> Vec<String> {
        let pods = self.pods();
        let wired = ledger.leases.values().filter(|lease| lease.phase == LeasePhase::Active);
        let astray = wired.filter(|lease| {
            let netns = pods.get(&lease.sandbox.container_id).map(|pod| pod.netns.inode);
            netns.is_some() && self.kernel.reaches(lease.address) != netns
        });
        astray
            .map(|lease| format!("ADD-MEANS-REACHABLE: {} does not lead to {}", lease.address, lease.sandbox))
            .collect()
    }

    fn cloud_faults(&self, ledger: &Ledger) -> Vec<String> {
        let mut faults = Vec::new();
        let (attached, available, violations) = self.shared.now(|vpc| {
            let view = vpc.authoritative();
            let ours = view.network_interfaces().into_iter().filter(|eni| {
                eni.attachment.is_none()
                    && eni.tags.get(TAG_INSTANCE).map(String::as_str) == Some(self.instance.as_str())
            });
            let available: Vec<EniId> = ours.map(|eni| eni.network_interface_id).collect();
            (view.network_interfaces_of(&self.instance), available, vpc.check())
        });
        faults.extend(violations.into_iter().map(|found| format!("EC2: {found:?}")));
        for eni in available {
            faults.push(format!("NO-ORPHAN: {eni} is ours, unattached, and nobody deletes it"));
        }
        for eni in &attached {
            let id = holdfast_model::ids::EniId::new(eni.network_interface_id.as_str());
            match ledger.enis.get(&id) {
                None => faults.push(format!("NO-ORPHAN: {id} is attached and not in the ledger")),
                Some(_) if eni.attachment.as_ref().is_some_and(|a| !a.delete_on_termination) => {
                    faults.push(format!("NO-ORPHAN: {id} would outlive the instance"));
                }
                Some(_) => {}
            }
        }
        for lease in ledger.leases.values() {
            let shown = attached.iter().any(|eni| {
                eni.network_interface_id.as_str() == lease.eni.as_str()
                    && eni.secondary_ips().any(|ip| std::net::IpAddr::V4(ip) == lease.address)
            });
            if !shown {
                faults.push(format!("PROVEN-ASSIGNED: {} is leased and EC2 does not show it", lease.address));
            }
        }
        faults
    }
}

/// A commit takes a millisecond or a few; now and then the disk is busy, and EC2 and the kernel are faster.
fn sync_takes(clock: &VirtualClock) -> Duration {
    let draw = clock.random();
    Duration::from_millis(if draw.is_multiple_of(8) { 700 } else { 1 + (draw / 8 % 3) as u64 })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
