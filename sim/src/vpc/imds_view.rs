//! What the instance metadata service of one instance shows: plain data, to be laid out as a tree by the face.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::BoxConfig;
use super::ids::{EniId, InstanceId, Mac, SecurityGroupId, SubnetId, VpcId};
use super::index::Term;
use super::model::{Eni, Instance, World};
use super::request::Tags;
use super::response::{AttachmentStatus, InstanceState};
use super::retirement::{PastRetirement, RetirementNotice};
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
    /// That EC2 will retire it.
    pub retirement: Option<RetirementNotice>,
    /// Retirements of the last week that are over, the latest first.
    pub past_retirements: Vec<PastRetirement>,
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
    /// Names of leaves that are not there (yet, or any more).
    pub missing: Vec<String>,
}

/// What IMDS would show of `instance` as of `moment`, without any fault. `None` when it is not there or off.
pub(super) fn observe(
    world: &World,
    config: &BoxConfig,
    instance: InstanceId,
    moment: Micros,
) -> Option<ImdsView> {
    let instance = world.instances.at(&instance, moment).filter(|instance| has_metadata(instance))?;
    let mut plugged: Vec<(&Arc<Eni>, Vec<String>)> = Vec::new();
    for id in world.index.having(&Term::Instance(instance.id)) {
        let now = world.enis.at(&id, moment).filter(|eni| is_plugged(eni, instance.id));
        if let Some(eni) = now {
            plugged.push((eni, torn(world, config, eni, moment)));
            continue;
        }
        // What was there a while ago is listed still, without its place.
        let since = moment.before(config.timing.imds_lingers).unwrap_or_default();
        let was =
            world.enis.ended_within(&id, since, moment).filter(|eni| is_plugged(eni, instance.id)).last();
        plugged.extend(was.map(|eni| (eni, vec!["device-number".to_owned()])));
    }
    for ghost in &instance.ghosts {
        if plugged.iter().all(|(eni, _)| eni.mac != ghost.was.mac) {
            plugged.push((&ghost.was, Vec::new()));
        }
    }
    let (primary, _) = plugged.iter().find(|(eni, _)| is_primary(eni))?;
    let view = View::of(world, &config.account_id, moment);
    let names = |eni: &Eni| view.groups(&eni.groups).into_iter().map(|group| group.group_name).collect();
    let subnet = world.subnets.get(&instance.subnet)?;
    let interface = |eni: &Eni, missing: &[String]| -> Option<ImdsInterface> {
        let attachment = eni.attachment()?;
        let subnet = world.subnets.get(&eni.subnet)?;
        let vpc = world.vpcs.at(&subnet.vpc, moment).or_else(|| world.vpcs.get(&subnet.vpc))?;
        Some(ImdsInterface {
            mac: eni.mac,
            interface_id: eni.id,
            device_number: attachment.device_index,
            network_card: (instance.kind.network_cards.len() > 1).then_some(attachment.network_card_index),
            owner_id: config.account_id.clone(),
            local_hostname: host_name(&subnet.zone, instance.id, eni.primary()),
            subnet_id: eni.subnet,
            vpc_id: subnet.vpc,
            security_group_ids: eni.groups.clone(),
            security_groups: names(eni),
            local_ipv4s: eni.v4.ipv4(),
            ipv4_prefixes: eni.v4.ipv4_prefixes(),
            ipv6s: eni.v6.ipv6(),
            ipv6_prefixes: eni.v6.ipv6_prefixes(),
            subnet_ipv4_cidr_block: subnet.ipv4,
            subnet_ipv6_cidr_blocks: subnet.ipv6.into_iter().collect(),
            vpc_ipv4_cidr_block: *vpc.ipv4.first()?,
            vpc_ipv4_cidr_blocks: vpc.ipv4.clone(),
            vpc_ipv6_cidr_blocks: vpc.ipv6.into_iter().collect(),
            missing: missing.to_vec(),
        })
    };
    let mut interfaces: Vec<ImdsInterface> =
        plugged.iter().filter_map(|(eni, missing)| interface(eni, missing)).collect();
    interfaces.sort_by_key(|interface| interface.mac);
    Some(ImdsView {
        region: config.region.clone(),
        availability_zone: instance.zone.clone(),
        availability_zone_id: subnet.zone_id.clone(),
        account_id: config.account_id.clone(),
        instance_id: instance.id,
        instance_type: instance.kind.name.clone(),
        image_id: IMAGE_ID.to_owned(),
        architecture: instance.kind.architecture.clone(),
        reservation_id: instance.reservation.to_string(),
        launch_time: instance.launched,
        mac: primary.mac,
        local_ipv4: primary.primary(),
        ipv6: primary.v6.ipv6().first().copied(),
        local_hostname: host_name(&instance.zone, instance.id, primary.primary()),
        security_groups: names(primary),
        tags: instance.tags.clone(),
        retirement: instance.retirement.as_ref().map(|retirement| retirement.notice.clone()),
        past_retirements: instance.told_retirements(moment).cloned().collect(),
        interfaces,
    })
}

/// When something that metadata shows of an instance changed, between two instants.
pub(super) fn changes(world: &World, instance: InstanceId, from: Micros, to: Micros) -> BTreeSet<Micros> {
    let enis = world.index.having(&Term::Instance(instance));
    let mut changes = BTreeSet::new();
    for eni in enis {
        changes.extend(world.enis.changes(eni).filter(|at| (from..=to).contains(at)));
    }
    changes
}

fn has_metadata(instance: &Instance) -> bool {
    matches!(instance.state, InstanceState::Running | InstanceState::ShuttingDown | InstanceState::Stopping)
}

fn is_plugged(eni: &Eni, instance: InstanceId) -> bool {
    eni.attachment().is_some_and(|a| a.instance_id == instance && a.status == AttachmentStatus::Attached)
}

fn is_primary(eni: &Eni) -> bool {
    eni.attachment().is_some_and(|a| (a.network_card_index, a.device_index) == (0, 0))
}

/// The leaves that a new interface lacks for a while (amazon-vpc-cni-k8s#194).
fn torn(world: &World, config: &BoxConfig, eni: &Eni, moment: Micros) -> Vec<String> {
    let before = moment.before(config.timing.imds_torn).unwrap_or_default();
    let attachment = eni.attachment().map(|a| (a.attachment_id, a.status));
    let was = world.enis.at(&eni.id, before).and_then(|eni| eni.attachment());
    if config.timing.imds_torn.is_zero()
        || is_primary(eni)
        || was.map(|a| (a.attachment_id, a.status)) == attachment
    {
        return Vec::new();
    }
    ["vpc-ipv4-cidr-blocks", "vpc-ipv6-cidr-blocks", "subnet-ipv4-cidr-block"].map(str::to_owned).to_vec()
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
