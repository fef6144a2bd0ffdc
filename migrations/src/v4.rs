//! Records of schema 4. Frozen: no field, variant or order here ever changes; a new schema gets a new module. What is not
//! here is as in schema 3.

#![expect(missing_docs, reason = "frozen copies; the model documents every field")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::v3::*;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    Address,
    Prefix,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub unit: Unit,
    pub count: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudChange {
    CreateEni {
        subnet: String,
        security_groups: Vec<String>,
        ask: Ask,
        slot: Slot,
        description: String,
        tags: BTreeMap<String, String>,
    },
    AttachEni {
        eni: String,
        instance: String,
        slot: Slot,
    },
    SetDeleteOnTermination {
        eni: String,
        attachment: String,
    },
    Assign {
        eni: String,
        ask: Ask,
    },
    Unassign {
        eni: String,
        nets: Vec<Cidr>,
    },
    DetachEni {
        eni: String,
        attachment: String,
    },
    DeleteEni {
        eni: String,
    },
    SetSecurityGroups {
        eni: String,
        groups: Vec<String>,
    },
}

/// Table `intents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub id: [u8; 16],
    pub change: CloudChange,
    pub sending: Sending,
    pub planned: u64,
}
