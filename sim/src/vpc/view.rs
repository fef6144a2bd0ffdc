//! The state as callers see it, with references resolved. Describe calls and [`super::SimVpc::authoritative`] share it.

use std::net::Ipv4Addr;

use super::error::ApiError;
use super::ids::{EniId, InstanceId, SecurityGroupId, SubnetId};
use super::model::{Eni, Instance, World};
use super::op::resource_tags;
use super::response::{
    GroupIdentifier, InstanceDescription, InstanceState, NetworkInterface, PrivateIp, Reservation,
    SecurityGroupDescription, SubnetDescription, TagDescription, VpcDescription,
};

/// A reading of the state at one instant; everything in the order of ids.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub(super) world: &'a World,
    pub(super) account: &'a str,
}

impl View<'_> {
    /// One ENI, or EC2's error for its absence.
    pub fn network_interface(&self, id: &EniId) -> Result<NetworkInterface, ApiError> {
        Ok(self.eni(self.world.eni(id)?))
    }

    /// All ENIs.
    pub fn network_interfaces(&self) -> Vec<NetworkInterface> {
        self.world.enis.values().map(|eni| self.eni(eni)).collect()
    }

    /// The ENIs bound to an instance, by card and device index.
    pub fn network_interfaces_of(&self, instance: &InstanceId) -> Vec<NetworkInterface> {
        self.world.enis_of(instance).into_iter().map(|eni| self.eni(eni)).collect()
    }

    /// All instances, ended ones too.
    pub fn instances(&self) -> Vec<Reservation> {
        self.world.instances.values().map(|instance| self.instance(instance)).collect()
    }

    /// One subnet, or EC2's error for its absence.
    pub fn subnet(&self, id: &SubnetId) -> Result<SubnetDescription, ApiError> {
        self.world.subnet(id)?;
        Ok(self
            .subnets()
            .into_iter()
            .find(|subnet| subnet.subnet_id == *id)
            .expect("it was found a line above"))
    }

    /// All subnets.
    pub fn subnets(&self) -> Vec<SubnetDescription> {
        let describe = |subnet: &std::sync::Arc<super::subnet::Subnet>| SubnetDescription {
            subnet_id: subnet.id.clone(),
            vpc_id: subnet.vpc.clone(),
            owner_id: self.account.to_owned(),
            availability_zone: subnet.zone.clone(),
            availability_zone_id: subnet.zone_id.clone(),
            cidr_block: subnet.ipv4,
            ipv6_cidr_block: subnet.ipv6,
            available_ip_address_count: subnet.free(),
            default_for_az: false,
            ipv6_native: subnet.ipv4.is_none(),
            tags: subnet.tags.clone(),
        };
        self.world.subnets.values().map(describe).collect()
    }

    /// All security groups.
    pub fn security_groups(&self) -> Vec<SecurityGroupDescription> {
        let groups = self.world.groups.values().map(|group| SecurityGroupDescription {
            group_id: group.id.clone(),
            group_name: group.name.clone(),
            description: format!("{} group", group.name),
            vpc_id: group.vpc.clone(),
            owner_id: self.account.to_owned(),
            tags: group.tags.clone(),
        });
        groups.collect()
    }

    /// All VPCs.
    pub fn vpcs(&self) -> Vec<VpcDescription> {
        let vpcs = self.world.vpcs.values().map(|vpc| VpcDescription {
            vpc_id: vpc.id.clone(),
            owner_id: self.account.to_owned(),
            cidr_blocks: vpc.ipv4.clone(),
            ipv6_cidr_block: vpc.ipv6,
            is_default: false,
            tags: vpc.tags.clone(),
        });
        vpcs.collect()
    }

    /// All tags of everything.
    pub fn tags(&self) -> Vec<TagDescription> {
        let mut all = Vec::new();
        for (resource_type, id, tags) in resource_tags(self.world) {
            all.extend(tags.iter().map(|(key, value)| TagDescription {
                resource_id: id.to_owned(),
                resource_type: resource_type.to_owned(),
                key: key.clone(),
                value: value.clone(),
            }));
        }
        all.sort_by(|a, b| (&a.resource_id, &a.key).cmp(&(&b.resource_id, &b.key)));
        all
    }

    pub(super) fn groups(&self, ids: &[SecurityGroupId]) -> Vec<GroupIdentifier> {
        let name = |id| self.world.groups.get(id).map_or_else(String::new, |group| group.name.clone());
        ids.iter().map(|id| GroupIdentifier { group_id: id.clone(), group_name: name(id) }).collect()
    }

    fn eni(&self, eni: &Eni) -> NetworkInterface {
        let subnet = self.world.subnets.get(&eni.subnet).expect("a subnet outlives its ENIs");
        let address =
            |(place, address): (usize, &Ipv4Addr)| PrivateIp { address: *address, primary: place == 0 };
        NetworkInterface {
            network_interface_id: eni.id.clone(),
            subnet_id: eni.subnet.clone(),
            vpc_id: subnet.vpc.clone(),
            availability_zone: subnet.zone.clone(),
            description: eni.description.clone(),
            owner_id: self.account.to_owned(),
            requester_id: eni.requester.clone(),
            requester_managed: false,
            status: eni.status(),
            mac_address: eni.mac,
            private_ip_addresses: eni.ipv4.iter().enumerate().map(address).collect(),
            ipv4_prefixes: eni.ipv4_prefixes.clone(),
            ipv6_addresses: eni.ipv6.clone(),
            ipv6_prefixes: eni.ipv6_prefixes.clone(),
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
            reservation_id: instance.reservation.clone(),
            owner_id: self.account.to_owned(),
            instance: InstanceDescription {
                instance_id: instance.id.clone(),
                image_id: IMAGE_ID.to_owned(),
                instance_type: instance.kind.name.clone(),
                state: instance.state,
                availability_zone: instance.zone.clone(),
                subnet_id: instance.subnet.clone(),
                vpc_id: instance.vpc.clone(),
                private_ip_address: address,
                private_dns_name: match instance.state {
                    InstanceState::Terminated => String::new(),
                    _ => host_name(&instance.zone, &instance.id, address),
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
pub(super) fn host_name(zone: &str, id: &InstanceId, address: Option<Ipv4Addr>) -> String {
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
