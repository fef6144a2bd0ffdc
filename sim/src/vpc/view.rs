//! The state as callers see it, with references resolved. Describe calls and [`super::SimVpc::authoritative`] share it.
//!
//! A view may be blurred: each object is then shown as it was some time ago, each at its own age.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::error::ApiError;
use super::harm::Blur;
use super::ids::{EniId, InstanceId, SecurityGroupId, SubnetId};
use super::index::Term;
use super::model::{Eni, Instance, SecurityGroup, Subnet, Vpc, World};
use super::request::Tags;
use super::response::{
    GroupIdentifier, InstanceDescription, InstanceState, InstanceStatus, NetworkInterface, PrivateIp,
    Reservation, SecurityGroupDescription, SubnetDescription, TagDescription, VpcDescription,
};
use super::table::Table;
use super::time::Micros;

/// How old each object is shown.
#[derive(Debug, Clone)]
pub(super) struct Ages {
    pub(super) blur: Blur,
    /// Up to this much older, drawn for each object.
    pub(super) jitter: Duration,
    /// What the draw depends on beside the object.
    pub(super) draw: u64,
}

impl Ages {
    fn of(&self, id: &str) -> Duration {
        let mut age = self.blur.lag;
        let jitter = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX);
        if jitter > 0 {
            let mut hasher = DefaultHasher::new();
            (self.draw, id).hash(&mut hasher);
            age += Duration::from_micros(hasher.finish() % jitter);
        }
        let own = self.blur.lagging.iter().filter(|(eni, _)| eni.as_str() == id).map(|(_, by)| *by);
        age.max(own.max().unwrap_or_default())
    }

    fn is_sharp(&self) -> bool {
        self.blur == Blur { page: self.blur.page, ..Blur::default() } && self.jitter.is_zero()
    }
}

/// A reading of the state at one instant; everything in the order of ids.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub(super) world: &'a World,
    account: &'a str,
    now: Micros,
    /// `None`: everything as it is.
    ages: Option<&'a Ages>,
    /// Results of a page at most.
    pub(super) page: Option<u32>,
}

impl<'a> View<'a> {
    /// Everything as it is.
    pub(super) fn of(world: &'a World, account: &'a str, now: Micros) -> Self {
        Self { world, account, now, ages: None, page: None }
    }

    /// Each object at its age.
    pub(super) fn blurred(world: &'a World, account: &'a str, now: Micros, ages: &'a Ages) -> Self {
        Self {
            ages: (!ages.is_sharp()).then_some(ages),
            page: ages.blur.page,
            ..Self::of(world, account, now)
        }
    }

    fn seen<K: Copy + Ord + AsRef<str>, T: Clone>(
        &self,
        table: &'a Table<K, T>,
        id: &K,
    ) -> Option<&'a Arc<T>> {
        match self.ages {
            None => table.get(id),
            Some(ages) => table.at(id, self.now.before(ages.of(id.as_ref())).unwrap_or_default()),
        }
    }

    /// The ids of what may be seen, from behind `after` on.
    fn ids<K: Copy + Ord, T: Clone>(
        &self,
        table: &'a Table<K, T>,
        after: Option<K>,
    ) -> Box<dyn Iterator<Item = K> + 'a> {
        match self.ages {
            None => Box::new(table.ids(after)),
            Some(_) => Box::new(table.ids_ever(after)),
        }
    }

    /// One ENI, or EC2's error for its absence.
    pub fn network_interface(&self, id: &EniId) -> Result<NetworkInterface, ApiError> {
        Ok(self.eni(self.world.eni(id)?))
    }

    /// All ENIs.
    pub fn network_interfaces(&self) -> Vec<NetworkInterface> {
        self.eni_ids(None).filter_map(|id| self.seen_eni(id)).collect()
    }

    pub(super) fn eni_ids(&self, after: Option<EniId>) -> Box<dyn Iterator<Item = EniId> + 'a> {
        self.ids(&self.world.enis, after)
    }

    /// An ENI as this view shows it.
    pub(super) fn seen_eni(&self, id: EniId) -> Option<NetworkInterface> {
        if self.ages.is_some_and(|ages| ages.blur.without.contains(&id)) {
            return None;
        }
        self.seen(&self.world.enis, &id).map(|eni| self.eni(eni))
    }

    /// The ENIs bound to an instance, by card and device index.
    pub fn network_interfaces_of(&self, instance: &InstanceId) -> Vec<NetworkInterface> {
        let bound = |eni: &NetworkInterface| {
            eni.attachment.as_ref().is_some_and(|attachment| attachment.instance_id == *instance)
        };
        let candidates = self.world.index.having(&Term::Instance(*instance));
        let mut found: Vec<_> = candidates.filter_map(|id| self.seen_eni(id)).filter(bound).collect();
        found.sort_by_key(|eni| eni.attachment.as_ref().map(|a| (a.network_card_index, a.device_index)));
        found
    }

    /// All instances, ended ones too.
    pub fn instances(&self) -> Vec<Reservation> {
        self.instance_ids(None).filter_map(|id| self.seen_instance(id)).collect()
    }

    pub(super) fn instance_ids(
        &self,
        after: Option<InstanceId>,
    ) -> Box<dyn Iterator<Item = InstanceId> + 'a> {
        self.ids(&self.world.instances, after)
    }

    pub(super) fn seen_instance(&self, id: InstanceId) -> Option<Reservation> {
        self.seen(&self.world.instances, &id).map(|instance| self.instance(instance))
    }

    pub(super) fn seen_instance_status(&self, id: InstanceId) -> Option<InstanceStatus> {
        let instance = self.seen(&self.world.instances, &id)?;
        let zone_id = self.world.subnets.get(&instance.subnet).map(|subnet| subnet.zone_id.clone());
        Some(InstanceStatus {
            instance_id: id,
            availability_zone: instance.zone.clone(),
            availability_zone_id: zone_id.unwrap_or_default(),
            state: instance.state,
            events: instance.events(self.now),
        })
    }

    /// One subnet, or EC2's error for its absence.
    pub fn subnet(&self, id: &SubnetId) -> Result<SubnetDescription, ApiError> {
        Ok(self.describe_subnet(self.world.subnet(id)?))
    }

    /// All subnets.
    pub fn subnets(&self) -> Vec<SubnetDescription> {
        let seen = self.ids(&self.world.subnets, None).filter_map(|id| self.seen(&self.world.subnets, &id));
        seen.map(|subnet| self.describe_subnet(subnet)).collect()
    }

    /// All security groups.
    pub fn security_groups(&self) -> Vec<SecurityGroupDescription> {
        let seen = self.ids(&self.world.groups, None).filter_map(|id| self.seen(&self.world.groups, &id));
        seen.map(|group| self.describe_group(group)).collect()
    }

    /// All VPCs.
    pub fn vpcs(&self) -> Vec<VpcDescription> {
        let seen = self.ids(&self.world.vpcs, None).filter_map(|id| self.seen(&self.world.vpcs, &id));
        seen.map(|vpc| self.describe_vpc(vpc)).collect()
    }

    /// All tags of everything.
    pub fn tags(&self) -> Vec<TagDescription> {
        let world = self.world;
        let mut all = Vec::new();
        let mut add = |resource_type: &str, id: &str, tags: &Tags| {
            all.extend(tags.iter().map(|(key, value)| TagDescription {
                resource_id: id.to_owned(),
                resource_type: resource_type.to_owned(),
                key: key.clone(),
                value: value.clone(),
            }));
        };
        for eni in self.ids(&world.enis, None).filter_map(|id| self.seen(&world.enis, &id)) {
            add("network-interface", eni.id.as_str(), &eni.tags);
        }
        for instance in self.ids(&world.instances, None).filter_map(|id| self.seen(&world.instances, &id)) {
            add("instance", instance.id.as_str(), &instance.tags);
        }
        for group in self.ids(&world.groups, None).filter_map(|id| self.seen(&world.groups, &id)) {
            add("security-group", group.id.as_str(), &group.tags);
        }
        for subnet in self.ids(&world.subnets, None).filter_map(|id| self.seen(&world.subnets, &id)) {
            add("subnet", subnet.id.as_str(), &subnet.tags);
        }
        for vpc in self.ids(&world.vpcs, None).filter_map(|id| self.seen(&world.vpcs, &id)) {
            add("vpc", vpc.id.as_str(), &vpc.tags);
        }
        all.sort_by(|a, b| (&a.resource_id, &a.key).cmp(&(&b.resource_id, &b.key)));
        all
    }

    pub(super) fn groups(&self, ids: &[SecurityGroupId]) -> Vec<GroupIdentifier> {
        let name = |id| self.world.groups.get(id).map_or_else(String::new, |group| group.name.clone());
        ids.iter().map(|id| GroupIdentifier { group_id: *id, group_name: name(id) }).collect()
    }

    fn describe_subnet(&self, subnet: &Subnet) -> SubnetDescription {
        SubnetDescription {
            subnet_id: subnet.id,
            vpc_id: subnet.vpc,
            owner_id: self.account.to_owned(),
            availability_zone: subnet.zone.clone(),
            availability_zone_id: subnet.zone_id.clone(),
            cidr_block: subnet.ipv4,
            ipv6_cidr_block: subnet.ipv6,
            available_ip_address_count: subnet.free,
            default_for_az: false,
            ipv6_native: subnet.ipv4.is_none(),
            tags: subnet.tags.clone(),
        }
    }

    fn describe_group(&self, group: &SecurityGroup) -> SecurityGroupDescription {
        SecurityGroupDescription {
            group_id: group.id,
            group_name: group.name.clone(),
            description: format!("{} group", group.name),
            vpc_id: group.vpc,
            owner_id: self.account.to_owned(),
            tags: group.tags.clone(),
        }
    }

    fn describe_vpc(&self, vpc: &Vpc) -> VpcDescription {
        VpcDescription {
            vpc_id: vpc.id,
            owner_id: self.account.to_owned(),
            cidr_blocks: vpc.ipv4.clone(),
            ipv6_cidr_block: vpc.ipv6,
            is_default: false,
            tags: vpc.tags.clone(),
        }
    }

    pub(super) fn eni(&self, eni: &Eni) -> NetworkInterface {
        // A subnet outlives its ENIs, also in a view that shows it before it was there.
        let subnet = self.world.subnets.get(&eni.subnet).expect("a subnet outlives its ENIs");
        let hidden = |address: Ipv4Addr| {
            self.ages.is_some_and(|ages| ages.blur.without_addresses.contains(&IpAddr::V4(address)))
        };
        let private_ip_addresses = eni
            .v4
            .ipv4()
            .into_iter()
            .enumerate()
            .map(|(place, address)| PrivateIp { address, primary: place == 0 })
            .filter(|ip| ip.primary || !hidden(ip.address));
        NetworkInterface {
            network_interface_id: eni.id,
            subnet_id: eni.subnet,
            vpc_id: subnet.vpc,
            availability_zone: subnet.zone.clone(),
            description: eni.description.clone(),
            owner_id: self.account.to_owned(),
            requester_id: eni.requester.clone(),
            requester_managed: false,
            status: eni.status(),
            mac_address: eni.mac,
            private_ip_addresses: private_ip_addresses.collect(),
            ipv4_prefixes: eni.v4.ipv4_prefixes(),
            ipv6_addresses: eni.v6.ipv6(),
            ipv6_prefixes: eni.v6.ipv6_prefixes(),
            source_dest_check: eni.source_dest_check,
            groups: self.groups(&eni.groups),
            interface_type: eni.interface_type.clone(),
            attachment: eni.attachment().cloned(),
            connection_tracking: eni.connection_tracking,
            tags: eni.tags.clone(),
        }
    }

    fn instance(&self, instance: &Instance) -> Reservation {
        let network_interfaces = self.network_interfaces_of(&instance.id);
        let primary = network_interfaces.first();
        let address = primary.and_then(NetworkInterface::primary_ip);
        Reservation {
            reservation_id: instance.reservation,
            owner_id: self.account.to_owned(),
            instance: InstanceDescription {
                instance_id: instance.id,
                image_id: IMAGE_ID.to_owned(),
                instance_type: instance.kind.name.clone(),
                state: instance.state,
                availability_zone: instance.zone.clone(),
                subnet_id: instance.subnet,
                vpc_id: instance.vpc,
                private_ip_address: address,
                private_dns_name: match instance.state {
                    InstanceState::Terminated => String::new(),
                    _ => host_name(&instance.zone, instance.id, address),
                },
                architecture: instance.kind.architecture.clone(),
                hypervisor: instance.kind.hypervisor.clone(),
                launch_time: instance.launched,
                groups: primary.map_or_else(Vec::new, |eni| eni.groups.clone()),
                tags: instance.tags.clone(),
                network_interfaces,
            },
        }
    }
}

/// Every instance runs the same made-up image.
pub(super) const IMAGE_ID: &str = "ami-0123456789abcdef0";

/// The host name that the VPC's DNS gives: from the address, or from the id where there is no IPv4.
pub(super) fn host_name(zone: &str, id: InstanceId, address: Option<Ipv4Addr>) -> String {
    let region = zone.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let domain = match region {
        "us-east-1" => "ec2.internal".to_owned(),
        _ => format!("{region}.compute.internal"),
    };
    match address {
        Some(address) => format!("ip-{}.{domain}", address.to_string().replace('.', "-")),
        None => format!("{id}.{domain}"),
    }
}
