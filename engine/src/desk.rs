//! A running engine over a world that is told what to answer, in virtual time: for tests of what lies between requests,
//! decisions and ports.
//!
//! EC2 has one ENI with three addresses for pods, and others that it is told to have, and gives no more. The kernel keeps what it is told to make.

pub(crate) mod disk;
mod kernel;
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_model::cloud::{
    Api, AttachmentStatus, AttachmentView, CloudAnswer, CloudCall, CloudRead, EniView,
};
use holdfast_model::config::Config;
use holdfast_model::eni::{EniKind, EniSlot};
use holdfast_model::host::{HostAction, LinkAlias, NatSeen};
use holdfast_model::ids::{
    AttachmentId, BootId, EniId, InstanceId, MacAddr, SecurityGroupId, SubnetId, VpcId,
};
use holdfast_model::lease::Lease;
use holdfast_model::ledger::Change;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::node::NodeIdentity;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey, SandboxNames};
use holdfast_model::settings::ClusterSettings;
use holdfast_model::subnet::SubnetView;
use holdfast_model::time::{BootTime, Now, WallTime};
use holdfast_ports::{
    Clock, Cloud, CloudError, CloudFault, HintAsked, HostFault, Liveness, Metadata, MetadataError,
    MetadataHint, Netns,
};
use holdfast_store::{Drive, OpenOptions, Store, Writer};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::{
    AddError, AddRequest, Deleted, Dump, Engine, EngineHandle, Figures, Ports, RuntimeTasks, Status, Stopped,
    World,
};
use disk::Disk;
pub(crate) use kernel::{Host, Kernel};

pub(crate) const PRIMARY: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

struct Stage;

impl World for Stage {
    type Cloud = Ec2;
    type Metadata = Imds;
    type Host = Host;
    type Clock = Time;
    type Spawner = RuntimeTasks;
}

struct Time {
    boot: &'static str,
    began: Instant,
    drawn: AtomicU64,
    asked: AtomicU64,
}

impl Time {
    /// In virtual time nothing else tells who never rests from who works: it is asked for the time at each turn.
    fn rests(&self, passed: u64) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst) < 50_000 + passed / 2
    }
}

impl Clock for Time {
    fn now(&self) -> Now {
        let passed = u64::try_from(self.began.elapsed().as_millis()).unwrap();
        assert!(self.rests(passed), "the engine has no rest");
        Now {
            boot: BootId::new(self.boot),
            boottime: BootTime(1_000_000 + passed),
            wall: WallTime(1_750_000_000_000 + passed),
        }
    }

    fn random(&self) -> u128 {
        u128::from(self.drawn.fetch_add(1, Ordering::SeqCst))
    }
}

/// EC2. Whatever would change something has this fault, and nothing is answered while it is silent.
struct Ec2 {
    silent: AtomicBool,
    /// What is attached besides the primary.
    others: Mutex<Vec<EniView>>,
    fault: Mutex<CloudFault>,
    /// Whatever was asked of it, in order.
    calls: Mutex<Vec<Api>>,
    changes: AtomicU64,
    reads: AtomicU64,
    /// How long it takes to answer.
    takes: Mutex<Duration>,
    /// What it has not answered yet, and whether it was asked any such thing again.
    under_way: Mutex<Vec<CloudCall>>,
    asked_twice: AtomicBool,
}

fn identity() -> NodeIdentity {
    NodeIdentity {
        instance: InstanceId::new("i-1"),
        instance_type: "t3.small".to_owned(),
        region: "eu-central-1".to_owned(),
        zone: "eu-central-1a".to_owned(),
        vpc: VpcId::new("vpc-1"),
        vpc_cidrs: vec!["10.0.0.0/16".parse().unwrap()],
        primary_mac: PRIMARY,
        primary_ipv4: "10.0.0.4".parse().unwrap(),
        subnet: SubnetId::new("subnet-1"),
        subnet_cidr: "10.0.0.0/18".parse().unwrap(),
        security_groups: vec![SecurityGroupId::new("sg-1")],
    }
}

fn primary() -> EniView {
    EniView {
        id: EniId::new("eni-primary"),
        mac: PRIMARY,
        kind: EniKind::Standard,
        subnet: SubnetId::new("subnet-1"),
        security_groups: [SecurityGroupId::new("sg-1")].into(),
        primary_ipv4: Some("10.0.0.4".parse().unwrap()),
        secondary: ["10.0.0.5", "10.0.0.6", "10.0.0.7"].map(|ip| ip.parse().unwrap()).into(),
        prefixes: Vec::new(),
        tags: BTreeMap::new(),
        attachment: Some(AttachmentView {
            id: AttachmentId::new("eni-attach-1"),
            instance: InstanceId::new("i-1"),
            slot: EniSlot::PRIMARY,
            delete_on_termination: true,
            status: AttachmentStatus::Attached,
        }),
    }
}

impl Ec2 {
    /// Whoever has asked it waits till it is silent no more.
    async fn answers(&self) {
        while self.silent.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Cloud for Ec2 {
    async fn perform(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        self.calls.lock().unwrap().push(call.api());
        if matches!(call, CloudCall::Read(_)) {
            self.reads.fetch_add(1, Ordering::SeqCst);
        } else {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        self.answers().await;
        let takes = *self.takes.lock().unwrap();
        if !takes.is_zero() {
            let again = self.under_way.lock().unwrap().contains(call);
            self.asked_twice.fetch_or(again, Ordering::SeqCst);
            self.under_way.lock().unwrap().push(call.clone());
            tokio::time::sleep(takes).await;
            self.under_way.lock().unwrap().retain(|other| other != call);
        }
        match call {
            CloudCall::Read(CloudRead::InstanceEnis { .. } | CloudRead::Enis { .. }) => {
                let others = self.others.lock().unwrap().clone();
                Ok(CloudAnswer::Enis([primary()].into_iter().chain(others).collect()))
            }
            CloudCall::Read(CloudRead::ZoneSubnets { .. }) => {
                let own = SubnetView { id: identity().subnet, ipv4: None, free: 4000, tags: BTreeMap::new() };
                Ok(CloudAnswer::ZoneSubnets(vec![own]))
            }
            CloudCall::Read(_) | CloudCall::Leak(_) => Ok(CloudAnswer::Enis(Vec::new())),
            CloudCall::Tag { .. } => Ok(CloudAnswer::Done),
            CloudCall::Change { .. } => {
                let fault = *self.fault.lock().unwrap();
                Err(CloudError { fault, code: "No".to_owned(), message: "it is told to say so".to_owned() })
            }
        }
    }

    async fn limits_of(&self, _instance_type: &str) -> Result<InstanceLimits, CloudError> {
        self.calls.lock().unwrap().push(Api::DescribeInstanceTypes);
        self.answers().await;
        Ok(InstanceLimits::of("t3.small").unwrap())
    }
}

/// The metadata service: it says who we are, or nothing.
struct Imds {
    answers: AtomicBool,
    instance_type: Mutex<String>,
    hint: Mutex<Option<MetadataHint>>,
    asked: Mutex<Vec<HintAsked>>,
}

impl Metadata for Imds {
    async fn identity(&self) -> Result<NodeIdentity, MetadataError> {
        let instance_type = self.instance_type.lock().unwrap().clone();
        let answer = NodeIdentity { instance_type, ..identity() };
        self.answers.load(Ordering::SeqCst).then_some(answer).ok_or_else(silent)
    }

    async fn enis(&self, _instance: &InstanceId) -> Result<Vec<EniView>, MetadataError> {
        Err(silent())
    }

    async fn hint(&self, asked: HintAsked) -> Result<MetadataHint, MetadataError> {
        self.asked.lock().unwrap().push(asked);
        self.hint.lock().unwrap().clone().ok_or_else(silent)
    }
}

fn silent() -> MetadataError {
    MetadataError { path: "meta-data".to_owned(), cause: "no answer".to_owned() }
}

fn netns() -> Netns {
    OwnedFd::from(File::open("/dev/null").unwrap()).into()
}

/// The engine, and the strings of its world.
pub(crate) struct Desk {
    engine: EngineHandle,
    pub(crate) host: Arc<Host>,
    pub(crate) disk: Disk,
    pub(crate) life: JoinHandle<()>,
    cloud: Arc<Ec2>,
    imds: Arc<Imds>,
    hangs: Arc<AtomicBool>,
    wake: mpsc::UnboundedSender<()>,
}

impl Desk {
    /// A node that was just started.
    pub(crate) fn start(config: Config) -> Self {
        Self::start_with(config, true)
    }

    /// The same, with a metadata service that answers or not.
    pub(crate) fn start_with(config: Config, answers: bool) -> Self {
        let host = Arc::new(Host::new(Kernel::default()));
        Self::on(config, answers, host, Disk::default(), "boot-1")
    }

    /// The process is killed and starts again, over the same kernel and the same disk, which holds these changes besides.
    pub(crate) async fn restarted(self, answers: bool, last: &[Change]) -> Self {
        let disk = self.disk.killed(last);
        self.starts(answers, disk, "boot-1").await
    }

    /// It starts over the same kernel without its ledger.
    pub(crate) async fn ledger_lost(self) -> Self {
        self.starts(true, Disk::default(), "boot-1").await
    }

    /// The node starts anew, with nothing of ours in its kernel.
    pub(crate) async fn rebooted(self, answers: bool) -> Self {
        let disk = self.disk.killed(&[]);
        self.host.kernel().pods.clear();
        self.starts(answers, disk, "boot-2").await
    }

    async fn starts(self, answers: bool, disk: Disk, boot: &'static str) -> Self {
        self.life.abort();
        self.life.await.unwrap_err();
        Self::on(Config::default(), answers, self.host, disk, boot)
    }

    fn on(config: Config, answers: bool, host: Arc<Host>, disk: Disk, boot: &'static str) -> Self {
        let store = Store::on_medium(disk.clone(), &OpenOptions::at(WallTime(0))).unwrap().store;
        let cloud = Arc::new(Ec2 {
            silent: AtomicBool::new(false),
            others: Mutex::new(Vec::new()),
            fault: Mutex::new(CloudFault::Denied),
            calls: Mutex::new(Vec::new()),
            changes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            takes: Mutex::new(Duration::ZERO),
            under_way: Mutex::default(),
            asked_twice: AtomicBool::new(false),
        });
        let imds = Arc::new(Imds {
            answers: AtomicBool::new(answers),
            instance_type: Mutex::new("t3.small".to_owned()),
            hint: Mutex::new(None),
            asked: Mutex::new(Vec::new()),
        });
        let ports = Ports::<Stage> {
            cloud: cloud.clone(),
            metadata: imds.clone(),
            host: host.clone(),
            clock: Arc::new(Time {
                boot,
                began: Instant::now(),
                drawn: AtomicU64::new(0x8000),
                asked: AtomicU64::new(0),
            }),
            spawner: Arc::new(RuntimeTasks),
        };
        let (wake, woken) = mpsc::unbounded_channel();
        let hangs = Arc::new(AtomicBool::new(false));
        let waker = wake.clone();
        let mut drive = None;
        let (engine, handle) = Engine::with_writer(ports, Arc::new(config), store, |store, report| {
            let (writer, driven) = Writer::driven(store, report, move || {
                // The node may be gone.
                waker.send(()).ok();
            });
            drive = Some(driven);
            Ok(writer)
        })
        .unwrap();
        tokio::spawn(work(drive.unwrap(), woken, Arc::clone(&hangs)));
        let life = tokio::spawn(engine.run());
        Self { engine: handle, host, disk, life, cloud, imds, hangs, wake }
    }

    /// A node that serves: its addresses are proven, and nothing is under way.
    pub(crate) async fn serving(config: Config) -> Self {
        let desk = Self::start(config);
        pass(300).await;
        desk
    }

    /// From now on the metadata service gives this hint.
    pub(crate) fn hints(&self, hint: MetadataHint) {
        *self.imds.hint.lock().unwrap() = Some(hint);
    }

    /// What was asked of the metadata service since the last call of this.
    pub(crate) fn hints_asked(&self) -> Vec<HintAsked> {
        std::mem::take(&mut self.imds.asked.lock().unwrap())
    }

    /// Somebody has attached an ENI of their own.
    pub(crate) fn attached_by_others(&self) -> EniId {
        let (id, mac) = (EniId::new("eni-others"), MacAddr([2, 0, 0, 0, 0, 9]));
        let attachment = primary().attachment.map(|attachment| AttachmentView {
            id: AttachmentId::new("eni-attach-9"),
            slot: EniSlot { card: 0, device: 1 },
            ..attachment
        });
        let (primary_ipv4, secondary) = (Some([10, 0, 0, 90].into()), vec![[10, 0, 0, 91].into()]);
        let view = EniView { id: id.clone(), mac, primary_ipv4, secondary, attachment, ..primary() };
        self.cloud.others.lock().unwrap().push(view);
        self.host.kernel().other_enis.push(mac);
        id
    }

    /// Somebody gives all of others' ENIs this tag.
    pub(crate) fn tagged_by_others(&self, tag: &str, value: &str) {
        for view in self.cloud.others.lock().unwrap().iter_mut() {
            view.tags.insert(tag.to_owned(), value.to_owned());
        }
    }

    /// What EC2 was asked since the last call of this.
    pub(crate) fn calls(&self) -> Vec<Api> {
        std::mem::take(&mut self.cloud.calls.lock().unwrap())
    }

    /// From now on EC2 takes so long for each answer.
    pub(crate) fn cloud_takes(&self, takes: Duration) {
        *self.cloud.takes.lock().unwrap() = takes;
    }

    /// Whether EC2 was asked the very thing that it had not answered yet.
    pub(crate) fn was_asked_twice(&self) -> bool {
        self.cloud.asked_twice.load(Ordering::SeqCst)
    }

    /// How often EC2 was read.
    pub(crate) fn reads(&self) -> u64 {
        self.cloud.reads.load(Ordering::SeqCst)
    }

    /// How often EC2 was asked to change something.
    pub(crate) fn changes_asked(&self) -> u64 {
        self.cloud.changes.load(Ordering::SeqCst)
    }

    pub(crate) fn cloud_says(&self, fault: CloudFault) {
        *self.cloud.fault.lock().unwrap() = fault;
    }

    /// EC2 leaves what it is asked unanswered, or answers it.
    pub(crate) fn cloud_is_silent(&self, silent: bool) {
        self.cloud.silent.store(silent, Ordering::SeqCst);
    }

    /// From now on metadata says that the node is of this type.
    pub(crate) fn is_of_type(&self, instance_type: &str) {
        instance_type.clone_into(&mut self.imds.instance_type.lock().unwrap());
    }

    pub(crate) fn metadata_answers(&self) {
        self.imds.answers.store(true, Ordering::SeqCst);
    }

    /// The disk leaves what it is given unanswered, or answers all of it.
    pub(crate) fn disk_hangs(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
        self.wake.send(()).unwrap();
    }

    /// An ADD that is under way.
    pub(crate) fn adding(&self, request: AddRequest) -> JoinHandle<Result<Lease, AddError>> {
        let engine = self.engine.clone();
        tokio::spawn(async move { timely(engine.add(request)).await })
    }

    pub(crate) async fn add(&self, container: &str) -> Result<Lease, AddError> {
        timely(self.engine.add(request(container))).await
    }

    pub(crate) async fn del(&self, container: &str) -> Result<Deleted, Stopped> {
        timely(self.engine.del(sandbox(container))).await
    }

    pub(crate) async fn check(&self, container: &str) -> Result<Vec<String>, Stopped> {
        self.check_for(container, &[]).await
    }

    /// A CHECK by a runtime that expects the pod to have these.
    pub(crate) async fn check_for(
        &self,
        container: &str,
        expected: &[IpAddr],
    ) -> Result<Vec<String>, Stopped> {
        timely(self.engine.check(sandbox(container), None, expected.to_vec())).await
    }

    pub(crate) async fn gc(&self, network: &str, valid: &[&str]) -> Result<(), Stopped> {
        let valid = valid.iter().map(|container| sandbox(container)).collect();
        timely(self.engine.gc(network.to_owned(), valid)).await
    }

    pub(crate) async fn status(&self) -> Result<Status, Stopped> {
        timely(self.engine.status()).await
    }

    pub(crate) async fn dump(&self) -> Result<Dump, Stopped> {
        timely(self.engine.dump()).await
    }

    pub(crate) async fn pool(&self) -> crate::PoolTold {
        self.engine.pool().await.unwrap()
    }

    pub(crate) async fn figures(&self) -> Result<Figures, Stopped> {
        timely(self.engine.figures()).await
    }

    pub(crate) async fn configure(&self, config: Config, said: ClusterSettings) {
        timely(self.engine.configure(Arc::new(config), said)).await.unwrap();
    }

    pub(crate) async fn stop(&self) {
        timely(self.engine.stop()).await;
    }

    /// A stop that is under way.
    pub(crate) fn stopping(&self) -> JoinHandle<()> {
        let engine = self.engine.clone();
        tokio::spawn(async move { timely(engine.stop()).await })
    }
}

/// Whatever is asked is answered in the end.
async fn timely<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3600), answer).await.expect("there is an answer within an hour")
}

/// The thread of the disk.
async fn work(drive: Drive, mut woken: mpsc::UnboundedReceiver<()>, hangs: Arc<AtomicBool>) {
    while woken.recv().await.is_some() {
        if !hangs.load(Ordering::SeqCst) {
            drive.turn();
        }
    }
}

pub(crate) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

pub(crate) fn sandbox(container: &str) -> SandboxKey {
    SandboxKey::from(SandboxNames {
        container_id: container.into(),
        ifname: "eth0".into(),
        network: "aws-cni".into(),
    })
}

/// An ADD of a pod of that name in a namespace of its own.
pub(crate) fn request(container: &str) -> AddRequest {
    AddRequest {
        sandbox: sandbox(container),
        pod: PodRef { namespace: "default".into(), name: container.into(), uid: None },
        netns: netns(),
        netns_ref: NetnsRef { path: "/run/netns/1".into(), inode: 1 },
        host_veth: format!("eni-{container}"),
        fallback_veth: format!("enf-{container}"),
        further: None,
        mtu: 9001,
        trace: None,
        patience: None,
    }
}
