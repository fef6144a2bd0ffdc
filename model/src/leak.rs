//! What is asked of EC2 about ENIs that ended instances of the cluster have left behind.
//!
//! They are none of this node's, so none of it is remembered: each of these calls may be lost, or made twice, and changes nothing by that.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{EniId, InstanceId, VpcId};

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeakCall {
    /// ENIs of this cluster in this VPC that were made for instances and are attached to nothing.
    List {
        /// Where.
        vpc: VpcId,
        /// The cluster's name, as they bear it in a tag.
        cluster: String,
    },
    /// Which of these instances there are: those that are terminated, or that EC2 does not know, are left out of the answer.
    Instances {
        /// Which.
        instances: BTreeSet<InstanceId>,
    },
    /// Delete one. EC2 refuses that for what is attached.
    Delete {
        /// Which.
        eni: EniId,
    },
}
