//! What should stand in the cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::condition::Condition;
use super::warnings::{Warning, WarningId};
use crate::crd::cninode::Feature;
use crate::watch::ObjectKey;

/// A pod as the runtime knows it: by name, and by what tells it from another one of its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// Its name.
    pub key: ObjectKey,
    /// The id that the runtime passed with it.
    pub runtime_uid: String,
}

/// All that the node has to tell the cluster, as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The address of *every* pod that has one here: where a pod of this node is annotated and has none, the annotation is
    /// emptied. Nothing: annotations are left alone.
    pub pod_ips: Option<BTreeMap<PodId, IpAddr>>,
    /// Conditions of the own node by type; one with nothing in it is taken away where it stands. Others are left alone.
    pub conditions: BTreeMap<String, Option<Condition>>,
    /// Features that the CNINode must have, in this order where they are new. Others are left alone.
    pub features: Vec<Feature>,
    /// What is wrong, on which object. One that is over is left out.
    pub warnings: BTreeMap<WarningId, Warning>,
}
