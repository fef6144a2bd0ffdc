//! Fills the oracle's [`Picture`] from a real kernel and a running box: netlink dumps, nft listings, settings, and the
//! box's own truth. Looks only, and believes nothing that the daemon says.

mod by_itself;
mod cloud;
mod routes;
mod rtnetlink;
mod rules;
mod ruleset;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use holdfast_datapath::netlink::{self, AddressFamily};
use holdfast_datapath::netns;
use ipnet::IpNet;
use serde_json::Value;

use crate::cni::Runner;
use crate::oracle::picture::{
    Address, Cloud, Further, Kernel, Link, Neighbour, Picture, Pod as Promised, Way,
};
use crate::oracle::{self, Fault};
use crate::pod::Pod;
use crate::rig::{NodeUnderTest, Rig};

use by_itself::{comes_with_a_link, every_link_has, never_expires};
pub use cloud::cloud_of;

/// What drift takes to be mended, and what was deleted to go, on a busy machine. In life a second.
pub const SETTLES: Duration = Duration::from_secs(5);

/// Faults that are told, of however many.
const TOLD: usize = 12;

/// The node's MTU unless it was set otherwise.
const MTU: u32 = 9001;

/// What an ADD was answered with.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// By the plugin: what it printed.
    Printed(&'a Value),
    /// By a daemon without a plugin before it: an address.
    Address(IpAddr),
}

impl Answer<'_> {
    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Printed(result) => Runner::ip(result).ok(),
            Self::Address(address) => Some(address),
        }
    }

    /// With the length of its prefix, as the sandbox should bear it.
    fn net(self) -> String {
        match self {
            Self::Printed(result) => result["ips"][0]["address"].as_str().unwrap_or_default().to_owned(),
            Self::Address(address) => IpNet::from(address).to_string(),
        }
    }
}

/// A sandbox and what its ADD was answered with.
#[derive(Clone, Copy, Debug)]
pub struct Promise<'a> {
    /// Kubernetes namespace.
    pub namespace: &'a str,
    /// The pod's name.
    pub name: &'a str,
    /// The sandbox.
    pub netns: &'a Arc<OwnedFd>,
    /// Where the runtime said that it is.
    pub path: &'a Path,
    /// What the runtime was told.
    pub answer: Answer<'a>,
    /// Another sandbox of that name was there, or was on its way out, as it came.
    pub namesake: bool,
}

impl<'a> Promise<'a> {
    /// To a sandbox that was made here, the first of its name.
    pub fn to(pod: &'a Pod, answer: Answer<'a>) -> Self {
        Self {
            namespace: &pod.namespace,
            name: &pod.name,
            netns: pod.netns(),
            path: pod.path(),
            answer,
            namesake: false,
        }
    }
}

/// A node whose kernel was looked at before anything of ours ran on it.
#[derive(Clone, Debug)]
pub struct Watched {
    name: String,
    before: Kernel,
    tags: BTreeMap<String, String>,
    ipv6: bool,
}

impl Watched {
    /// Looks at a node on which no daemon has run yet.
    pub fn before(node: &NodeUnderTest) -> anyhow::Result<Self> {
        Self::before_in(&node.netns()?, node.name())
    }

    /// The same of a node that is this namespace.
    pub fn before_in(netns: &Arc<OwnedFd>, name: &str) -> anyhow::Result<Self> {
        let (before, _) = host(netns)?;
        Ok(Self { name: name.to_owned(), before, tags: BTreeMap::new(), ipv6: false })
    }

    /// From now on each ENI that is made for the node must have these tags.
    pub fn expect_tags(&mut self, tags: BTreeMap<String, String>) {
        self.tags = tags;
    }

    /// From now on its pods have IPv6 addresses.
    pub fn expect_ipv6(&mut self) {
        self.ipv6 = true;
    }

    /// The node as it is now, with these promises made and not yet taken back.
    pub fn picture(&self, rig: &Rig, node: &NodeUnderTest, pods: &[Promise<'_>]) -> anyhow::Result<Picture> {
        ensure!(self.name == node.name(), "{} is not {}", self.name, node.name());
        let state = rig.admin().state()?;
        let cloud = cloud_of(&state, node.instance())?;
        self.picture_in(&node.netns()?, cloud, pods)
    }

    /// The same of the namespace that the node is, with this on EC2's side.
    pub fn picture_in(
        &self,
        netns: &Arc<OwnedFd>,
        cloud: Cloud,
        pods: &[Promise<'_>],
    ) -> anyhow::Result<Picture> {
        let pods: Vec<(Promised, Vec<Option<u32>>)> = pods.iter().map(promised).collect::<Result<_, _>>()?;
        let (host, ruleset) = host(netns)?;
        let end = |peer: Option<u32>| {
            let end = host.links.iter().find(|link| link.veth && Some(link.index) == peer);
            end.map(|link| link.name.clone())
        };
        let pods = pods.into_iter().map(|(mut pod, peers)| {
            let mut ends = peers.into_iter().map(end);
            pod.host_link = ends.next().flatten();
            for (face, end) in pod.further.iter_mut().zip(ends) {
                face.host_link = end;
            }
            pod
        });
        let pods = pods.collect();
        let (node, tags, before) = (self.name.clone(), self.tags.clone(), self.before.clone());
        let ipv6 = self.ipv6;
        let mut picture = Picture { node, mtu: MTU, ipv6, tags, cloud, before, host, pods };
        for flow in oracle::flows(&picture) {
            let fate = ruleset::fate(&ruleset, &picture.host, &flow);
            picture.host.fates.insert(flow, fate);
        }
        Ok(picture)
    }
}

/// How long something may be wrong.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// What is mended or removed once it is known.
    pub settles: Duration,
    /// What waits for EC2: an ENI that is being made or taken away, and its set-up.
    pub growth: Duration,
}

impl Patience {
    /// For a box with its own delays.
    pub fn of(rig: &Rig) -> anyhow::Result<Self> {
        Ok(Self { settles: SETTLES, growth: SETTLES.max(rig.growth()?) })
    }

    fn is_over(&self, elapsed: Duration, faults: &[Fault]) -> bool {
        elapsed > self.growth
            || (elapsed > self.settles && !faults.iter().all(|fault| fault.law.waits_for_ec2()))
    }
}

/// Waits until nothing is wrong with these pictures; an error tells what is.
pub fn wait_sound(patience: Patience, look: impl Fn() -> anyhow::Result<Vec<Picture>>) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let faults = oracle::judge_all(&look()?);
        if faults.is_empty() {
            return Ok(());
        }
        if patience.is_over(began.elapsed(), &faults) {
            bail!("{}", told(&faults));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Faults in one line: one of each kind first, as one cause shows in many places.
pub fn told(faults: &[Fault]) -> String {
    let mut laws = BTreeSet::new();
    let (mut first, others): (Vec<&Fault>, Vec<&Fault>) =
        faults.iter().partition(|fault| laws.insert(fault.law));
    first.extend(others);
    let mut text: Vec<String> = first.iter().take(TOLD).map(ToString::to_string).collect();
    if faults.len() > TOLD {
        text.push(format!("and {} more", faults.len() - TOLD));
    }
    text.join("; ")
}

/// The pod as the oracle wants it, and the numbers of its links' other ends.
fn promised(promise: &Promise<'_>) -> anyhow::Result<(Promised, Vec<Option<u32>>)> {
    let Promise { namespace, name, netns, path, answer, namesake } = *promise;
    let inside = inside(netns).with_context(|| format!("looking into {name}"))?;
    let further = match answer {
        Answer::Printed(result) => further(result),
        Answer::Address(_) => Vec::new(),
    };
    let peer = |name: &str| inside.link(name).filter(|link| link.veth).and_then(|link| link.peer);
    let names = [IFNAME].into_iter().chain(further.iter().map(|face| face.ifname.as_str()));
    let peers = names.map(peer).collect();
    let promised = Promised {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        namesake,
        address: answer.address().and_then(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }),
        address_v6: answer.address().and_then(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        }),
        ifname: IFNAME.to_owned(),
        netns: path.display().to_string(),
        result: match answer {
            Answer::Printed(result) => Some(result.clone()),
            Answer::Address(_) => None,
        },
        inside: Some(inside),
        host_link: None,
        further,
    };
    Ok((promised, peers))
}

/// What a result names besides the first interface: address by address, each on an interface of its own.
fn further(result: &Value) -> Vec<Further> {
    let ips = result["ips"].as_array().into_iter().flatten().skip(1);
    let face = |ip: &Value| {
        let net: ipnet::Ipv4Net = ip["address"].as_str()?.parse().ok()?;
        let interface = usize::try_from(ip["interface"].as_u64()?).ok()?;
        let ifname = result["interfaces"][interface]["name"].as_str()?.to_owned();
        Some(Further { address: net.addr(), ifname, host_link: None })
    };
    ips.filter_map(face).collect()
}

/// What runtimes call a pod's first interface.
const IFNAME: &str = "eth0";

/// What is wrong with a sandbox's own side just now, by what its ADD was answered with: for the instant at which the
/// answer arrives, when a runtime starts the pod's programs.
pub fn unlike_its_answer(promise: &Promise<'_>) -> anyhow::Result<Vec<String>> {
    let (pod, _) = promised(promise)?;
    let inside = pod.inside.unwrap_or_default();
    let mut wrong = Vec::new();
    let borne: Vec<String> = inside
        .addresses
        .iter()
        .chain(&inside.addresses_v6)
        .filter(|address| !address.net.addr().is_loopback())
        .map(|address| address.net.to_string())
        .collect();
    let further = pod.further.iter().map(|face| format!("{}/32", face.address));
    let told: Vec<String> = [promise.answer.net()].into_iter().chain(further).collect();
    if borne.iter().collect::<BTreeSet<_>>() != told.iter().collect() || borne.len() != told.len() {
        wrong.push(format!("it was told {told:?} and bears {borne:?}"));
    }
    for name in [IFNAME].into_iter().chain(pod.further.iter().map(|face| face.ifname.as_str())) {
        match inside.link(name) {
            Some(link) if link.up => {}
            Some(_) => wrong.push(format!("its {name} is down")),
            None => wrong.push(format!("it has no {name}")),
        }
    }
    let of_ipv6 = inside.routes_v6.iter().filter(|route| !inside.makes_with_an_address(route));
    let routes = inside.routes.iter().filter(|route| !inside.makes_by_itself(route)).chain(of_ipv6);
    let ways: Vec<Way> = routes.map(|route| route.way).collect();
    if ways.len() != 2 * told.len() || ways.iter().any(|way| *way != Way::Forward) {
        wrong.push(format!("it has {} routes: {ways:?}", ways.len()));
    }
    let gateways = [IpAddr::V4(oracle::POD_GATEWAY), IpAddr::V6(oracle::POD_GATEWAY_IPV6)];
    if !inside.neighbours.iter().any(|at| gateways.contains(&at.address)) {
        wrong.push("it does not know its gateway's link-layer address".to_owned());
    }
    Ok(wrong)
}

/// Links and rules of pods in a node's namespace: for whoever waits until the last pod is gone.
pub fn left_of_pods(netns: &Arc<OwnedFd>) -> anyhow::Result<Vec<String>> {
    let kernel = read(netns)?;
    let links = kernel.links.into_iter().filter(|link| link.veth).map(|link| link.name);
    let rules = kernel.rules.iter().filter(|rule| oracle::is_of_a_pod(rule)).map(ToString::to_string);
    Ok(links.chain(rules).collect())
}

/// How many pods' links are in a node's namespace.
pub fn links_of_pods(netns: &Arc<OwnedFd>) -> anyhow::Result<usize> {
    let links = netns::socket_in(netns)?.links()?;
    Ok(links.iter().filter(|link| link.kind.as_deref() == Some("veth")).count())
}

/// A node's namespace, and its packet filter as it is listed.
fn host(netns: &Arc<OwnedFd>) -> anyhow::Result<(Kernel, Vec<Value>)> {
    let mut kernel = read(netns)?;
    let links: Vec<(String, bool)> = kernel.links.iter().map(|link| (link.name.clone(), link.veth)).collect();
    kernel.sysctls = netns::run_in(netns, || settings::of_host(&links))?;
    let ruleset = list_ruleset(netns)?;
    kernel.tables = ruleset::tables(&ruleset);
    kernel.hooks = ruleset::hooks(&ruleset);
    Ok((kernel, ruleset))
}

/// A sandbox's namespace.
fn inside(netns: &Arc<OwnedFd>) -> anyhow::Result<Kernel> {
    let mut kernel = read(netns)?;
    kernel.sysctls = netns::run_in(netns, || settings::of_pod(IFNAME))?;
    kernel.tables = ruleset::tables(&list_ruleset(netns)?);
    Ok(kernel)
}

fn list_ruleset(netns: &Arc<OwnedFd>) -> anyhow::Result<Vec<Value>> {
    let output = netns::run_in(netns, || Command::new("nft").args(["-j", "list", "ruleset"]).output())?;
    let output = output.context("running nft")?;
    ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
    let listing: Value = serde_json::from_slice(&output.stdout).context("reading what nft listed")?;
    Ok(listing["nftables"].as_array().cloned().unwrap_or_default())
}

fn read(netns: &Arc<OwnedFd>) -> anyhow::Result<Kernel> {
    let (v4, v6) = (AddressFamily::Inet, AddressFamily::Inet6);
    let mut socket = netns::socket_in(netns)?;
    let links = socket.links()?.into_iter().map(|link| Link {
        index: link.index,
        name: link.name,
        mac: link.mac,
        mtu: link.mtu,
        up: link.up,
        veth: link.kind.as_deref() == Some("veth"),
        peer: link.peer_index,
        group: link.group,
    });
    let addresses =
        |listed: Vec<netlink::Address>| listed.into_iter().map(|at| Address { link: at.link, net: at.net });
    let mut kernel = Kernel {
        links: links.collect(),
        addresses: addresses(socket.addresses(v4)?).collect(),
        addresses_v6: addresses(socket.addresses(v6)?).filter(|at| !every_link_has(at.net)).collect(),
        ..Kernel::default()
    };
    let [routes, mut routes_v6] = netns::run_in(netns, routes::all)?.context("listing routes")?;
    routes_v6.retain(|route| !comes_with_a_link(route));
    (kernel.routes, kernel.routes_v6) = (routes, routes_v6);
    for family in [v4, v6] {
        let lasting = socket.neighbours(family)?.into_iter().filter(|at| never_expires(at, &kernel));
        let lasting = lasting.map(|at| Neighbour { link: at.link, address: at.address, mac: at.mac });
        let lasting: Vec<Neighbour> = lasting.collect();
        kernel.neighbours.extend(lasting);
    }
    (kernel.rules, kernel.dropping_rules) = netns::run_in(netns, rules::all)?.context("listing rules")?;
    Ok(kernel)
}
