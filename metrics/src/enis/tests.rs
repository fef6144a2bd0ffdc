use holdfast_model::eni::{EniPhase, EniPlace, EniSlot, EniSource};
use holdfast_model::ids::{AttachmentId, BootId, MacAddr, SubnetId};
use holdfast_model::lease::{Face, Lease, LeasePhase};
use holdfast_model::ledger::Change;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey, SandboxNames};
use holdfast_model::time::WallTime;
use holdfast_model::uses::Cooldown;
use serde_json::json;

use super::*;

fn eni(name: &str, device: u16, management: Management) -> EniRecord {
    EniRecord {
        id: EniId::new(name),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        place: EniPlace::Device(EniSlot { card: 0, device }),
        kind: EniKind::Standard,
        management,
        phase: EniPhase::Attached { attachment: AttachmentId::new("a"), delete_on_termination: true },
        source: EniSource { subnet: SubnetId::new("subnet-1"), security_groups: None },
        primary_ipv4: Some([10, 0, 0, 4].into()),
        created_by: None,
        since: BootTime(0),
        changed: BootTime(0),
    }
}

fn ledger() -> Ledger {
    let sandbox = SandboxKey::from(SandboxNames {
        container_id: "c0ffee".into(),
        ifname: "eth0".into(),
        network: "aws-cni".into(),
    });
    let leased: IpAddr = "10.0.0.5".parse().unwrap();
    let lease = Lease {
        sandbox: sandbox.clone(),
        pod: PodRef { namespace: "shop".into(), name: "web-0".into(), uid: None },
        netns: NetnsRef { path: "/run/netns/x".into(), inode: 1 },
        faces: vec![Face {
            ifname: "eth0".into(),
            address: leased,
            eni: EniId::new("eni-a"),
            place: EniPlace::PRIMARY,
            host_veth: "eni0".into(),
            host_mac: MacAddr([2, 0, 0, 0, 0, 9]),
            mtu: 9001,
        }],
        phase: LeasePhase::Active,
        created: WallTime(1_767_225_599_250),
    };
    let rest = Cooldown { boot: BootId::new("b"), since: BootTime(4_000), period_ms: 30_000 };
    let held =
        |net: &str| Change::PutBlock(Block::held(net.parse().unwrap(), EniId::new("eni-a"), BootTime(1)));
    let mut ledger = Ledger::default();
    ledger.apply_all(&[
        Change::PutEni(eni("eni-a", 0, Management::Managed)),
        Change::PutEni(eni("eni-b", 2, Management::Excluded)),
        Change::PutEni(eni("eni-x", 1, Management::Unmanaged)),
        held("10.0.0.5/32"),
        held("10.0.0.6/32"),
        held("10.0.0.7/32"),
        held("10.0.1.0/28"),
        Change::PutUse(leased, Use::Leased(sandbox)),
        Change::PutLease(lease),
        Change::PutUse("10.0.0.6".parse().unwrap(), Use::Cooling(rest)),
    ]);
    ledger
}

/// Byte for byte as Go writes it.
#[test]
fn the_pool_has_the_incumbents_shape() {
    let now = Now { boot: BootId::new("b"), boottime: BootTime(5_000), wall: WallTime(1_767_225_600_000) };
    let shown = serde_json::to_value(cards(&ledger(), &now)).unwrap();
    let never = "0001-01-01T00:00:00Z";
    let blank = json!({"networkName": "", "containerID": "", "ifName": ""});
    let expected = json!({"0": {
        "TotalIPs": 19,
        "AssignedIPs": 1,
        "ENIs": {
            "eni-a": {
                "ID": "eni-a", "IsPrimary": true, "IsTrunk": false, "IsEFA": false, "DeviceNumber": 0,
                "AvailableIPv4Cidrs": {
                    "10.0.0.5/32": {
                        "Cidr": {"IP": "10.0.0.5", "Mask": "/////w=="},
                        "IPAddresses": {"10.0.0.5": {
                            "Address": "10.0.0.5",
                            "IPAMKey": {"networkName": "aws-cni", "containerID": "", "ifName": ""},
                            "IPAMMetadata": {"k8sPodNamespace": "shop", "k8sPodName": "web-0"},
                            "AssignedTime": "2025-12-31T23:59:59.25Z", "UnassignedTime": never,
                        }},
                        "IsPrefix": false, "AddressFamily": "",
                    },
                    "10.0.0.6/32": {
                        "Cidr": {"IP": "10.0.0.6", "Mask": "/////w=="},
                        "IPAddresses": {"10.0.0.6": {
                            "Address": "10.0.0.6", "IPAMKey": blank, "IPAMMetadata": {},
                            "AssignedTime": never, "UnassignedTime": "2025-12-31T23:59:59Z",
                        }},
                        "IsPrefix": false, "AddressFamily": "",
                    },
                    "10.0.0.7/32": {
                        "Cidr": {"IP": "10.0.0.7", "Mask": "/////w=="}, "IPAddresses": {},
                        "IsPrefix": false, "AddressFamily": "",
                    },
                    "10.0.1.0/28": {
                        "Cidr": {"IP": "10.0.1.0", "Mask": "////8A=="}, "IPAddresses": {},
                        "IsPrefix": true, "AddressFamily": "",
                    },
                },
                "IPv6Cidrs": {}, "IsExcludedForPodIPs": false, "RouteTableID": 254, "SubnetID": "subnet-1",
            },
            "eni-b": {
                "ID": "eni-b", "IsPrimary": false, "IsTrunk": false, "IsEFA": false, "DeviceNumber": 2,
                "AvailableIPv4Cidrs": {}, "IPv6Cidrs": {}, "IsExcludedForPodIPs": true, "RouteTableID": 3,
                "SubnetID": "subnet-1",
            },
        },
    }});
    assert_eq!(shown, expected);
    let empty = serde_json::to_value(cards(&Ledger::default(), &now)).unwrap();
    assert_eq!(empty, json!({"0": {"TotalIPs": 0, "AssignedIPs": 0, "ENIs": {}}}));
}
