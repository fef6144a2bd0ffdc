//! What outlives the daemon: the box and its network, the sandboxes, the ledger's file, the clock.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use holdfast_model::cloud::{CloudAnswer, CloudCall};
use holdfast_model::sandbox::SandboxKey;
use holdfast_ports::{CloudError, MetadataError};
use holdfast_sim::fabric::Fabric;
use holdfast_sim::scenario::Scenario;
use holdfast_sim::server::{ClockMode, SharedVpc};
use holdfast_sim::vpc::{Caller, ImdsView, InstanceId};

use super::child::Child;
use super::life::Life;
use super::wire::Death;
use crate::ec2;
use crate::pod::Pod;

/// The network must follow EC2 within this real time, also on a busy machine.
const SETTLED: Duration = Duration::from_secs(30);

/// EC2 answers at once: each call has its step before and after it, and nothing else hangs on how long it takes. What
/// comes later by itself comes later here too.
const BOX: &str = r#"
    timing = { link_appears = 1000, detach_takes = 2000, imds_lag = 500 }
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
pub struct Sandbox {
    /// Who.
    pub key: SandboxKey,
    /// The real thing.
    pub pod: Pod,
    /// The address, once an ADD was answered.
    pub address: Option<IpAddr>,
    /// A DEL was sent; answered or not.
    pub deleting: bool,
}

/// A node of a box of its own.
#[derive(Debug)]
pub struct Node {
    pub(super) shared: SharedVpc,
    pub(super) fabric: Fabric,
    pub(super) instance: InstanceId,
    pub(super) netns: Arc<OwnedFd>,
    /// Milliseconds since the node began.
    pub(super) now: u64,
    /// Sandboxes that the runtime has, by container id.
    pub(super) sandboxes: BTreeMap<String, Sandbox>,
    program: PathBuf,
    dir: PathBuf,
}

impl Node {
    /// A fresh node whose daemon is `program`, with its files below `dir`, which must not exist. The calling thread has
    /// [its own namespaces](super::enter_own_namespaces), and stays as long as the node.
    pub fn new(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let built = Scenario::parse(BOX)?.build()?;
        let spec = built.fabric();
        let shared = SharedVpc::new(built.vpc, ClockMode::Manual, SystemTime::now());
        let fabric = Fabric::up(&shared, &spec)?;
        let node = fabric.node("node").context("the box has its node")?;
        let (instance, netns) = (node.instance().clone(), Arc::clone(node.namespace().descriptor()));
        Ok(Self {
            shared,
            fabric,
            instance,
            netns,
            now: 0,
            sandboxes: BTreeMap::new(),
            program: program.to_owned(),
            dir: dir.to_owned(),
        })
    }

    /// Starts the daemon on what is there; it dies at its step, if one is appointed and it comes there.
    pub fn start(&mut self, death: Option<Death>) -> anyhow::Result<Life<'_>> {
        let mut command = Command::new(&self.program);
        command.arg("--ledger").arg(self.ledger()).arg("--now").arg(self.now.to_string());
        if let Some(death) = &death {
            command.arg("--death").arg(serde_json::to_string(death)?);
        }
        // Words, not frames: what it says last is shown.
        command.env_remove("RUST_BACKTRACE");
        let child = Child::start(command, &self.netns, &self.dir.join("log"))?;
        Ok(Life::new(self, child))
    }

    /// The sandboxes that the runtime has, by container id.
    pub fn sandboxes(&self) -> &BTreeMap<String, Sandbox> {
        &self.sandboxes
    }

    pub(super) fn ledger(&self) -> PathBuf {
        self.dir.join("ledger.redb")
    }

    /// EC2, asked by the instance. Every call is carried out at once.
    pub(super) fn call(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        let caller = Caller::instance(&self.instance);
        ec2::answer_of(self.shared.with(|vpc| vpc.serve(&caller, ec2::operation_of(call))).result)
    }

    /// What the metadata service shows now.
    pub(super) fn imds(&self) -> Result<ImdsView, MetadataError> {
        self.shared.with(|vpc| vpc.imds_view(&self.instance)).ok_or_else(|| ec2::not_shown("instance-id"))
    }

    /// A new sandbox for a pod of this name.
    pub(super) fn make_sandbox(&mut self, name: &str, container: &str) -> anyhow::Result<()> {
        let pod = Pod::create(&self.dir.join("netns"), name, container)?;
        let key = SandboxKey {
            container_id: container.to_owned(),
            ifname: "eth0".to_owned(),
            network: "aws-cni".to_owned(),
        };
        let sandbox = Sandbox { key, pod, address: None, deleting: false };
        self.sandboxes.insert(container.to_owned(), sandbox);
        Ok(())
    }

    /// Time goes on, and what falls due in the box is seen in the kernel.
    pub(super) fn pass(&mut self, millis: u64) -> anyhow::Result<()> {
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
