use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::block::BlockState;
use crate::ids::{BootId, InstanceId, MacAddr, VpcId};
use crate::node::NodeIdentity;
use crate::sandbox::SandboxNames;
use crate::time::{BootTime, Now, WallTime};
use crate::uses::{Cooldown, Suspicion};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn block(net: &str, eni: &str) -> Block {
    Block::held(net.parse().unwrap(), EniId::new(eni), BootTime(0))
}

fn nets_on(ledger: &Ledger, eni: &str) -> Vec<String> {
    ledger.blocks_on(&EniId::new(eni)).map(|block| block.net.to_string()).collect()
}

#[test]
fn blocks_are_found_by_their_eni_wherever_they_move() {
    let mut ledger = Ledger::default();
    for (net, eni) in [("10.0.0.7/32", "a"), ("10.0.0.16/28", "a"), ("10.0.0.9/32", "b")] {
        ledger.apply(&Change::PutBlock(block(net, eni)));
    }
    assert_eq!(nets_on(&ledger, "a"), ["10.0.0.7/32", "10.0.0.16/28"]);
    ledger.apply(&Change::PutBlock(block("10.0.0.7/32", "b")));
    assert_eq!(nets_on(&ledger, "a"), ["10.0.0.16/28"]);
    assert_eq!(nets_on(&ledger, "b"), ["10.0.0.7/32", "10.0.0.9/32"]);
    ledger.apply(&Change::DropBlock("10.0.0.16/28".parse().unwrap()));
    ledger.apply(&Change::DropBlock("10.9.9.9/32".parse().unwrap()));
    assert!(nets_on(&ledger, "a").is_empty());
    assert_eq!(ledger.block_of(ip("10.0.0.17")), None);
    assert_eq!(ledger.block_of(ip("10.0.0.9")), Some(&block("10.0.0.9/32", "b")));
}

#[test]
fn an_address_does_exactly_one_thing() {
    let rest = Cooldown { boot: BootId::new("b"), since: BootTime(10), period_ms: 5 };
    let at = |ms| Now { boot: BootId::new("b"), boottime: BootTime(ms), wall: WallTime(0) };
    let mut ledger = Ledger::default();
    assert_eq!(ledger.standing(ip("10.0.0.17")), Standing::Unknown);
    ledger.apply(&Change::PutBlock(block("10.0.0.16/28", "a")));
    assert_eq!(ledger.standing(ip("10.0.0.17")), Standing::Free);
    assert!(ledger.is_free(ip("10.0.0.17"), &at(0)) && !ledger.is_free(ip("10.0.0.32"), &at(0)));

    ledger.apply(&Change::PutUse(ip("10.0.0.17"), Use::Cooling(rest.clone())));
    assert_eq!(ledger.standing(ip("10.0.0.17")), Standing::Cooling(&rest));
    assert!(!ledger.is_free(ip("10.0.0.17"), &at(14)) && ledger.is_free(ip("10.0.0.17"), &at(15)));
    ledger.apply(&Change::PutUse(ip("10.0.0.17"), Use::Suspect(Suspicion::MaybeInUse)));
    assert!(!ledger.is_free(ip("10.0.0.17"), &at(99)));

    ledger.apply(&Change::PutBlock(Block {
        state: BlockState::Gone(BootTime(3)),
        ..block("10.0.0.16/28", "a")
    }));
    assert_eq!(ledger.standing(ip("10.0.0.18")), Standing::Gone(BootTime(3)));
    assert_eq!(
        ledger.standing(ip("10.0.0.17")),
        Standing::Suspect(Suspicion::MaybeInUse),
        "a use outlives its block"
    );
    assert!(!ledger.is_free(ip("10.0.0.18"), &at(99)));
}

#[test]
fn a_block_knows_who_is_in_it() {
    let mut ledger = Ledger::default();
    let prefix = block("10.0.0.16/28", "a");
    let rest = Cooldown { boot: BootId::new("b"), since: BootTime(10), period_ms: 5 };
    ledger.apply(&Change::PutUse(ip("10.0.0.15"), Use::Suspect(Suspicion::MaybeInUse)));
    ledger.apply(&Change::PutUse(ip("10.0.0.32"), Use::Suspect(Suspicion::MaybeInUse)));
    ledger.apply(&Change::PutUse(ip("10.0.0.16"), Use::Cooling(rest)));
    assert!(!ledger.is_somebodys(&prefix));
    ledger.apply(&Change::PutUse(ip("10.0.0.31"), Use::Suspect(Suspicion::MaybeInUse)));
    assert!(ledger.is_somebodys(&prefix));
    let inside: Vec<String> = ledger.uses_in(prefix.net).map(|(ip, _)| ip.to_string()).collect();
    assert_eq!(inside, ["10.0.0.16", "10.0.0.31"]);
}

#[test]
fn a_lease_is_found_by_the_name_of_its_link() {
    let lease = |container: &str, veths: &[&str]| {
        let face = |veth: &&str| crate::lease::Face {
            ifname: "eth0".into(),
            address: ip("10.0.0.7"),
            eni: EniId::new("a"),
            place: crate::eni::EniPlace::PRIMARY,
            host_veth: (*veth).to_owned(),
            host_mac: crate::ids::MacAddr([2; 6]),
            mtu: 9001,
        };
        Lease {
            sandbox: SandboxKey::from(SandboxNames {
                container_id: container.into(),
                ifname: "eth0".into(),
                network: "aws-cni".into(),
            }),
            pod: crate::sandbox::PodRef { namespace: "n".into(), name: "p".into(), uid: None },
            netns: crate::sandbox::NetnsRef { path: "/run/netns/x".into(), inode: 1 },
            faces: veths.iter().map(face).collect(),
            phase: crate::lease::LeasePhase::Active,
            created: WallTime(0),
        }
    };
    let holder = |ledger: &Ledger, name: &str| {
        ledger.lease_by_veth(name).map(|lease| lease.sandbox.container_id.clone())
    };
    let mut ledger = Ledger::default();
    ledger.apply(&Change::PutLease(lease("one", &["eni1", "eni2"])));
    assert_eq!(holder(&ledger, "eni2").as_deref(), Some("one"));
    ledger.apply(&Change::PutLease(lease("one", &["eni1"])));
    assert_eq!(holder(&ledger, "eni2"), None, "it bears another name now");
    ledger.apply(&Change::PutLease(lease("two", &["eni1"])));
    ledger.apply(&Change::DropLease(lease("one", &[]).sandbox));
    assert_eq!(holder(&ledger, "eni1").as_deref(), Some("two"));
    ledger.apply(&Change::DropLease(lease("two", &[]).sandbox));
    assert_eq!(ledger, Ledger::default());
}

/// What `dump` writes is a ledger again, indexes included.
fn told(instance_type: &str) -> ToldLimits {
    let limits = InstanceLimits::of_addresses(vec![3], 12);
    ToldLimits { instance_type: instance_type.to_owned(), limits }
}

#[test]
fn limits_are_those_of_the_nodes_own_type() {
    let mut ledger = Ledger::default();
    ledger.apply(&Change::PutTypeLimits(told("z9.large")));
    assert_eq!(ledger.limits(), None, "whose node it is, is not known");
    let node = |name: &str| {
        let identity = NodeIdentity {
            instance: InstanceId::new("i-1"),
            instance_type: name.to_owned(),
            region: "eu-central-1".to_owned(),
            zone: "eu-central-1a".to_owned(),
            vpc: VpcId::new("vpc-1"),
            vpc_cidrs: Vec::new(),
            primary_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            primary_ipv4: Ipv4Addr::new(10, 0, 0, 4),
            subnet: SubnetId::new("subnet-1"),
            subnet_cidr: "10.0.0.0/24".parse().unwrap(),
            security_groups: Vec::new(),
        };
        Change::PutNode(NodeRecord { identity, boot: BootId::new("boot") })
    };
    ledger.apply(&node("z9.large"));
    assert_eq!(ledger.limits(), Some(told("z9.large").limits));
    ledger.apply(&node("z9.xlarge"));
    assert_eq!(ledger.limits(), None, "the instance was made another type meanwhile");
    ledger.apply(&node("m5.large"));
    ledger.apply(&Change::PutTypeLimits(told("m5.large")));
    assert_eq!(ledger.limits(), InstanceLimits::of("m5.large"), "the table knows more");
}

#[test]
fn a_ledger_that_is_written_for_people_can_be_read_back() {
    let mut ledger = Ledger::default();
    let eni = crate::invariants::tests::eni("eni-a", 0);
    let lease = crate::invariants::tests::lease("c");
    let block = Block::held(lease.faces[0].address.into(), eni.id.clone(), BootTime(0));
    ledger.apply_all(&[
        Change::PutEni(eni.clone()),
        Change::PutBlock(block),
        Change::PutUse(lease.faces[0].address, Use::Leased(lease.sandbox.clone())),
        Change::PutLease(lease.clone()),
        Change::PutTypeLimits(told("z9.large")),
    ]);
    let pages = Pages {
        node: None,
        settings: ClusterSettings::default(),
        type_limits: ledger.type_limits.clone(),
        subnets: BTreeMap::new(),
        enis: ledger.enis.iter().map(|(id, eni)| (id.clone(), eni.clone())).collect(),
        blocks: ledger.blocks.iter().map(|(net, block)| (*net, block.clone())).collect(),
        uses: ledger.uses.iter().map(|(ip, what)| (*ip, what.clone())).collect(),
        leases: ledger.leases.values().cloned().collect(),
        intents: BTreeMap::new(),
    };
    let back = Ledger::from(pages);
    assert_eq!(back, ledger);
    assert_eq!(back.blocks_on(&eni.id).count(), 1);
    assert_eq!(back.lease_by_veth("eni0").and_then(Lease::own_face), lease.faces.first());
}

#[test]
fn intents_are_found_by_the_eni_that_they_name() {
    use crate::cloud::CloudChange;
    use crate::intent::{Intent, Sending};
    let mut ledger = Ledger::default();
    for (number, eni) in [(1, "eni-a"), (2, "eni-b"), (3, "eni-a")] {
        let change = CloudChange::DeleteEni { eni: EniId::new(eni) };
        let id = IntentId(uuid::Uuid::from_u128(number));
        let intent = Intent { id, change, sending: Sending::MaybeSent, planned: WallTime(0) };
        ledger.apply(&Change::PutIntent(intent));
    }
    let on = |eni: &str| {
        ledger.intents_on(&EniId::new(eni)).map(|intent| intent.id.0.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!((on("eni-a"), on("eni-b"), on("eni-c")), (vec![1, 3], vec![2], vec![]));
}
