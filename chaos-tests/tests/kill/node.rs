//! What outlives the daemon: the box and its network, the sandboxes, the ledger's file, the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use holdfast_chaos_tests::look::Watched;
use holdfast_chaos_tests::pod::Pod;
use holdfast_model::sandbox::{SandboxKey, SandboxNames};
use holdfast_sim::fabric::Fabric;
use holdfast_sim::scenario::Scenario;
use holdfast_sim::server::{Callers, ClockMode, Ec2Service, ImdsService, SharedVpc};
use holdfast_sim::vpc::InstanceId;

use http_body_util::BodyExt as _;
use tokio::runtime::{Builder, Runtime};

use crate::child::Child;
use crate::daemon;
use crate::life::Life;
use crate::wire::{self, Death, HttpAnswer, HttpRequest, epoch};

/// The network must follow EC2 within this real time, also on a busy machine.
const SETTLED: Duration = Duration::from_secs(30);

/// With a scenario's own delays: those of life.
const BOX: &str = r#"
    vpc.cidrs = ["10.0.0.0/16"]
    [[subnet]]
    name = "a"
    zone = "us-west-2a"
    cidr = "10.0.0.0/20"
    [[node]]
    name = "node"
    type = "t3.medium"
    subnet = "a"
"#;

/// A sandbox as its runtime sees it. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Who.
    pub(crate) key: SandboxKey,
    /// The real thing.
    pub(crate) pod: Pod,
    /// The address, once an ADD was answered.
    pub(crate) address: Option<IpAddr>,
    /// A DEL was sent; answered or not.
    pub(crate) deleting: bool,
    /// Another sandbox of its name was there before.
    pub(crate) namesake: bool,
}

/// A node of a box of its own.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) shared: SharedVpc,
    pub(crate) fabric: Fabric,
    pub(crate) instance: InstanceId,
    pub(crate) netns: Arc<OwnedFd>,
    /// Milliseconds since the node began.
    pub(crate) now: u64,
    /// Sandboxes that the runtime has, by container id.
    pub(crate) sandboxes: BTreeMap<String, Sandbox>,
    /// When a pod's address was given up, in milliseconds since the node began.
    pub(crate) freed: BTreeMap<IpAddr, u64>,
    /// Names that pods had.
    names: BTreeSet<String>,
    /// As it was before any daemon.
    pub(crate) watched: Watched,
    ec2: Arc<Ec2Service>,
    imds: Arc<ImdsService>,
    box_runs: Runtime,
    program: PathBuf,
    dir: PathBuf,
}

impl Node {
    /// A fresh node whose daemon is `program`, with its files below `dir`, which must not exist. The calling thread has
    /// [its own namespaces](crate::room::enter_own_namespaces), and stays as long as the node.
    pub(crate) fn new(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let built = Scenario::parse(BOX)?.build()?;
        let spec = built.fabric();
        let shared = SharedVpc::new(built.vpc, ClockMode::Manual, epoch());
        let fabric = Fabric::up(&shared, &spec)?;
        let node = fabric.node("node").context("the box has its node")?;
        let (instance, netns) = (*node.instance(), Arc::clone(node.namespace().descriptor()));
        let watched = Watched::before_in(&netns, "node")?;
        Ok(Self {
            ec2: Arc::new(Ec2Service::new(shared.clone(), Callers::ByAccessKey)),
            imds: Arc::new(ImdsService::new(shared.clone(), instance)),
            box_runs: Builder::new_multi_thread().worker_threads(1).enable_time().build()?,
            shared,
            fabric,
            instance,
            netns,
            now: 0,
            sandboxes: BTreeMap::new(),
            freed: BTreeMap::new(),
            names: BTreeSet::new(),
            watched,
            program: program.to_owned(),
            dir: dir.to_owned(),
        })
    }

    /// Starts the daemon on what is there; it dies at its step, if one is appointed and it comes there.
    pub(crate) fn start(&mut self, death: Option<Death>) -> anyhow::Result<Life<'_>> {
        let mut command = Command::new(&self.program);
        command.arg(daemon::WORD).arg("--ledger").arg(self.ledger()).arg("--now").arg(self.now.to_string());
        command.arg("--region").arg(self.shared.region());
        if let Some(death) = &death {
            command.arg("--death").arg(serde_json::to_string(death)?);
        }
        // Words, not frames: what it says last is shown.
        command.env_remove("RUST_BACKTRACE");
        let child = Child::start(command, &self.netns, &self.dir.join("log"))?;
        Ok(Life::new(self, child))
    }

    /// The sandboxes that the runtime has, by container id.
    pub(crate) fn sandboxes(&self) -> &BTreeMap<String, Sandbox> {
        &self.sandboxes
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.dir.join("ledger.redb")
    }

    /// Carries a request to EC2 or to the metadata service, and tells the answer when it comes (`None`: the connection
    /// closes without one). The box's own business from here on: whoever sent it may die.
    pub(crate) fn carry(&self, request: HttpRequest, tell: impl FnOnce(Option<HttpAnswer>) + Send + 'static) {
        let (ec2, imds) = (Arc::clone(&self.ec2), Arc::clone(&self.imds));
        self.box_runs.spawn(async move {
            let request = http::Request::try_from(request).expect("it was a request before it was told");
            let answer = if request.uri().host() == Some(wire::METADATA) {
                imds.answer(request).await
            } else {
                ec2.answer(request).await
            };
            tell(match answer {
                None => None,
                Some(answer) => {
                    let (head, body) = answer.into_parts();
                    let Ok(body) = body.collect().await;
                    let whole = http::Response::from_parts(head, body.to_bytes());
                    Some(HttpAnswer::try_from(whole).expect("the box speaks text"))
                }
            });
        });
    }

    /// A new sandbox for a pod of this name.
    pub(crate) fn make_sandbox(&mut self, name: &str, container: &str) -> anyhow::Result<()> {
        let pod = Pod::create(&self.dir.join("netns"), name, container)?;
        let key = SandboxKey::from(SandboxNames {
            container_id: container.to_owned(),
            ifname: "eth0".to_owned(),
            network: "aws-cni".to_owned(),
        });
        let namesake = !self.names.insert(name.to_owned());
        let sandbox = Sandbox { key, pod, address: None, deleting: false, namesake };
        self.sandboxes.insert(container.to_owned(), sandbox);
        Ok(())
    }

    /// Time goes on, and what falls due in the box is seen in the kernel.
    pub(crate) fn pass(&mut self, millis: u64) -> anyhow::Result<()> {
        self.now += millis;
        self.shared.advance(Duration::from_millis(millis)).context("the box's clock is moved by hand")?;
        self.fabric.settle(SETTLED)?;
        match self.fabric.problems().first() {
            None => Ok(()),
            Some(problem) => bail!("the box's network: {problem}"),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Unmounts them; the folder can be removed then.
        self.sandboxes.clear();
        if std::thread::panicking() {
            eprintln!("the node's files are kept in {}", self.dir.display());
        } else if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("removing {}: {error}", self.dir.display());
        }
    }
}
