//! What an instance type can carry, for types that nobody knows by heart.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{InstanceType, InstanceTypeHypervisor, InstanceTypeInfo};
use holdfast_model::limits::{Hypervisor, InstanceLimits};
use holdfast_ports::cloud::CloudError;

use crate::fault::{self, bad_answer};

/// More network cards than any type has: an index beyond it is nonsense.
const MOST_CARDS: usize = 256;

/// One `DescribeInstanceTypes`. EC2 itself answers `InvalidInstanceType` for a type that it does not have.
pub(super) async fn limits_of(client: &Client, name: &str) -> Result<InstanceLimits, CloudError> {
    let call = client.describe_instance_types().instance_types(InstanceType::from(name));
    let answer = call.send().await.map_err(fault::of_sdk)?;
    answer
        .instance_types()
        .iter()
        .find(|shown| shown.instance_type().is_some_and(|shown| shown.as_str() == name))
        .and_then(limits)
        .ok_or_else(|| bad_answer(format!("the answer does not tell the network limits of {name}")))
}

/// `None` if a figure of IPv4 is missing or makes no sense.
fn limits(shown: &InstanceTypeInfo) -> Option<InstanceLimits> {
    let network = shown.network_info()?;
    let figure = |number: Option<i32>| number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    // The type's own figure counts all of its cards, and serves where none is named.
    let cards: BTreeMap<usize, u32> = network
        .network_cards()
        .iter()
        .filter_map(|card| {
            let index =
                usize::try_from(card.network_card_index()?).ok().filter(|index| *index < MOST_CARDS)?;
            Some((index, figure(card.maximum_network_interfaces())?.into()))
        })
        .collect();
    let enis = match cards.last_key_value() {
        Some((last, _)) => (0..=*last).map(|card| cards.get(&card).copied().unwrap_or(0)).collect(),
        None => vec![figure(network.maximum_network_interfaces())?.into()],
    };
    // Not `Ipv4AddressesPerSecondaryInterface`: that one is about interfaces of secondary networks, and 0 on most types.
    let ipv4_per_eni = figure(network.ipv4_addresses_per_interface())?.into();
    let ipv6_per_eni = match network.ipv6_supported() {
        Some(true) => figure(network.ipv6_addresses_per_interface()).map(u32::from),
        Some(false) => Some(0),
        None => None,
    };
    Some(InstanceLimits { enis, ipv4_per_eni, ipv6_per_eni, hypervisor: hypervisor(shown) })
}

/// `None`: not told, or one that this program has never heard of.
fn hypervisor(shown: &InstanceTypeInfo) -> Option<Hypervisor> {
    match (shown.bare_metal(), shown.hypervisor()) {
        (Some(true), _) => Some(Hypervisor::BareMetal),
        (_, Some(InstanceTypeHypervisor::Nitro)) => Some(Hypervisor::Nitro),
        (_, Some(InstanceTypeHypervisor::Xen)) => Some(Hypervisor::Xen),
        _ => None,
    }
}
