//! The calls that change something: one SDK operation each.

use std::collections::BTreeMap;
use std::net::IpAddr;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    AssignedPrivateIpAddress, Ipv4PrefixSpecification, NetworkInterfaceAttachmentChanges, ResourceType, Tag,
    TagSpecification,
};
use holdfast_model::block::{Ask, Unit};
use holdfast_model::cloud::{CloudAnswer, CloudChange};
use holdfast_model::eni::EniSlot;
use holdfast_model::ids::{AttachmentId, ClientToken, EniId, InstanceId, SecurityGroupId, SubnetId};
use holdfast_ports::cloud::{CloudError, CloudFault};
use ipnet::IpNet;

use super::view;
use crate::fault::{self, bad_answer};

/// Carries out one change. The token goes out where EC2 takes one, which is with the creation only; all other
/// changes name what they change, and an assignment that is repeated after an unknown outcome assigns again.
pub(super) async fn perform(
    client: &Client,
    change: &CloudChange,
    token: &ClientToken,
) -> Result<CloudAnswer, CloudError> {
    match change {
        CloudChange::CreateEni {
            subnet,
            security_groups,
            ask,
            description,
            tags,
            // Where it will be attached is ours to remember; EC2 learns it with the attachment.
            slot: _,
        } => create(client, token, subnet, security_groups, *ask, description, tags).await,
        CloudChange::AttachEni { eni, instance, slot } => attach(client, eni, instance, *slot).await,
        CloudChange::SetDeleteOnTermination { eni, attachment } => {
            set_delete_on_termination(client, eni, attachment).await
        }
        CloudChange::SetSecurityGroups { eni, groups } => {
            let call = client
                .modify_network_interface_attribute()
                .network_interface_id(eni.as_str())
                .set_groups(Some(groups.iter().map(ToString::to_string).collect()));
            call.send().await.map(|_| CloudAnswer::Done).map_err(fault::of_sdk)
        }
        CloudChange::Assign { eni, ask } => assign(client, eni, *ask).await,
        CloudChange::Unassign { eni, nets } => unassign(client, eni, nets).await,
        CloudChange::DetachEni { attachment, .. } => {
            let call = client.detach_network_interface().attachment_id(attachment.as_str());
            call.send().await.map(|_| CloudAnswer::Done).map_err(fault::of_sdk)
        }
        CloudChange::DeleteEni { eni } => {
            let call = client.delete_network_interface().network_interface_id(eni.as_str());
            call.send().await.map(|_| CloudAnswer::Done).map_err(fault::of_sdk)
        }
    }
}

/// Adds tags to an ENI. Those that it has with these values stay as they are.
pub(super) async fn tag(
    client: &Client,
    eni: &EniId,
    tags: &BTreeMap<String, String>,
) -> Result<CloudAnswer, CloudError> {
    let call = client.create_tags().resources(eni.as_str()).set_tags(Some(sdk_tags(tags)));
    call.send().await.map(|_| CloudAnswer::Done).map_err(fault::of_sdk)
}

async fn create(
    client: &Client,
    token: &ClientToken,
    subnet: &SubnetId,
    security_groups: &[SecurityGroupId],
    ask: Ask,
    description: &str,
    tags: &BTreeMap<String, String>,
) -> Result<CloudAnswer, CloudError> {
    let mut call = client
        .create_network_interface()
        .client_token(token.as_str())
        .subnet_id(subnet.as_str())
        .description(description);
    for group in security_groups {
        call = call.groups(group.as_str());
    }
    // Zero is not a count that EC2 takes.
    if ask.count > 0 {
        call = match ask.unit {
            Unit::Address => call.secondary_private_ip_address_count(sdk_count(ask.count)),
            Unit::Prefix => call.ipv4_prefix_count(sdk_count(ask.count)),
            Unit::Ipv6Prefix => call.ipv6_prefix_count(sdk_count(ask.count)),
        };
    }
    if !tags.is_empty() {
        call = call.tag_specifications(
            TagSpecification::builder()
                .resource_type(ResourceType::NetworkInterface)
                .set_tags(Some(sdk_tags(tags)))
                .build(),
        );
    }
    let answer = call.send().await.map_err(fault::of_sdk)?;
    let made = answer.network_interface().ok_or_else(|| bad_answer("a creation without the ENI"))?;
    Ok(CloudAnswer::Created(view::eni(made)?))
}

async fn attach(
    client: &Client,
    eni: &EniId,
    instance: &InstanceId,
    slot: EniSlot,
) -> Result<CloudAnswer, CloudError> {
    let answer = client
        .attach_network_interface()
        .network_interface_id(eni.as_str())
        .instance_id(instance.as_str())
        .device_index(i32::from(slot.device))
        .network_card_index(i32::from(slot.card))
        .send()
        .await
        .map_err(fault::of_sdk)?;
    let id = answer.attachment_id().ok_or_else(|| bad_answer("an attachment without its id"))?;
    Ok(CloudAnswer::Attached(AttachmentId::new(id)))
}

async fn set_delete_on_termination(
    client: &Client,
    eni: &EniId,
    attachment: &AttachmentId,
) -> Result<CloudAnswer, CloudError> {
    let change = NetworkInterfaceAttachmentChanges::builder()
        .attachment_id(attachment.as_str())
        .delete_on_termination(true)
        .build();
    let call =
        client.modify_network_interface_attribute().network_interface_id(eni.as_str()).attachment(change);
    call.send().await.map(|_| CloudAnswer::Done).map_err(fault::of_sdk)
}

async fn assign(client: &Client, eni: &EniId, ask: Ask) -> Result<CloudAnswer, CloudError> {
    let call = client.assign_private_ip_addresses().network_interface_id(eni.as_str());
    let call = match ask.unit {
        Unit::Address => call.secondary_private_ip_address_count(sdk_count(ask.count)),
        Unit::Prefix => call.ipv4_prefix_count(sdk_count(ask.count)),
        Unit::Ipv6Prefix => return assign_ipv6(client, eni, ask.count).await,
    };
    let answer = call.send().await.map_err(fault::of_sdk)?;
    let addresses = answer
        .assigned_private_ip_addresses()
        .iter()
        .filter_map(AssignedPrivateIpAddress::private_ip_address)
        .map(|text| view::ipv4(text).map(|ip| IpNet::from(IpAddr::V4(ip))));
    let prefixes = answer
        .assigned_ipv4_prefixes()
        .iter()
        .filter_map(Ipv4PrefixSpecification::ipv4_prefix)
        .map(|text| view::ipv4_prefix(eni.as_str(), text).map(IpNet::V4));
    let assigned = addresses.chain(prefixes).collect::<Result<Vec<IpNet>, CloudError>>()?;
    // A success that names nothing proves nothing: the caller has to read.
    if assigned.is_empty() {
        return Err(bad_answer("an assignment without addresses"));
    }
    Ok(CloudAnswer::Assigned(assigned))
}

/// Another action, for prefixes of IPv6.
async fn assign_ipv6(client: &Client, eni: &EniId, count: u32) -> Result<CloudAnswer, CloudError> {
    let call =
        client.assign_ipv6_addresses().network_interface_id(eni.as_str()).ipv6_prefix_count(sdk_count(count));
    let answer = call.send().await.map_err(fault::of_sdk)?;
    let assigned = answer
        .assigned_ipv6_prefixes()
        .iter()
        .map(|text| view::ipv6_prefix(eni.as_str(), text).map(IpNet::V6))
        .collect::<Result<Vec<IpNet>, CloudError>>()?;
    if assigned.is_empty() {
        return Err(bad_answer("an assignment without prefixes"));
    }
    Ok(CloudAnswer::Assigned(assigned))
}

async fn unassign(client: &Client, eni: &EniId, nets: &[IpNet]) -> Result<CloudAnswer, CloudError> {
    // IPv6 prefixes leave by another action, which nothing plans: a node keeps the one that it has.
    if let Some(other) = nets.iter().find(|net| net.addr().is_ipv6()) {
        return Err(CloudError {
            fault: CloudFault::Rejected,
            code: fault::BAD_REQUEST.to_owned(),
            message: format!("{other} is not of IPv4: nothing was sent"),
        });
    }
    let (addresses, prefixes): (Vec<&IpNet>, Vec<&IpNet>) =
        nets.iter().partition(|net| net.prefix_len() == net.max_prefix_len());
    let addresses: Vec<String> = addresses.iter().map(|net| net.addr().to_string()).collect();
    let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    let call = client
        .unassign_private_ip_addresses()
        .network_interface_id(eni.as_str())
        .set_private_ip_addresses((!addresses.is_empty()).then_some(addresses))
        .set_ipv4_prefixes((!prefixes.is_empty()).then_some(prefixes));
    call.send().await.map(|_| CloudAnswer::Done).map_err(fault::of_sdk)
}

/// EC2 counts in signed numbers; one that does not fit is far beyond any limit and is left to EC2 to refuse.
fn sdk_count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn sdk_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}
