//! Settings as the Amazon VPC CNI's introspection shows them: by its variables, with what holds here.

use std::collections::BTreeMap;

use holdfast_model::config::Config;
use holdfast_model::host::PRIMARY_MARK;
use serde_json::{Value, json};

/// Its number for source ports that are chosen at random, the only way of ours.
const RANDOM_PORTS: u8 = 2;

/// As its `GetConfigForDebug` of the network: an empty list is `null` there.
pub(crate) fn of_network(config: &Config) -> Value {
    let excluded: Vec<String> = config.snat_exclusions.value.iter().map(ToString::to_string).collect();
    let excluded = if excluded.is_empty() { Value::Null } else { json!(excluded) };
    json!(BTreeMap::from([
        ("AWS_EXTERNAL_SERVICE_CIDRS", Value::Null),
        ("AWS_VPC_CNI_NODE_PORT_SUPPORT", json!(config.node_ports.value)),
        ("AWS_VPC_ENI_MTU", json!(config.eni_mtu.value)),
        ("AWS_VPC_K8S_CNI_CONNMARK", json!(PRIMARY_MARK)),
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", excluded),
        ("AWS_VPC_K8S_CNI_EXTERNALSNAT", json!(config.external_snat.value)),
        ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", json!(RANDOM_PORTS)),
        ("AWS_VPC_K8S_CNI_VETHPREFIX", json!(config.veth_prefix.value)),
    ]))
}

/// Of the address pool. Interfaces are managed whatever the node's taints.
pub(crate) fn of_pool(config: &Config) -> Value {
    json!(BTreeMap::from([
        ("AWS_MANAGE_ENIS_NON_SCHEDULABLE", json!(true)),
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", json!(config.eni_config.value.is_some())),
        ("ENABLE_SUBNET_DISCOVERY", json!(config.subnet_discovery.value)),
        ("WARM_ENI_TARGET", json!(config.warm.value.warm_enis)),
        ("WARM_IP_TARGET", json!(config.warm.value.warm_ips)),
    ]))
}
