//! Custom networking: from what the cluster says that a node's ENIs for pods are made.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{SecurityGroupId, SubnetId};

/// What an ENIConfig says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniConfig {
    /// Its name.
    pub name: String,
    /// The subnet.
    pub subnet: SubnetId,
    /// The security groups. None: those of the primary ENI.
    pub security_groups: BTreeSet<SecurityGroupId>,
}

/// What is known of the ENIConfig that applies to this node.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AppliedEniConfig {
    /// Nobody has told yet which it is, or what it says.
    #[default]
    Untold,
    /// There is none of the name that the node's annotation or label gives.
    Missing {
        /// Which.
        name: String,
    },
    /// It cannot be used.
    Wrong {
        /// Which.
        name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// It says this.
    Is(EniConfig),
}

impl AppliedEniConfig {
    /// Its name, where that is known.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Untold => None,
            Self::Missing { name } | Self::Wrong { name, .. } => Some(name),
            Self::Is(config) => Some(&config.name),
        }
    }
}
