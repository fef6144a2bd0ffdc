//! Pods of this node.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Meta, ObjectKey, Trimmed, Version};

/// The annotation in which a pod's branch ENI is told, by the controller that made it.
pub const POD_ENI: &str = "vpc.amazonaws.com/pod-eni";
/// The annotation in which a pod's address is told, for those who see its status too late.
pub const POD_IPS: &str = "vpc.amazonaws.com/pod-ips";
/// On the API server's image of a pod that kubelet has from a file: the id by which kubelet and runtime know it.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod as it is read.
#[derive(Deserialize)]
pub struct PodObject {
    metadata: Meta,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodView {
    /// What tells it from another one of its name, for the API server.
    pub uid: Box<str>,
    /// By which the runtime knows it, where that is another one: a pod that kubelet has from a file.
    pub runtime_uid: Option<Box<str>>,
    /// Its version.
    pub version: Version,
    /// Whether it has any annotation.
    pub annotated: bool,
    /// [`POD_IPS`], as it is.
    pub pod_ips: Option<Box<str>>,
    /// [`POD_ENI`], as it is.
    pub pod_eni: Option<Box<str>>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl PodView {
    pub(crate) fn new(
        uid: String,
        version: Version,
        mut annotations: BTreeMap<String, String>,
        deleting: bool,
    ) -> Self {
        let annotated = !annotations.is_empty();
        let mut take = |name: &str| annotations.remove(name).map(String::into_boxed_str);
        Self {
            uid: uid.into(),
            runtime_uid: take(MIRROR),
            version,
            annotated,
            pod_ips: take(POD_IPS),
            pod_eni: take(POD_ENI),
            deleting,
        }
    }

    /// Whether the runtime means this pod by this id.
    pub fn is(&self, runtime_uid: &str) -> bool {
        self.runtime_uid.as_deref().unwrap_or(&self.uid) == runtime_uid
    }
}

impl Trimmed for PodObject {
    type View = PodView;

    fn trim(self) -> (ObjectKey, PodView) {
        let mut meta = self.metadata;
        let key = meta.key();
        let annotations = meta.annotations.unwrap_or_default();
        (key, PodView::new(meta.uid, meta.resource_version, annotations, meta.deletion_timestamp))
    }

    fn version(&self) -> &Version {
        &self.metadata.resource_version
    }
}
