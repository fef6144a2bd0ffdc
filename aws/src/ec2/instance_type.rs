//! What an instance type can carry, for types that nobody knows by heart.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{InstanceType, NetworkInfo};
use holdfast_model::limits::InstanceLimits;
use holdfast_ports::cloud::CloudError;

use crate::fault::{self, bad_answer};

/// One `DescribeInstanceTypes`. EC2 itself answers `InvalidInstanceType` for a type that it does not have.
pub(super) async fn limits_of(client: &Client, name: &str) -> Result<InstanceLimits, CloudError> {
    let call = client.describe_instance_types().instance_types(InstanceType::from(name));
    let answer = call.send().await.map_err(fault::of_sdk)?;
    answer
        .instance_types()
        .iter()
        .find(|shown| shown.instance_type().is_some_and(|shown| shown.as_str() == name))
        .and_then(|shown| limits(shown.network_info()?))
        .ok_or_else(|| bad_answer(format!("the answer does not tell the network limits of {name}")))
}

/// `None` if a figure is missing or makes no sense.
fn limits(network: &NetworkInfo) -> Option<InstanceLimits> {
    let figure = |number: Option<i32>| number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    let default_card = network.default_network_card_index().unwrap_or(0);
    // The type's own figure counts all of its cards.
    let on_card = network
        .network_cards()
        .iter()
        .find(|card| card.network_card_index() == Some(default_card))
        .and_then(|card| figure(card.maximum_network_interfaces()));
    Some(InstanceLimits {
        enis: on_card.or_else(|| figure(network.maximum_network_interfaces()))?.into(),
        ipv4_per_eni: figure(network.ipv4_addresses_per_interface())?.into(),
        cards: figure(network.maximum_network_cards()).unwrap_or(1).into(),
    })
}
