//! What calls answer: plain values with everything resolved, ready to be written as XML.

mod instance_status;

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::ids::{AttachmentId, EniId, InstanceId, Mac, ReservationId, SecurityGroupId, SubnetId, VpcId};
use super::limits::InstanceType;
use super::request::{ConnectionTracking, Tags};
use super::shape;
use super::time::Micros;

pub use instance_status::{InstanceStatus, InstanceStatusEvent};

/// One page of a Describe call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// In the order of their identifiers.
    pub items: Vec<T>,
    /// Set when there is more.
    pub next_token: Option<String>,
}

/// The answer of calls that return only `<return>true</return>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done;

/// Life of an ENI.
///
/// ```text
/// create -> pending -> available -> attaching -> in-use -> detaching -> available -> delete
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EniStatus {
    /// Being made.
    Pending,
    /// Attached to nothing.
    Available,
    /// Being put on an instance.
    Attaching,
    /// On an instance.
    InUse,
    /// Being taken off.
    Detaching,
}

impl EniStatus {
    /// EC2's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Attaching => "attaching",
            Self::InUse => "in-use",
            Self::Detaching => "detaching",
        }
    }

    /// The state of this name.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        [Self::Pending, Self::Available, Self::Attaching, Self::InUse, Self::Detaching]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// Life of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachmentStatus {
    /// Asked for.
    Attaching,
    /// In force.
    Attached,
    /// Ending.
    Detaching,
}

impl AttachmentStatus {
    /// EC2's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
        }
    }
}

/// Life of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Booting.
    Pending,
    /// Serving.
    Running,
    /// Ending.
    ShuttingDown,
    /// Over.
    Terminated,
    /// Going off.
    Stopping,
    /// Off.
    Stopped,
}

impl InstanceState {
    /// EC2's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// EC2's number for it.
    pub fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }
}

/// The binding of an ENI to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Its identifier.
    pub attachment_id: AttachmentId,
    /// The instance.
    pub instance_id: InstanceId,
    /// Account that owns the instance.
    pub instance_owner_id: String,
    /// Place on the card.
    pub device_index: u32,
    /// Network card.
    pub network_card_index: u32,
    /// State.
    pub status: AttachmentStatus,
    /// Whether the ENI is deleted with the instance.
    pub delete_on_termination: bool,
    /// When Attach took effect.
    pub attach_time: Micros,
}

/// One IPv4 address of an ENI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivateIp {
    /// The address.
    #[serde(rename = "privateIpAddress")]
    pub address: Ipv4Addr,
    /// Whether it is the ENI's first one.
    pub primary: bool,
}

/// A security group by id and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupIdentifier {
    /// Id.
    pub group_id: SecurityGroupId,
    /// Name.
    pub group_name: String,
}

/// A network interface as Describe and Create show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInterface {
    /// Id.
    pub network_interface_id: EniId,
    /// Subnet.
    pub subnet_id: SubnetId,
    /// VPC of the subnet.
    pub vpc_id: VpcId,
    /// Zone of the subnet.
    pub availability_zone: String,
    /// Free text.
    pub description: String,
    /// Account.
    pub owner_id: String,
    /// Who made it: the principal's id. Not shown for a managed service's ENI.
    pub requester_id: String,
    /// Whether an AWS service manages it.
    pub requester_managed: bool,
    /// State.
    pub status: EniStatus,
    /// MAC.
    pub mac_address: Mac,
    /// Primary first; empty in an IPv6-only subnet.
    #[serde(rename = "privateIpAddressesSet")]
    pub private_ip_addresses: Vec<PrivateIp>,
    /// /28 prefixes.
    #[serde(
        rename = "ipv4PrefixSet",
        default,
        with = "shape::ipv4_prefix",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// IPv6 addresses.
    #[serde(rename = "ipv6AddressesSet", with = "shape::ipv6_address")]
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// /80 prefixes.
    #[serde(
        rename = "ipv6PrefixSet",
        default,
        with = "shape::ipv6_prefix",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Source/destination check.
    pub source_dest_check: bool,
    /// Security groups.
    #[serde(rename = "groupSet")]
    pub groups: Vec<GroupIdentifier>,
    /// `interface`, `efa`, `efa-only`, `trunk`, `branch`.
    pub interface_type: String,
    /// Binding, if any.
    pub attachment: Option<Attachment>,
    /// Connection tracking, if set at creation.
    #[serde(rename = "connectionTrackingConfiguration")]
    pub connection_tracking: Option<ConnectionTracking>,
    /// Tags.
    #[serde(rename = "tagSet", with = "shape::tags")]
    pub tags: Tags,
}

impl NetworkInterface {
    /// The primary IPv4 address, if the ENI has IPv4.
    pub fn primary_ip(&self) -> Option<Ipv4Addr> {
        self.private_ip_addresses.iter().find(|ip| ip.primary).map(|ip| ip.address)
    }

    /// The secondary IPv4 addresses.
    pub fn secondary_ips(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.private_ip_addresses.iter().filter(|ip| !ip.primary).map(|ip| ip.address)
    }

    /// Whether it carries this address besides its own, by itself or in a prefix.
    pub fn carries(&self, address: Ipv4Addr) -> bool {
        self.secondary_ips().any(|ip| ip == address)
            || self.ipv4_prefixes.iter().any(|prefix| prefix.contains(&address))
    }
}

/// An instance as Describe shows it, alone in its reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// Id.
    pub reservation_id: ReservationId,
    /// Account.
    pub owner_id: String,
    /// The instance.
    pub instance: InstanceDescription,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceDescription {
    /// Id.
    pub instance_id: InstanceId,
    /// Image, made up.
    pub image_id: String,
    /// Type, such as `m5.large`.
    pub instance_type: String,
    /// State.
    #[serde(rename = "instanceState")]
    pub state: InstanceState,
    /// Zone.
    pub availability_zone: String,
    /// Subnet of the primary ENI.
    pub subnet_id: SubnetId,
    /// VPC.
    pub vpc_id: VpcId,
    /// First address of the primary ENI; gone after termination.
    pub private_ip_address: Option<Ipv4Addr>,
    /// Host name inside the VPC.
    pub private_dns_name: String,
    /// Architecture.
    pub architecture: String,
    /// `nitro` or `xen`; empty for bare metal.
    pub hypervisor: String,
    /// When it started.
    pub launch_time: Micros,
    /// Groups of the primary ENI.
    #[serde(rename = "groupSet")]
    pub groups: Vec<GroupIdentifier>,
    /// Attached ENIs, by card and device index.
    #[serde(rename = "networkInterfaceSet")]
    pub network_interfaces: Vec<NetworkInterface>,
    /// Tags.
    #[serde(rename = "tagSet", with = "shape::tags")]
    pub tags: Tags,
}

/// A subnet as Describe shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubnetDescription {
    /// Id.
    pub subnet_id: SubnetId,
    /// VPC.
    pub vpc_id: VpcId,
    /// Account.
    pub owner_id: String,
    /// Zone.
    pub availability_zone: String,
    /// Zone id, such as `usw2-az1`.
    pub availability_zone_id: String,
    /// IPv4 block; `None` for an IPv6-only subnet.
    pub cidr_block: Option<Ipv4Net>,
    /// IPv6 /64, if any.
    pub ipv6_cidr_block: Option<Ipv6Net>,
    /// Free IPv4 addresses: not reserved, on no ENI, in no prefix.
    pub available_ip_address_count: u32,
    /// Whether it is the zone's default subnet.
    pub default_for_az: bool,
    /// IPv6 only.
    pub ipv6_native: bool,
    /// Tags.
    #[serde(rename = "tagSet", with = "shape::tags")]
    pub tags: Tags,
}

/// An instance type as `DescribeInstanceTypes` shows it.
pub type InstanceTypeInfo = InstanceType;

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroupDescription {
    /// Id.
    pub group_id: SecurityGroupId,
    /// Name.
    pub group_name: String,
    /// Free text.
    #[serde(rename = "groupDescription")]
    pub description: String,
    /// VPC.
    pub vpc_id: VpcId,
    /// Account.
    pub owner_id: String,
    /// Tags.
    #[serde(rename = "tagSet", with = "shape::tags")]
    pub tags: Tags,
}

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VpcDescription {
    /// Id.
    pub vpc_id: VpcId,
    /// Account.
    pub owner_id: String,
    /// IPv4 blocks, the primary one first; never empty.
    pub cidr_blocks: Vec<Ipv4Net>,
    /// IPv6 block, if any.
    pub ipv6_cidr_block: Option<Ipv6Net>,
    /// Whether it is the account's default VPC.
    pub is_default: bool,
    /// Tags.
    #[serde(rename = "tagSet", with = "shape::tags")]
    pub tags: Tags,
}

/// One tag of one resource, as `DescribeTags` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagDescription {
    /// Id of the resource.
    pub resource_id: String,
    /// `network-interface`, `instance`, `subnet`, `security-group` or `vpc`.
    pub resource_type: String,
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

/// Answer of `CreateNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// The new ENI.
    pub network_interface: NetworkInterface,
    /// The token of the request, if it had one.
    pub client_token: Option<String>,
}

/// Answer of `AttachNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// The binding.
    pub attachment_id: AttachmentId,
    /// The card it sits on.
    pub network_card_index: u32,
}

/// Answer of `AssignPrivateIpAddresses`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssignedV4 {
    /// The ENI.
    pub network_interface_id: EniId,
    /// What this call added.
    #[serde(rename = "assignedPrivateIpAddressesSet", with = "shape::private_ip_address")]
    pub addresses: Vec<Ipv4Addr>,
    /// What this call added.
    #[serde(rename = "assignedIpv4PrefixSet", with = "shape::ipv4_prefix")]
    pub prefixes: Vec<Ipv4Net>,
}

/// Answer of `AssignIpv6Addresses`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssignedV6 {
    /// The ENI.
    pub network_interface_id: EniId,
    /// What this call added.
    #[serde(rename = "assignedIpv6Addresses")]
    pub addresses: Vec<Ipv6Addr>,
    /// What this call added.
    #[serde(rename = "assignedIpv6PrefixSet")]
    pub prefixes: Vec<Ipv6Net>,
}

/// Answer of `UnassignIpv6Addresses`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnassignedV6 {
    /// The ENI.
    pub network_interface_id: EniId,
    /// What this call took away.
    #[serde(rename = "unassignedIpv6Addresses")]
    pub addresses: Vec<Ipv6Addr>,
    /// What this call took away.
    #[serde(rename = "unassignedIpv6PrefixSet")]
    pub prefixes: Vec<Ipv6Net>,
}
