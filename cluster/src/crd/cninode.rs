//! `CNINode`: what a node asks the controllers of its VPC for. One for each node, of the same name.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The feature by which a node asks for a trunk, and so for branch ENIs. Its value is empty.
pub const SECURITY_GROUPS_FOR_PODS: &str = "SecurityGroupsForPods";
/// The feature that names the node's `ENIConfig`, which the trunk is made from.
pub const CUSTOM_NETWORKING: &str = "CustomNetworking";

/// What a node asks for, and what is noted about it for those who clean up after it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vpcresources.k8s.aws",
    version = "v1alpha1",
    kind = "CNINode",
    plural = "cninodes",
    singular = "cninode",
    shortname = "cnd",
    doc = "What a node asks the controllers of its VPC for.",
    status = "CNINodeStatus",
    printcolumn(
        json_path = ".spec.features",
        name = "Features",
        type_ = "string",
        description = "The features delegated to VPC resource controller"
    ),
    selectable = ".spec.managedBy",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct CNINodeSpec {
    /// What the node asks for: at most one entry of a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Feature>,
    /// Tags by which the node's network interfaces are found once it is gone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The controller that owns this object and its status. Without it, the VPC resource controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<Manager>,
}

/// Who may own a `CNINode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// The controller that EKS runs, or its owner's own build of it.
    VpcResourceController,
    /// The one of nodes that EKS manages whole.
    EksAutoMode,
}

/// One thing asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Feature {
    /// Its name, such as `SecurityGroupsForPods` or `CustomNetworking`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What its name needs besides.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// What the owner has told. Written by it alone, and kept whole whatever a newer one adds to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
#[serde(rename_all = "camelCase")]
pub struct CNINodeStatus {
    /// The trunk and its branches, as the owner wrote them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub trunk_interface: Option<Value>,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
