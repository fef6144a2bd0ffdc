use std::net::Ipv4Addr;

use crate::address::{AddressRecord, AddressState};
use crate::cloud::CloudChange;
use crate::eni::{EniKind, EniPhase, EniRecord, EniSlot, Management};
use crate::ids::{AttachmentId, EniId, IntentId, MacAddr, SubnetId};
use crate::intent::Intent;
use crate::lease::{Lease, LeasePhase};
use crate::ledger::{Change, Ledger};
use crate::sandbox::{NetnsRef, PodRef, SandboxKey};
use crate::time::{BootTime, WallTime};

use super::check;

const IP: std::net::IpAddr = std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10));

fn eni(id: &str, device: u16) -> EniRecord {
    EniRecord {
        id: EniId::new(id),
        mac: MacAddr([2, 0, 0, 0, 0, device as u8]),
        slot: EniSlot { card: 0, device },
        kind: EniKind::Standard,
        management: Management::Managed,
        phase: EniPhase::Attached {
            attachment: AttachmentId::new("eni-attach-1"),
            delete_on_termination: true,
        },
        subnet: SubnetId::new("subnet-1"),
        subnet_cidr: None,
        primary_ipv4: Some(Ipv4Addr::new(10, 0, 0, 4 + device as u8)),
        created_by: None,
        since: BootTime(0),
        changed: BootTime(0),
    }
}

fn lease(container: &str) -> Lease {
    Lease {
        sandbox: SandboxKey {
            container_id: container.into(),
            ifname: "eth0".into(),
            network: "aws-cni".into(),
        },
        pod: PodRef { namespace: "default".into(), name: "web-0".into(), uid: None },
        netns: NetnsRef { path: "/run/netns/x".into(), inode: 1 },
        address: IP,
        eni: EniId::new("eni-a"),
        slot: EniSlot::PRIMARY,
        host_veth: "eni0".into(),
        host_mac: MacAddr([2, 0, 0, 0, 0, 9]),
        mtu: 9001,
        phase: LeasePhase::Active,
        created: WallTime(0),
    }
}

fn sound() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.apply(&Change::PutEni(eni("eni-a", 0)));
    ledger.apply(&Change::PutAddress(AddressRecord {
        ip: IP,
        eni: EniId::new("eni-a"),
        state: AddressState::Leased,
        assigned: true,
    }));
    ledger.apply(&Change::PutLease(lease("one")));
    ledger
}

#[track_caller]
fn breaks(ledger: &Ledger, invariant: &str) {
    let found = check(ledger, None);
    assert!(
        found.iter().any(|violation| violation.invariant == invariant),
        "want {invariant}, got {found:?}"
    );
}

#[test]
fn a_sound_ledger_has_no_violation() {
    assert_eq!(check(&sound(), None), []);
}

#[test]
fn two_sandboxes_with_one_address_are_seen() {
    let mut ledger = sound();
    ledger.apply(&Change::PutLease(lease("two")));
    breaks(&ledger, "UNIQUE");
}

#[test]
fn a_leased_address_that_is_free_or_forgotten_is_seen() {
    let mut ledger = sound();
    let mut address = ledger.addresses[&IP].clone();
    address.state = AddressState::Free;
    ledger.apply(&Change::PutAddress(address));
    breaks(&ledger, "SAFE-INUSE");
    ledger.apply(&Change::DropAddress(IP));
    breaks(&ledger, "SAFE-INUSE");
}

#[test]
fn unassigning_or_detaching_under_a_lease_is_seen() {
    for change in [
        CloudChange::UnassignAddresses { eni: EniId::new("eni-a"), addresses: vec![IP] },
        CloudChange::DetachEni { eni: EniId::new("eni-a"), attachment: AttachmentId::new("eni-attach-1") },
    ] {
        let mut ledger = sound();
        let id = IntentId(uuid::Uuid::from_u128(1));
        ledger.apply(&Change::PutIntent(Intent { id, change, planned: WallTime(0) }));
        breaks(&ledger, "SAFE-INUSE");
    }
}

#[test]
fn an_address_leased_to_nobody_is_seen() {
    let mut ledger = sound();
    ledger.apply(&Change::DropLease(lease("one").sandbox));
    breaks(&ledger, "POOL-ACCOUNT");
}

#[test]
fn two_enis_in_one_slot_are_seen() {
    let mut ledger = sound();
    ledger.apply(&Change::PutEni(eni("eni-b", 0)));
    breaks(&ledger, "ID-UNIQUE");
}
