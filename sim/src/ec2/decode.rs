//! From query parameters to a typed request. Parameter names are those that the SDKs send, which botocore's model
//! lists; a parameter that the box does not know is refused, never ignored.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::refusal::Refusal;
use crate::vpc::request::{
    AssignIpv6Addresses, AssignPrivateIpAddresses, AttachNetworkInterface, AttachmentChange,
    ConnectionTracking, CreateNetworkInterface, CreateTags, DeleteNetworkInterface, DeleteTags,
    DescribeInstanceTypes, DescribeInstances, DescribeNetworkInterfaces, DescribeSecurityGroups,
    DescribeSubnets, DescribeTags, DescribeVpcs, DetachNetworkInterface, ModifyNetworkInterfaceAttribute,
    PrivateIpSpec, TagSpecification, UnassignIpv6Addresses, UnassignPrivateIpAddresses,
};
use crate::vpc::{Action, Filter, Operation, Request, Tags};

const INTEGER: &str = "an integer";
const IPV4: &str = "an IPv4 address";
const IPV4_PREFIX: &str = "an IPv4 prefix in CIDR notation";
const IPV6: &str = "an IPv6 address";
const IPV6_PREFIX: &str = "an IPv6 prefix in CIDR notation";

/// Reads the request for `action` out of `fields` and refuses what is left over.
pub(crate) fn request(action: Action, mut fields: Fields) -> Result<Request, Refusal> {
    // EC2 has no DryRun for the four address calls.
    let dry_run = match action {
        Action::AssignPrivateIpAddresses
        | Action::UnassignPrivateIpAddresses
        | Action::AssignIpv6Addresses
        | Action::UnassignIpv6Addresses => false,
        _ => fields.flag("DryRun")?.unwrap_or(false),
    };
    let operation = operation(action, &mut fields)?;
    fields.finish()?;
    Ok(Request { dry_run, operation })
}

fn operation(action: Action, f: &mut Fields) -> Result<Operation, Refusal> {
    Ok(match action {
        Action::DescribeNetworkInterfaces => {
            managed_too(f)?;
            let network_interface_ids = ids(f, "NetworkInterfaceId")?;
            let Paging { filters, max_results, next_token } = paging(f)?;
            DescribeNetworkInterfaces { network_interface_ids, filters, max_results, next_token }.into()
        }
        Action::DescribeInstances => {
            managed_too(f)?;
            let instance_ids = ids(f, "InstanceId")?;
            let Paging { filters, max_results, next_token } = paging(f)?;
            DescribeInstances { instance_ids, filters, max_results, next_token }.into()
        }
        Action::DescribeSubnets => {
            let subnet_ids = ids(f, "SubnetId")?;
            let Paging { filters, max_results, next_token } = paging(f)?;
            DescribeSubnets { subnet_ids, filters, max_results, next_token }.into()
        }
        Action::DescribeInstanceTypes => {
            // Everything that the box knows is supported in its region.
            f.flag("IncludeUnsupportedInRegion")?;
            let instance_types = f.texts("InstanceType")?;
            let Paging { filters, max_results, next_token } = paging(f)?;
            DescribeInstanceTypes { instance_types, filters, max_results, next_token }.into()
        }
        Action::DescribeSecurityGroups => {
            let group_ids = ids(f, "GroupId")?;
            let Paging { filters, max_results, next_token } = paging(f)?;
            DescribeSecurityGroups { group_ids, filters, max_results, next_token }.into()
        }
        Action::DescribeVpcs => {
            let vpc_ids = ids(f, "VpcId")?;
            let Paging { filters, max_results, next_token } = paging(f)?;
            DescribeVpcs { vpc_ids, filters, max_results, next_token }.into()
        }
        Action::DescribeTags => {
            let Paging { filters, max_results, next_token } = paging(f)?;
            DescribeTags { filters, max_results, next_token }.into()
        }
        Action::CreateNetworkInterface => create(f)?.into(),
        Action::AttachNetworkInterface => AttachNetworkInterface {
            network_interface_id: f.required_text("NetworkInterfaceId")?.into(),
            instance_id: f.required_text("InstanceId")?.into(),
            device_index: f.required("DeviceIndex", INTEGER)?,
            network_card_index: f.parsed("NetworkCardIndex", INTEGER)?,
        }
        .into(),
        Action::DetachNetworkInterface => DetachNetworkInterface {
            attachment_id: f.required_text("AttachmentId")?.into(),
            force: f.flag("Force")?.unwrap_or(false),
        }
        .into(),
        Action::DeleteNetworkInterface => {
            DeleteNetworkInterface { network_interface_id: f.required_text("NetworkInterfaceId")?.into() }
                .into()
        }
        Action::ModifyNetworkInterfaceAttribute => modify(f)?.into(),
        Action::AssignPrivateIpAddresses => AssignPrivateIpAddresses {
            network_interface_id: f.required_text("NetworkInterfaceId")?.into(),
            private_ip_addresses: f.all_parsed("PrivateIpAddress", IPV4)?,
            secondary_private_ip_address_count: f.parsed("SecondaryPrivateIpAddressCount", INTEGER)?,
            ipv4_prefixes: f.all_parsed("Ipv4Prefix", IPV4_PREFIX)?,
            ipv4_prefix_count: f.parsed("Ipv4PrefixCount", INTEGER)?,
            allow_reassignment: f.flag("AllowReassignment")?.unwrap_or(false),
        }
        .into(),
        Action::UnassignPrivateIpAddresses => UnassignPrivateIpAddresses {
            network_interface_id: f.required_text("NetworkInterfaceId")?.into(),
            private_ip_addresses: f.all_parsed("PrivateIpAddress", IPV4)?,
            ipv4_prefixes: f.all_parsed("Ipv4Prefix", IPV4_PREFIX)?,
        }
        .into(),
        Action::AssignIpv6Addresses => AssignIpv6Addresses {
            network_interface_id: f.required_text("NetworkInterfaceId")?.into(),
            ipv6_addresses: f.all_parsed("Ipv6Addresses", IPV6)?,
            ipv6_address_count: f.parsed("Ipv6AddressCount", INTEGER)?,
            ipv6_prefixes: f.all_parsed("Ipv6Prefix", IPV6_PREFIX)?,
            ipv6_prefix_count: f.parsed("Ipv6PrefixCount", INTEGER)?,
        }
        .into(),
        Action::UnassignIpv6Addresses => UnassignIpv6Addresses {
            network_interface_id: f.required_text("NetworkInterfaceId")?.into(),
            ipv6_addresses: f.all_parsed("Ipv6Addresses", IPV6)?,
            ipv6_prefixes: f.all_parsed("Ipv6Prefix", IPV6_PREFIX)?,
        }
        .into(),
        Action::CreateTags => {
            let resources = resources(f)?;
            let tags = tags(f)?;
            if tags.is_empty() {
                return Err(Refusal::missing_parameter("Tag"));
            }
            CreateTags { resources, tags }.into()
        }
        Action::DeleteTags => DeleteTags {
            resources: resources(f)?,
            tags: f.structures("Tag", |tag| Ok((tag.required_text("Key")?, tag.text("Value"))))?,
        }
        .into(),
    })
}

fn create(f: &mut Fields) -> Result<CreateNetworkInterface, Refusal> {
    Ok(CreateNetworkInterface {
        subnet_id: f.required_text("SubnetId")?.into(),
        description: f.text("Description"),
        groups: ids(f, "SecurityGroupId")?,
        private_ip_address: f.parsed("PrivateIpAddress", IPV4)?,
        private_ip_addresses: f.structures("PrivateIpAddresses", |ip| {
            Ok(PrivateIpSpec {
                address: ip.required("PrivateIpAddress", IPV4)?,
                primary: ip.flag("Primary")?.unwrap_or(false),
            })
        })?,
        secondary_private_ip_address_count: f.parsed("SecondaryPrivateIpAddressCount", INTEGER)?,
        ipv4_prefixes: f.structures("Ipv4Prefix", |prefix| prefix.required("Ipv4Prefix", IPV4_PREFIX))?,
        ipv4_prefix_count: f.parsed("Ipv4PrefixCount", INTEGER)?,
        ipv6_addresses: f.structures("Ipv6Addresses", |ip| ip.required("Ipv6Address", IPV6))?,
        ipv6_address_count: f.parsed("Ipv6AddressCount", INTEGER)?,
        ipv6_prefixes: f.structures("Ipv6Prefix", |prefix| prefix.required("Ipv6Prefix", IPV6_PREFIX))?,
        ipv6_prefix_count: f.parsed("Ipv6PrefixCount", INTEGER)?,
        interface_type: f.text("InterfaceType"),
        tag_specifications: f.structures("TagSpecification", |specification| {
            Ok(TagSpecification {
                resource_type: specification.required_text("ResourceType")?,
                tags: tags(specification)?,
            })
        })?,
        connection_tracking: f.structure("ConnectionTrackingSpecification", |tracking| {
            Ok(ConnectionTracking {
                tcp_established_timeout: tracking.parsed("TcpEstablishedTimeout", INTEGER)?,
                udp_stream_timeout: tracking.parsed("UdpStreamTimeout", INTEGER)?,
                udp_timeout: tracking.parsed("UdpTimeout", INTEGER)?,
            })
        })?,
        client_token: f.text("ClientToken").filter(|token| !token.is_empty()),
    })
}

fn modify(f: &mut Fields) -> Result<ModifyNetworkInterfaceAttribute, Refusal> {
    Ok(ModifyNetworkInterfaceAttribute {
        network_interface_id: f.required_text("NetworkInterfaceId")?.into(),
        attachment: f.structure("Attachment", |attachment| {
            Ok(AttachmentChange {
                attachment_id: attachment.text("AttachmentId").map(Into::into),
                delete_on_termination: attachment.flag("DeleteOnTermination")?,
            })
        })?,
        groups: ids(f, "SecurityGroupId")?,
        description: f.structure("Description", |text| Ok(text.text("Value").unwrap_or_default()))?,
        source_dest_check: f.structure("SourceDestCheck", |check| {
            check.flag("Value")?.ok_or_else(|| Refusal::missing_parameter("SourceDestCheck.Value"))
        })?,
    })
}

/// What all Describe calls share.
struct Paging {
    filters: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

fn paging(f: &mut Fields) -> Result<Paging, Refusal> {
    Ok(Paging {
        filters: f.structures("Filter", |filter| {
            Ok(Filter { name: filter.required_text("Name")?, values: filter.texts("Value")? })
        })?,
        max_results: f.parsed("MaxResults", INTEGER)?,
        next_token: f.text("NextToken").filter(|token| !token.is_empty()),
    })
}

/// `IncludeManagedResources` hides nothing here: the box has no resources of EC2's managed operators.
fn managed_too(f: &mut Fields) -> Result<(), Refusal> {
    f.flag("IncludeManagedResources").map(|_| ())
}

fn ids<T: From<String>>(f: &mut Fields, name: &str) -> Result<Vec<T>, Refusal> {
    Ok(f.texts(name)?.into_iter().map(T::from).collect())
}

fn resources(f: &mut Fields) -> Result<Vec<String>, Refusal> {
    let resources = f.texts("ResourceId")?;
    if resources.is_empty() { Err(Refusal::missing_parameter("ResourceId")) } else { Ok(resources) }
}

/// `Tag.N.Key` and `Tag.N.Value`; a missing value is the empty one. A key that comes twice is EC2's
/// `InvalidParameterValue`.
fn tags(f: &mut Fields) -> Result<Tags, Refusal> {
    let mut tags = BTreeMap::new();
    for (key, value) in
        f.structures("Tag", |tag| Ok((tag.required_text("Key")?, tag.text("Value").unwrap_or_default())))?
    {
        if tags.insert(key.clone(), value).is_some() {
            return Err(Refusal::invalid_value(&key, "Tag.Key", "each key once"));
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(action: Action, text: &str) -> Result<Request, Refusal> {
        request(action, Fields::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn create_as_the_incumbent_sends_it() {
        let text = "ClientToken=t&Description=aws-K8S-i-1&SecurityGroupId.1=sg-1&SecurityGroupId.2=sg-2&SubnetId=subnet-1\
                    &SecondaryPrivateIpAddressCount=9&TagSpecification.1.ResourceType=network-interface\
                    &TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b\
                    &TagSpecification.1.Tag.2.Key=c";
        let Operation::CreateNetworkInterface(create) =
            read(Action::CreateNetworkInterface, text).unwrap().operation
        else {
            panic!("another operation");
        };
        assert_eq!(create.secondary_private_ip_address_count, Some(9));
        assert_eq!(create.groups, ["sg-1".into(), "sg-2".into()]);
        assert_eq!(create.client_token.as_deref(), Some("t"));
        let tags: Tags = [("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())].into();
        let specification = TagSpecification { resource_type: "network-interface".to_owned(), tags };
        assert_eq!(create.tag_specifications, [specification]);
    }

    #[test]
    fn every_action_needs_its_parameters_and_refuses_foreign_ones() {
        for &action in Action::ALL {
            let foreign = read(action, "NetworkInterfaceId=eni-1&Colour=red").unwrap_err();
            assert!(
                ["UnknownParameter", "MissingParameter"].contains(&foreign.code),
                "{action}: {foreign:?}"
            );
            let empty = read(action, "");
            if action.is_read() {
                empty.unwrap();
                assert_eq!(read(action, "Colour=red").unwrap_err().code, "UnknownParameter", "{action}");
            } else {
                assert_eq!(empty.unwrap_err().code, "MissingParameter", "{action}");
            }
        }
    }

    #[test]
    fn dry_run_is_read_where_ec2_has_it() {
        assert!(read(Action::DescribeVpcs, "DryRun=true").unwrap().dry_run);
        let refused =
            read(Action::AssignPrivateIpAddresses, "NetworkInterfaceId=eni-1&DryRun=true").unwrap_err();
        assert_eq!(refused.code, "UnknownParameter");
    }

    #[test]
    fn a_description_can_be_cleared() {
        let text = "NetworkInterfaceId=eni-1&Description.Value=";
        let Operation::ModifyNetworkInterfaceAttribute(modify) =
            read(Action::ModifyNetworkInterfaceAttribute, text).unwrap().operation
        else {
            panic!("another operation");
        };
        assert_eq!(modify.description.as_deref(), Some(""));
    }

    #[test]
    fn a_tag_key_comes_once() {
        let twice = read(Action::CreateTags, "ResourceId.1=eni-1&Tag.1.Key=a&Tag.2.Key=a").unwrap_err();
        assert_eq!(twice.code, "InvalidParameterValue");
    }
}
