//! `ENIConfig`: from what a node with custom networking makes its ENIs.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Subnet and security groups of the ENIs that pods get their addresses from. A node finds its own by name.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crd.k8s.amazonaws.com",
    version = "v1alpha1",
    kind = "ENIConfig",
    plural = "eniconfigs",
    singular = "eniconfig",
    doc = "From what a node with custom networking makes the network interfaces that its pods get their addresses from.",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ENIConfigSpec {
    /// The subnet, `subnet-…`.
    pub subnet: String,
    /// The security groups, `sg-…`. With none, those of the node's primary network interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
}
