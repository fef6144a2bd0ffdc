//! EC2's side of a node, from the box's truth.

use anyhow::Context;
use holdfast_model::ids::MacAddr;
use holdfast_sim::admin::State;
use holdfast_sim::vpc::InstanceId;
use ipnet::Ipv4AddrRange;

use crate::oracle::picture::{Cloud, Eni};

/// What an instance has, and what is attached to none.
pub fn cloud_of(state: &State, instance: &InstanceId) -> anyhow::Result<Cloud> {
    let mut cloud = Cloud {
        vpc: state.vpcs.iter().flat_map(|vpc| vpc.cidr_blocks.iter().copied()).collect(),
        ..Cloud::default()
    };
    for eni in &state.network_interfaces {
        let id = eni.network_interface_id.to_string();
        let Some(at) = &eni.attachment else {
            cloud.loose.push(id);
            continue;
        };
        if at.instance_id != *instance {
            continue;
        }
        let subnet = state.subnets.iter().find(|subnet| subnet.subnet_id == eni.subnet_id);
        cloud.enis.push(Eni {
            mac: MacAddr(eni.mac_address.0),
            card: at.network_card_index,
            device: at.device_index,
            subnet: subnet
                .and_then(|subnet| subnet.cidr_block)
                .with_context(|| format!("{id} has no subnet"))?,
            primary: eni.primary_ip().with_context(|| format!("{id} has no address"))?,
            secondary: {
                let prefixes = eni.ipv4_prefixes.iter();
                let of_prefixes = prefixes.flat_map(|net| Ipv4AddrRange::new(net.network(), net.broadcast()));
                eni.secondary_ips().chain(of_prefixes).collect()
            },
            ipv6_prefixes: eni.ipv6_prefixes.clone(),
            groups: eni.groups.iter().map(|group| group.group_id.to_string()).collect(),
            ends_with_node: at.delete_on_termination,
            description: eni.description.clone(),
            tags: eni.tags.clone(),
            id,
        });
    }
    Ok(cloud)
}
