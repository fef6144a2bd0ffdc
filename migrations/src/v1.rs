//! Records of schema 1. Frozen: no field, variant or order here ever changes; a new schema gets a new module.
//!
//! Ids are text, MACs and UUIDs are bytes, times are milliseconds. What the fields mean is said in
//! `holdfast-model`, under the same names. Only plain serde shapes: the encoding is not self-describing, so
//! nothing may be skipped, flattened or guessed.

#![expect(missing_docs, reason = "frozen copies; the model documents every field")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// An IPv4 range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cidr4 {
    pub address: [u8; 4],
    pub length: u8,
}

/// Key of the one row of table `node`.
pub const NODE_KEY: &[u8] = b"node";

/// Table `node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub instance: String,
    pub instance_type: String,
    pub region: String,
    pub zone: String,
    pub vpc: String,
    pub vpc_cidrs: Vec<Cidr4>,
    pub primary_mac: [u8; 6],
    pub primary_ipv4: Ipv4Addr,
    pub subnet: String,
    pub subnet_cidr: Cidr4,
    pub security_groups: Vec<String>,
    pub boot: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    pub card: u8,
    pub device: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EniKind {
    Standard,
    Trunk,
    Efa,
    EfaOnly,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Management {
    Managed,
    Unmanaged,
    Excluded,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EniPhase {
    Available,
    Attached { attachment: String, delete_on_termination: bool },
    Draining { attachment: String },
    Detached,
    Gone,
}

/// Table `enis`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eni {
    pub id: String,
    pub mac: [u8; 6],
    pub slot: Slot,
    pub kind: EniKind,
    pub management: Management,
    pub phase: EniPhase,
    pub subnet: String,
    pub subnet_cidr: Option<Cidr4>,
    pub primary_ipv4: Option<Ipv4Addr>,
    pub created_by: Option<[u8; 16]>,
    pub since: u64,
    pub changed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressState {
    Free,
    Leased,
    Cooling { boot: String, since: u64, period_ms: u64 },
    Quarantined(QuarantineReason),
    Departing { intent: [u8; 16] },
    Gone { since: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuarantineReason {
    MaybeInUse,
    LedgerRebuilt,
}

/// Table `addresses`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub ip: IpAddr,
    pub eni: String,
    pub state: AddressState,
    pub assigned: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeasePhase {
    Pending,
    Active,
    Releasing,
}

/// Table `leases`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub container_id: String,
    pub ifname: String,
    pub network: String,
    pub pod_namespace: String,
    pub pod_name: String,
    pub pod_uid: Option<String>,
    pub netns_path: String,
    pub netns_inode: u64,
    pub address: IpAddr,
    pub eni: String,
    pub slot: Slot,
    pub host_veth: String,
    pub host_mac: [u8; 6],
    pub mtu: u32,
    pub phase: LeasePhase,
    pub created: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudChange {
    CreateEni {
        subnet: String,
        security_groups: Vec<String>,
        secondary_addresses: u32,
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
    AssignAddresses {
        eni: String,
        count: u32,
    },
    UnassignAddresses {
        eni: String,
        addresses: Vec<IpAddr>,
    },
    DetachEni {
        eni: String,
        attachment: String,
    },
    DeleteEni {
        eni: String,
    },
    TagEni {
        eni: String,
        tags: BTreeMap<String, String>,
    },
}

/// Table `intents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub id: [u8; 16],
    pub change: CloudChange,
    pub planned: u64,
}

/// Table `journal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    pub at: u64,
    pub what: String,
}
