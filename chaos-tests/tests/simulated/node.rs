//! One node: what outlives its daemon (box, kernel, disk, clock, sandboxes), and its daemon's lives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use holdfast_aws::{Ec2Cloud, Ec2Settings, Imds, ImdsSettings, Surroundings};
use holdfast_chaos_tests::oracle::host_link_name;
use holdfast_engine::{
    AddError, AddRequest, Deleted, Engine, EngineHandle, Ports, Stopped, VethNames, World,
};
use holdfast_model::config::Config;
use holdfast_model::eni::EniPhase;
use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::ledger::Ledger;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey, SandboxNames};
use holdfast_model::time::WallTime;
use holdfast_ports::{Clock, Spawner};
use holdfast_sim::server::ImdsService;
use holdfast_sim::vpc as sim;
use holdfast_store::{CommitObserver, OpenOptions, Store, Writer};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::clock::VirtualClock;
use crate::cloud::{CountedCloud, MetadataReach, WhoseMetadata, Wire};
use crate::disk::Disk;
use crate::kernel::{self, Kernel, SimHost};
use crate::patience::Answered;
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

/// No script takes longer, in virtual time, unless it says so.
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
    /// Another sandbox of that name had come before its ADD was answered.
    pub(crate) namesake: bool,
    /// The address, once an ADD was answered.
    pub(crate) address: Option<IpAddr>,
    /// Whether it asks for an interface on every network card.
    pub(crate) on_every_card: bool,
    /// The addresses on cards besides the first, once an ADD was answered.
    pub(crate) further: Vec<IpAddr>,
    /// A DEL was sent; answered or not.
    pub(crate) deleting: bool,
    /// When the first of several was sent: the daemon may have carried it out and died before it answered.
    pub(crate) del_unanswered: Option<Instant>,
}

impl Pod {
    /// The addresses that it was given.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address.into_iter().chain(self.further.clone())
    }
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
    /// The disk is never busy.
    pub(crate) calm_disk: bool,
    /// A script that takes longer, in virtual time, waits for something that never comes.
    pub(crate) longest_life: Duration,
    imds: WhoseMetadata,
    pods: Arc<Mutex<BTreeMap<String, Pod>>>,
    spool: Spool,
    answered: Answered,
}

/// DELs that the plugin remembers, because no daemon has made them durable.
type Spool = Arc<Mutex<BTreeSet<SandboxKey>>>;

/// How often the daemon looks at the spool.
const SPOOL_EVERY: Duration = Duration::from_secs(1);

/// One life of the daemon, as its clients see it.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// The daemon.
    pub(crate) engine: EngineHandle,
    kernel: Kernel,
    witness: Witness,
    pods: Arc<Mutex<BTreeMap<String, Pod>>>,
    spool: Spool,
    answered: Answered,
}

impl Life {
    /// A new sandbox for a pod of this name, and its ADD.
    pub(crate) async fn add(&self, name: &str, container: &str) -> Result<Lease, AddError> {
        self.make_sandbox(name, container);
        self.add_again(container).await
    }

    /// The same for a pod that asks for an interface on every network card.
    pub(crate) async fn add_on_every_card(&self, name: &str, container: &str) -> Result<Lease, AddError> {
        self.make_sandbox(name, container);
        if let Some(pod) = lock(&self.pods).get_mut(container) {
            pod.on_every_card = true;
        }
        self.add_again(container).await
    }

    /// A new sandbox for a pod of this name.
    pub(crate) fn make_sandbox(&self, name: &str, container: &str) {
        let key = SandboxKey::from(SandboxNames {
            container_id: container.to_owned(),
            ifname: "eth0".to_owned(),
            network: "aws-cni".to_owned(),
        });
        let netns = self.kernel.new_sandbox(&kernel::sandbox_path(container));
        let pod = PodRef { namespace: "default".to_owned(), name: name.to_owned(), uid: None };
        self.answered.sees_name(name);
        let pod = Pod {
            key,
            pod,
            netns,
            namesake: false,
            address: None,
            on_every_card: false,
            further: Vec::new(),
            deleting: false,
            del_unanswered: None,
        };
        lock(&self.pods).insert(container.to_owned(), pod);
    }

    /// The ADD of a sandbox, for the first time or once more.
    pub(crate) async fn add_again(&self, container: &str) -> Result<Lease, AddError> {
        let pod = lock(&self.pods)[container].clone();
        // An older DEL of the same sandbox goes first.
        settle(&self.engine, &self.spool, &pod.key).await?;
        let further = pod.on_every_card.then(|| {
            let named = |number| VethNames {
                conventional: host_link_name(&pod.pod.namespace, &format!("{}.{number}", pod.pod.name)),
                fallback: format!("eni{container}.{number}"),
            };
            (1..16).map(named).collect()
        });
        let request = AddRequest {
            sandbox: pod.key,
            host_veth: host_link_name(&pod.pod.namespace, &pod.pod.name),
            fallback_veth: format!("eni{container}"),
            pod: pod.pod,
            netns: kernel::handle().expect("/dev/null opens"),
            netns_ref: pod.netns,
            further,
            mtu: 9001,
            trace: None,
            patience: None,
        };
        let lease = self.answered.add(self.engine.add(request)).await?;
        self.witness.sees_added(&lease);
        let mut pods = lock(&self.pods);
        // Its DEL may have been answered meanwhile.
        let Some(pod) = pods.get_mut(container) else { return Ok(lease) };
        pod.namesake |= self.answered.is_common(&pod.pod.name);
        for (at, address) in lease.addresses().skip(1).enumerate() {
            match pod.further.get(at) {
                None => {
                    self.answered.gives(address);
                    pod.further.push(address);
                }
                Some(known) if *known == address => {}
                Some(known) => self.answered.answers_differently(container, *known, address),
            }
        }
        match pod.address {
            // The same ADD once more is answered with the same address.
            None => self.answered.gives(lease.faces[0].address),
            Some(address) if address == lease.faces[0].address => {}
            Some(address) => self.answered.answers_differently(container, address, lease.faces[0].address),
        }
        pod.address = Some(lease.faces[0].address);
        drop(pods);
        Ok(lease)
    }

    /// Whether a DEL of this sandbox was sent.
    pub(crate) fn is_deleted(&self, container: &str) -> bool {
        lock(&self.pods).get(container).is_none_or(|pod| pod.deleting)
    }

    /// DEL; after its answer the runtime removes the namespace.
    pub(crate) async fn del(&self, container: &str) {
        if let Some(netns) = self.del_and_linger(container).await {
            self.kernel.end_sandbox(netns.inode);
        }
    }

    /// DEL, after which somebody holds the namespace open for good: nothing but the DEL tells that the sandbox is over.
    pub(crate) async fn del_and_linger(&self, container: &str) -> Option<NetnsRef> {
        let asked = Instant::now();
        let pod = lock(&self.pods).get_mut(container).map(|pod| {
            let as_it_was = pod.clone();
            pod.deleting = true;
            pod.del_unanswered.get_or_insert(asked);
            as_it_was
        })?;
        let done = self.answered.del(self.engine.del(pod.key.clone())).await.ok()?;
        if done == Deleted::Owed {
            lock(&self.spool).insert(pod.key.clone());
        }
        self.witness.sees_deleted(&pod.key);
        // Of two DELs the later finds nothing any more; an ADD may have been answered meanwhile.
        let gone = lock(&self.pods).remove(container);
        for address in gone.iter().flat_map(Pod::addresses) {
            self.answered.frees(address, pod.del_unanswered.unwrap_or_else(Instant::now));
        }
        Some(pod.netns)
    }

    /// The runtime loses a sandbox: its namespace is gone, and no DEL ever comes. Nobody tells of it.
    pub(crate) fn forget(&self, container: &str) {
        let Some(pod) = lock(&self.pods).remove(container) else { return };
        self.kernel.end_sandbox_unseen(pod.netns.inode);
        for address in pod.addresses() {
            self.answered.frees(address, pod.del_unanswered.unwrap_or_else(Instant::now));
        }
    }

    /// GC: the runtime names all sandboxes that it has.
    pub(crate) async fn gc(&self) {
        let valid = lock(&self.pods).values().map(|pod| pod.key.clone()).collect();
        // A daemon that stops has nothing to answer.
        let _stopping = self.engine.gc("aws-cni".to_owned(), valid).await;
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

/// Carries a DEL out that is in the spool.
async fn settle(engine: &EngineHandle, spool: &Spool, key: &SandboxKey) -> Result<(), AddError> {
    if !lock(spool).contains(key) {
        return Ok(());
    }
    match engine.del(key.clone()).await {
        Ok(Deleted::Durable) => {
            lock(spool).remove(key);
            Ok(())
        }
        Ok(Deleted::Owed) => Err(AddError::Ledger { cause: "an earlier release is owed".to_owned() }),
        Err(Stopped) => Err(AddError::Stopping),
    }
}

/// What the daemon does about its spool for as long as it lives.
async fn watch_spool(engine: EngineHandle, spool: Spool) {
    loop {
        let found: Vec<SandboxKey> = lock(&spool).iter().cloned().collect();
        for key in found {
            // What is still owed is looked at again.
            let _owed: Result<(), AddError> = settle(&engine, &spool, &key).await;
        }
        tokio::time::sleep(SPOOL_EVERY).await;
    }
}

struct Observer(Steps, Disk);

impl CommitObserver for Observer {
    fn before(&self, n: u64) {
        self.1.begin_commit();
        self.0.pass(format!("before commit {n}"));
    }

    fn after(&self, n: u64) {
        self.0.pass(format!("after commit {n}"));
    }
}

impl Node {
    /// A node on this instance of this stage's box.
    pub(crate) fn new(stage: &Stage, instance: sim::InstanceId, config: Config, seed: u64) -> Self {
        let shared = stage.shared.clone();
        let kernel = Kernel::of_node(shared.primary_of(&instance));
        shared.connect(&instance, &kernel);
        Self {
            stage: stage.clone(),
            imds: WhoseMetadata::of(ImdsService::new(shared.vpc().clone(), instance)),
            clock: VirtualClock::new(&shared, seed),
            shared,
            instance,
            kernel,
            disk: Disk::default(),
            config,
            cut_off: false,
            metadata: MetadataReach::default(),
            witness: Witness::default(),
            calm_disk: false,
            longest_life: LONGEST_LIFE,
            pods: Arc::default(),
            spool: Arc::default(),
            answered: Answered::default(),
        }
    }

    /// How the runtime was answered up to now.
    pub(crate) fn answered(&self) -> &Answered {
        &self.answered
    }

    /// Sandboxes that the runtime has, by container id.
    pub(crate) fn pods(&self) -> BTreeMap<String, Pod> {
        lock(&self.pods).clone()
    }

    /// Of each pod that was answered for and is not being deleted: whether packets find it. For whoever looks at every step:
    /// [`Node::broken_promises`] judges more, and takes longer.
    pub(crate) fn reach(&self) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
        let (kernel, pods) = (self.kernel.clone(), Arc::clone(&self.pods));
        move || {
            let pods = lock(&pods);
            let promised = pods.values().filter(|pod| !pod.deleting);
            let promised = promised.flat_map(|pod| pod.addresses().map(move |address| (pod, address)));
            let lost = promised.filter(|(pod, address)| kernel.reaches(*address) != Some(pod.netns.inode));
            lost.map(|(pod, address)| format!("{} ({address}) is cut off", pod.key.container_id)).collect()
        }
    }

    /// The node restarts: every sandbox is gone.
    pub(crate) fn reboot(&mut self) {
        self.clock.reboot();
        self.kernel.reboot();
        let _inside = self.stage.enter();
        for pod in std::mem::take(&mut *lock(&self.pods)).into_values() {
            for address in pod.addresses() {
                self.answered.frees(address, pod.del_unanswered.unwrap_or_else(Instant::now));
            }
        }
    }

    /// From now on its metadata service answers for another instance.
    pub(crate) fn mistake_for(&self, instance: sim::InstanceId) {
        self.imds.set(ImdsService::new(self.shared.vpc().clone(), instance));
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
            spool: Arc::clone(&self.spool),
            answered: self.answered.clone(),
        };
        tasks.spawn(watch_spool(handle.clone(), Arc::clone(&self.spool)));
        tokio::select! {
            biased;
            () = steps.died() => return Ok(Outcome::Killed),
            () = script(life) => {}
            () = tokio::time::sleep(self.longest_life) => panic!("something was never answered: {:#?}", handle.dump().await),
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
            imds: self.imds.clone(),
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
            observer: Some(Arc::new(Observer(steps.clone(), self.disk.clone()))),
            ..OpenOptions::at(WallTime(self.clock.now().wall.0))
        };
        let opened = Store::on_medium(self.disk.of(steps), &options)?;
        let config = Arc::new(self.config.clone());
        let (clock, disk, woken) = (self.clock.clone(), self.disk.clone(), Arc::new(Notify::new()));
        let calm = self.calm_disk;
        let wake = Arc::clone(&woken);
        Ok(Engine::with_writer(ports, config, opened.store, move |store, report| {
            let (writer, drive) = Writer::driven(store, report, move || wake.notify_one());
            tasks.spawn(async move {
                loop {
                    woken.notified().await;
                    tokio::time::sleep(sync_takes(&clock, calm)).await;
                    while disk.is_stuck() {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    drive.turn();
                }
            });
            Ok(writer)
        })?)
    }
}

/// A commit takes a millisecond or a few; now and then the disk is busy, and EC2 and the kernel are faster.
fn sync_takes(clock: &VirtualClock, calm: bool) -> Duration {
    let draw = clock.random();
    Duration::from_millis(if draw.is_multiple_of(8) && !calm { 700 } else { 1 + (draw / 8 % 3) as u64 })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
