//! DaemonSets.

use serde::Deserialize;

use super::{Meta, ObjectKey, Trimmed, Version};

/// A DaemonSet as it is read.
#[derive(Deserialize)]
pub struct DaemonSetObject {
    metadata: Meta,
}

/// A DaemonSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonSetView {
    /// Its version.
    pub version: Version,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl Trimmed for DaemonSetObject {
    type View = DaemonSetView;

    fn trim(self) -> (ObjectKey, DaemonSetView) {
        let mut meta = self.metadata;
        let view =
            DaemonSetView { deleting: meta.deletion_timestamp, version: meta.resource_version.clone() };
        (meta.key(), view)
    }

    fn version(&self) -> &Version {
        &self.metadata.resource_version
    }
}
