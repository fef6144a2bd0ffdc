//! The DaemonSet as it is, all of it: the view that nodes have of it tells them only whether it is there.

use std::sync::Arc;

use holdfast_cluster::Version;
use holdfast_cluster::watch::{Meta, ObjectKey, Trimmed};
use serde::Deserialize;
use serde_json::Value;

/// A DaemonSet as it is read.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub struct DaemonSetObject {
    meta: Meta,
    object: Value,
}

/// A DaemonSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSetView {
    /// What tells it from another one of its name.
    pub uid: String,
    /// Its version.
    pub version: Version,
    /// Whether it is being deleted.
    pub deleted: bool,
    /// All of it but its status, which changes all the time.
    pub object: Arc<Value>,
}

impl TryFrom<Value> for DaemonSetObject {
    type Error = serde_json::Error;

    fn try_from(mut object: Value) -> Result<Self, Self::Error> {
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        let meta = Meta::deserialize(object.get("metadata").unwrap_or(&Value::Null))?;
        Ok(Self { meta, object })
    }
}

impl Trimmed for DaemonSetObject {
    type View = DaemonSetView;

    fn trim(self) -> (ObjectKey, DaemonSetView) {
        let Self { meta, object } = self;
        let key = ObjectKey::new(meta.namespace, meta.name);
        let view = DaemonSetView {
            uid: meta.uid,
            version: meta.resource_version,
            deleted: meta.deletion_timestamp,
            object: Arc::new(object),
        };
        (key, view)
    }

    fn version(&self) -> &Version {
        &self.meta.resource_version
    }
}
