//! Who this node is.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::ids::{BootId, InstanceId, MacAddr, SecurityGroupId, SubnetId, VpcId};

/// What the instance metadata says of this node, as far as networking needs it.
///
/// Learnt once and kept: after that no start needs the metadata service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// The instance.
    pub instance: InstanceId,
    /// Its type, as in `m5.large`, which sets the limits.
    pub instance_type: String,
    /// The region, as in `eu-central-1`.
    pub region: String,
    /// The availability zone.
    pub zone: String,
    /// The VPC.
    pub vpc: VpcId,
    /// The VPC's IPv4 ranges; traffic to anywhere else leaves with the node's own address.
    pub vpc_cidrs: Vec<Ipv4Net>,
    /// The primary ENI's MAC.
    pub primary_mac: MacAddr,
    /// The primary ENI's first address: the node's own.
    pub primary_ipv4: std::net::Ipv4Addr,
    /// The primary ENI's subnet, in which new ENIs are made.
    pub subnet: SubnetId,
    /// That subnet's range.
    pub subnet_cidr: Ipv4Net,
    /// The primary ENI's security groups, given to new ENIs.
    pub security_groups: Vec<SecurityGroupId>,
}

/// The ledger's own page: whose it is, and under which boot it was last written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Who this node is. A ledger that names another instance was baked into an image and is not ours.
    pub identity: NodeIdentity,
    /// The boot under which the ledger's boot times count.
    pub boot: BootId,
}
