//! The cluster's ConfigMaps: `amazon-vpc-cni`, which the Amazon VPC CNI's chart makes and its node agent never reads, and `aws-node`,
//! which articles name.

use std::collections::BTreeMap;

use holdfast_model::settings::{SettingText, SettingsLayer, SettingsPlace};

use super::layers::Place;
use super::reader::{Problem, Wrong};
use super::values::boolean;
use super::{is_for_clusters, not_for_clusters};

/// What the Amazon VPC CNI's chart calls its ConfigMap.
pub(crate) const AMAZON_VPC_CNI: &str = "amazon-vpc-cni";

/// What articles call theirs: variables under their own names.
pub(crate) const AWS_NODE: &str = "aws-node";

/// Keys of `amazon-vpc-cni`, and the variables that they stand for.
const KEYS: &[(&str, &str)] = &[
    ("annotate-pod-ip", "ANNOTATE_POD_IP"),
    ("enable-custom-networking", "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG"),
    ("enable-ipam-ip-allocation-on-non-schedulable-nodes", "AWS_MANAGE_ENIS_NON_SCHEDULABLE"),
    ("enable-ipv4", "ENABLE_IPv4"),
    ("enable-ipv6", "ENABLE_IPv6"),
    ("enable-node-port-services", "AWS_VPC_CNI_NODE_PORT_SUPPORT"),
    ("minimum-ip-target", "MINIMUM_IP_TARGET"),
    ("warm-eni-target", "WARM_ENI_TARGET"),
    ("warm-ip-target", "WARM_IP_TARGET"),
    ("warm-prefix-target", "WARM_PREFIX_TARGET"),
];

/// Keys that are for others: for nodes with Windows, for controllers of the cluster.
const OTHERS: &[&str] = &[
    "branch-eni-cooldown",
    "enable-network-policy-controller",
    "enable-windows-ipam",
    "enable-windows-prefix-delegation",
    "windows-minimum-ip-target",
    "windows-warm-ip-target",
    "windows-warm-prefix-target",
];

/// Keys that are for nodes with Windows in a cluster that has them.
const SHARED: &[&str] = &["minimum-ip-target", "warm-ip-target", "warm-prefix-target"];

/// What the Amazon VPC CNI's chart writes into every cluster, whether it has such nodes or not.
const UNASKED: &[(&str, &str)] =
    &[("minimum-ip-target", "3"), ("warm-ip-target", "1"), ("warm-prefix-target", "0")];

/// What `amazon-vpc-cni` says.
pub(super) fn amazon_vpc_cni(data: &BTreeMap<String, String>, wrong: &mut Wrong) -> SettingsLayer {
    let is_on = |key: &str| data.get(key).is_some_and(|text| boolean(text.trim()) == Ok(true));
    let windows = is_on("enable-windows-ipam") || is_on("enable-windows-prefix-delegation");
    let asked = data.iter().filter(|(key, text)| {
        let unasked = UNASKED.contains(&(key.as_str(), text.trim()));
        let theirs = windows && SHARED.contains(&key.as_str());
        !unasked && !theirs && !OTHERS.contains(&key.as_str())
    });
    layer(AMAZON_VPC_CNI, asked, wrong)
}

/// What `aws-node` says.
pub(super) fn aws_node(data: &BTreeMap<String, String>, wrong: &mut Wrong) -> SettingsLayer {
    layer(AWS_NODE, data.iter(), wrong)
}

fn layer<'a>(
    name: &str,
    data: impl Iterator<Item = (&'a String, &'a String)>,
    wrong: &mut Wrong,
) -> SettingsLayer {
    let place = SettingsPlace::ConfigMap(name.to_owned());
    let variable = |key: &str| {
        let by_key = KEYS.iter().find(|(known, _)| *known == key).map(|(_, variable)| *variable);
        by_key.or_else(|| is_for_clusters(key).then_some(key)).map(str::to_owned)
    };
    let mut values: BTreeMap<String, SettingText> = BTreeMap::new();
    for (key, text) in data {
        let text = text.trim();
        let problem = |wanted: String| Problem::new(&Place::Cluster(place.clone()), key, text, wanted);
        let Some(variable) = variable(key) else {
            wrong.push(problem(not_for_clusters(key)));
            continue;
        };
        if let Some(SettingText { key: first, .. }) = values.get(&variable) {
            wrong.push(problem(format!("{first} says the same, and counts")));
            continue;
        }
        values.insert(variable, SettingText { key: key.clone(), text: text.to_owned() });
    }
    SettingsLayer { place, values }
}

#[cfg(test)]
mod tests;
