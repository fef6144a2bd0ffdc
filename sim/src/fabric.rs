//! The network of the box, on the real kernel: an attached ENI is a real interface with its MAC in its node's network
//! namespace, and what EC2 shows decides which packets arrive.
//!
//! ```text
//!   node namespace                   router namespace                         internet namespace
//!   ens5 (ENI's MAC) -- macvlan -- p<eni> == veth == v<eni>     inet == veth == inet0
//!   ens6 (ENI's MAC) -- macvlan -- p<eni> == veth == v<eni>                   lo: EC2, and a host that
//!                                  lo: gateways, metadata                       answers with the source it saw
//!                                  table main:
//!                                    A/32 out of v<eni> to the ENI's MAC
//!                                    the VPC's blocks: blackhole
//!                                  table 100, for public sources: default out of inet
//! ```
//!
//! Nothing of the box is inside a node. Metadata answers in the router, on every link, as in life the hypervisor does;
//! EC2 beyond the VPC, where only public addresses get. A node that cuts itself off loses both.
//!
//! Why not a veth from router to node: its router end would have no carrier until the node's end is up, and then drop the
//! answer to the node's first ARP request, which costs a second. The network behind a real ENI is always there.
//!
//! What the VPC gets while this runs, subnets and blocks, is followed like what its instances get.
//!
//! Each address that EC2 shows is one host route out of its ENI's link, and the source check asks the same routes: a
//! packet from A is forwarded only if it came in where packets to A go out. One netlink message therefore grants or
//! takes an address for both directions, and there is no instant at which they differ. A packet that life would drop
//! is dropped as in life: without an answer. What the VPC answers to those who ask for a neighbour is in
//! `filter` and `discovery`.
//!
//! Everything is held by descriptors of this process. When it dies, however it dies, the kernel removes the router,
//! and with it every link; a node's namespace goes when its last inhabitant goes.
//!
//! IPv6 goes the same way where the VPC has a block of it: host and /80 routes in the main table, fe80:ec2::1 as the gateway
//! on every link, a default route out of `inet` for all, since every address of IPv6 is public. Security groups allow
//! everything; they would be more rules beside the source check.

mod answers;
mod discovery;
mod filter;
mod follow;
mod internet;
mod loss;
mod namespace;
mod naming;
mod node;
mod renames;
mod residents;
mod router;
mod routes;
mod sysctl;
mod sysctls;
mod wiring;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_datapath::netlink::NetlinkError;
use holdfast_datapath::netns::NetnsError;

pub use discovery::IPV6_GATEWAY;
pub use internet::{ECHO_PORT, Outside};
pub use loss::Loss;
pub use namespace::Namespace;
pub use naming::{Interfaces, Names};
pub use node::Node;
pub use router::{IMDS_ADDRESS, IMDS_ADDRESS_IPV6};
pub use sysctls::Sysctls;

use crate::server::SharedVpc;
use crate::vpc::InstanceId;
use follow::{Command, Follower};
use internet::Internet;
use router::Router;
use wiring::Layout;

/// MTU inside the VPC.
pub const MTU: u32 = 9001;

/// MTU of the way to the internet.
pub const INTERNET_MTU: u32 = 1500;

/// How long a change of the network may take, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a fabric is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FabricSpec {
    /// One namespace each.
    pub nodes: Vec<NodeSpec>,
    /// Address of the internet host, outside the VPC.
    pub internet: Ipv4Addr,
    /// Where EC2 answers, on port 80: outside the VPC as well.
    pub ec2: Ipv4Addr,
    /// The internet host's IPv6 address. What is there of IPv6 is there where the VPC has IPv6.
    pub internet_ipv6: Ipv6Addr,
    /// Where EC2 answers over IPv6.
    pub ec2_ipv6: Ipv6Addr,
}

/// A node: an instance with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Unique among the nodes.
    pub name: String,
    /// Which instance.
    pub instance: InstanceId,
    /// Through how many hops its metadata gets: 1 reaches no pod, 2 the pods behind it.
    pub hop_limit: u8,
    /// What it calls its interfaces.
    pub interfaces: Interfaces,
    /// What its image sets in its kernel.
    pub sysctls: Sysctls,
    /// What it loses from the start.
    pub losses: Vec<Loss>,
}

/// Why the network cannot be made or changed. The text leaves the cause to `source`.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// A namespace cannot be made or entered. Needs `CAP_SYS_ADMIN`, if only in a user namespace.
    #[error("{what}")]
    Namespace {
        /// Which.
        what: String,
        /// Why.
        source: NetnsError,
    },
    /// The kernel refuses a change.
    #[error("{what}")]
    Netlink {
        /// Where.
        what: String,
        /// Why.
        source: NetlinkError,
    },
    /// A setting under `/proc/sys` cannot be written.
    #[error("set {path}")]
    Sysctl {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The packet filter refuses the source check.
    #[error("nftables in {place}: {why}")]
    Nft {
        /// Where.
        place: String,
        /// Why, in `nft`'s words.
        why: String,
    },
    /// A service cannot listen.
    #[error("listen on {address} in {place}")]
    Listen {
        /// On what.
        address: String,
        /// In which namespace.
        place: String,
        /// Why.
        source: std::io::Error,
    },
    /// The fabric's own thread cannot start, or is gone.
    #[error("the fabric's thread: {0}")]
    Thread(String),
    /// The box holds something that the network cannot show.
    #[error("{0}")]
    Unfit(String),
}

/// A running network with its services. Ends, with everything that it made, when dropped.
///
/// It is the one consumer of the box's events.
///
/// When an instance stops, boots anew or is terminated, all that was in its node's namespace is left behind: links,
/// addresses, routes, rules, nftables, settings. When it runs again it has its interfaces, as after its first boot, in a
/// new namespace. Processes that were in the old one are not ended: they stay in it, with no network, and whoever started
/// them ends them.
#[derive(Debug)]
pub struct Fabric {
    // Declared first: it stops, and removes the links, before the namespaces are let go.
    follower: Follower,
    shared: SharedVpc,
    nodes: Vec<Node>,
    router: Namespace,
    internet: Namespace,
    outside: FabricSpec,
    ipv6: bool,
    problems: Problems,
}

impl Fabric {
    /// Makes namespaces and links for the VPC as it is, serves metadata and EC2, and follows the box from then on. Returns when all that is visible now is there. Blocks; needs no runtime.
    pub fn up(shared: &SharedVpc, spec: &FabricSpec) -> Result<Self, FabricError> {
        let layout = shared.with(|vpc| Layout::of(vpc))?;
        let ipv4 = Outside { host: spec.internet.into(), ec2: spec.ec2.into() };
        let ipv6 = Outside { host: spec.internet_ipv6.into(), ec2: spec.ec2_ipv6.into() };
        let ipv6_too = layout.has_ipv6();
        let outsides = if ipv6_too { &[ipv4, ipv6][..] } else { &[ipv4] };
        let internet = Internet::up(outsides)?;
        let router = Router::up(&layout, &internet)?;
        let problems = Problems::default();
        let router_namespace = router.namespace().clone();
        let internet_namespace = internet.namespace().clone();
        let follower = Follower::start(shared.clone(), layout, router, internet, problems.clone())?;
        let mut fabric = Self {
            follower,
            shared: shared.clone(),
            nodes: Vec::new(),
            router: router_namespace,
            internet: internet_namespace,
            ipv6: ipv6_too,
            outside: FabricSpec { nodes: Vec::new(), ..spec.clone() },
            problems,
        };
        for node in &spec.nodes {
            fabric.add_node(node)?;
        }
        match fabric.problems().into_iter().next() {
            Some(problem) => Err(FabricError::Unfit(problem)),
            None => Ok(fabric),
        }
    }

    /// Makes an instance of the box a node. Returns when the links that are visible now are there.
    pub fn add_node(&mut self, spec: &NodeSpec) -> Result<&Node, FabricError> {
        let taken = |node: &Node| node.name() == spec.name || *node.instance() == spec.instance;
        if self.nodes.iter().any(taken) {
            return Err(FabricError::Unfit(format!("{} or {} is a node already", spec.name, spec.instance)));
        }
        let node = Node::up(spec, &self.shared.region(), self.ec2_for(&spec.instance))?;
        if !spec.losses.is_empty() {
            let losses = Command::Lose(spec.instance, spec.losses.clone());
            self.follower.order(losses, PATIENCE)?;
        }
        self.follower.order(Command::Join(node.clone()), PATIENCE)?;
        let at = self.nodes.len();
        self.nodes.push(node);
        Ok(&self.nodes[at])
    }

    /// Where an instance finds EC2: by IPv6 if it has nothing else.
    fn ec2_for(&self, instance: &InstanceId) -> IpAddr {
        let only_ipv6 = self.shared.with(|vpc| {
            let enis = vpc.authoritative().network_interfaces_of(instance);
            enis.first().is_some_and(|eni| eni.private_ip_addresses.is_empty())
        });
        if only_ipv6 { self.outside.ec2_ipv6.into() } else { self.outside.ec2.into() }
    }

    /// Takes a node out of the network: its links are gone when this returns, and its namespace when nobody holds it any
    /// more. Its instance is not touched; `None`: there is no such node.
    pub fn remove_node(&mut self, name: &str) -> Result<Option<Node>, FabricError> {
        let Some(at) = self.nodes.iter().position(|node| node.name() == name) else { return Ok(None) };
        let node = self.nodes.remove(at);
        self.follower.order(Command::Leave(*node.instance()), PATIENCE)?;
        Ok(Some(node))
    }

    /// Has a node lose packets from now on: this and nothing else, on the links that it has and on those to come.
    pub fn lose(&self, name: &str, losses: &[Loss]) -> Result<(), FabricError> {
        if let Some(problem) = losses.iter().find_map(Loss::problem) {
            return Err(FabricError::Unfit(problem));
        }
        self.follower.order(Command::Lose(self.known(name)?, losses.to_vec()), PATIENCE)
    }

    /// How many packets a node has lost so, on the links that it has, since they lose what they lose.
    pub fn lost(&self, name: &str) -> Result<u64, FabricError> {
        let (tell, told) = std::sync::mpsc::channel();
        self.follower.order(Command::Lost(self.known(name)?, tell), PATIENCE)?;
        told.recv().map_err(|error| FabricError::Thread(error.to_string()))
    }

    fn known(&self, name: &str) -> Result<InstanceId, FabricError> {
        let node = self.node(name).ok_or_else(|| FabricError::Unfit(format!("there is no node {name}")))?;
        Ok(*node.instance())
    }

    /// The nodes, in the order in which they were added.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name() == name)
    }

    /// Where the router is.
    pub fn router(&self) -> &Namespace {
        &self.router
    }

    /// Where the internet host is.
    pub fn internet(&self) -> &Namespace {
        &self.internet
    }

    /// Address of the internet host. It answers pings, and on [`ECHO_PORT`] over TCP and UDP with one line: the
    /// address and port that it saw.
    pub fn internet_address(&self) -> Ipv4Addr {
        self.outside.internet
    }

    /// Its IPv6 address; `None` where the VPC has no IPv6.
    pub fn internet_address_ipv6(&self) -> Option<Ipv6Addr> {
        self.ipv6.then_some(self.outside.internet_ipv6)
    }

    /// Where EC2 answers, on port 80, over plain HTTP. It tells its callers by their access keys.
    pub fn ec2_address(&self) -> Ipv4Addr {
        self.outside.ec2
    }

    /// Waits until all that the box has made visible up to now is in the kernel.
    pub fn settle(&self, within: Duration) -> Result<(), FabricError> {
        self.follower.order(Command::Settle, within)
    }

    /// What could not be carried out since the start, oldest first; empty on a healthy network.
    pub fn problems(&self) -> Vec<String> {
        self.problems.list()
    }
}

/// Failures with nobody to return them to.
#[derive(Debug, Clone, Default)]
struct Problems(Arc<Mutex<Vec<String>>>);

impl Problems {
    fn note(&self, error: &FabricError) {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        tracing::error!(error = text, "the network cannot follow EC2");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
