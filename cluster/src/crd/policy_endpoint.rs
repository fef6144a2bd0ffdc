//! `PolicyEndpoint` and `ClusterPolicyEndpoint`: policies whose selectors a controller has resolved to addresses, cut into
//! pieces of bounded size. Made by that controller; read here.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::cluster_network_policy::{Action, Subject, Tier};

/// A piece of a namespaced policy. Pieces of one policy are put together by `policy_ref`.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "networking.k8s.aws",
    version = "v1alpha1",
    kind = "PolicyEndpoint",
    plural = "policyendpoints",
    singular = "policyendpoint",
    namespaced,
    schema = "disabled",
    doc = "A piece of a network policy, resolved to addresses.",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct PolicyEndpointSpec {
    /// The policy that it is a piece of.
    pub policy_ref: PolicyRef,
    /// The policy's selector when the piece was made. It is not kept up to date: which pods are meant is in
    /// `pod_selector_endpoints`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// The directions in which the pods are isolated: `Ingress`, `Egress`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_isolation: Vec<String>,
    /// The pods that this piece names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_selector_endpoints: Vec<PodEndpoint>,
    /// What may come in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Peer>,
    /// What may go out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Peer>,
}

/// A piece of a policy for the whole cluster.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "networking.k8s.aws",
    version = "v1alpha1",
    kind = "ClusterPolicyEndpoint",
    plural = "clusterpolicyendpoints",
    singular = "clusterpolicyendpoint",
    shortname = "cpe",
    schema = "disabled",
    doc = "A piece of a cluster network policy, resolved to addresses.",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterPolicyEndpointSpec {
    /// The policy that it is a piece of.
    pub policy_ref: ClusterPolicyRef,
    /// The policy's tier.
    pub tier: Tier,
    /// The policy's place in its tier: the lower number decides.
    pub priority: i32,
    /// Whom the policy is for.
    #[serde(default)]
    pub subject: Subject,
    /// The pods that this piece names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_selector_endpoints: Vec<PodEndpoint>,
    /// What comes in, in the policy's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<JudgedPeer>,
    /// What goes out, in the policy's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<JudgedPeer>,
}

/// A policy of a namespace. Nothing tells of which kind it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyRef {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// A policy of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClusterPolicyRef {
    /// Its name.
    pub name: String,
}

/// A pod that a policy is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodEndpoint {
    /// The address of its node.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    /// Its address.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// Who may be talked to: by network, or by domain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// The network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// What of it is not meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// The ports. None is every port of every protocol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// The domain name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_name: Option<String>,
}

/// A peer of a cluster's policy, and what becomes of its traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JudgedPeer {
    /// What becomes of it.
    pub action: Action,
    /// The network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// The ports. None is every port of every protocol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// The domain name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_name: Option<String>,
}

/// Ports of one protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The protocol. Without one, TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The port, or the first of several. Without one, all of the protocol's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_port: Option<i32>,
}
