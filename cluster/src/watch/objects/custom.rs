//! Custom resources. The API server checks little of them, so each is read by itself: one that cannot be read says so, and hides
//! no other.

use serde::Deserialize;
use serde_json::Value;

use super::{Meta, ObjectKey, Trimmed, Version};
use crate::crd::cninode::Feature;

/// An ENIConfig as it is read.
#[derive(Deserialize)]
pub struct EniConfigObject {
    metadata: Meta,
    #[serde(default)]
    spec: Value,
}

/// An ENIConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EniConfigView {
    /// Its version.
    pub version: Version,
    /// What it says, or why it says nothing.
    pub source: Result<EniSource, String>,
}

/// From what ENIs are made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EniSource {
    /// The subnet.
    pub subnet: String,
    /// The security groups. With none, those of the primary ENI.
    #[serde(default)]
    pub security_groups: Option<Vec<String>>,
}

impl Trimmed for EniConfigObject {
    type View = EniConfigView;

    fn trim(self) -> (ObjectKey, EniConfigView) {
        let mut meta = self.metadata;
        let key = meta.key();
        let source =
            EniSource::deserialize(self.spec).map_err(|error| error.to_string()).and_then(|source| {
                if source.subnet.is_empty() { Err("its subnet is empty".to_owned()) } else { Ok(source) }
            });
        (key, EniConfigView { version: meta.resource_version, source })
    }

    fn version(&self) -> &Version {
        &self.metadata.resource_version
    }
}

/// A CNINode as it is read.
#[derive(Deserialize)]
pub struct CniNodeObject {
    metadata: Meta,
    #[serde(default)]
    spec: Value,
}

/// A CNINode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniNodeView {
    /// What tells it from another one of its name.
    pub uid: String,
    /// Its version.
    pub version: Version,
    /// What the node asks for, as it stands there, or why that cannot be read.
    pub features: Result<Vec<Feature>, String>,
    /// Who owns it, where it says so.
    pub managed_by: Option<String>,
}

impl Trimmed for CniNodeObject {
    type View = CniNodeView;

    fn trim(self) -> (ObjectKey, CniNodeView) {
        let Self { metadata: mut meta, spec } = self;
        let key = meta.key();
        let features = match spec.get("features") {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(features) => Vec::deserialize(features).map_err(|error| error.to_string()),
        };
        let managed_by = spec.get("managedBy").and_then(Value::as_str).map(str::to_owned);
        let view = CniNodeView { uid: meta.uid, version: meta.resource_version, features, managed_by };
        (key, view)
    }

    fn version(&self) -> &Version {
        &self.metadata.resource_version
    }
}
