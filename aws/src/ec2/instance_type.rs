//! What an instance type can carry, for types that nobody knows by heart.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{InstanceType, InstanceTypeHypervisor, InstanceTypeInfo, NetworkInfo};
use holdfast_model::limits::InstanceLimits;
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
        .and_then(|shown| {
            Some(InstanceLimits {
                supports_prefixes: supports_prefixes(shown),
                ..limits(shown.network_info()?)?
            })
        })
        .ok_or_else(|| bad_answer(format!("the answer does not tell the network limits of {name}")))
}

/// `None` if a figure is missing or makes no sense.
fn limits(network: &NetworkInfo) -> Option<InstanceLimits> {
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
    let ipv4_per_eni = figure(network.ipv4_addresses_per_interface())?.into();
    Some(InstanceLimits { enis, ipv4_per_eni, supports_prefixes: None })
}

/// Prefixes take Nitro or bare metal (AWS, "Assigning prefixes to network interfaces").
fn supports_prefixes(shown: &InstanceTypeInfo) -> Option<bool> {
    let nitro = shown.hypervisor().map(|hypervisor| *hypervisor == InstanceTypeHypervisor::Nitro);
    match (nitro, shown.bare_metal()) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), _) => Some(false),
        (None, _) => None,
    }
}
