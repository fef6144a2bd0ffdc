//! EC2's picture of an ENI, in our words.
//!
//! What the pool's arithmetic rests on (id, MAC, subnet, place) must be there, or the answer is no proof of anything
//! and is refused whole. What we only show, or do not know yet, is taken as it comes.

use std::net::{IpAddr, Ipv4Addr};

use aws_sdk_ec2::types::{
    AttachmentStatus as SdkStatus, NetworkInterface, NetworkInterfaceAttachment, NetworkInterfaceType,
};
use holdfast_model::cloud::{AttachmentStatus, AttachmentView, EniView};
use holdfast_model::eni::{EniKind, EniSlot};
use holdfast_model::ids::{AttachmentId, EniId, InstanceId, SecurityGroupId, SubnetId};
use holdfast_ports::cloud::CloudError;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::fault::bad_answer;

/// Reads one ENI out of an answer.
pub(super) fn eni(shown: &NetworkInterface) -> Result<EniView, CloudError> {
    let id = shown.network_interface_id().ok_or_else(|| bad_answer("an ENI without an id"))?;
    let lacks = |what: &str| bad_answer(format!("{id} without {what}"));
    let mac = shown.mac_address().ok_or_else(|| lacks("a MAC address"))?;
    let mac = mac.parse().map_err(|bad| bad_answer(format!("{id}: {bad}")))?;

    let mut primary = shown.private_ip_address().map(ipv4).transpose()?;
    let mut secondary = Vec::new();
    for address in shown.private_ip_addresses() {
        let Some(text) = address.private_ip_address() else { continue };
        let parsed = ipv4(text)?;
        if address.primary() == Some(true) || primary == Some(parsed) {
            primary = Some(parsed);
        } else {
            secondary.push(IpAddr::V4(parsed));
        }
    }

    Ok(EniView {
        id: EniId::new(id),
        mac,
        kind: kind(shown.interface_type()),
        subnet: SubnetId::new(shown.subnet_id().ok_or_else(|| lacks("a subnet"))?),
        security_groups: shown
            .groups()
            .iter()
            .filter_map(|group| group.group_id())
            .map(SecurityGroupId::new)
            .collect(),
        primary_ipv4: primary,
        secondary,
        // Single IPv6 addresses are the host's, and are left out.
        prefixes: ipv4_prefixes(shown)
            .map(|text| ipv4_prefix(id, text).map(IpNet::V4))
            .chain(ipv6_prefixes(shown).map(|text| ipv6_prefix(id, text).map(IpNet::V6)))
            .collect::<Result<_, _>>()?,
        tags: shown
            .tag_set()
            .iter()
            .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned())))
            .collect(),
        attachment: shown.attachment().map(|binding| attachment(id, binding)).transpose()?,
    })
}

/// An IPv4 address as EC2 writes it.
pub(super) fn ipv4(text: &str) -> Result<Ipv4Addr, CloudError> {
    text.parse().map_err(|bad| bad_answer(format!("{text:?} as an address: {bad}")))
}

/// A delegated IPv4 prefix as EC2 writes it. What is not one by its length, or not a network, is no answer: more or other
/// addresses would be leased than EC2 has given.
pub(super) fn ipv4_prefix(eni: &str, text: &str) -> Result<Ipv4Net, CloudError> {
    let bad = |why: &dyn std::fmt::Display| bad_answer(format!("{eni}: {text:?} as a prefix: {why}"));
    let prefix: Ipv4Net = text.parse().map_err(|error| bad(&error))?;
    if prefix.prefix_len() != 28 || prefix.addr() != prefix.network() {
        return Err(bad(&"not a /28"));
    }
    Ok(prefix)
}

fn ipv4_prefixes(shown: &NetworkInterface) -> impl Iterator<Item = &str> {
    shown.ipv4_prefixes().iter().filter_map(|prefix| prefix.ipv4_prefix())
}

fn ipv6_prefixes(shown: &NetworkInterface) -> impl Iterator<Item = &str> {
    shown.ipv6_prefixes().iter().filter_map(|prefix| prefix.ipv6_prefix())
}

/// A delegated IPv6 prefix as EC2 writes it, with the same strictness.
pub(super) fn ipv6_prefix(eni: &str, text: &str) -> Result<Ipv6Net, CloudError> {
    let bad = |why: &dyn std::fmt::Display| bad_answer(format!("{eni}: {text:?} as a prefix: {why}"));
    let prefix: Ipv6Net = text.parse().map_err(|error| bad(&error))?;
    if prefix.prefix_len() != 80 || prefix.addr() != prefix.network() {
        return Err(bad(&"not a /80"));
    }
    Ok(prefix)
}

fn kind(shown: Option<&NetworkInterfaceType>) -> EniKind {
    match shown {
        None | Some(NetworkInterfaceType::Interface) => EniKind::Standard,
        Some(NetworkInterfaceType::Trunk) => EniKind::Trunk,
        Some(NetworkInterfaceType::Efa) => EniKind::Efa,
        // Also every kind that AWS makes for its own services or thinks of later: one that takes no pods. An odd
        // ENI must not stop a start, and must not be used by guess.
        Some(_) => EniKind::EfaOnly,
    }
}

fn attachment(eni: &str, shown: &NetworkInterfaceAttachment) -> Result<AttachmentView, CloudError> {
    let lacks = |what: &str| bad_answer(format!("{eni}: an attachment without {what}"));
    let device = shown.device_index().ok_or_else(|| lacks("a device index"))?;
    // Absent from old answers, where there was one card.
    let card = shown.network_card_index().unwrap_or(0);
    Ok(AttachmentView {
        id: AttachmentId::new(shown.attachment_id().ok_or_else(|| lacks("an id"))?),
        // AWS's own services bind ENIs without an instance: the owner's name keeps such a one from looking free.
        instance: InstanceId::new(
            shown.instance_id().or_else(|| shown.instance_owner_id()).unwrap_or_default(),
        ),
        slot: EniSlot {
            card: u8::try_from(card)
                .map_err(|bad| bad_answer(format!("{eni}: network card {card}: {bad}")))?,
            device: u16::try_from(device)
                .map_err(|bad| bad_answer(format!("{eni}: device index {device}: {bad}")))?,
        },
        delete_on_termination: shown.delete_on_termination().unwrap_or(false),
        status: match shown.status() {
            Some(SdkStatus::Attached) => AttachmentStatus::Attached,
            Some(SdkStatus::Detaching) => AttachmentStatus::Detaching,
            Some(SdkStatus::Detached) => AttachmentStatus::Detached,
            // Also a word that we do not know: it holds its slot and is not yet used.
            _ => AttachmentStatus::Attaching,
        },
    })
}
