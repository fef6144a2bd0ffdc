//! Between the model's types and the frozen shapes of schema 1, and the keys under which records are stored.

use std::net::{IpAddr, Ipv4Addr};

use holdfast_migrations::v1;
use holdfast_model::address::{AddressRecord, AddressState, Cooldown, QuarantineReason};
use holdfast_model::cloud::CloudChange;
use holdfast_model::eni::{EniKind, EniPhase, EniRecord, EniSlot, Management};
use holdfast_model::ids::{
    AttachmentId, BootId, EniId, InstanceId, IntentId, MacAddr, SecurityGroupId, SubnetId, VpcId,
};
use holdfast_model::intent::Intent;
use holdfast_model::journal::JournalEntry;
use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::node::{NodeIdentity, NodeRecord};
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey};
use holdfast_model::time::{BootTime, WallTime};
use ipnet::Ipv4Net;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

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

pub(crate) fn address_key(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
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

fn freeze_cidr(net: Ipv4Net) -> v1::Cidr4 {
    v1::Cidr4 { address: net.addr().octets(), length: net.prefix_len() }
}

fn thaw_cidr(frozen: v1::Cidr4) -> Result<Ipv4Net, BadRecord> {
    Ipv4Net::new(Ipv4Addr::from(frozen.address), frozen.length)
        .map_err(|_too_long| BadRecord(format!("an IPv4 range with a length of {}", frozen.length)))
}

fn freeze_slot(slot: EniSlot) -> v1::Slot {
    v1::Slot { card: slot.card, device: slot.device }
}

fn thaw_slot(frozen: v1::Slot) -> EniSlot {
    EniSlot { card: frozen.card, device: frozen.device }
}

fn freeze_intent_id(id: IntentId) -> [u8; 16] {
    *id.0.as_bytes()
}

fn thaw_intent_id(frozen: [u8; 16]) -> IntentId {
    IntentId(Uuid::from_bytes(frozen))
}

fn freeze_groups(groups: &[SecurityGroupId]) -> Vec<String> {
    groups.iter().map(ToString::to_string).collect()
}

fn thaw_groups(frozen: Vec<String>) -> Vec<SecurityGroupId> {
    frozen.into_iter().map(SecurityGroupId::new).collect()
}

// === records ===

impl Record for NodeRecord {
    type Frozen = v1::Node;

    fn freeze(&self) -> v1::Node {
        let Self { identity, boot } = self;
        v1::Node {
            instance: identity.instance.to_string(),
            instance_type: identity.instance_type.clone(),
            region: identity.region.clone(),
            zone: identity.zone.clone(),
            vpc: identity.vpc.to_string(),
            vpc_cidrs: identity.vpc_cidrs.iter().copied().map(freeze_cidr).collect(),
            primary_mac: identity.primary_mac.0,
            primary_ipv4: identity.primary_ipv4,
            subnet: identity.subnet.to_string(),
            subnet_cidr: freeze_cidr(identity.subnet_cidr),
            security_groups: freeze_groups(&identity.security_groups),
            boot: boot.to_string(),
        }
    }

    fn thaw(frozen: v1::Node) -> Result<Self, BadRecord> {
        Ok(Self {
            identity: NodeIdentity {
                instance: InstanceId::new(frozen.instance),
                instance_type: frozen.instance_type,
                region: frozen.region,
                zone: frozen.zone,
                vpc: VpcId::new(frozen.vpc),
                vpc_cidrs: frozen.vpc_cidrs.into_iter().map(thaw_cidr).collect::<Result<_, _>>()?,
                primary_mac: MacAddr(frozen.primary_mac),
                primary_ipv4: frozen.primary_ipv4,
                subnet: SubnetId::new(frozen.subnet),
                subnet_cidr: thaw_cidr(frozen.subnet_cidr)?,
                security_groups: thaw_groups(frozen.security_groups),
            },
            boot: BootId::new(frozen.boot),
        })
    }
}

impl Record for EniRecord {
    type Frozen = v1::Eni;

    fn freeze(&self) -> v1::Eni {
        v1::Eni {
            id: self.id.to_string(),
            mac: self.mac.0,
            slot: freeze_slot(self.slot),
            kind: match self.kind {
                EniKind::Standard => v1::EniKind::Standard,
                EniKind::Trunk => v1::EniKind::Trunk,
                EniKind::Efa => v1::EniKind::Efa,
                EniKind::EfaOnly => v1::EniKind::EfaOnly,
            },
            management: match self.management {
                Management::Managed => v1::Management::Managed,
                Management::Unmanaged => v1::Management::Unmanaged,
                Management::Excluded => v1::Management::Excluded,
            },
            phase: match &self.phase {
                EniPhase::Available => v1::EniPhase::Available,
                EniPhase::Attached { attachment, delete_on_termination } => v1::EniPhase::Attached {
                    attachment: attachment.to_string(),
                    delete_on_termination: *delete_on_termination,
                },
                EniPhase::Draining { attachment } => {
                    v1::EniPhase::Draining { attachment: attachment.to_string() }
                }
                EniPhase::Detached => v1::EniPhase::Detached,
                EniPhase::Gone => v1::EniPhase::Gone,
            },
            subnet: self.subnet.to_string(),
            subnet_cidr: self.subnet_cidr.map(freeze_cidr),
            primary_ipv4: self.primary_ipv4,
            created_by: self.created_by.map(freeze_intent_id),
            since: self.since.0,
            changed: self.changed.0,
        }
    }

    fn thaw(frozen: v1::Eni) -> Result<Self, BadRecord> {
        Ok(Self {
            id: EniId::new(frozen.id),
            mac: MacAddr(frozen.mac),
            slot: thaw_slot(frozen.slot),
            kind: match frozen.kind {
                v1::EniKind::Standard => EniKind::Standard,
                v1::EniKind::Trunk => EniKind::Trunk,
                v1::EniKind::Efa => EniKind::Efa,
                v1::EniKind::EfaOnly => EniKind::EfaOnly,
            },
            management: match frozen.management {
                v1::Management::Managed => Management::Managed,
                v1::Management::Unmanaged => Management::Unmanaged,
                v1::Management::Excluded => Management::Excluded,
            },
            phase: match frozen.phase {
                v1::EniPhase::Available => EniPhase::Available,
                v1::EniPhase::Attached { attachment, delete_on_termination } => {
                    EniPhase::Attached { attachment: AttachmentId::new(attachment), delete_on_termination }
                }
                v1::EniPhase::Draining { attachment } => {
                    EniPhase::Draining { attachment: AttachmentId::new(attachment) }
                }
                v1::EniPhase::Detached => EniPhase::Detached,
                v1::EniPhase::Gone => EniPhase::Gone,
            },
            subnet: SubnetId::new(frozen.subnet),
            subnet_cidr: frozen.subnet_cidr.map(thaw_cidr).transpose()?,
            primary_ipv4: frozen.primary_ipv4,
            created_by: frozen.created_by.map(thaw_intent_id),
            since: BootTime(frozen.since),
            changed: BootTime(frozen.changed),
        })
    }
}

impl Record for AddressRecord {
    type Frozen = v1::Address;

    fn freeze(&self) -> v1::Address {
        v1::Address {
            ip: self.ip,
            eni: self.eni.to_string(),
            state: match &self.state {
                AddressState::Free => v1::AddressState::Free,
                AddressState::Leased => v1::AddressState::Leased,
                AddressState::Cooling(rest) => v1::AddressState::Cooling {
                    boot: rest.boot.to_string(),
                    since: rest.since.0,
                    period_ms: rest.period_ms,
                },
                AddressState::Quarantined(reason) => v1::AddressState::Quarantined(match reason {
                    QuarantineReason::MaybeInUse => v1::QuarantineReason::MaybeInUse,
                    QuarantineReason::LedgerRebuilt => v1::QuarantineReason::LedgerRebuilt,
                }),
                AddressState::Departing(intent) => {
                    v1::AddressState::Departing { intent: freeze_intent_id(*intent) }
                }
                AddressState::Gone(since) => v1::AddressState::Gone { since: since.0 },
            },
            assigned: self.assigned,
        }
    }

    fn thaw(frozen: v1::Address) -> Result<Self, BadRecord> {
        Ok(Self {
            ip: frozen.ip,
            eni: EniId::new(frozen.eni),
            state: match frozen.state {
                v1::AddressState::Free => AddressState::Free,
                v1::AddressState::Leased => AddressState::Leased,
                v1::AddressState::Cooling { boot, since, period_ms } => AddressState::Cooling(Cooldown {
                    boot: BootId::new(boot),
                    since: BootTime(since),
                    period_ms,
                }),
                v1::AddressState::Quarantined(reason) => AddressState::Quarantined(match reason {
                    v1::QuarantineReason::MaybeInUse => QuarantineReason::MaybeInUse,
                    v1::QuarantineReason::LedgerRebuilt => QuarantineReason::LedgerRebuilt,
                }),
                v1::AddressState::Departing { intent } => AddressState::Departing(thaw_intent_id(intent)),
                v1::AddressState::Gone { since } => AddressState::Gone(BootTime(since)),
            },
            assigned: frozen.assigned,
        })
    }
}

impl Record for Lease {
    type Frozen = v1::Lease;

    fn freeze(&self) -> v1::Lease {
        v1::Lease {
            container_id: self.sandbox.container_id.clone(),
            ifname: self.sandbox.ifname.clone(),
            network: self.sandbox.network.clone(),
            pod_namespace: self.pod.namespace.clone(),
            pod_name: self.pod.name.clone(),
            pod_uid: self.pod.uid.clone(),
            netns_path: self.netns.path.clone(),
            netns_inode: self.netns.inode,
            address: self.address,
            eni: self.eni.to_string(),
            slot: freeze_slot(self.slot),
            host_veth: self.host_veth.clone(),
            host_mac: self.host_mac.0,
            mtu: self.mtu,
            phase: match self.phase {
                LeasePhase::Pending => v1::LeasePhase::Pending,
                LeasePhase::Active => v1::LeasePhase::Active,
                LeasePhase::Releasing => v1::LeasePhase::Releasing,
            },
            created: self.created.0,
        }
    }

    fn thaw(frozen: v1::Lease) -> Result<Self, BadRecord> {
        Ok(Self {
            sandbox: SandboxKey {
                container_id: frozen.container_id,
                ifname: frozen.ifname,
                network: frozen.network,
            },
            pod: PodRef { namespace: frozen.pod_namespace, name: frozen.pod_name, uid: frozen.pod_uid },
            netns: NetnsRef { path: frozen.netns_path, inode: frozen.netns_inode },
            address: frozen.address,
            eni: EniId::new(frozen.eni),
            slot: thaw_slot(frozen.slot),
            host_veth: frozen.host_veth,
            host_mac: MacAddr(frozen.host_mac),
            mtu: frozen.mtu,
            phase: match frozen.phase {
                v1::LeasePhase::Pending => LeasePhase::Pending,
                v1::LeasePhase::Active => LeasePhase::Active,
                v1::LeasePhase::Releasing => LeasePhase::Releasing,
            },
            created: WallTime(frozen.created),
        })
    }
}

impl Record for Intent {
    type Frozen = v1::Intent;

    fn freeze(&self) -> v1::Intent {
        v1::Intent {
            id: freeze_intent_id(self.id),
            change: freeze_change(&self.change),
            planned: self.planned.0,
        }
    }

    fn thaw(frozen: v1::Intent) -> Result<Self, BadRecord> {
        Ok(Self {
            id: thaw_intent_id(frozen.id),
            change: thaw_change(frozen.change),
            planned: WallTime(frozen.planned),
        })
    }
}

fn freeze_change(change: &CloudChange) -> v1::CloudChange {
    match change.clone() {
        CloudChange::CreateEni { subnet, security_groups, secondary_addresses, slot, description, tags } => {
            v1::CloudChange::CreateEni {
                subnet: subnet.to_string(),
                security_groups: freeze_groups(&security_groups),
                secondary_addresses,
                slot: freeze_slot(slot),
                description,
                tags,
            }
        }
        CloudChange::AttachEni { eni, instance, slot } => v1::CloudChange::AttachEni {
            eni: eni.to_string(),
            instance: instance.to_string(),
            slot: freeze_slot(slot),
        },
        CloudChange::SetDeleteOnTermination { eni, attachment } => v1::CloudChange::SetDeleteOnTermination {
            eni: eni.to_string(),
            attachment: attachment.to_string(),
        },
        CloudChange::AssignAddresses { eni, count } => {
            v1::CloudChange::AssignAddresses { eni: eni.to_string(), count }
        }
        CloudChange::UnassignAddresses { eni, addresses } => {
            v1::CloudChange::UnassignAddresses { eni: eni.to_string(), addresses }
        }
        CloudChange::DetachEni { eni, attachment } => {
            v1::CloudChange::DetachEni { eni: eni.to_string(), attachment: attachment.to_string() }
        }
        CloudChange::DeleteEni { eni } => v1::CloudChange::DeleteEni { eni: eni.to_string() },
        CloudChange::TagEni { eni, tags } => v1::CloudChange::TagEni { eni: eni.to_string(), tags },
    }
}

fn thaw_change(frozen: v1::CloudChange) -> CloudChange {
    match frozen {
        v1::CloudChange::CreateEni {
            subnet,
            security_groups,
            secondary_addresses,
            slot,
            description,
            tags,
        } => CloudChange::CreateEni {
            subnet: SubnetId::new(subnet),
            security_groups: thaw_groups(security_groups),
            secondary_addresses,
            slot: thaw_slot(slot),
            description,
            tags,
        },
        v1::CloudChange::AttachEni { eni, instance, slot } => CloudChange::AttachEni {
            eni: EniId::new(eni),
            instance: InstanceId::new(instance),
            slot: thaw_slot(slot),
        },
        v1::CloudChange::SetDeleteOnTermination { eni, attachment } => CloudChange::SetDeleteOnTermination {
            eni: EniId::new(eni),
            attachment: AttachmentId::new(attachment),
        },
        v1::CloudChange::AssignAddresses { eni, count } => {
            CloudChange::AssignAddresses { eni: EniId::new(eni), count }
        }
        v1::CloudChange::UnassignAddresses { eni, addresses } => {
            CloudChange::UnassignAddresses { eni: EniId::new(eni), addresses }
        }
        v1::CloudChange::DetachEni { eni, attachment } => {
            CloudChange::DetachEni { eni: EniId::new(eni), attachment: AttachmentId::new(attachment) }
        }
        v1::CloudChange::DeleteEni { eni } => CloudChange::DeleteEni { eni: EniId::new(eni) },
        v1::CloudChange::TagEni { eni, tags } => CloudChange::TagEni { eni: EniId::new(eni), tags },
    }
}

impl Record for JournalEntry {
    type Frozen = v1::JournalEntry;

    fn freeze(&self) -> v1::JournalEntry {
        let end = self.what.floor_char_boundary(MOST_WORDS);
        v1::JournalEntry { at: self.at.0, what: self.what[..end].to_owned() }
    }

    fn thaw(frozen: v1::JournalEntry) -> Result<Self, BadRecord> {
        Ok(Self { at: WallTime(frozen.at), what: frozen.what })
    }
}
