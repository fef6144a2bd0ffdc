//! A node whose runtime is containerd: the box, the daemon under test, and what the ledger and the kernel say of a
//! sandbox.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::look::{self, Answer, Patience, Promise, Watched};
use holdfast_chaos_tests::packets::{Echo, Prober};
use holdfast_chaos_tests::rig::{NodeUnderTest, Rig};
use holdfast_datapath::netlink::{AddressFamily, RouteFilter};
use holdfast_datapath::netns;
use holdfast_model::lease::Lease;
use holdfast_model::ledger::Standing;
use serde_json::Value;

use crate::boxed;
use crate::cri::{PodSpec, Runtime};
use crate::runtime::Containerd;

/// How long a packet may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// One node. Fields end in their order: the runtime, the daemon, the box.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Its runtime.
    pub(crate) containerd: Containerd,
    /// Its daemon.
    pub(crate) node: NodeUnderTest,
    /// The VPC around it.
    pub(crate) rig: Rig,
    /// Keeps the namespace that [`Containerd`] is told of.
    netns: Arc<OwnedFd>,
    watched: Watched,
    plugin_log: PathBuf,
}

/// A sandbox that runs.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Its pod's name.
    pub(crate) name: String,
    /// The runtime's id.
    pub(crate) id: String,
    /// The address that the runtime reports.
    pub(crate) address: Ipv4Addr,
    /// Its network namespace.
    pub(crate) netns: Arc<OwnedFd>,
    /// The file that leads there.
    pub(crate) path: PathBuf,
}

/// Runs `body` on the first node of a scenario, in a box of its own; `test` is the name of the calling test.
pub(crate) fn on_a_node(
    test: &str,
    scenario: &str,
    variables: &[(&str, &str)],
    body: impl FnOnce(&mut Stage) -> anyhow::Result<()>,
) {
    boxed::run(test, || {
        let mut stage = Stage::new(scenario, variables)?;
        let outcome = stage.start().and_then(|()| body(&mut stage));
        // While the stage stands: its parts tell what they have logged when they end in a panic.
        outcome.unwrap_or_else(|error| panic!("{error:#}"));
        Ok(())
    });
}

/// A pod in its first sandbox, whose cgroups are the box's.
pub(crate) fn pod(name: &str) -> anyhow::Result<PodSpec> {
    Ok(PodSpec { name: name.to_owned(), attempt: 0, cgroup: format!("/{}", boxed::name()?) })
}

impl Sandbox {
    fn promise(&self) -> Promise<'_> {
        Promise {
            namespace: "default",
            name: &self.name,
            netns: &self.netns,
            path: &self.path,
            answer: Answer::Address(self.address.into()),
            // Kubelet makes another sandbox of a pod while the old one is there.
            namesake: true,
        }
    }
}

impl Stage {
    /// Makes a box of this scenario; nothing runs yet on its first node. The daemon will get these variables.
    fn new(scenario: &str, variables: &[(&str, &str)]) -> anyhow::Result<Self> {
        let rig = Rig::up(scenario)?;
        let name = rig.node_names().next().context("a scenario with a node")?.to_owned();
        let mut node = rig.node(&name)?;
        for (name, value) in variables {
            node.set(name, value);
        }
        let netns = node.netns()?;
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd()));
        let plugin_log = rig.dir().join("plugin.log");
        let runner = node.runner().with("pluginLogFile", plugin_log.display().to_string());
        let plugin = &rig.programs().plugin;
        let containerd = Containerd::new(&rig.dir().join("containerd"), &path, plugin, runner.conf())?;
        let watched = Watched::before(&node)?;
        Ok(Self { containerd, node, rig, netns, watched, plugin_log })
    }

    /// Starts daemon and runtime, and waits until a pod would run.
    fn start(&mut self) -> anyhow::Result<()> {
        self.node.start()?;
        self.containerd.start()?;
        self.containerd.import_image()?;
        self.node.wait_until("ready", |health| health["serving"] == "ready")
    }

    /// A client of the runtime.
    pub(crate) fn runtime(&self) -> Runtime {
        self.containerd.runtime()
    }

    /// Runs a pod in its first sandbox.
    pub(crate) fn run(&self, name: &str) -> anyhow::Result<Sandbox> {
        let id = self.runtime().run(&pod(name)?)?;
        self.sandbox(&id)
    }

    /// Waits until nothing is wrong on the node, with these sandboxes on it and no others.
    pub(crate) fn is_sound(&self, sandboxes: &[&Sandbox]) -> anyhow::Result<()> {
        let promised: Vec<Promise<'_>> = sandboxes.iter().map(|sandbox| sandbox.promise()).collect();
        look::wait_sound(Patience::of(&self.rig)?, || {
            Ok(vec![self.watched.picture(&self.rig, &self.node, &promised)?])
        })
    }

    /// A sandbox that the runtime says is ready.
    pub(crate) fn sandbox(&self, id: &str) -> anyhow::Result<Sandbox> {
        let status = self.runtime().status(id)?;
        ensure!(status.ready, "{id} is not ready");
        let path = status.netns.with_context(|| format!("{id} has a network namespace"))?;
        let netns = Arc::new(netns::open(&path)?);
        let address = status.address.with_context(|| format!("{id} has an address"))?;
        Ok(Sandbox { name: status.name, id: id.to_owned(), address, netns, path })
    }

    /// The lease of a sandbox, which there must be.
    pub(crate) fn lease(&self, id: &str) -> anyhow::Result<Lease> {
        self.find_lease(id)?.with_context(|| format!("the ledger has no lease of {id}"))
    }

    /// The lease of a sandbox, if there is one.
    pub(crate) fn find_lease(&self, id: &str) -> anyhow::Result<Option<Lease>> {
        let ledger = self.node.state()?;
        Ok(ledger.leases.values().find(|lease| lease.sandbox.container_id == id).cloned())
    }

    /// Waits until a lease is over, and makes sure that its address rests and nothing in the kernel names it.
    pub(crate) fn is_released(&mut self, lease: &Lease) -> anyhow::Result<()> {
        let what = format!("free of the lease of {}", lease.sandbox);
        let ledger = self.node.wait_state(&what, |ledger| !ledger.leases.contains_key(&lease.sandbox))?;
        let standing = ledger.standing(lease.faces[0].address);
        ensure!(matches!(standing, Standing::Cooling(_)), "{standing:?}");
        let traces = self.traces(lease)?;
        ensure!(traces.is_empty(), "left in the kernel of {}: {traces:#?}", lease.sandbox);
        Ok(())
    }

    /// How the DELs of a sandbox ended, by the plugin's own log: with success by the daemon (`None`), or with this to
    /// say about it.
    pub(crate) fn dels(&self, id: &str) -> anyhow::Result<Vec<Option<String>>> {
        let log = fs::read_to_string(&self.plugin_log).context("reading the plugin's log")?;
        let lines = log.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let dels = lines.iter().filter(|line| line["command"] == "DEL" && line["container"] == id);
        let said = |line: &Value| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let (msg, note) = (text("msg"), text("note"));
            (msg != "done" || !note.is_empty()).then(|| format!("{msg}: {note}"))
        };
        Ok(dels.map(said).collect())
    }

    /// What the node's kernel holds of a lease: its link, rules, routes and neighbours.
    pub(crate) fn traces(&self, lease: &Lease) -> anyhow::Result<Vec<String>> {
        let mut socket = netns::socket_in(&self.netns)?;
        let of = |net: &ipnet::IpNet| net.addr() == lease.faces[0].address;
        let mut traces = Vec::new();
        let links = socket.links()?;
        traces.extend(
            links.iter().filter(|link| link.name == lease.faces[0].host_veth).map(|link| format!("{link:?}")),
        );
        let rules = socket.rules(AddressFamily::Inet)?;
        let named = |net: &Option<ipnet::IpNet>| net.as_ref().is_some_and(of);
        let rules = rules.iter().filter(|rule| named(&rule.from) || named(&rule.to));
        traces.extend(rules.map(|rule| format!("{rule:?}")));
        let routes = socket.routes(AddressFamily::Inet, RouteFilter::default())?;
        traces.extend(routes.iter().filter(|route| of(&route.to)).map(|route| format!("{route:?}")));
        let neighbours = socket.neighbours(AddressFamily::Inet)?;
        let neighbours = neighbours.iter().filter(|neighbour| neighbour.address == lease.faces[0].address);
        traces.extend(neighbours.map(|neighbour| format!("{neighbour:?}")));
        Ok(traces)
    }

    /// The sandbox holds exactly the address that the runtime reports, and its node reaches it.
    pub(crate) fn works(&self, sandbox: &Sandbox) -> anyhow::Result<()> {
        let lease = self.lease(&sandbox.id)?;
        ensure!(
            lease.faces[0].address == IpAddr::V4(sandbox.address),
            "{lease:?}, and the runtime says {sandbox:?}"
        );
        let _echo = Echo::serve(&sandbox.netns)?;
        Prober::new(&self.netns)?.ask(sandbox.address, PATIENCE).context("from the node")?;
        Ok(())
    }

    /// The id of the sandbox that the runtime last called the plugin's ADD for, once that is another than `before`.
    pub(crate) fn wait_add(&self, before: &[&str]) -> anyhow::Result<String> {
        let begun = Instant::now();
        loop {
            let calls = self.containerd.calls()?;
            let add = calls.iter().rev().find(|call| call.command == "ADD");
            if let Some(add) = add.filter(|add| !before.contains(&add.sandbox.as_str())) {
                return Ok(add.sandbox.clone());
            }
            ensure!(begun.elapsed() < Duration::from_secs(30), "the runtime did not call ADD: {calls:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a plugin has connected to the daemon, which is stopped and so does not answer. Before that, a plugin
    /// whose runtime dies may not even have read its configuration.
    pub(crate) fn wait_asked(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let socket = self.node.socket().display().to_string();
        loop {
            // The daemon's ends of connections, which it need not have accepted yet, belong where the plugin is: in the pod.
            let node = netns::identity(&self.netns)?.inode;
            let is_connected = |process: &Path| {
                let inside = fs::metadata(process.join("ns/net")).is_ok_and(|netns| netns.ino() != node);
                let comm = fs::read_to_string(process.join("comm")).unwrap_or_default();
                let sockets = fs::read_to_string(process.join("net/unix")).unwrap_or_default();
                inside && comm.trim_end() == "aws-cni" && sockets.lines().any(|line| line.ends_with(&socket))
            };
            let processes = fs::read_dir("/proc")?.collect::<Result<Vec<_>, _>>()?;
            if processes.iter().any(|process| is_connected(&process.path())) {
                return Ok(());
            }
            ensure!(begun.elapsed() < Duration::from_secs(30), "no plugin asked the daemon");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
