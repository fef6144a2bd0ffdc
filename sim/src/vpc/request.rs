//! What a caller can ask: one plain structure per EC2 action, with EC2's own parameter names in Rust spelling.
//!
//! Each structure implements [`Call`], so that in-process code gets the right answer type back from
//! [`super::SimVpc::call`]; the HTTP face works with the enums [`Operation`] and [`Response`].

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize};

use super::ids::{AttachmentId, EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use super::{response as answer, shape};

/// Tags of one resource.
pub type Tags = BTreeMap<String, String>;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Caller {
    /// Free name, shown in the call log, and what a fault's scope can name.
    pub name: String,
    /// The instance whose role is used, if any.
    pub instance: Option<InstanceId>,
}

impl Caller {
    /// The role of `instance`.
    pub fn instance(instance: &InstanceId) -> Self {
        Self { name: instance.to_string(), instance: Some(*instance) }
    }

    /// Someone who is no instance: an operator at a console, another controller.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), instance: None }
    }
}

/// One request: an operation, and whether it is only tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// `DryRun`: check permission and answer with an error in any case.
    pub dry_run: bool,
    /// What is asked.
    pub operation: Operation,
}

impl Request {
    /// The action asked for.
    pub fn action(&self) -> Action {
        self.operation.action()
    }
}

impl<T: Into<Operation>> From<T> for Request {
    fn from(operation: T) -> Self {
        Self { dry_run: false, operation: operation.into() }
    }
}

/// An operation with its answer type.
pub trait Call: Into<Operation> {
    /// What a successful call returns.
    type Output;

    /// Takes the answer to this operation out of `response`; `None` for an answer to another operation.
    fn output(response: Response) -> Option<Self::Output>;
}

macro_rules! operations {
    ($($name:ident => $output:ty),* $(,)?) => {
        /// The actions of EC2 that the box knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "the names are EC2's and say it all")]
        pub enum Action { $($name),* }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// EC2's name of the action.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The action of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }

            /// Whether the action only reads.
            pub fn is_read(self) -> bool {
                self.name().starts_with("Describe")
            }
        }

        impl std::fmt::Display for Action {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        /// Any operation with its parameters.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "each variant carries the structure of its name")]
        #[allow(clippy::large_enum_variant, reason = "lives for one call, plainness is worth more than bytes")]
        pub enum Operation { $($name($name)),* }

        impl Operation {
            /// Reads the parameters of an operation, which have EC2's names.
            pub(crate) fn read<'de, D: Deserializer<'de>>(action: Action, parameters: D) -> Result<Self, D::Error> {
                match action { $(Action::$name => $name::deserialize(parameters).map(Self::$name)),* }
            }

            /// Which action this is.
            pub fn action(&self) -> Action {
                match self { $(Self::$name(_) => Action::$name),* }
            }
        }

        /// The answer to an operation that succeeded.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "each variant carries the answer to the operation of its name")]
        #[allow(clippy::large_enum_variant, reason = "lives for one call, plainness is worth more than bytes")]
        pub enum Response { $($name($output)),* }

        $(
            impl From<$name> for Operation {
                fn from(operation: $name) -> Self {
                    Self::$name(operation)
                }
            }

            impl Call for $name {
                type Output = $output;

                fn output(response: Response) -> Option<$output> {
                    match response {
                        Response::$name(output) => Some(output),
                        _ => None,
                    }
                }
            }
        )*
    };
}

operations! {
    DescribeNetworkInterfaces => answer::Page<answer::NetworkInterface>,
    DescribeInstances => answer::Page<answer::Reservation>,
    DescribeInstanceStatus => answer::Page<answer::InstanceStatus>,
    DescribeSubnets => answer::Page<answer::SubnetDescription>,
    DescribeInstanceTypes => answer::Page<answer::InstanceTypeInfo>,
    DescribeSecurityGroups => answer::Page<answer::SecurityGroupDescription>,
    DescribeVpcs => answer::Page<answer::VpcDescription>,
    DescribeTags => answer::Page<answer::TagDescription>,
    CreateNetworkInterface => answer::Created,
    AttachNetworkInterface => answer::Attached,
    DetachNetworkInterface => answer::Done,
    DeleteNetworkInterface => answer::Done,
    ModifyNetworkInterfaceAttribute => answer::Done,
    AssignPrivateIpAddresses => answer::AssignedV4,
    UnassignPrivateIpAddresses => answer::Done,
    AssignIpv6Addresses => answer::AssignedV6,
    UnassignIpv6Addresses => answer::UnassignedV6,
    CreateTags => answer::Done,
    DeleteTags => answer::Done,
}

impl Operation {
    /// The filters of a Describe call.
    pub(super) fn filters(&self) -> &[Filter] {
        match self {
            Self::DescribeNetworkInterfaces(op) => &op.filters,
            Self::DescribeInstances(op) => &op.filters,
            Self::DescribeInstanceStatus(op) => &op.filters,
            Self::DescribeSubnets(op) => &op.filters,
            Self::DescribeInstanceTypes(op) => &op.filters,
            Self::DescribeSecurityGroups(op) => &op.filters,
            Self::DescribeVpcs(op) => &op.filters,
            Self::DescribeTags(op) => &op.filters,
            _ => &[],
        }
    }

    /// Whether this Describe call asks for everything at once: no ids, no filters, no pages.
    pub fn is_unfiltered(&self) -> bool {
        fn all<T>(ids: &[T], filters: &[Filter], max_results: Option<i64>) -> bool {
            ids.is_empty() && filters.is_empty() && max_results.is_none()
        }
        match self {
            Self::DescribeNetworkInterfaces(op) => {
                all(&op.network_interface_ids, &op.filters, op.max_results)
            }
            Self::DescribeInstances(op) => all(&op.instance_ids, &op.filters, op.max_results),
            Self::DescribeInstanceStatus(op) => all(&op.instance_ids, &op.filters, op.max_results),
            Self::DescribeSubnets(op) => all(&op.subnet_ids, &op.filters, op.max_results),
            Self::DescribeInstanceTypes(op) => all(&op.instance_types, &op.filters, op.max_results),
            Self::DescribeSecurityGroups(op) => all(&op.group_ids, &op.filters, op.max_results),
            Self::DescribeVpcs(op) => all(&op.vpc_ids, &op.filters, op.max_results),
            Self::DescribeTags(op) => all::<()>(&[], &op.filters, op.max_results),
            _ => false,
        }
    }
}

/// One filter of a Describe call: any of `values` matches (`*`, `?` as wildcards, `\` escapes); several filters
/// must all match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filter {
    /// EC2's filter name, such as `vpc-id` or `tag:Name`.
    pub name: String,
    /// Accepted values.
    #[serde(rename = "value", default)]
    pub values: Vec<String>,
}

impl Filter {
    /// A filter on one value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), values: vec![value.into()] }
    }
}

macro_rules! describe {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            /// All must match.
            #[serde(rename = "filter", default)]
            pub filters: Vec<Filter>,
            /// Largest page wanted; EC2 takes 5 to 1000 (100 for instance types).
            pub max_results: Option<i64>,
            /// Where to go on, from the page before.
            pub next_token: Option<String>,
        }
    };
}

describe!(
    /// `DescribeNetworkInterfaces`.
    DescribeNetworkInterfaces {
        /// Only these; an unknown one is an error.
        #[serde(rename = "networkInterfaceId", default)]
        network_interface_ids: Vec<EniId>,
        /// Hides and shows nothing here: the box has no resources of EC2's managed operators.
        include_managed_resources: Option<bool>,
    }
);
describe!(
    /// `DescribeInstances`.
    DescribeInstances {
        /// Only these; an unknown one is an error.
        #[serde(rename = "instanceId", default)]
        instance_ids: Vec<InstanceId>,
        /// As for ENIs.
        include_managed_resources: Option<bool>,
    }
);
describe!(
    /// `DescribeInstanceStatus`.
    DescribeInstanceStatus {
        /// Only these; an unknown one is an error.
        #[serde(rename = "instanceId", default)]
        instance_ids: Vec<InstanceId>,
        /// Those that do not run, too.
        include_all_instances: Option<bool>,
        /// As for ENIs.
        include_managed_resources: Option<bool>,
    }
);
describe!(
    /// `DescribeSubnets`.
    DescribeSubnets {
        /// Only these; an unknown one is an error.
        #[serde(rename = "subnetId", default)]
        subnet_ids: Vec<SubnetId>,
    }
);
describe!(
    /// `DescribeInstanceTypes`.
    DescribeInstanceTypes {
        /// Only these; an unknown one is an error.
        #[serde(rename = "instanceType", default)]
        instance_types: Vec<String>,
        /// Changes nothing here: all types that the box knows are supported in its region.
        include_unsupported_in_region: Option<bool>,
    }
);
describe!(
    /// `DescribeSecurityGroups`.
    DescribeSecurityGroups {
        /// Only these; an unknown one is an error.
        #[serde(rename = "groupId", default)]
        group_ids: Vec<SecurityGroupId>,
    }
);
describe!(
    /// `DescribeVpcs`.
    DescribeVpcs {
        /// Only these; an unknown one is an error.
        #[serde(rename = "vpcId", default)]
        vpc_ids: Vec<VpcId>,
    }
);
describe!(
    /// `DescribeTags`.
    DescribeTags {}
);

/// One address of `CreateNetworkInterface`'s `PrivateIpAddresses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrivateIpSpec {
    /// The address.
    #[serde(rename = "privateIpAddress")]
    pub address: Ipv4Addr,
    /// Whether it is to be the primary one.
    #[serde(default)]
    pub primary: bool,
}

/// Tags for an object that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TagSpecification {
    /// Must be `network-interface` for `CreateNetworkInterface`.
    pub resource_type: String,
    /// The tags.
    #[serde(rename = "tag", default, with = "shape::tags")]
    pub tags: Tags,
}

/// Connection tracking time-outs of an ENI, seconds. The box keeps and shows them and does nothing else with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionTracking {
    /// Idle established TCP.
    pub tcp_established_timeout: Option<u32>,
    /// UDP flows with more than one request.
    pub udp_stream_timeout: Option<u32>,
    /// Other UDP flows.
    pub udp_timeout: Option<u32>,
}

/// `CreateNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateNetworkInterface {
    /// Where.
    pub subnet_id: SubnetId,
    /// Free text.
    pub description: Option<String>,
    /// Security groups; the VPC's default group where empty.
    #[serde(rename = "securityGroupId", default)]
    pub groups: Vec<SecurityGroupId>,
    /// The primary address, chosen by EC2 where absent.
    pub private_ip_address: Option<Ipv4Addr>,
    /// Explicit addresses, at most one of them primary.
    #[serde(default)]
    pub private_ip_addresses: Vec<PrivateIpSpec>,
    /// Number of secondary addresses for EC2 to choose.
    pub secondary_private_ip_address_count: Option<i64>,
    /// Explicit /28 prefixes.
    #[serde(rename = "ipv4Prefix", default, with = "shape::ipv4_prefix")]
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// Number of /28 prefixes for EC2 to choose.
    pub ipv4_prefix_count: Option<i64>,
    /// Explicit IPv6 addresses.
    #[serde(default, with = "shape::ipv6_address")]
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Number of IPv6 addresses for EC2 to choose.
    pub ipv6_address_count: Option<i64>,
    /// Explicit /80 prefixes.
    #[serde(rename = "ipv6Prefix", default, with = "shape::ipv6_prefix")]
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Number of /80 prefixes for EC2 to choose.
    pub ipv6_prefix_count: Option<i64>,
    /// `interface` (also where absent), `efa`, `efa-only`, `trunk` or `branch`.
    pub interface_type: Option<String>,
    /// Tags to be there from the first instant.
    #[serde(rename = "tagSpecification", default)]
    pub tag_specifications: Vec<TagSpecification>,
    /// Kept with the ENI.
    #[serde(rename = "connectionTrackingSpecification")]
    pub connection_tracking: Option<ConnectionTracking>,
    /// Makes a repeated request return the same ENI.
    pub client_token: Option<String>,
}

/// `AttachNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttachNetworkInterface {
    /// What.
    pub network_interface_id: EniId,
    /// To which instance.
    pub instance_id: InstanceId,
    /// Place on the network card.
    pub device_index: i64,
    /// Network card, 0 where absent.
    pub network_card_index: Option<i64>,
}

/// `DetachNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DetachNetworkInterface {
    /// The attachment to end.
    pub attachment_id: AttachmentId,
    /// End it without the instance's help: at once, whatever the state of the attachment.
    #[serde(default)]
    pub force: bool,
}

/// `DeleteNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteNetworkInterface {
    /// What.
    pub network_interface_id: EniId,
}

/// The attachment part of `ModifyNetworkInterfaceAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttachmentChange {
    /// The ENI's attachment.
    pub attachment_id: Option<AttachmentId>,
    /// Whether the ENI is deleted with the instance.
    pub delete_on_termination: Option<bool>,
}

/// `ModifyNetworkInterfaceAttribute`; EC2 takes exactly one attribute per call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModifyNetworkInterfaceAttribute {
    /// What.
    pub network_interface_id: EniId,
    /// Attachment attribute.
    pub attachment: Option<AttachmentChange>,
    /// New security groups, in place of all; not given where empty.
    #[serde(rename = "securityGroupId", default)]
    pub groups: Vec<SecurityGroupId>,
    /// New description.
    #[serde(default, with = "shape::attribute")]
    pub description: Option<String>,
    /// New source/destination check.
    #[serde(default, with = "shape::attribute")]
    pub source_dest_check: Option<bool>,
}

/// `AssignPrivateIpAddresses`: exactly one of explicit addresses, a number of addresses, explicit prefixes, a
/// number of prefixes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AssignPrivateIpAddresses {
    /// To which ENI.
    pub network_interface_id: EniId,
    /// Explicit addresses.
    #[serde(rename = "privateIpAddress", default)]
    pub private_ip_addresses: Vec<Ipv4Addr>,
    /// Number of addresses.
    pub secondary_private_ip_address_count: Option<i64>,
    /// Explicit /28 prefixes.
    #[serde(rename = "ipv4Prefix", default)]
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// Number of /28 prefixes.
    pub ipv4_prefix_count: Option<i64>,
    /// Take an explicit secondary address away from another ENI.
    #[serde(default)]
    pub allow_reassignment: bool,
}

/// `UnassignPrivateIpAddresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnassignPrivateIpAddresses {
    /// From which ENI.
    pub network_interface_id: EniId,
    /// Secondary addresses.
    #[serde(rename = "privateIpAddress", default)]
    pub private_ip_addresses: Vec<Ipv4Addr>,
    /// Prefixes.
    #[serde(rename = "ipv4Prefix", default)]
    pub ipv4_prefixes: Vec<Ipv4Net>,
}

/// `AssignIpv6Addresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AssignIpv6Addresses {
    /// To which ENI.
    pub network_interface_id: EniId,
    /// Explicit addresses.
    #[serde(default)]
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Number of addresses.
    pub ipv6_address_count: Option<i64>,
    /// Explicit /80 prefixes.
    #[serde(rename = "ipv6Prefix", default)]
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Number of /80 prefixes.
    pub ipv6_prefix_count: Option<i64>,
}

/// `UnassignIpv6Addresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnassignIpv6Addresses {
    /// From which ENI.
    pub network_interface_id: EniId,
    /// Addresses.
    #[serde(default)]
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Prefixes.
    #[serde(rename = "ipv6Prefix", default)]
    pub ipv6_prefixes: Vec<Ipv6Net>,
}

/// `CreateTags`: adds or overwrites.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateTags {
    /// Identifiers of any kind.
    #[serde(rename = "resourceId")]
    pub resources: Vec<String>,
    /// The tags.
    #[serde(rename = "tag", with = "shape::tags")]
    pub tags: Tags,
}

/// `DeleteTags`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteTags {
    /// Identifiers of any kind.
    #[serde(rename = "resourceId")]
    pub resources: Vec<String>,
    /// Keys to remove; with a value, only where the tag has that value. All tags where empty.
    #[serde(rename = "tag", default, with = "shape::tag_keys")]
    pub tags: Vec<(String, Option<String>)>,
}
