//! Between the model's types and the frozen shapes of the current schema, and the keys under which records are stored.

mod address;
mod eni;
mod intent;
mod lease;
mod limits;
mod node;
mod settings;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holdfast_migrations::v2;
use holdfast_model::eni::{EniPlace, EniSlot};
use holdfast_model::ids::{EniId, IntentId, SecurityGroupId, SubnetId};
use holdfast_model::journal::JournalEntry;
use holdfast_model::sandbox::{SandboxKey, SandboxNames};
use holdfast_model::time::WallTime;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

pub(crate) use address::UseRecord;

/// A journal entry's words are cut to this many bytes, so that the ring is bounded in bytes too.
const MOST_WORDS: usize = 1024;

/// A record that no version of this program could have written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadRecord(String);

/// A model type and its frozen shape.
pub(crate) trait Record: Sized {
    type Frozen: Serialize + DeserializeOwned;

    fn freeze(&self) -> Self::Frozen;
    fn thaw(frozen: Self::Frozen) -> Result<Self, BadRecord>;
}

// === keys ===
// The order of keys means nothing, except in the journal. A key and its record must agree: that is checked when
// a ledger is read.

pub(crate) fn eni_key(id: &EniId) -> Vec<u8> {
    id.as_str().as_bytes().to_vec()
}

pub(crate) fn subnet_key(id: &SubnetId) -> Vec<u8> {
    id.as_str().as_bytes().to_vec()
}

pub(crate) fn block_key(net: IpNet) -> Vec<u8> {
    v2::block_key(&freeze_net(net))
}

pub(crate) fn use_key(ip: IpAddr) -> Vec<u8> {
    v2::use_key(ip)
}

/// Each part behind its length, so that no two sandboxes share a key whatever bytes their names have.
pub(crate) fn lease_key(sandbox: &SandboxKey) -> Vec<u8> {
    let mut key = Vec::new();
    for part in [&sandbox.container_id, &sandbox.ifname, &sandbox.network] {
        key.extend((part.len() as u64).to_be_bytes());
        key.extend(part.as_bytes());
    }
    key
}

pub(crate) fn intent_key(id: IntentId) -> Vec<u8> {
    id.0.as_bytes().to_vec()
}

pub(crate) fn journal_key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

pub(crate) fn journal_number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

// === small parts ===

fn freeze_net4(net: Ipv4Net) -> v2::Cidr4 {
    v2::Cidr4 { address: net.addr().octets(), length: net.prefix_len() }
}

fn thaw_net4(frozen: v2::Cidr4) -> Result<Ipv4Net, BadRecord> {
    Ipv4Net::new(Ipv4Addr::from(frozen.address), frozen.length)
        .map_err(|_too_long| BadRecord(format!("an IPv4 range with a length of {}", frozen.length)))
}

fn freeze_net6(net: Ipv6Net) -> v2::Cidr6 {
    v2::Cidr6 { address: net.addr().octets(), length: net.prefix_len() }
}

fn thaw_net6(frozen: v2::Cidr6) -> Result<Ipv6Net, BadRecord> {
    Ipv6Net::new(Ipv6Addr::from(frozen.address), frozen.length)
        .map_err(|_too_long| BadRecord(format!("an IPv6 range with a length of {}", frozen.length)))
}

fn freeze_net(net: IpNet) -> v2::Cidr {
    match net {
        IpNet::V4(net) => v2::Cidr::V4(freeze_net4(net)),
        IpNet::V6(net) => v2::Cidr::V6(freeze_net6(net)),
    }
}

fn thaw_net(frozen: v2::Cidr) -> Result<IpNet, BadRecord> {
    match frozen {
        v2::Cidr::V4(net) => thaw_net4(net).map(IpNet::V4),
        v2::Cidr::V6(net) => thaw_net6(net).map(IpNet::V6),
    }
}

fn freeze_slot(slot: EniSlot) -> v2::Slot {
    v2::Slot { card: slot.card, device: slot.device }
}

fn thaw_slot(frozen: v2::Slot) -> EniSlot {
    EniSlot { card: frozen.card, device: frozen.device }
}

fn freeze_place(place: &EniPlace) -> v2::Place {
    match place {
        EniPlace::Device(slot) => v2::Place::Device(freeze_slot(*slot)),
        EniPlace::Branch { trunk, vlan } => v2::Place::Branch { trunk: trunk.to_string(), vlan: *vlan },
    }
}

fn thaw_place(frozen: v2::Place) -> EniPlace {
    match frozen {
        v2::Place::Device(slot) => EniPlace::Device(thaw_slot(slot)),
        v2::Place::Branch { trunk, vlan } => EniPlace::Branch { trunk: EniId::new(trunk), vlan },
    }
}

fn freeze_sandbox(sandbox: &SandboxKey) -> v2::Sandbox {
    v2::Sandbox {
        container_id: sandbox.container_id.clone(),
        ifname: sandbox.ifname.clone(),
        network: sandbox.network.clone(),
    }
}

fn thaw_sandbox(frozen: v2::Sandbox) -> SandboxKey {
    SandboxKey::from(SandboxNames {
        container_id: frozen.container_id,
        ifname: frozen.ifname,
        network: frozen.network,
    })
}

fn freeze_intent_id(id: IntentId) -> [u8; 16] {
    *id.0.as_bytes()
}

fn thaw_intent_id(frozen: [u8; 16]) -> IntentId {
    IntentId(Uuid::from_bytes(frozen))
}

fn freeze_groups<'a>(groups: impl IntoIterator<Item = &'a SecurityGroupId>) -> Vec<String> {
    groups.into_iter().map(ToString::to_string).collect()
}

fn thaw_groups<G: FromIterator<SecurityGroupId>>(frozen: Vec<String>) -> G {
    frozen.into_iter().map(SecurityGroupId::new).collect()
}

impl Record for JournalEntry {
    type Frozen = v2::JournalEntry;

    fn freeze(&self) -> v2::JournalEntry {
        let end = self.what.floor_char_boundary(MOST_WORDS);
        v2::JournalEntry { at: self.at.0, what: self.what[..end].to_owned() }
    }

    fn thaw(frozen: v2::JournalEntry) -> Result<Self, BadRecord> {
        Ok(Self { at: WallTime(frozen.at), what: frozen.what })
    }
}
