//! EC2 and the metadata service as the box has them, in the words of Holdfast's ports, without HTTP in between.

use std::net::IpAddr;

use holdfast_model::cloud::{
    AttachmentStatus, AttachmentView, CloudAnswer, CloudCall, CloudChange, CloudRead, EniView, TAG_INSTANCE,
};
use holdfast_model::eni::{EniKind, EniSlot};
use holdfast_model::ids::{AttachmentId, EniId, InstanceId, MacAddr, SecurityGroupId, SubnetId, VpcId};
use holdfast_model::node::NodeIdentity;
use holdfast_ports::{CloudError, CloudFault, MetadataError, MetadataHint};
use holdfast_sim::vpc::request::{
    AssignPrivateIpAddresses, AttachNetworkInterface, AttachmentChange, CreateNetworkInterface, CreateTags,
    DeleteNetworkInterface, DescribeNetworkInterfaces, DetachNetworkInterface,
    ModifyNetworkInterfaceAttribute, Operation, Response, TagSpecification, UnassignPrivateIpAddresses,
};
use holdfast_sim::vpc::response::{AttachmentStatus as SimStatus, NetworkInterface};
use holdfast_sim::vpc::{self as sim, CallError, ErrorCode, Filter, ImdsView};

/// The EC2 operation that a call of the engine's is.
pub fn operation_of(call: &CloudCall) -> Operation {
    match call {
        CloudCall::Read(read) => {
            let filters = match read {
                CloudRead::InstanceEnis { instance } => {
                    vec![Filter::new("attachment.instance-id", instance.as_str())]
                }
                CloudRead::AvailableEnis { instance } => vec![
                    Filter::new(format!("tag:{TAG_INSTANCE}"), instance.as_str()),
                    Filter::new("status", "available"),
                ],
                CloudRead::Enis { enis } => vec![Filter {
                    name: "network-interface-id".to_owned(),
                    values: enis.iter().map(ToString::to_string).collect(),
                }],
            };
            DescribeNetworkInterfaces { filters, ..DescribeNetworkInterfaces::default() }.into()
        }
        CloudCall::Change { change, token } => change_of(change, token.as_str()),
    }
}

fn change_of(change: &CloudChange, token: &str) -> Operation {
    let eni = |id: &EniId| sim::EniId::new(id.as_str());
    match change {
        CloudChange::CreateEni {
            subnet,
            security_groups,
            secondary_addresses,
            description,
            tags,
            slot: _,
        } => CreateNetworkInterface {
            subnet_id: sim::SubnetId::new(subnet.as_str()),
            groups: security_groups.iter().map(|group| sim::SecurityGroupId::new(group.as_str())).collect(),
            secondary_private_ip_address_count: (*secondary_addresses > 0)
                .then_some(i64::from(*secondary_addresses)),
            description: Some(description.clone()),
            tag_specifications: vec![TagSpecification {
                resource_type: "network-interface".to_owned(),
                tags: tags.clone(),
            }],
            client_token: Some(token.to_owned()),
            ..CreateNetworkInterface::default()
        }
        .into(),
        CloudChange::AttachEni { eni: id, instance, slot } => AttachNetworkInterface {
            network_interface_id: eni(id),
            instance_id: sim::InstanceId::new(instance.as_str()),
            device_index: slot.device.into(),
            network_card_index: Some(slot.card.into()),
        }
        .into(),
        CloudChange::SetDeleteOnTermination { eni: id, attachment } => ModifyNetworkInterfaceAttribute {
            network_interface_id: eni(id),
            attachment: Some(AttachmentChange {
                attachment_id: Some(sim::AttachmentId::new(attachment.as_str())),
                delete_on_termination: Some(true),
            }),
            ..ModifyNetworkInterfaceAttribute::default()
        }
        .into(),
        CloudChange::AssignAddresses { eni: id, count } => AssignPrivateIpAddresses {
            network_interface_id: eni(id),
            secondary_private_ip_address_count: Some((*count).into()),
            ..AssignPrivateIpAddresses::default()
        }
        .into(),
        CloudChange::UnassignAddresses { eni: id, addresses } => {
            let v4 = |ip: &IpAddr| match ip {
                IpAddr::V4(ip) => Some(*ip),
                IpAddr::V6(_) => None,
            };
            UnassignPrivateIpAddresses {
                network_interface_id: eni(id),
                private_ip_addresses: addresses.iter().filter_map(v4).collect(),
                ..UnassignPrivateIpAddresses::default()
            }
            .into()
        }
        CloudChange::DetachEni { attachment, eni: _ } => DetachNetworkInterface {
            attachment_id: sim::AttachmentId::new(attachment.as_str()),
            force: false,
        }
        .into(),
        CloudChange::DeleteEni { eni: id } => DeleteNetworkInterface { network_interface_id: eni(id) }.into(),
        CloudChange::TagEni { eni: id, tags } => {
            CreateTags { resources: vec![id.to_string()], tags: tags.clone() }.into()
        }
    }
}

/// What the box's answer means to the engine.
pub fn answer_of(result: Result<Response, CallError>) -> Result<CloudAnswer, CloudError> {
    match result {
        Ok(response) => Ok(match response {
            Response::DescribeNetworkInterfaces(shown) => {
                CloudAnswer::Enis(shown.items.iter().map(view_of).collect())
            }
            Response::CreateNetworkInterface(created) => {
                CloudAnswer::Created(view_of(&created.network_interface))
            }
            Response::AttachNetworkInterface(attached) => {
                CloudAnswer::Attached(AttachmentId::new(attached.attachment_id.as_str()))
            }
            Response::AssignPrivateIpAddresses(assigned) => {
                CloudAnswer::Assigned(assigned.addresses.into_iter().map(IpAddr::V4).collect())
            }
            _ => CloudAnswer::Done,
        }),
        Err(CallError::Dropped) => Err(unknown("connection closed before an answer")),
        Err(CallError::Api(error)) => Err(CloudError {
            fault: fault_of(&error.code, &error.message),
            code: error.code.as_str().to_owned(),
            message: error.message,
        }),
    }
}

/// No answer came: nobody knows whether the call was carried out.
pub fn unknown(message: &str) -> CloudError {
    CloudError { fault: CloudFault::Unknown, code: "NoAnswer".to_owned(), message: message.to_owned() }
}

/// Who the instance is, as the metadata service tells.
pub fn identity_of(view: &ImdsView) -> Result<NodeIdentity, MetadataError> {
    let primary = view
        .interfaces
        .iter()
        .find(|interface| interface.mac == view.mac)
        .ok_or_else(|| not_shown("network/interfaces/macs"))?;
    Ok(NodeIdentity {
        instance: InstanceId::new(view.instance_id.as_str()),
        instance_type: view.instance_type.clone(),
        region: view.region.clone(),
        zone: view.availability_zone.clone(),
        vpc: VpcId::new(primary.vpc_id.as_str()),
        vpc_cidrs: primary.vpc_ipv4_cidr_blocks.clone(),
        primary_mac: MacAddr(view.mac.0),
        primary_ipv4: view.local_ipv4.ok_or_else(|| not_shown("local-ipv4"))?,
        subnet: SubnetId::new(primary.subnet_id.as_str()),
        subnet_cidr: primary.subnet_ipv4_cidr_block.ok_or_else(|| not_shown("subnet-ipv4-cidr-block"))?,
        security_groups: primary
            .security_group_ids
            .iter()
            .map(|group| SecurityGroupId::new(group.as_str()))
            .collect(),
    })
}

/// What the metadata service shows of the interfaces.
pub fn hint_of(view: &ImdsView) -> MetadataHint {
    let primary = view.interfaces.iter().find(|interface| interface.mac == view.mac);
    MetadataHint {
        enis: view
            .interfaces
            .iter()
            .map(|interface| {
                let addresses = interface.local_ipv4s.iter().copied().map(IpAddr::V4).collect();
                (MacAddr(interface.mac.0), addresses)
            })
            .collect(),
        subnet_cidrs: view
            .interfaces
            .iter()
            .filter_map(|interface| Some((MacAddr(interface.mac.0), interface.subnet_ipv4_cidr_block?)))
            .collect(),
        vpc_cidrs: primary.map(|primary| primary.vpc_ipv4_cidr_blocks.clone()).unwrap_or_default(),
    }
}

/// The metadata service does not show this.
pub fn not_shown(path: &str) -> MetadataError {
    MetadataError { path: path.to_owned(), cause: "not shown".to_owned() }
}

/// As the real adapter classifies them; it has a table and tests of its own.
fn fault_of(code: &ErrorCode, message: &str) -> CloudFault {
    match code.as_str() {
        "RequestLimitExceeded" => CloudFault::Throttled { retry_after: None },
        "InsufficientFreeAddressesInSubnet" | "InsufficientCidrBlocks" => CloudFault::SubnetFull,
        "PrivateIpAddressLimitExceeded" => CloudFault::AddressLimit,
        "AttachmentLimitExceeded" => CloudFault::AttachmentLimit,
        "InvalidNetworkInterfaceID.NotFound" | "InvalidAttachmentID.NotFound" => CloudFault::NotFound,
        "InvalidNetworkInterface.InUse" | "IncorrectState" => CloudFault::Conflict,
        "InvalidParameterValue" if message.contains("currently in use") => CloudFault::Conflict,
        "InvalidParameterValue" if message.contains("device index") => CloudFault::AttachmentLimit,
        "InvalidParameterValue" if message.contains("not assigned") => CloudFault::Conflict,
        "IdempotentParameterMismatch" => CloudFault::TokenMismatch,
        "UnauthorizedOperation" => CloudFault::Denied,
        "InternalError" => CloudFault::Unknown,
        _ => CloudFault::Rejected,
    }
}

/// Holdfast's view of what EC2 shows.
pub fn view_of(eni: &NetworkInterface) -> EniView {
    EniView {
        id: EniId::new(eni.network_interface_id.as_str()),
        mac: MacAddr(eni.mac_address.0),
        kind: match eni.interface_type.as_str() {
            "trunk" => EniKind::Trunk,
            "efa" => EniKind::Efa,
            "efa-only" => EniKind::EfaOnly,
            _ => EniKind::Standard,
        },
        subnet: SubnetId::new(eni.subnet_id.as_str()),
        primary_ipv4: eni.primary_ip(),
        secondary: eni.secondary_ips().map(IpAddr::V4).collect(),
        prefixes: eni.ipv4_prefixes.iter().map(ToString::to_string).collect(),
        tags: eni.tags.clone().into_iter().collect(),
        attachment: eni.attachment.as_ref().map(|attachment| AttachmentView {
            id: AttachmentId::new(attachment.attachment_id.as_str()),
            instance: InstanceId::new(attachment.instance_id.as_str()),
            slot: EniSlot {
                card: attachment.network_card_index as u8,
                device: attachment.device_index as u16,
            },
            delete_on_termination: attachment.delete_on_termination,
            status: match attachment.status {
                SimStatus::Attaching => AttachmentStatus::Attaching,
                SimStatus::Attached => AttachmentStatus::Attached,
                SimStatus::Detaching => AttachmentStatus::Detaching,
            },
        }),
    }
}
