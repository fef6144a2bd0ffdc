//! Configuration maps.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Meta, ObjectKey, Trimmed, Version};

/// A ConfigMap as it is read.
#[derive(Deserialize)]
pub struct ConfigMapObject {
    metadata: Meta,
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

/// A ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMapView {
    /// Its version.
    pub version: Version,
    /// What it holds.
    pub data: BTreeMap<String, String>,
}

impl Trimmed for ConfigMapObject {
    type View = ConfigMapView;

    fn trim(self) -> (ObjectKey, ConfigMapView) {
        let mut meta = self.metadata;
        (meta.key(), ConfigMapView { version: meta.resource_version, data: self.data.unwrap_or_default() })
    }

    fn version(&self) -> &Version {
        &self.metadata.resource_version
    }
}
