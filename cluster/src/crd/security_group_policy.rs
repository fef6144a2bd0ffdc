//! `SecurityGroupPolicy`: which pods get which security groups. Made by others; read here.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// Security groups for the pods that both selectors match. One that is absent asks for nothing; with neither, the policy is
/// invalid and matches no pod.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "vpcresources.k8s.aws",
    version = "v1beta1",
    kind = "SecurityGroupPolicy",
    plural = "securitygrouppolicies",
    singular = "securitygrouppolicy",
    shortname = "sgp",
    namespaced,
    schema = "disabled",
    doc = "Which pods get which security groups.",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroupPolicySpec {
    /// Matched against the pod's labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Matched against the labels of the pod's ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_selector: Option<LabelSelector>,
    /// What they get. With none, the policy is invalid.
    #[serde(default)]
    pub security_groups: GroupIds,
}

/// Security groups by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupIds {
    /// `sg-…`, in the order in which they were written.
    #[serde(default)]
    pub group_ids: Vec<String>,
}
