//! The custom resources that a node's network is told by, as typed Rust: names, scopes and shapes are those of the
//! controllers that make them, so that what is in a cluster already is read as it stands.
//!
//! Two of them are installed by Holdfast's chart where nobody else has done it, and [`installed`] is where their definitions
//! come from. `cargo run -p holdfast-cluster --example crds` writes them to `deploy/chart/holdfast/crds`.

pub mod cluster_network_policy;
pub mod cninode;
pub mod eniconfig;
pub mod policy_endpoint;
pub mod security_group_policy;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};
use kube::CustomResourceExt;

pub use cluster_network_policy::{ClusterNetworkPolicy, ClusterNetworkPolicySpec};
pub use cninode::{CNINode, CNINodeSpec};
pub use eniconfig::{ENIConfig, ENIConfigSpec};
pub use policy_endpoint::{
    ClusterPolicyEndpoint, ClusterPolicyEndpointSpec, PolicyEndpoint, PolicyEndpointSpec,
};
pub use security_group_policy::{SecurityGroupPolicy, SecurityGroupPolicySpec};

/// The definitions that Holdfast's chart installs.
pub fn installed() -> [CustomResourceDefinition; 2] {
    // The kinds let one be made without `spec`, and people keep notes in an `ENIConfig` beside it: neither becomes an
    // error, and nothing of theirs is dropped.
    let mut definitions = [ENIConfig::crd(), CNINode::crd()];
    for definition in &mut definitions {
        for root in roots(definition) {
            root.required = None;
        }
    }
    for root in roots(&mut definitions[0]) {
        root.x_kubernetes_preserve_unknown_fields = Some(true);
    }
    definitions
}

/// The shape of a whole object, in each version.
fn roots(definition: &mut CustomResourceDefinition) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let schemas = definition.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut())
}
