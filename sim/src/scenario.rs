//! Scenarios: a box described in a TOML file.
//!
//! ```
//! use holdfast_sim::scenario::Scenario;
//!
//! let scenario = Scenario::parse(
//!     r#"
//!     timing = "measured"
//!     vpc.cidrs = ["10.0.0.0/16"]
//!
//!     [[subnet]]
//!     name = "a"
//!     zone = "us-west-2a"
//!     cidr = "10.0.0.0/20"
//!
//!     [[node]]
//!     name = "node-a"
//!     type = "m5.large"
//!     subnet = "a"
//!     "#,
//! )?;
//! assert_eq!(scenario.build()?.nodes[0].name, "node-a");
//! # Ok::<(), holdfast_sim::scenario::ScenarioError>(())
//! ```

mod internet;
mod node;
mod request_limits;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::fabric::{FabricSpec, NodeSpec};
use crate::fault::{Fault, FaultKind, Scope};
use crate::vpc::{
    Action, ApiError, BoxConfig, Micros, RequestLimits, SimVpc, SubnetId, SubnetSpec, Tags, Timing, VpcId,
};

pub use internet::{EC2, EC2_IPV6, INTERNET, INTERNET_IPV6, InternetTable};
pub use node::NodeTable;

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is no TOML, or holds a field that means nothing; line and column are in the text.
    #[error(transparent)]
    Parse(#[from] toml::de::Error),
    /// It contradicts itself.
    #[error("{0}")]
    Contradiction(String),
    /// The box refuses an object of it.
    #[error("{what}: {error}")]
    Refused {
        /// The object.
        what: String,
        /// EC2's error.
        error: ApiError,
    },
}

/// A box: one VPC, its subnets and nodes, its delays and faults.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Region; `us-west-2` where absent.
    #[serde(default = "default_region")]
    pub region: String,
    /// Seed of ids, MACs, address choice and chance; 1 where absent.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// `"life"` (where absent), `"measured"`, `"instant"`, or a table of delays in milliseconds, where what is not
    /// named takes no time.
    #[serde(default = "Timing::life", deserialize_with = "timing")]
    pub timing: Timing,
    /// How many calls EC2 takes: `"published"`, or a table of buckets; as many as come where absent.
    #[serde(default, deserialize_with = "request_limits::read")]
    pub request_limits: RequestLimits,
    /// The VPC.
    pub vpc: VpcTable,
    /// Subnets, at least one.
    #[serde(rename = "subnet")]
    pub subnets: Vec<SubnetTable>,
    /// Nodes, at least one.
    #[serde(rename = "node")]
    pub nodes: Vec<NodeTable>,
    /// The world outside.
    #[serde(default)]
    pub internet: InternetTable,
    /// Faults in force from the start.
    #[serde(default, rename = "fault")]
    pub faults: Vec<FaultTable>,
}

/// `[vpc]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VpcTable {
    /// IPv4 blocks, the primary one first.
    pub cidrs: Vec<Ipv4Net>,
    /// IPv6 block, a /56 in life; none where absent.
    #[serde(default)]
    pub ipv6: Option<Ipv6Net>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// `[[subnet]]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetTable {
    /// What nodes of this file call it; not known to EC2.
    pub name: String,
    /// Zone, such as `us-west-2a`.
    pub zone: String,
    /// Block, inside one of the VPC's; none where absent, and then it has one of IPv6.
    #[serde(default)]
    pub cidr: Option<Ipv4Net>,
    /// IPv6 block, a /64 inside the VPC's.
    #[serde(default)]
    pub ipv6: Option<Ipv6Net>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl SubnetTable {
    /// Makes it in this VPC.
    pub fn make(&self, sim: &mut SimVpc, vpc: VpcId) -> Result<SubnetId, ScenarioError> {
        let spec = SubnetSpec {
            vpc,
            availability_zone: self.zone.clone(),
            ipv4: self.cidr,
            ipv6: self.ipv6,
            tags: self.tags.clone(),
        };
        let refused = |error| ScenarioError::Refused { what: format!("subnet {:?}", self.name), error };
        sim.add_subnet(spec).map_err(refused)
    }
}

/// `[[fault]]`: a [`Fault`] whose scope names a node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultTable {
    /// What, such as `{ type = "imds-frozen" }`.
    pub kind: FaultKind,
    /// Only calls of these actions; all where empty.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// Only of this node; all where absent.
    #[serde(default)]
    pub node: Option<String>,
    /// The first so many calls pass.
    #[serde(default)]
    pub skip: u32,
    /// Ends after so many hits.
    #[serde(default)]
    pub count: Option<u32>,
    /// Ends this long after the start.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// Chance in thousandths; 1000 where absent.
    #[serde(default = "certain")]
    pub permille: u32,
}

/// A box made from a scenario, and what the fabric needs to know about it.
#[derive(Debug)]
pub struct Built {
    /// The simulated EC2, its nodes started.
    pub vpc: SimVpc,
    /// Its one VPC.
    pub vpc_id: VpcId,
    /// The nodes, in the scenario's order.
    pub nodes: Vec<NodeSpec>,
    /// Its subnets by the names that nodes call them by.
    pub subnets: BTreeMap<String, SubnetId>,
    /// What is outside the VPC.
    pub internet: InternetTable,
}

impl Built {
    /// What [`crate::fabric::Fabric::up`] is given.
    pub fn fabric(&self) -> FabricSpec {
        FabricSpec {
            nodes: self.nodes.clone(),
            internet: self.internet.address,
            ec2: self.internet.ec2,
            internet_ipv6: self.internet.address_ipv6,
            ec2_ipv6: self.internet.ec2_ipv6,
        }
    }
}

fn default_region() -> String {
    BoxConfig::default().region
}

fn default_seed() -> u64 {
    BoxConfig::default().seed
}

fn certain() -> u32 {
    1000
}

/// A profile's name or a table of delays. Not an untagged enum: that would hide which field is wrong.
fn timing<'de, D: Deserializer<'de>>(input: D) -> Result<Timing, D::Error> {
    struct ProfileOrTable;

    impl<'de> Visitor<'de> for ProfileOrTable {
        type Value = Timing;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"life\", \"measured\", \"instant\", or a table of delays in milliseconds")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Timing, E> {
            match name {
                "life" => Ok(Timing::life()),
                "instant" => Ok(Timing::default()),
                "measured" => Ok(Timing::measured()),
                other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Timing, A::Error> {
            Timing::deserialize(MapAccessDeserializer::new(map))
        }
    }

    input.deserialize_any(ProfileOrTable)
}

impl Scenario {
    /// Reads a scenario file.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Read { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Reads a scenario and checks what does not need a box to be checked.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let contradiction = |text: String| Err(ScenarioError::Contradiction(text));
        if self.nodes.is_empty() {
            return contradiction("a scenario needs at least one [[node]]".to_owned());
        }
        let mut subnets = BTreeSet::new();
        for subnet in &self.subnets {
            if !subnets.insert(subnet.name.as_str()) {
                return contradiction(format!("two subnets are called {:?}", subnet.name));
            }
        }
        let mut nodes = BTreeSet::new();
        for node in &self.nodes {
            if !nodes.insert(node.name.as_str()) {
                return contradiction(format!("two nodes are called {:?}", node.name));
            }
            node.check(|subnet| subnets.contains(subnet))?;
        }
        if let Some(fault) =
            self.faults.iter().find_map(|fault| fault.node.as_deref().filter(|node| !nodes.contains(node)))
        {
            return contradiction(format!("a fault names node {fault:?}, which is not there"));
        }
        let mut cidrs = self.vpc.cidrs.iter().copied().map(IpNet::V4).chain(self.vpc.ipv6.map(IpNet::V6));
        if let Some(problem) = cidrs.find_map(|cidr| self.internet.inside(cidr)) {
            return contradiction(problem);
        }
        if let Some(problem) = self.internet.problem() {
            return contradiction(problem);
        }
        Ok(())
    }

    /// Makes the box. Equal scenarios give equal boxes, ids and addresses included.
    pub fn build(&self) -> Result<Built, ScenarioError> {
        let mut sim = SimVpc::new(BoxConfig {
            region: self.region.clone(),
            seed: self.seed,
            timing: self.timing.clone(),
            ..BoxConfig::default()
        });
        sim.set_request_limits(self.request_limits.clone());
        let vpc = sim
            .add_vpc(&self.vpc.cidrs, self.vpc.ipv6, self.vpc.tags.clone())
            .map_err(|error| ScenarioError::Refused { what: "the VPC".to_owned(), error })?;
        let mut subnets: BTreeMap<String, SubnetId> = BTreeMap::new();
        for subnet in &self.subnets {
            subnets.insert(subnet.name.clone(), subnet.make(&mut sim, vpc)?);
        }
        let mut nodes = Vec::new();
        for node in &self.nodes {
            nodes.push(node.run(&mut sim, &subnets)?);
        }
        for table in &self.faults {
            let instance = table
                .node
                .as_ref()
                .and_then(|name| nodes.iter().find(|node| node.name == *name).map(|node| node.instance));
            let fault = Fault {
                kind: table.kind.clone(),
                scope: Scope { actions: table.actions.clone(), instance, ..Scope::default() },
                skip: table.skip,
                count: table.count,
                until: table.until_ms.map(|ms| Micros(ms.saturating_mul(1000))),
                permille: table.permille,
            };
            sim.set_fault(fault).map_err(|error| ScenarioError::Contradiction(error.to_string()))?;
        }
        Ok(Built { vpc: sim, vpc_id: vpc, nodes, subnets, internet: self.internet.clone() })
    }
}

/// Whether a text can name a node or a box: it becomes a file name.
pub fn is_name(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests;
