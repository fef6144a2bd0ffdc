//! Records of schema 4, and the key of its new table. Frozen: no field, variant or order here ever changes; a new schema gets
//! a new module. What is not here is as in schema 3.

#![expect(missing_docs, reason = "frozen copies; the model documents every field")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::v3::*;

/// The key of the one row of table `limits`.
pub const LIMITS_KEY: &[u8] = b"type";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hypervisor {
    Nitro,
    Xen,
    BareMetal,
}

/// Table `limits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub instance_type: String,
    pub enis: Vec<u32>,
    pub ipv4_per_eni: u32,
    pub ipv6_per_eni: Option<u32>,
    pub hypervisor: Option<Hypervisor>,
}

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
