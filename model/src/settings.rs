//! What a cluster says of its nodes' settings, as it was given: the last word that was heard is kept.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Where in the cluster a value is given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SettingsPlace {
    /// A ConfigMap in the daemon's namespace, by its name.
    ConfigMap(String),
    /// A group of nodes that this one is of, by its name.
    NodeGroup(String),
    /// The ENIConfig that applies to this node, by its name.
    EniConfig(String),
}

impl fmt::Display for SettingsPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMap(name) => write!(f, "ConfigMap {name}"),
            Self::NodeGroup(name) => write!(f, "node group {name}"),
            Self::EniConfig(name) => write!(f, "ENIConfig {name}"),
        }
    }
}

/// A value as somebody gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SettingText {
    /// What it is called there.
    pub key: String,
    /// What is said.
    pub text: String,
}

/// What one place says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SettingsLayer {
    /// Which.
    pub place: SettingsPlace,
    /// By the variable that it is about.
    pub values: BTreeMap<String, SettingText>,
}

/// What the cluster says to this node, lowest layer first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterSettings {
    /// Of what several say the last one's counts.
    pub layers: Vec<SettingsLayer>,
}

impl ClusterSettings {
    /// Bytes of text that are kept. ConfigMaps may have a mebibyte each; all settings together need a fraction of this.
    pub const MOST: usize = 48 * 1024;

    /// How many bytes of text there are.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(SettingsLayer::bytes).sum()
    }
}

impl SettingsLayer {
    /// How many bytes of text there are.
    pub fn bytes(&self) -> usize {
        let name = match &self.place {
            SettingsPlace::ConfigMap(name)
            | SettingsPlace::NodeGroup(name)
            | SettingsPlace::EniConfig(name) => name.len(),
        };
        name + self
            .values
            .iter()
            .map(|(name, given)| name.len() + given.key.len() + given.text.len())
            .sum::<usize>()
    }
}
