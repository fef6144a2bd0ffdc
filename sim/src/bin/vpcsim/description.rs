//! What a running box says about itself: on its standard output, and in `box.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use holdfast_sim::fabric::{ECHO_PORT, Fabric, Node};
use holdfast_sim::server::SharedVpc;
use holdfast_sim::vpc::{InstanceId, Mac};
use serde::{Deserialize, Serialize};

/// A running box.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    /// Its name.
    pub(crate) name: String,
    /// Its region.
    pub(crate) region: String,
    /// The unix socket on which its admin interface speaks HTTP.
    pub(crate) admin: PathBuf,
    /// The internet host.
    pub(crate) internet: Host,
    /// Namespace of the router.
    pub(crate) router: PathBuf,
    /// Its nodes, in the scenario's order, then as they joined.
    pub(crate) nodes: Vec<NodeDescription>,
}

/// The host outside the VPC.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Host {
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// Its IPv6 address, where the VPC has IPv6.
    pub(crate) ipv6: Option<Ipv6Addr>,
    /// Answers over TCP and UDP with the source address and port that it saw.
    pub(crate) echo_port: u16,
    /// Its namespace.
    pub(crate) netns: PathBuf,
}

/// A node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NodeDescription {
    /// Name.
    pub(crate) name: String,
    /// Instance.
    pub(crate) instance: InstanceId,
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) instance_type: String,
    /// First address of its primary ENI.
    pub(crate) address: Option<Ipv4Addr>,
    /// The same of IPv6.
    pub(crate) ipv6: Option<Ipv6Addr>,
    /// MAC of its primary ENI.
    pub(crate) mac: Mac,
    /// A file for `nsenter --net=`.
    pub(crate) netns: PathBuf,
    /// What points AWS clients inside to the box; they take their credentials from metadata.
    pub(crate) environment: BTreeMap<String, String>,
    /// Beside it, for clients that want credentials that last.
    pub(crate) static_keys: BTreeMap<String, String>,
}

impl NodeDescription {
    /// Describes a node whose instance runs. `netns`: under which path its namespace is to be found.
    pub(crate) fn of(shared: &SharedVpc, node: &Node, netns: PathBuf) -> anyhow::Result<Self> {
        let view = shared
            .with(|vpc| vpc.imds_view(node.instance()))
            .ok_or_else(|| anyhow::anyhow!("{} is not running", node.instance()))?;
        let owned = |variables: &BTreeMap<&'static str, String>| {
            variables.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
        };
        Ok(Self {
            name: node.name().to_owned(),
            instance: *node.instance(),
            instance_type: view.instance_type,
            address: view.local_ipv4,
            ipv6: view.ipv6,
            mac: view.mac,
            netns,
            environment: owned(node.environment()),
            static_keys: owned(&node.static_keys()),
        })
    }

    /// The environment for a client inside.
    pub(crate) fn environment(&self, static_keys: bool) -> impl Iterator<Item = (&String, &String)> {
        self.environment.iter().chain(self.static_keys.iter().filter(move |_| static_keys))
    }
}

impl Description {
    /// Describes a box. `netns` says under which path a namespace is to be found.
    pub(crate) fn of(
        name: &str,
        shared: &SharedVpc,
        fabric: &Fabric,
        admin: PathBuf,
        netns: impl Fn(&str) -> PathBuf,
    ) -> anyhow::Result<Self> {
        let nodes = fabric.nodes().iter();
        let nodes = nodes.map(|node| NodeDescription::of(shared, node, netns(node.name())));
        Ok(Self {
            name: name.to_owned(),
            region: shared.region(),
            admin,
            internet: Host {
                address: fabric.internet_address(),
                ipv6: fabric.internet_address_ipv6(),
                echo_port: ECHO_PORT,
                netns: netns(fabric.internet().name()),
            },
            router: netns(fabric.router().name()),
            nodes: nodes.collect::<anyhow::Result<_>>()?,
        })
    }

    /// The node of this name or instance id.
    pub(crate) fn node(&self, wanted: &str) -> anyhow::Result<&NodeDescription> {
        let found = self.nodes.iter().find(|node| node.name == wanted || node.instance.as_str() == wanted);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            anyhow::anyhow!("box {:?} has no node {wanted:?}; it has {}", self.name, names.join(", "))
        })
    }
}

/// What there is of both families.
fn addresses(ipv4: Option<Ipv4Addr>, ipv6: Option<Ipv6Addr>) -> String {
    let all = ipv4.map(IpAddr::V4).into_iter().chain(ipv6.map(IpAddr::V6));
    let texts: Vec<String> = all.map(|address| address.to_string()).collect();
    if texts.is_empty() { "no address".to_owned() } else { texts.join("  ") }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "box {:?} in {}", self.name, self.region)?;
        for node in &self.nodes {
            let addresses = addresses(node.address, node.ipv6);
            writeln!(
                f,
                "\n{}  {}  {}  {addresses}  {}",
                node.name, node.instance, node.instance_type, node.mac
            )?;
            writeln!(f, "  nsenter --net={}", node.netns.display())?;
            for (key, value) in &node.environment {
                writeln!(f, "  export {key}={value}")?;
            }
        }
        let Host { address, ipv6, echo_port, netns } = &self.internet;
        writeln!(f, "\ninternet  {}  {}", addresses(Some(*address), *ipv6), netns.display())?;
        writeln!(f, "  TCP and UDP port {echo_port} answer with the source that they saw")?;
        writeln!(f, "router    {}", self.router.display())?;
        write!(f, "admin     {}", self.admin.display())
    }
}
