//! A node under test: the real daemon, the real plugin, a VPC in a box around them, and the means to hurt them.
//!
//! ```text
//!   Rig ── vpcsim (process) ── router, internet, node namespaces
//!    ├── Admin ............... calls, faults, foreign changes
//!    └── NodeUnderTest ─────── holdfast (process, in the node's namespace), its ledger, sockets, spool
//!          └── Runner ........ the plugin (process per call), pods
//! ```
//!
//! **Nothing is left on the machine, also after SIGKILL.** The thread that makes a rig moves into mount and network
//! namespaces of its own first, and everything is written to a file system in memory that only they have, mounted on
//! `/run`. Each process is started to die with the thread that started it (`setpriv --pdeathsig`), and the network
//! of the box dies with its process. So start and restart daemons from the thread that made the rig, and make no
//! second rig's daemons from a thread that ends earlier.

mod admin;
mod node;
mod process;
mod room;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use holdfast_datapath::netns;
use holdfast_sim::vpc::Timing;
use serde::Deserialize;

pub use admin::Admin;
pub use node::{NodeDescription, NodeUnderTest};
pub use process::Process;

use crate::cni::Runner;
use crate::look::{Answer, Promise};
use crate::packets::{Echo, Prober};
use crate::pod::Pod;

/// How long a box may take to stand, or a process to do what it does in milliseconds: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The programs under test.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `holdfast`.
    pub daemon: PathBuf,
    /// `aws-cni`.
    pub plugin: PathBuf,
    /// `vpcsim`.
    pub vpcsim: PathBuf,
}

impl Programs {
    /// Those that `HOLDFAST_BIN_DAEMON`, `HOLDFAST_BIN_PLUGIN` and `HOLDFAST_BIN_VPCSIM` name, as `./dev` sets them.
    /// An error, not a skip, when one is missing.
    pub fn from_env() -> anyhow::Result<Self> {
        let program = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from).with_context(|| {
                format!("{name} does not name a program: run the tests by `./dev test`, which builds what they test")
            })?;
            if !path.is_file() {
                bail!("{name} names {}, which is no program: run `./dev build`", path.display());
            }
            Ok(path)
        };
        Ok(Self {
            daemon: program("HOLDFAST_BIN_DAEMON")?,
            plugin: program("HOLDFAST_BIN_PLUGIN")?,
            vpcsim: program("HOLDFAST_BIN_VPCSIM")?,
        })
    }
}

/// What a box says about itself (`box.json`).
#[derive(Debug, Clone, Deserialize)]
struct Description {
    admin: PathBuf,
    internet: Internet,
    router: PathBuf,
    nodes: Vec<NodeDescription>,
}

#[derive(Debug, Clone, Deserialize)]
struct Internet {
    address: Ipv4Addr,
    ipv6: Option<Ipv6Addr>,
    echo_port: u16,
}

/// A VPC in a box, running.
#[derive(Debug)]
pub struct Rig {
    programs: Programs,
    dir: PathBuf,
    description: Description,
    sandboxes: AtomicU64,
    // Last: what the fields above hold open is let go before the box ends.
    _vpcsim: Process,
}

/// Whoever is in charge of the box whose admin interface is at `socket`.
pub fn admin_at(socket: &Path) -> Admin {
    Admin::at(socket)
}

/// Waits until something is so, for a bounded time.
pub fn wait_for(what: &str, within: Duration, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > within {
            bail!("not {what} within {} s", within.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A scenario: one VPC and subnet, and these nodes (name and instance type), in which EC2 answers at once.
pub fn scenario(nodes: &[(&str, &str)]) -> String {
    let vpc = "vpc.cidrs = [\"10.0.0.0/16\"]\n\n[[subnet]]\nname = \"a\"\nzone = \"us-west-2a\"\n\
               cidr = \"10.0.0.0/20\"\n";
    let node = |(name, instance_type): &(&str, &str)| {
        format!("\n[[node]]\nname = \"{name}\"\ntype = \"{instance_type}\"\nsubnet = \"a\"\n")
    };
    std::iter::once(vpc.to_owned()).chain(nodes.iter().map(node)).collect()
}

/// A pod that was added and answers questions from others.
#[derive(Debug)]
pub struct RunningPod {
    /// Its address.
    pub address: Ipv4Addr,
    /// What the plugin printed.
    pub result: serde_json::Value,
    // Before the pod: the server's thread lets its namespace go first.
    _echo: Echo,
    /// The sandbox.
    pub pod: Pod,
}

impl RunningPod {
    /// What the oracle judges it by; it must be the first sandbox of its name.
    pub fn promise(&self) -> Promise<'_> {
        Promise::to(&self.pod, Answer::Printed(&self.result))
    }

    /// Asks another from inside the pod; gives the source address that the other saw.
    pub fn ask(&self, to: Ipv4Addr) -> anyhow::Result<Ipv4Addr> {
        Prober::new(self.pod.netns())?
            .ask(to, Duration::from_secs(2))
            .with_context(|| format!("from {} ({})", self.pod.name, self.address))
    }
}

impl Rig {
    /// Makes a box of this scenario (TOML, see `holdfast_sim::scenario`) and waits until it stands. The calling
    /// thread, and the threads that it starts afterwards, are in namespaces of their own from then on.
    pub fn up(scenario: &str) -> anyhow::Result<Self> {
        Self::up_with(Programs::from_env()?, scenario)
    }

    /// The same with these programs.
    pub fn up_with(programs: Programs, scenario: &str) -> anyhow::Result<Self> {
        static RIGS: AtomicU64 = AtomicU64::new(0);
        let name = format!("rig{}", RIGS.fetch_add(1, Ordering::Relaxed));
        let dir = room::enter()?.join(&name);
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let file = dir.join("scenario.toml");
        fs::write(&file, scenario).with_context(|| format!("writing {}", file.display()))?;
        let mut command = process::dies_with_us();
        command.arg(&programs.vpcsim).args(["up", "--json", "--name", &name, "--scenario"]).arg(&file);
        command.arg("--run-dir").arg(&dir);
        let mut vpcsim = Process::start(command, "vpcsim", &dir.join("vpcsim.log"))?;
        let description = Self::wait_for(&mut vpcsim, &dir.join(&name).join("box.json"))?;
        Ok(Self { programs, dir, description, sandboxes: AtomicU64::new(0), _vpcsim: vpcsim })
    }

    fn wait_for(vpcsim: &mut Process, file: &Path) -> anyhow::Result<Description> {
        let begun = Instant::now();
        loop {
            // Appears whole, as the last thing.
            if let Ok(text) = fs::read_to_string(file) {
                return serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()));
            }
            if let Some(status) = vpcsim.ended()? {
                bail!("vpcsim ended with {status}: {}", vpcsim.log());
            }
            if begun.elapsed() > PATIENCE {
                bail!("the box did not stand within {} s: {}", PATIENCE.as_secs(), vpcsim.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The programs under test.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// How long a node takes at most to have an address when none is free, by the box's delays of now: a subnet's look,
    /// an ENI's creation, attachment and link, each seen late, twice over, and what the daemon itself takes on a busy
    /// machine.
    pub fn growth(&self) -> anyhow::Result<Duration> {
        let timing = self.admin().timing()?;
        let Timing { read_latency, write_latency, attach_latency, .. } = timing;
        let calls = read_latency * 4 + write_latency * 3 + attach_latency;
        let states = timing.create_takes + timing.attach_takes.max(timing.link_appears);
        let seen = timing.describe_lag + timing.describe_jitter + timing.imds_lag + timing.imds_torn;
        Ok((calls + states + seen) * 2 + Duration::from_secs(5))
    }

    /// Where files of this rig are. In memory, and gone with it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whoever is in charge of the box.
    pub fn admin(&self) -> Admin {
        Admin::at(&self.description.admin)
    }

    /// The host outside the VPC, which answers UDP with the source that it saw.
    pub fn internet(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.description.internet.address, self.description.internet.echo_port)
    }

    /// The same by IPv6, in a VPC that has it.
    pub fn internet_ipv6(&self) -> anyhow::Result<SocketAddr> {
        let Internet { ipv6, echo_port, .. } = self.description.internet;
        Ok(SocketAddr::new(ipv6.context("the box has IPv6")?.into(), echo_port))
    }

    /// The router's namespace.
    pub fn router(&self) -> anyhow::Result<Arc<std::os::fd::OwnedFd>> {
        Ok(Arc::new(netns::open(&self.description.router)?))
    }

    /// The names of the nodes, in the scenario's order.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.description.nodes.iter().map(|node| node.name.as_str())
    }

    /// A node, its daemon not started. Its state is new: ask once per name, or clear its folder.
    pub fn node(&self, name: &str) -> anyhow::Result<NodeUnderTest> {
        let node = self.description.nodes.iter().find(|node| node.name == name);
        let node = node.with_context(|| format!("the box has no node {name:?}"))?;
        NodeUnderTest::new(&self.programs, node, &self.dir.join(format!("node-{name}")))
    }

    /// Packets that the router has dropped because their source address is not of the ENI that they came from.
    pub fn dropped_for_their_source(&self) -> anyhow::Result<u64> {
        let router = self.router()?;
        let list = || Command::new("nft").args(["list", "chain", "inet", "vpcsim", "sources"]).output();
        let output = netns::run_in(&router, list)?.context("running nft")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let count = text
            .lines()
            .find(|line| line.contains("oif missing"))
            .and_then(|line| line.split_once("packets ")?.1.split(' ').next()?.parse().ok());
        count.with_context(|| format!("the router's source check in {text:?}"))
    }

    /// A pod that was added and answers: see [`RunningPod`].
    pub fn run_pod(&self, runner: &Runner, name: &str) -> anyhow::Result<RunningPod> {
        let pod = self.pod(name)?;
        let result = runner.add(&pod)?.ok().with_context(|| format!("adding {name}"))?;
        self.serve(pod, result)
    }

    /// A pod that was added with this result, from now on one that answers.
    pub fn serve(&self, pod: Pod, result: serde_json::Value) -> anyhow::Result<RunningPod> {
        let echo = Echo::serve(pod.netns())?;
        Ok(RunningPod { address: Runner::address(&result)?, result, pod, _echo: echo })
    }

    /// A pod of this name, in a new sandbox.
    pub fn pod(&self, name: &str) -> anyhow::Result<Pod> {
        let number = self.sandboxes.fetch_add(1, Ordering::Relaxed);
        Pod::create(&self.dir.join("netns"), name, &format!("{number:08x}{}", "5a".repeat(28)))
    }
}
