//! `[[node]]`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{ScenarioError, is_name};
use crate::fabric::{Interfaces, Loss, NodeSpec, Sysctls};
use crate::vpc::{ApiError, InstanceSpec, SecurityGroupId, SimVpc, SubnetId, Tags};

/// `[[node]]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTable {
    /// Name: letters, digits and hyphens. The file of its namespace is called so.
    pub name: String,
    /// Instance type, such as `m5.large`.
    #[serde(rename = "type")]
    pub instance_type: String,
    /// Name of the subnet of its primary ENI.
    pub subnet: String,
    /// Its first address, chosen by the box where absent.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// How many IPv6 addresses it begins with, chosen by the box. A node of a subnet without IPv4 needs one.
    #[serde(default)]
    pub ipv6_addresses: u32,
    /// Through how many hops its metadata gets; 2 where absent, which reaches its pods.
    #[serde(default = "default_hop_limit")]
    pub hop_limit: u8,
    /// What it calls its interfaces; `ens5`, `ens6` and so on where absent.
    #[serde(default)]
    pub interfaces: Interfaces,
    /// What its image sets in its kernel; as EKS images have it where absent.
    #[serde(default)]
    pub sysctls: Sysctls,
    /// What packets it loses from the start.
    #[serde(default)]
    pub loss: Vec<Loss>,
    /// Tags of the instance.
    #[serde(default)]
    pub tags: Tags,
}

/// Namespaces of the fabric itself, which bear their names beside the nodes'.
const TAKEN: [&str; 2] = ["router", "internet"];

impl NodeTable {
    pub(super) fn check(&self, is_subnet: impl Fn(&str) -> bool) -> Result<(), ScenarioError> {
        let problem = if !is_name(&self.name) || TAKEN.contains(&self.name.as_str()) {
            return Err(ScenarioError::Contradiction(format!(
                "{:?} is no name for a node: want at most 40 of a-z, A-Z, 0-9 and -, and not {}",
                self.name,
                TAKEN.join(" or ")
            )));
        } else if !is_subnet(&self.subnet) {
            Some(format!("there is no subnet {:?}", self.subnet))
        } else if !(1..=64).contains(&self.hop_limit) {
            Some(format!("hop_limit {} is not between 1 and 64", self.hop_limit))
        } else {
            let image = self.interfaces.problem().or_else(|| self.sysctls.problem());
            image.or_else(|| self.loss.iter().find_map(Loss::problem))
        };
        match problem {
            Some(problem) => Err(ScenarioError::Contradiction(format!("node {:?}: {problem}", self.name))),
            None => Ok(()),
        }
    }

    /// Starts its instance; gives what the fabric needs to know about it. `subnets`: those of [`super::Built`].
    pub fn run(
        &self,
        vpc: &mut SimVpc,
        subnets: &BTreeMap<String, SubnetId>,
    ) -> Result<NodeSpec, ScenarioError> {
        self.check(|subnet| subnets.contains_key(subnet))?;
        let subnet = subnets.get(&self.subnet).copied().unwrap_or_default();
        let refused = |error| ScenarioError::Refused { what: format!("node {:?}", self.name), error };
        let group = group(vpc, &subnet).map_err(refused)?;
        let instance = vpc
            .run_instance(InstanceSpec {
                instance_type: self.instance_type.clone(),
                subnet,
                security_groups: vec![group],
                private_ip: self.address,
                ipv6_address_count: self.ipv6_addresses,
                tags: self.tags.clone(),
            })
            .map_err(refused)?;
        Ok(NodeSpec {
            name: self.name.clone(),
            instance,
            hop_limit: self.hop_limit,
            interfaces: self.interfaces.clone(),
            sysctls: self.sysctls,
            losses: self.loss.clone(),
        })
    }
}

/// The security group that all nodes of a VPC are in. Not its default one: what is made without a group gets that.
const GROUP: &str = "nodes";

/// That group of the VPC of this subnet; made for the first node.
fn group(vpc: &mut SimVpc, subnet: &SubnetId) -> Result<SecurityGroupId, ApiError> {
    let view = vpc.authoritative();
    let of = view.subnets().into_iter().find(|one| one.subnet_id == *subnet).map(|one| one.vpc_id);
    let of = of.unwrap_or_default();
    let there = view.security_groups().into_iter().find(|one| one.vpc_id == of && one.group_name == GROUP);
    match there {
        Some(group) => Ok(group.group_id),
        None => vpc.add_security_group(&of, GROUP, Tags::new()),
    }
}

fn default_hop_limit() -> u8 {
    2
}
