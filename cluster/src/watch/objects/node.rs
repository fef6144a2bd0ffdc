//! The own node.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Meta, ObjectKey, Trimmed, Version};

/// What is put on a node that is cordoned.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A node as it is read.
#[derive(Deserialize)]
pub struct NodeObject {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    unschedulable: bool,
    #[serde(default)]
    taints: Vec<Taint>,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    capacity: BTreeMap<String, String>,
    #[serde(default)]
    conditions: Vec<ConditionWire>,
}

#[derive(Deserialize)]
struct ConditionWire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    view: ConditionView,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// What tells it from another one of its name.
    pub uid: String,
    /// Its version.
    pub version: Version,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whether it takes no new pods, by its own field or by the taint that says so.
    pub unschedulable: bool,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// How many pods it may have.
    pub capacity_pods: Option<u32>,
    /// Its conditions by type. Of their times, only when they last changed.
    pub conditions: BTreeMap<String, ConditionView>,
}

/// What keeps pods from a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule`, `NoExecute`.
    pub effect: String,
}

/// A condition of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConditionView {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// In one word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When the status last changed.
    pub last_transition_time: Option<String>,
}

impl Trimmed for NodeObject {
    type View = NodeView;

    fn trim(self) -> (ObjectKey, NodeView) {
        let Self { metadata: mut meta, spec, status } = self;
        let key = meta.key();
        let view = NodeView {
            uid: meta.uid,
            version: meta.resource_version,
            labels: meta.labels.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
            unschedulable: spec.unschedulable || spec.taints.iter().any(|taint| taint.key == UNSCHEDULABLE),
            taints: spec.taints,
            capacity_pods: status.capacity.get("pods").and_then(|text| count(text)),
            conditions: status.conditions.into_iter().map(|wire| (wire.kind, wire.view)).collect(),
        };
        (key, view)
    }

    fn version(&self) -> &Version {
        &self.metadata.resource_version
    }
}

/// A whole number as quantities are written: a thousand is `1k`.
fn count(text: &str) -> Option<u32> {
    match text.strip_suffix('k') {
        Some(thousands) => thousands.parse::<u32>().ok()?.checked_mul(1000),
        None => text.parse().ok(),
    }
}
