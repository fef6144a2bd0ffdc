//! The objects that a node follows, cut down to what it uses.

mod config_map;
mod custom;
mod daemon_set;
mod node;
mod pod;

use super::ObjectKey;
use super::wire::{Meta, Trimmed};
use crate::asked::Kind;
use crate::request::Selection;
use crate::version::Version;

pub use config_map::{ConfigMapObject, ConfigMapView};
pub use custom::{CniNodeObject, CniNodeView, EniConfigObject, EniConfigView, EniSource};
pub use daemon_set::{DaemonSetObject, DaemonSetView};
pub use node::{ConditionView, NodeObject, NodeView, Taint};
pub use pod::{POD_ENI, POD_IPS, PodObject, PodView};

/// The node of this name.
pub fn own_node(name: &str) -> Selection {
    by_name(Kind::NODES, None, name)
}

/// The CNINode of this name, which is the node's.
pub fn own_cni_node(name: &str) -> Selection {
    by_name(Kind::CNI_NODES, None, name)
}

/// All ENIConfigs: there are a few for a cluster, and which of them is a node's can change.
pub fn eni_configs() -> Selection {
    Selection { kind: Kind::ENI_CONFIGS, namespace: None, fields: None, metadata_only: false }
}

/// The ConfigMap of this name.
pub fn config_map(namespace: &str, name: &str) -> Selection {
    by_name(Kind::CONFIG_MAPS, Some(namespace), name)
}

/// The DaemonSet of this name, its metadata only: whether it is there.
pub fn daemon_set(namespace: &str, name: &str) -> Selection {
    Selection { metadata_only: true, ..by_name(Kind::DAEMON_SETS, Some(namespace), name) }
}

/// The pods of this node, their metadata only: all that is used is there, and it is a fraction of the whole.
pub fn local_pods(node: &str) -> Selection {
    Selection {
        kind: Kind::PODS,
        namespace: None,
        fields: Some(format!("spec.nodeName={node}")),
        metadata_only: true,
    }
}

fn by_name(kind: Kind, namespace: Option<&str>, name: &str) -> Selection {
    Selection {
        kind,
        namespace: namespace.map(str::to_owned),
        fields: Some(format!("metadata.name={name}")),
        metadata_only: false,
    }
}

#[cfg(test)]
mod tests;
