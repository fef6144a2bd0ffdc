//! What the instance metadata service of one instance shows: plain data, to be laid out as a tree by the face.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::BoxConfig;
use super::ids::{EniId, InstanceId, Mac, SecurityGroupId, SubnetId, VpcId};
use super::model::{Eni, World};
use super::request::Tags;
use super::response::{AttachmentStatus, InstanceState};
use super::time::Micros;
use super::view::{IMAGE_ID, View, host_name};

/// What IMDS shows about one instance at one moment; it may lag, be frozen or be partial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImdsView {
    /// Region.
    pub region: String,
    /// Zone.
    pub availability_zone: String,
    /// Zone id.
    pub availability_zone_id: String,
    /// Account.
    pub account_id: String,
    /// The instance.
    pub instance_id: InstanceId,
    /// Its type.
    pub instance_type: String,
    /// Its image.
    pub image_id: String,
    /// Architecture.
    pub architecture: String,
    /// `r-…`.
    pub reservation_id: String,
    /// When it started.
    pub launch_time: Micros,
    /// MAC of the primary ENI.
    pub mac: Mac,
    /// First address of the primary ENI.
    pub local_ipv4: Option<Ipv4Addr>,
    /// First IPv6 address of the primary ENI.
    pub ipv6: Option<Ipv6Addr>,
    /// Host name inside the VPC.
    pub local_hostname: String,
    /// Names of the groups of the primary ENI.
    pub security_groups: Vec<String>,
    /// Tags of the instance.
    pub tags: Tags,
    /// The interfaces shown, by MAC.
    pub interfaces: Vec<ImdsInterface>,
}

/// One interface under `network/interfaces/macs/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImdsInterface {
    /// MAC, the name of the directory.
    pub mac: Mac,
    /// ENI.
    pub interface_id: EniId,
    /// Place on the card.
    pub device_number: u32,
    /// Card; the real IMDS has the leaf only on types with several cards.
    pub network_card: Option<u32>,
    /// Account.
    pub owner_id: String,
    /// Host name inside the VPC.
    pub local_hostname: String,
    /// Subnet.
    pub subnet_id: SubnetId,
    /// VPC.
    pub vpc_id: VpcId,
    /// Groups.
    pub security_group_ids: Vec<SecurityGroupId>,
    /// Names of the groups.
    pub security_groups: Vec<String>,
    /// IPv4 addresses, the primary one first; the leaf is missing where empty.
    pub local_ipv4s: Vec<Ipv4Addr>,
    /// /28 prefixes; the leaf is missing where empty.
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// IPv6 addresses; the leaf is missing where empty.
    pub ipv6s: Vec<Ipv6Addr>,
    /// /80 prefixes; the leaf is missing where empty.
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// The subnet's IPv4 block.
    pub subnet_ipv4_cidr_block: Option<Ipv4Net>,
    /// The subnet's IPv6 blocks.
    pub subnet_ipv6_cidr_blocks: Vec<Ipv6Net>,
    /// The VPC's primary IPv4 block.
    pub vpc_ipv4_cidr_block: Ipv4Net,
    /// All IPv4 blocks of the VPC.
    pub vpc_ipv4_cidr_blocks: Vec<Ipv4Net>,
    /// All IPv6 blocks of the VPC.
    pub vpc_ipv6_cidr_blocks: Vec<Ipv6Net>,
}

/// What IMDS would show of `instance` in this state, without any fault. `None` when it is not there or over.
pub(super) fn observe(world: &World, config: &BoxConfig, instance: &InstanceId) -> Option<ImdsView> {
    let instance = world.instances.get(instance).filter(|i| i.state != InstanceState::Terminated)?;
    let view = View { world, account: &config.account_id };
    let plugged: Vec<&Eni> = world
        .enis_of(&instance.id)
        .into_iter()
        .filter(|eni| eni.attachment().is_some_and(|a| a.status == AttachmentStatus::Attached))
        .collect();
    let primary = *plugged.first()?;
    let names = |eni: &Eni| view.groups(&eni.groups).into_iter().map(|group| group.group_name).collect();
    let subnet = world.subnets.get(&instance.subnet)?;
    let interface = |eni: &Eni| -> Option<ImdsInterface> {
        let attachment = eni.attachment()?;
        let subnet = world.subnets.get(&eni.subnet)?;
        let vpc = world.vpcs.get(&subnet.vpc)?;
        Some(ImdsInterface {
            mac: eni.mac,
            interface_id: eni.id.clone(),
            device_number: attachment.device_index,
            network_card: (instance.kind.network_cards.len() > 1).then_some(attachment.network_card_index),
            owner_id: config.account_id.clone(),
            local_hostname: host_name(&subnet.zone, &instance.id, eni.ipv4.first().copied()),
            subnet_id: eni.subnet.clone(),
            vpc_id: subnet.vpc.clone(),
            security_group_ids: eni.groups.clone(),
            security_groups: names(eni),
            local_ipv4s: eni.ipv4.clone(),
            ipv4_prefixes: eni.ipv4_prefixes.clone(),
            ipv6s: eni.ipv6.clone(),
            ipv6_prefixes: eni.ipv6_prefixes.clone(),
            subnet_ipv4_cidr_block: subnet.ipv4,
            subnet_ipv6_cidr_blocks: subnet.ipv6.into_iter().collect(),
            vpc_ipv4_cidr_block: *vpc.ipv4.first()?,
            vpc_ipv4_cidr_blocks: vpc.ipv4.clone(),
            vpc_ipv6_cidr_blocks: vpc.ipv6.into_iter().collect(),
        })
    };
    let mut interfaces: Vec<ImdsInterface> = plugged.iter().filter_map(|eni| interface(eni)).collect();
    interfaces.sort_by_key(|interface| interface.mac);
    Some(ImdsView {
        region: config.region.clone(),
        availability_zone: instance.zone.clone(),
        availability_zone_id: subnet.zone_id.clone(),
        account_id: config.account_id.clone(),
        instance_id: instance.id.clone(),
        instance_type: instance.kind.name.clone(),
        image_id: IMAGE_ID.to_owned(),
        architecture: instance.kind.architecture.clone(),
        reservation_id: instance.reservation.to_string(),
        launch_time: instance.launched,
        mac: primary.mac,
        local_ipv4: primary.ipv4.first().copied(),
        ipv6: primary.ipv6.first().copied(),
        local_hostname: host_name(&instance.zone, &instance.id, primary.ipv4.first().copied()),
        security_groups: names(primary),
        tags: instance.tags.clone(),
        interfaces,
    })
}

impl ImdsView {
    /// Adds what an older view showed and this one does not (F03).
    pub(super) fn remember(&mut self, older: ImdsView) {
        fn add<T: PartialEq>(into: &mut Vec<T>, from: Vec<T>) {
            for item in from {
                if !into.contains(&item) {
                    into.push(item);
                }
            }
        }
        for old in older.interfaces {
            match self.interfaces.iter_mut().find(|interface| interface.mac == old.mac) {
                Some(interface) => {
                    add(&mut interface.local_ipv4s, old.local_ipv4s);
                    add(&mut interface.ipv4_prefixes, old.ipv4_prefixes);
                    add(&mut interface.ipv6s, old.ipv6s);
                    add(&mut interface.ipv6_prefixes, old.ipv6_prefixes);
                }
                None => self.interfaces.push(old),
            }
        }
        self.interfaces.sort_by_key(|interface| interface.mac);
    }

    /// Leaves out one secondary ENI, or all of them (F02).
    pub(super) fn omit_eni(&mut self, eni: Option<&EniId>) {
        let primary = self.mac;
        self.interfaces.retain(|interface| {
            interface.mac == primary || eni.is_some_and(|eni| interface.interface_id != *eni)
        });
    }

    /// Shows only the primary address of one ENI, or of all (F02).
    pub(super) fn omit_addresses(&mut self, eni: Option<&EniId>) {
        for interface in &mut self.interfaces {
            if eni.is_none_or(|eni| interface.interface_id == *eni) {
                interface.local_ipv4s.truncate(1);
                interface.ipv4_prefixes.clear();
                interface.ipv6s.truncate(1);
                interface.ipv6_prefixes.clear();
            }
        }
    }
}
