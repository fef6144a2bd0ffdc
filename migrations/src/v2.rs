//! Records of schema 2, and the keys of its new tables. Frozen: no field, variant or order here ever changes; a new
//! schema gets a new module. What is not here is as in schema 1.
//!
//! What EC2 gave (blocks) is apart from what we do with it (uses), subnets are records, ENIs have a place and a source,
//! a lease has several faces, and an intent says what is known of its call.

#![expect(missing_docs, reason = "frozen copies; the model documents every field")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use crate::v1::{Cidr4, EniKind, EniPhase, JournalEntry, LeasePhase, Management, NODE_KEY, Node, Slot};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cidr6 {
    pub address: [u8; 16],
    pub length: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cidr {
    V4(Cidr4),
    V6(Cidr6),
}

/// Table `subnets`. Its key is the id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub id: String,
    pub ipv4: Option<Cidr4>,
    pub ipv6: Option<Cidr6>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    Device(Slot),
    Branch { trunk: String, vlan: u16 },
}

/// Table `enis`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eni {
    pub id: String,
    pub mac: [u8; 6],
    pub place: Place,
    pub kind: EniKind,
    pub management: Management,
    pub phase: EniPhase,
    pub subnet: String,
    pub security_groups: Option<Vec<String>>,
    pub primary_ipv4: Option<std::net::Ipv4Addr>,
    pub created_by: Option<[u8; 16]>,
    pub since: u64,
    pub changed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockState {
    Held,
    Withdrawn,
    Leaving { intent: [u8; 16] },
    Gone { since: u64 },
}

/// Table `blocks`, under [`block_key`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub net: Cidr,
    pub eni: String,
    pub state: BlockState,
    pub shown: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    pub container_id: String,
    pub ifname: String,
    pub network: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UseState {
    Leased(Sandbox),
    Cooling { boot: String, since: u64, period_ms: u64 },
    Suspect(Suspicion),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suspicion {
    MaybeInUse,
    LedgerRebuilt,
}

/// Table `uses`, under [`use_key`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    pub ip: IpAddr,
    pub state: UseState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Face {
    pub ifname: String,
    pub address: IpAddr,
    pub eni: String,
    pub place: Place,
    pub host_veth: String,
    pub host_mac: [u8; 6],
    pub mtu: u32,
}

/// Table `leases`, under the same key as before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub sandbox: Sandbox,
    pub pod_namespace: String,
    pub pod_name: String,
    pub pod_uid: Option<String>,
    pub netns_path: String,
    pub netns_inode: u64,
    pub faces: Vec<Face>,
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
    SetSecurityGroups {
        eni: String,
        groups: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sending {
    MaybeSent,
    NeverSent,
    Unanswered,
}

/// Table `intents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub id: [u8; 16],
    pub change: CloudChange,
    pub sending: Sending,
    pub planned: u64,
}

/// The address's bytes and the prefix's length.
pub fn block_key(net: &Cidr) -> Vec<u8> {
    let (mut key, length) = match net {
        Cidr::V4(net) => (net.address.to_vec(), net.length),
        Cidr::V6(net) => (net.address.to_vec(), net.length),
    };
    key.push(length);
    key
}

/// The address's 4 or 16 bytes.
pub fn use_key(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The block of one address.
pub fn host(ip: IpAddr) -> Cidr {
    match ip {
        IpAddr::V4(ip) => Cidr::V4(Cidr4 { address: ip.octets(), length: 32 }),
        IpAddr::V6(ip) => Cidr::V6(Cidr6 { address: ip.octets(), length: 128 }),
    }
}
