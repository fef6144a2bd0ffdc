use std::net::{IpAddr, Ipv4Addr};

use crate::block::{Block, BlockState};
use crate::cloud::CloudChange;
use crate::eni::{EniKind, EniPhase, EniPlace, EniRecord, EniSlot, EniSource, Management};
use crate::ids::{AttachmentId, EniId, IntentId, MacAddr, SubnetId};
use crate::intent::{Intent, Sending};
use crate::lease::{Face, Lease, LeasePhase};
use crate::ledger::{Change, Ledger};
use crate::limits::InstanceLimits;
use crate::sandbox::{NetnsRef, PodRef, SandboxKey, SandboxNames};
use crate::time::{BootTime, WallTime};
use crate::uses::Use;

use super::check;

const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10));

pub(crate) fn eni(id: &str, device: u16) -> EniRecord {
    EniRecord {
        id: EniId::new(id),
        mac: MacAddr([2, 0, 0, 0, 0, device as u8]),
        place: EniPlace::Device(EniSlot { card: 0, device }),
        kind: EniKind::Standard,
        management: Management::Managed,
        phase: EniPhase::Attached {
            attachment: AttachmentId::new("eni-attach-1"),
            delete_on_termination: true,
        },
        source: EniSource { subnet: SubnetId::new("subnet-1"), security_groups: None },
        primary_ipv4: Some(Ipv4Addr::new(10, 0, 0, 4 + device as u8)),
        created_by: None,
        since: BootTime(0),
        changed: BootTime(0),
    }
}

pub(crate) fn lease(container: &str) -> Lease {
    Lease {
        sandbox: SandboxKey::from(SandboxNames {
            container_id: container.into(),
            ifname: "eth0".into(),
            network: "aws-cni".into(),
        }),
        pod: PodRef { namespace: "default".into(), name: "web-0".into(), uid: None },
        netns: NetnsRef { path: "/run/netns/x".into(), inode: 1 },
        faces: vec![Face {
            ifname: "eth0".into(),
            address: IP,
            eni: EniId::new("eni-a"),
            place: EniPlace::PRIMARY,
            host_veth: "eni0".into(),
            host_mac: MacAddr([2, 0, 0, 0, 0, 9]),
            mtu: 9001,
        }],
        phase: LeasePhase::Active,
        created: WallTime(0),
    }
}

fn block(net: &str, eni: &str) -> Block {
    Block::held(net.parse().unwrap(), EniId::new(eni), BootTime(0))
}

fn sound() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.apply(&Change::PutEni(eni("eni-a", 0)));
    ledger.apply(&Change::PutBlock(block("10.0.0.10/32", "eni-a")));
    ledger.apply(&Change::PutUse(IP, Use::Leased(lease("one").sandbox)));
    ledger.apply(&Change::PutLease(lease("one")));
    ledger
}

fn put(change: Change) -> Ledger {
    let mut ledger = sound();
    ledger.apply(&change);
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
    breaks(&put(Change::DropUse(IP)), "SAFE-INUSE");
    breaks(&put(Change::DropBlock(IP.into())), "PROVEN-ASSIGNED");
    breaks(&put(Change::PutBlock(block("10.0.0.10/32", "eni-b"))), "PROVEN-ASSIGNED");
    for state in [BlockState::Gone(BootTime(1)), BlockState::Leaving(IntentId(uuid::Uuid::nil()))] {
        breaks(&put(Change::PutBlock(Block { state, ..block("10.0.0.10/32", "eni-a") })), "SAFE-INUSE");
    }
    let withdrawn = Block { state: BlockState::Withdrawn, ..block("10.0.0.10/32", "eni-a") };
    assert_eq!(check(&put(Change::PutBlock(withdrawn)), None), [], "that is EC2's doing, not ours");
}

#[test]
fn blocks_that_make_no_sense_are_seen() {
    breaks(&put(Change::PutBlock(block("10.0.0.0/28", "eni-a"))), "POOL-ACCOUNT");
    // The wider one comes first in the book, or last.
    for wider in ["10.0.0.8/29", "10.0.0.10/31"] {
        let found = check(&put(Change::PutBlock(block(wider, "eni-a"))), None);
        assert!(found.len() == 1 && found[0].detail.contains("overlap"), "{wider}: {found:?}");
    }
    breaks(&put(Change::PutBlock(block("10.0.0.4/32", "eni-a"))), "POOL-ACCOUNT");
    breaks(&put(Change::PutBlock(block("10.0.0.99/32", "eni-z"))), "POOL-ACCOUNT");
    let leaving = BlockState::Leaving(IntentId(uuid::Uuid::nil()));
    breaks(&put(Change::PutBlock(Block { state: leaving, ..block("10.0.0.11/32", "eni-a") })), "NO-ORPHAN");
}

#[test]
fn an_eni_carries_no_more_than_its_type_says() {
    let limits = InstanceLimits::of("t3.nano").unwrap();
    assert_eq!(limits.pod_addresses_per_eni(), 1);
    let mut ledger = sound();
    assert_eq!(check(&ledger, Some(&limits)), []);
    let gone = BlockState::Gone(BootTime(1));
    ledger.apply(&Change::PutBlock(Block { state: gone, ..block("10.0.0.11/32", "eni-a") }));
    assert_eq!(check(&ledger, Some(&limits)), []);
    ledger.apply(&Change::PutBlock(block("10.0.0.12/32", "eni-a")));
    assert_eq!(check(&ledger, Some(&limits)).len(), 1);
}

#[test]
fn a_lease_without_an_address_is_seen() {
    breaks(&put(Change::PutLease(Lease { faces: Vec::new(), ..lease("two") })), "POOL-ACCOUNT");
}

#[test]
fn unassigning_or_detaching_under_a_lease_is_seen() {
    for change in [
        CloudChange::Unassign { eni: EniId::new("eni-a"), nets: vec![IP.into()] },
        CloudChange::DetachEni { eni: EniId::new("eni-a"), attachment: AttachmentId::new("eni-attach-1") },
    ] {
        let mut ledger = sound();
        let id = IntentId(uuid::Uuid::from_u128(1));
        ledger.apply(&Change::PutIntent(Intent {
            id,
            change,
            sending: Sending::MaybeSent,
            planned: WallTime(0),
        }));
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

/// The ENI's routes are in the table of its place, and the pod's rules lead to the table of the face's.
#[test]
fn a_pod_that_is_wired_for_another_place_than_its_enis_is_seen() {
    breaks(&put(Change::PutEni(eni("eni-a", 1))), "ADD-MEANS-REACHABLE");
}
