//! What may be asked of EC2, and what it answers, as plain data: whoever carries a call out is behind a port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::block::{Ask, Unit};
use crate::eni::{EniKind, EniSlot};
use crate::ids::{AttachmentId, ClientToken, EniId, InstanceId, MacAddr, SecurityGroupId, SubnetId, VpcId};
use crate::leak::LeakCall;
use crate::subnet::{SubnetRecord, SubnetView};

/// Tag that marks an ENI as made for an instance. Upstream's, so that either system recognises the other's.
pub const TAG_INSTANCE: &str = "node.k8s.amazonaws.com/instance_id";
/// Tag with the creation time (RFC 3339): other nodes' sweeps leave young ENIs alone.
pub const TAG_CREATED_AT: &str = "node.k8s.amazonaws.com/createdAt";
/// Tag with the cluster's name.
pub const TAG_CLUSTER: &str = "cluster.k8s.amazonaws.com/name";
/// Tag by which a user keeps an ENI from us: value `true`.
pub const TAG_NO_MANAGE: &str = "node.k8s.amazonaws.com/no_manage";
/// Tag with the intent that created the object, so that an orphan can be recognised as ours.
pub const TAG_INTENT: &str = "holdfast.dev/intent";

/// A call that changes something in EC2. Made durable as an intent before it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudChange {
    /// Create an ENI, with what it is to have besides its own address.
    CreateEni {
        /// Where.
        subnet: SubnetId,
        /// Its groups.
        security_groups: Vec<SecurityGroupId>,
        /// What it gets at once.
        ask: Ask,
        /// Where it is to be attached: the choice is made now, so that two growing ENIs never collide.
        slot: EniSlot,
        /// For people, and for upstream's sweep: `aws-K8S-<instance>`.
        description: String,
        /// Tags set at creation.
        tags: BTreeMap<String, String>,
    },
    /// Attach it.
    AttachEni {
        /// Which.
        eni: EniId,
        /// To whom.
        instance: InstanceId,
        /// Where.
        slot: EniSlot,
    },
    /// Let the ENI die with the instance.
    SetDeleteOnTermination {
        /// Which.
        eni: EniId,
        /// Its binding.
        attachment: AttachmentId,
    },
    /// Give it more addresses.
    Assign {
        /// To which.
        eni: EniId,
        /// What.
        ask: Ask,
    },
    /// Take these blocks away, all of one unit.
    Unassign {
        /// From which.
        eni: EniId,
        /// Which.
        nets: Vec<IpNet>,
    },
    /// Detach it; never by force.
    DetachEni {
        /// Which.
        eni: EniId,
        /// Its binding.
        attachment: AttachmentId,
    },
    /// Delete it.
    DeleteEni {
        /// Which.
        eni: EniId,
    },
    /// Give it these security groups in the place of those it has. A second one does no harm.
    SetSecurityGroups {
        /// Which.
        eni: EniId,
        /// All its groups.
        groups: BTreeSet<SecurityGroupId>,
    },
}

impl CloudChange {
    /// The ENI it changes; a creation has none yet.
    pub fn eni(&self) -> Option<&EniId> {
        match self {
            Self::CreateEni { .. } => None,
            Self::AttachEni { eni, .. }
            | Self::SetDeleteOnTermination { eni, .. }
            | Self::Assign { eni, .. }
            | Self::Unassign { eni, .. }
            | Self::DetachEni { eni, .. }
            | Self::SetSecurityGroups { eni, .. }
            | Self::DeleteEni { eni } => Some(eni),
        }
    }

    /// Whether it gives something back that EC2 had given us.
    pub fn gives_back(&self) -> bool {
        matches!(self, Self::Unassign { .. } | Self::DetachEni { .. } | Self::DeleteEni { .. })
    }

    /// EC2's name of the action, for budgets, metrics and messages.
    pub fn api(&self) -> Api {
        match self {
            Self::CreateEni { .. } => Api::CreateNetworkInterface,
            Self::AttachEni { .. } => Api::AttachNetworkInterface,
            Self::SetDeleteOnTermination { .. } | Self::SetSecurityGroups { .. } => {
                Api::ModifyNetworkInterfaceAttribute
            }
            Self::Assign { ask: Ask { unit: Unit::Ipv6Prefix, .. }, .. } => Api::AssignIpv6Addresses,
            Self::Assign { .. } => Api::AssignPrivateIpAddresses,
            Self::Unassign { .. } => Api::UnassignPrivateIpAddresses,
            Self::DetachEni { .. } => Api::DetachNetworkInterface,
            Self::DeleteEni { .. } => Api::DeleteNetworkInterface,
        }
    }
}

/// A call that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudRead {
    /// All ENIs attached to the instance. Complete, all pages, or an error.
    InstanceEnis {
        /// Whose.
        instance: InstanceId,
    },
    /// These ENIs; one that does not exist is missing from the answer.
    Enis {
        /// Which.
        enis: Vec<EniId>,
    },
    /// Unattached ENIs that carry our instance tag. Complete, all pages, or an error.
    AvailableEnis {
        /// Whose tag.
        instance: InstanceId,
    },
    /// The ranges of these subnets.
    Subnets {
        /// Which.
        subnets: Vec<SubnetId>,
    },
    /// All subnets of a VPC in an availability zone, with their tags. Complete, all pages, or an error.
    ZoneSubnets {
        /// The VPC.
        vpc: VpcId,
        /// The zone's name, as in `eu-central-1a`.
        zone: String,
    },
}

impl CloudRead {
    /// EC2's name of the action.
    pub fn api(&self) -> Api {
        match self {
            Self::InstanceEnis { .. } | Self::Enis { .. } | Self::AvailableEnis { .. } => {
                Api::DescribeNetworkInterfaces
            }
            Self::Subnets { .. } | Self::ZoneSubnets { .. } => Api::DescribeSubnets,
        }
    }
}

/// One call, with what makes its repetition safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudCall {
    /// A change, with the token of its intent.
    Change {
        /// What.
        change: CloudChange,
        /// Sent where EC2 takes one.
        token: ClientToken,
    },
    /// A read.
    Read(CloudRead),
    /// About what ended instances have left behind.
    Leak(LeakCall),
    /// Tags that are added to an ENI. A second time changes nothing, so no intent stands behind it.
    Tag {
        /// To which.
        eni: EniId,
        /// Which.
        tags: BTreeMap<String, String>,
    },
}

impl CloudCall {
    /// EC2's name of the action.
    pub fn api(&self) -> Api {
        match self {
            Self::Change { change, .. } => change.api(),
            Self::Read(read) => read.api(),
            Self::Leak(call) => call.api(),
            Self::Tag { .. } => Api::CreateTags,
        }
    }
}

/// The EC2 actions we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own names")]
pub enum Api {
    CreateNetworkInterface,
    AttachNetworkInterface,
    ModifyNetworkInterfaceAttribute,
    AssignPrivateIpAddresses,
    AssignIpv6Addresses,
    UnassignPrivateIpAddresses,
    DetachNetworkInterface,
    DeleteNetworkInterface,
    CreateTags,
    DescribeNetworkInterfaces,
    DescribeInstances,
    DescribeInstanceTypes,
    DescribeSubnets,
}

impl Api {
    /// Each of them.
    pub const ALL: [Self; 13] = [
        Self::CreateNetworkInterface,
        Self::AttachNetworkInterface,
        Self::ModifyNetworkInterfaceAttribute,
        Self::AssignPrivateIpAddresses,
        Self::AssignIpv6Addresses,
        Self::UnassignPrivateIpAddresses,
        Self::DetachNetworkInterface,
        Self::DeleteNetworkInterface,
        Self::CreateTags,
        Self::DescribeNetworkInterfaces,
        Self::DescribeInstances,
        Self::DescribeInstanceTypes,
        Self::DescribeSubnets,
    ];
}

impl LeakCall {
    /// EC2's name of the action.
    pub fn api(&self) -> Api {
        match self {
            Self::List { .. } => Api::DescribeNetworkInterfaces,
            Self::Instances { .. } => Api::DescribeInstances,
            Self::Delete { .. } => Api::DeleteNetworkInterface,
        }
    }
}

/// An authoritative answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudAnswer {
    /// To a creation: what was made, its addresses included.
    Created(EniView),
    /// To an attachment.
    Attached(AttachmentId),
    /// To an assignment: the blocks that it added.
    Assigned(Vec<IpNet>),
    /// To a read of ENIs.
    Enis(Vec<EniView>),
    /// To a question for instances: those that there are.
    Instances(BTreeSet<InstanceId>),
    /// To a read of subnets.
    Subnets(Vec<SubnetRecord>),
    /// To a read of a zone's subnets.
    ZoneSubnets(Vec<SubnetView>),
    /// To everything else.
    Done,
}

/// One ENI as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniView {
    /// Its id.
    pub id: EniId,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its kind.
    pub kind: EniKind,
    /// Its subnet.
    pub subnet: SubnetId,
    /// Its security groups.
    pub security_groups: BTreeSet<SecurityGroupId>,
    /// Its first IPv4 address.
    pub primary_ipv4: Option<Ipv4Addr>,
    /// Its other IPv4 addresses.
    pub secondary: Vec<IpAddr>,
    /// Its delegated prefixes, of both families. One takes up as much room as one address of its family.
    pub prefixes: Vec<IpNet>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its binding, when it has one.
    pub attachment: Option<AttachmentView>,
}

impl EniView {
    /// What EC2 shows on it besides its own address.
    pub fn blocks(&self) -> impl Iterator<Item = IpNet> {
        let addresses = self.secondary.iter().copied().map(IpNet::from);
        addresses.chain(self.prefixes.iter().copied())
    }

    /// Whether EC2 shows this block on it.
    pub fn shows(&self, net: IpNet) -> bool {
        self.blocks().any(|shown| shown == net)
    }
}

/// An ENI's binding as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentView {
    /// Its id.
    pub id: AttachmentId,
    /// The instance.
    pub instance: InstanceId,
    /// Where on it.
    pub slot: EniSlot,
    /// Whether the ENI dies with the instance.
    pub delete_on_termination: bool,
    /// Where the binding stands.
    pub status: AttachmentStatus,
}

/// Where a binding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own names")]
pub enum AttachmentStatus {
    Attaching,
    Attached,
    Detaching,
    Detached,
}
