//! Why something cannot be had: typed, so that the pod's event names the true cause.

use serde::{Deserialize, Serialize};

use crate::block::Unit;
use crate::brake::Brake;
use crate::cloud::Api;
use crate::denial::Denial;
use crate::ids::{EniId, SubnetId};

/// What is wrong with the credentials that EC2 is called with. None of it says anything about the role's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CredentialsFault {
    /// None can be had: the metadata service is away, or the instance has no role.
    Missing,
    /// They are over.
    Expired,
    /// What is signed with them is too old, or not yet valid: the node's clock, or EC2's, is off.
    ClockOff,
    /// EC2 does not know them, or not with this signature.
    NotValid,
}

/// Why the pool does not grow, or an ADD is not served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Every slot and every address of the instance type is taken.
    #[error("{}", instance_full(*.addresses, instance_type, *.set_aside))]
    InstanceFull {
        /// How many addresses the instance can carry for pods.
        addresses: u32,
        /// The type.
        instance_type: String,
        /// How many of them are nobody's by the ledger, and may be in use all the same.
        set_aside: u32,
    },
    /// `MAX_ENI` or the pod limit keeps the pool from growing.
    #[error("the configured limit ({setting}) is reached")]
    ConfiguredLimit {
        /// The variable's name.
        setting: String,
    },
    /// The subnet has no free address.
    #[error(
        "subnet {subnet} has no free addresses: free some there, which is where this node's network interfaces are made"
    )]
    SubnetFull {
        /// Which.
        subnet: SubnetId,
    },
    /// The subnet has no /28 that is wholly free, though it may have single addresses.
    #[error(
        "subnet {subnet} has no free block of 16 addresses for a prefix: pods get single addresses until it has one; a CIDR \
         reservation of type prefix keeps blocks free there"
    )]
    SubnetFragmented {
        /// Which.
        subnet: SubnetId,
    },
    /// None of the subnets that ENIs may be made in has a free address.
    #[error(
        "none of the subnets {} has free addresses: free some there, or tag another one of this zone with kubernetes.io/role/cni=1",
        list(.subnets)
    )]
    SubnetsFull {
        /// Which.
        subnets: Vec<SubnetId>,
    },
    /// No subnet is for pods.
    #[error(
        "subnet {subnet} is tagged not to be for pods of this cluster, and no other of this zone is tagged with kubernetes.io/role/cni=1"
    )]
    NoSubnet {
        /// The node's own.
        subnet: SubnetId,
    },
    /// Custom networking is on, and what its ENIConfig says is not known yet.
    #[error(
        "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG is set, and which ENIConfig applies to this node has not been read from the API server yet"
    )]
    EniConfigUntold,
    /// The ENIConfig that applies to this node does not exist.
    #[error(
        "ENIConfig {name}, which applies to this node by its annotation, its label or as the default, does not exist: create it, or \
         name another one"
    )]
    EniConfigMissing {
        /// Its name.
        name: String,
    },
    /// The ENIConfig that applies to this node cannot be used.
    #[error("ENIConfig {name}, which applies to this node, cannot be used: {cause}")]
    EniConfigWrong {
        /// Its name.
        name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The ENIs that the node may have are taken up by such as are not for new pods any more.
    #[error(
        "{held} of this node's network interfaces are in subnets that new pods get no addresses from any more, and pods use them: \
         each makes room for another one when its pods have gone"
    )]
    OldSource {
        /// How many.
        held: u32,
    },
    /// The subnet has no /80 to delegate.
    #[error(
        "subnet {subnet} has no free /80 for this node's IPv6 pods: free some there, or keep blocks free by a CIDR reservation \
         of type prefix"
    )]
    NoIpv6Prefix {
        /// Which.
        subnet: SubnetId,
    },
    /// The instance's type cannot give pods IPv6 addresses.
    #[error(
        "ENABLE_IPv6 is set, and a {instance_type} cannot carry IPv6 prefixes, which takes a Nitro or bare-metal type with IPv6: \
         use one, or set ENABLE_IPv6 to false and ENABLE_IPv4 to true"
    )]
    NoIpv6 {
        /// The type.
        instance_type: String,
    },
    /// The room for IPv6 on the ENI is taken by what pods get no addresses out of.
    #[error(
        "{eni} carries as many IPv6 addresses as its type can, and no prefix for pods: take one of them off"
    )]
    NoRoomForIpv6 {
        /// Which.
        eni: EniId,
    },
    /// The instance's type cannot carry delegated prefixes.
    #[error(
        "ENABLE_PREFIX_DELEGATION is set, and a {instance_type} cannot carry prefixes, which takes a Nitro or bare-metal type: \
         its pods get single addresses"
    )]
    NoPrefixes {
        /// The type.
        instance_type: String,
    },
    /// The room on the ENIs is taken by what the pool does not want any more, and pods use it.
    #[error("{}", other_unit(*.unit, *.held))]
    OtherUnit {
        /// What has the room.
        unit: Unit,
        /// How many.
        held: u32,
    },
    /// The account has as many ENIs in the region as it may.
    #[error(
        "the account's quota of network interfaces in this region is used up: delete some that are in no use, or have the quota raised"
    )]
    EniQuota,
    /// EC2 throttles.
    #[error("EC2 throttles {api:?}: the call is repeated with growing pauses")]
    Throttled {
        /// Which call.
        api: Api,
    },
    /// The node's role lacks a right.
    #[error("{}", denied(*.api, .denial))]
    Denied {
        /// Which call.
        api: Api,
        /// Which right, and for what.
        denial: Denial,
    },
    /// EC2 cannot tell who calls, so that nothing is known of the rights.
    #[error("{}", credentials(*.api, *.fault, .cause))]
    Credentials {
        /// Which call.
        api: Api,
        /// What is wrong.
        fault: CredentialsFault,
        /// What was seen.
        cause: String,
    },
    /// EC2 cannot be reached or fails.
    #[error("EC2 does not answer {api:?}: {cause}")]
    Unreachable {
        /// Which call.
        api: Api,
        /// What was seen.
        cause: String,
    },
    /// EC2 refuses for another reason.
    #[error("EC2 refuses {api:?}: {cause}")]
    Rejected {
        /// Which call.
        api: Api,
        /// Its words.
        cause: String,
    },
    /// The node's identity is not known yet: neither ledger nor instance metadata have told it.
    #[error("this node's identity is not known yet: the instance metadata service has not answered")]
    NotReady,
    /// The host's network has not been read since the start.
    #[error("the host's network has not been read yet")]
    HostNotRead,
    /// The NAT table does not stand yet: a pod that is answered for before would have no way out.
    #[error("the NAT table, without which no pod reaches what is outside the VPC, is not written yet")]
    NatAwaited,
    /// EC2 has not been read yet: what this node has, and so what can be added, is not known.
    #[error("what EC2 has for this node is not known yet: it is being read")]
    NotReadYet,
    /// An ENI is attached, and its link has not appeared.
    #[error(
        "{eni} is attached, and its link has not appeared on this host yet: its addresses serve as soon as it does"
    )]
    LinkAwaited {
        /// Which.
        eni: EniId,
    },
    /// Others take away the ENIs that are attached for the pool.
    #[error(
        "somebody else has detached {eni}: another network interface is attached after a pause, which grows while this goes on"
    )]
    EniTaken {
        /// The last one.
        eni: EniId,
    },
    /// EC2 may not be changed (`DISABLE_NETWORK_RESOURCE_PROVISIONING`), so the pool is what it is.
    #[error("no free address, and DISABLE_NETWORK_RESOURCE_PROVISIONING keeps the pool from growing")]
    ProvisioningDisabled,
    /// EC2 is never called (`ENABLE_IMDS_ONLY_MODE`), so the pool is what the metadata service shows.
    #[error(
        "no free address, and ENABLE_IMDS_ONLY_MODE keeps the pool from growing: others give this node its addresses"
    )]
    MetadataOnly,
    /// The operator's brake keeps the pool from it.
    #[error("{}", braked(*.brake))]
    Braked {
        /// How hard it is pulled.
        brake: Brake,
    },
    /// The node takes no new pods, and the pool of such a one does not grow (`AWS_MANAGE_ENIS_NON_SCHEDULABLE`).
    #[error(
        "no free address, and this node is cordoned: its pool does not grow before it is schedulable again, unless \
         AWS_MANAGE_ENIS_NON_SCHEDULABLE is true"
    )]
    Cordoned,
    /// The ledger cannot be written.
    #[error("the ledger cannot be written: {cause}")]
    LedgerClosed {
        /// What the disk said.
        cause: String,
    },
    /// Every address is resting after use.
    #[error("all free addresses are resting after use; the next one is ready in {seconds} s")]
    AllCooling {
        /// Until the first is ready, rounded up.
        seconds: u64,
    },
    /// EC2 itself takes no more on an ENI, although its type could carry more.
    #[error(
        "EC2 takes no more than the {addresses} addresses that {eni} has, fewer than its type can carry; it is tried again within the hour"
    )]
    EniFull {
        /// Which.
        eni: EniId,
        /// What it has, delegated prefixes counted as one each.
        addresses: u32,
    },
    /// EC2 has more on this node than it has shown: what it has is read again.
    #[error("EC2 refuses {api:?}: {cause}; it has more here than it has shown so far, and is read again")]
    Miscounted {
        /// Which call.
        api: Api,
        /// Its words.
        cause: String,
    },
}

impl Refusal {
    /// In one word, for events and conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InstanceFull { .. } => "InstanceFull",
            Self::ConfiguredLimit { .. } => "ConfiguredLimit",
            Self::SubnetFull { .. } => "SubnetFull",
            Self::SubnetFragmented { .. } => "SubnetFragmented",
            Self::SubnetsFull { .. } => "SubnetsFull",
            Self::NoSubnet { .. } => "NoSubnet",
            Self::EniConfigUntold => "ENIConfigNotRead",
            Self::EniConfigMissing { .. } => "ENIConfigMissing",
            Self::EniConfigWrong { .. } => "ENIConfigWrong",
            Self::OldSource { .. } => "NetworkInterfacesTaken",
            Self::NoPrefixes { .. } => "PrefixesNotSupported",
            Self::NoIpv6Prefix { .. } => "SubnetWithoutIPv6Prefix",
            Self::NoIpv6 { .. } => "IPv6NotSupported",
            Self::OtherUnit { .. } => "RoomTaken",
            Self::EniQuota => "NetworkInterfaceQuota",
            Self::Throttled { .. } => "Throttled",
            Self::Denied { .. } => "MissingIAMPermissions",
            Self::Credentials { .. } => "NoCredentials",
            Self::Unreachable { .. } => "EC2Unreachable",
            Self::Rejected { .. } => "EC2Refuses",
            Self::NotReady => "IdentityUnknown",
            Self::HostNotRead => "HostNotRead",
            Self::NatAwaited => "NATNotWritten",
            Self::NotReadYet => "EC2NotRead",
            Self::LinkAwaited { .. } => "LinkAwaited",
            Self::EniTaken { .. } => "NetworkInterfaceTaken",
            Self::ProvisioningDisabled => "ProvisioningDisabled",
            Self::MetadataOnly => "MetadataOnly",
            Self::Braked { .. } => "OperatorsBrake",
            Self::Cordoned => "NodeCordoned",
            Self::LedgerClosed { .. } => "LedgerClosed",
            Self::AllCooling { .. } => "AddressesResting",
            Self::EniFull { .. } | Self::NoRoomForIpv6 { .. } => "NetworkInterfaceFull",
            Self::Miscounted { .. } => "Miscounted",
        }
    }

    /// Whether another ENI could be had if one of those that are there went.
    pub fn is_for_want_of_a_slot(&self) -> bool {
        matches!(
            self,
            Self::InstanceFull { .. }
                | Self::OtherUnit { .. }
                | Self::OldSource { .. }
                | Self::ConfiguredLimit { .. }
        )
    }

    /// Whether it says nothing about what was asked for: EC2 is in trouble, or we are with EC2.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unreachable { .. } | Self::Credentials { .. })
    }
}

fn list(subnets: &[SubnetId]) -> String {
    subnets.iter().map(SubnetId::as_str).collect::<Vec<_>>().join(", ")
}

fn instance_full(addresses: u32, instance_type: &str, set_aside: u32) -> String {
    let all = format!("all {addresses} pod addresses that a {instance_type} can carry are in use");
    if set_aside == 0 {
        return format!("{all}: move pods to another node, or use a larger instance type");
    }
    format!(
        "{all}, or set aside because something on this host uses them that no lease explains ({set_aside}; `holdfast dump` \
         lists them): each serves again when what uses it has gone"
    )
}

fn denied(api: Api, denial: &Denial) -> String {
    let own = denial.action == format!("ec2:{api:?}");
    if own { denial.to_string() } else { format!("{denial}; {api:?} needs it") }
}

fn braked(brake: Brake) -> String {
    let pulled = format!("the operator's brake is on ({}={brake})", Brake::SETTING);
    match brake {
        Brake::None | Brake::Release => {
            format!(
                "{pulled}: what holds the room on this node's network interfaces is not given back before it is off"
            )
        }
        Brake::All => format!("no free address, and {pulled}: EC2 is not called before it is off"),
    }
}

fn other_unit(unit: Unit, held: u32) -> String {
    let (wanted, there) = match unit {
        Unit::Address => ("prefixes", "single addresses"),
        Unit::Prefix | Unit::Ipv6Prefix => ("single addresses", "prefixes"),
    };
    format!(
        "this node's network interfaces have no room for {wanted}: {held} {there} from before ENABLE_PREFIX_DELEGATION was \
         changed are on them, each of which leaves with the pods that use it"
    )
}

fn credentials(api: Api, fault: CredentialsFault, cause: &str) -> String {
    match fault {
        CredentialsFault::Missing => format!(
            "no credentials to call ec2:{api:?} with, which an instance with a role gets from its metadata service: {cause}"
        ),
        CredentialsFault::Expired => format!(
            "the credentials to call ec2:{api:?} with have expired, and the instance metadata service has given no newer ones yet: {cause}"
        ),
        CredentialsFault::ClockOff => {
            format!(
                "EC2 refuses {api:?} for the time at which it was signed: set this node's clock right: {cause}"
            )
        }
        CredentialsFault::NotValid => format!(
            "EC2 does not accept the credentials that {api:?} was signed with (revoked, or this node's clock is off): {cause}"
        ),
    }
}
