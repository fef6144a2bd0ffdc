//! Where settings are given, and whose word counts.
//!
//! Lowest first: the default; the ConfigMaps of the cluster; the groups that the node is of; the environment of the process. What
//! the Amazon VPC CNI's manifest sets unasked, to what holds anyway, is a word of nobody's: given in the environment so, it
//! counts less than the cluster's.

use holdfast_model::config::Origin;
use holdfast_model::settings::{ClusterSettings, SettingText, SettingsLayer, SettingsPlace};

/// Where a value is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The environment of the process.
    Environment,
    /// The cluster.
    Cluster(SettingsPlace),
}

impl Place {
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Environment => Origin::Environment,
            Self::Cluster(SettingsPlace::ConfigMap(_) | SettingsPlace::EniConfig(_)) => Origin::ConfigMap,
            Self::Cluster(SettingsPlace::NodeGroup(_)) => Origin::NodeGroup,
        }
    }
}

/// A value as somebody gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) place: Place,
    /// What it is called there.
    pub(super) key: String,
    pub(super) text: String,
}

/// All that is given.
pub(crate) struct Layers<'a, F> {
    environment: F,
    cluster: &'a ClusterSettings,
}

impl<'a, F: Fn(&str) -> Option<String>> Layers<'a, F> {
    pub(crate) fn new(environment: F, cluster: &'a ClusterSettings) -> Self {
        Self { environment, cluster }
    }

    /// What the cluster says.
    pub(super) fn cluster(&self) -> &ClusterSettings {
        self.cluster
    }

    /// What the environment says; empty is nothing.
    pub(super) fn environment(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|text| !text.is_empty())
    }

    /// What is given for this variable, the word that counts first.
    pub(super) fn of(&self, name: &str) -> Vec<Given> {
        let given = |text| Given { place: Place::Environment, key: name.to_owned(), text };
        let environment = self.environment(name).map(given);
        let (said, unasked) = match environment {
            Some(given) if is_unasked(name, &given.text) => (None, Some(given)),
            said => (said, None),
        };
        let of_layer = |layer: &SettingsLayer| {
            let SettingText { key, text } = layer.values.get(name).filter(|given| !given.text.is_empty())?;
            Some(Given { place: Place::Cluster(layer.place.clone()), key: key.clone(), text: text.clone() })
        };
        let cluster = self.cluster.layers.iter().rev().filter_map(of_layer);
        said.into_iter().chain(cluster).chain(unasked).collect()
    }
}

/// What the manifest of the Amazon VPC CNI sets in every cluster (reference: its chart's default values, 1.23.1). Each is what
/// holds without it, too.
const UNASKED: &[(&str, &str)] = &[
    ("ADDITIONAL_ENI_TAGS", "{}"),
    ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "true"),
    ("AWS_VPC_ENI_MTU", "9001"),
    ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "false"),
    ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "false"),
    ("AWS_VPC_K8S_CNI_LOGLEVEL", "DEBUG"),
    ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng"),
    ("AWS_VPC_K8S_CNI_VETHPREFIX", "eni"),
    ("DISABLE_NETWORK_RESOURCE_PROVISIONING", "false"),
    ("ENABLE_IMDS_ONLY_MODE", "false"),
    ("ENABLE_IPv4", "true"),
    ("ENABLE_IPv6", "false"),
    ("ENABLE_MULTI_NIC", "false"),
    ("ENABLE_POD_ENI", "false"),
    ("ENABLE_PREFIX_DELEGATION", "false"),
    ("ENABLE_SUBNET_DISCOVERY", "true"),
    ("NETWORK_POLICY_ENFORCING_MODE", "standard"),
    ("WARM_ENI_TARGET", "1"),
    ("WARM_PREFIX_TARGET", "1"),
];

fn is_unasked(name: &str, text: &str) -> bool {
    UNASKED.contains(&(name, text))
}
