//! Custom networking: pods' addresses from the ENIConfig's subnet, on secondary ENIs (reference: vpc-cni 6.8).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::cloud::Api;
use holdfast_model::config::{AddressMode, WarmTargets};
use holdfast_model::eni_config::{AppliedEniConfig, EniConfig};
use holdfast_model::ids::{EniId, SecurityGroupId, SubnetId};
use holdfast_model::refusal::Refusal;

use crate::toy::cloud::ToyEni;
use crate::toy::subnet::{ToySubnet, tagged};
use crate::toy::{Fate, Toy, by_address, by_eni, by_prefix};

pub(super) fn groups(names: &[&str]) -> BTreeSet<SecurityGroupId> {
    names.iter().map(|name| SecurityGroupId::new(*name)).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "as the setting has it")]
pub(super) fn applied(subnet: &str, of: &[&str]) -> Option<AppliedEniConfig> {
    Some(AppliedEniConfig::Is(EniConfig {
        name: "zone-a".to_owned(),
        subnet: SubnetId::new(subnet),
        security_groups: groups(of),
    }))
}

/// A node with two more subnets.
fn node(instance_type: &str, warm: WarmTargets) -> Toy {
    let mut toy = Toy::new(instance_type, warm);
    toy.config.subnet_discovery.value = false;
    toy.cloud.others = BTreeMap::from([ToySubnet::nth(1, &[]), ToySubnet::nth(2, &[])]);
    toy
}

fn custom(instance_type: &str, warm: WarmTargets) -> Toy {
    let mut toy = node(instance_type, warm);
    toy.config.eni_config.value = applied("subnet-2", &["sg-pods"]);
    toy
}

pub(super) fn subnet_of(ip: IpAddr) -> u8 {
    let IpAddr::V4(ip) = ip else { unreachable!() };
    ip.octets()[2] / 64 + 1
}

/// How many pods have an address of each subnet.
pub(super) fn pods(toy: &Toy) -> BTreeMap<u8, usize> {
    let mut pods = BTreeMap::new();
    for ip in &toy.cloud.leased {
        *pods.entry(subnet_of(*ip)).or_default() += 1;
    }
    pods
}

/// How many ENIs there are in each subnet, and how many blocks for pods on them.
pub(super) fn enis(toy: &Toy) -> BTreeMap<&str, (usize, usize)> {
    let mut enis: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for eni in toy.cloud.enis.values() {
        let (count, blocks) = enis.entry(eni.subnet.as_str()).or_default();
        (*count, *blocks) = (*count + 1, *blocks + eni.secondary.len() + eni.prefixes.len());
    }
    enis
}

/// The runtime replaces pods one after the other.
pub(super) fn replace_pods(toy: &mut Toy) {
    for key in toy.ledger.leases.keys().cloned().collect::<Vec<_>>() {
        let nth = toy.ledger.leases.keys().position(|other| *other == key).unwrap();
        toy.delete_pod(nth);
        toy.sleep(Duration::from_secs(40));
        toy.add_pods(1);
        toy.run_to_rest();
    }
}

#[test]
fn the_primary_gives_no_pod_an_address_and_new_enis_are_of_the_config() {
    let mut toy = custom("m5.large", by_eni(1));
    toy.add_pods(10);
    toy.run_to_rest();
    assert_eq!((toy.waiting(), pods(&toy)), (0, [(2, 10)].into()));
    assert_eq!(enis(&toy), [("subnet-1", (1, 0)), ("subnet-2", (2, 18))].into());
    for eni in toy.cloud.enis.values().filter(|eni| eni.subnet.as_str() == "subnet-2") {
        assert_eq!(eni.groups, groups(&["sg-pods"]));
    }
    toy.assert_in_agreement();
    // (3 - 1) * 9 addresses: the reference's figure less the two on the host's network.
    toy.add_pods(20);
    toy.run_to_rest();
    assert_eq!(pods(&toy), [(2, 18)].into());
    assert_eq!(toy.waiting(), 12);
    let refusal = toy.last.refusal().cloned();
    assert!(matches!(&refusal, Some(Refusal::InstanceFull { addresses: 18, .. })), "{refusal:?}");
    toy.assert_in_agreement();
}

#[test]
fn a_burst_takes_three_calls_for_each_eni_and_none_for_the_primary() {
    let mut toy = custom("m5.4xlarge", by_eni(1));
    toy.add_pods(110);
    toy.run_to_rest();
    assert_eq!(toy.shape(), [29, 29, 29, 29, 29, 0]);
    assert_eq!(toy.cloud.count(Api::AssignPrivateIpAddresses), 0);
    assert_eq!(toy.cloud.count(Api::UnassignPrivateIpAddresses), 0);
    assert_eq!(toy.cloud.count(Api::CreateNetworkInterface), 5);
    assert_eq!(toy.cloud.count(Api::ModifyNetworkInterfaceAttribute), 5, "created with the config's groups");
}

#[test]
fn prefixes_come_of_the_configs_subnet_too() {
    let mut toy = custom("m5.large", by_prefix(1));
    toy.switch(AddressMode::Prefix);
    toy.add_pods(30);
    toy.run_to_rest();
    assert_eq!((toy.waiting(), pods(&toy)), (0, [(2, 30)].into()));
    assert_eq!(enis(&toy), [("subnet-1", (1, 0)), ("subnet-2", (1, 3))].into());
}

#[test]
fn with_no_groups_in_the_config_those_of_the_primary_are_followed() {
    let mut toy = node("m5.large", by_eni(1));
    toy.config.eni_config.value = applied("subnet-2", &[]);
    toy.add_pods(3);
    toy.run_to_rest();
    let of_pods = |toy: &Toy| {
        let all = toy.cloud.enis.values().filter(|eni| eni.subnet.as_str() == "subnet-2");
        all.map(|eni| eni.groups.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of_pods(&toy), vec![groups(&["sg-1"]); 2]);
    toy.cloud.enis.get_mut(&EniId::new("eni-primary")).unwrap().groups = groups(&["sg-2"]);
    toy.sleep(Duration::from_secs(7 * 3600));
    toy.run_to_rest();
    assert_eq!(of_pods(&toy), vec![groups(&["sg-2"]); 2]);
    // And then some of its own.
    toy.config.eni_config.value = applied("subnet-2", &["sg-3"]);
    toy.run_to_rest();
    assert_eq!(of_pods(&toy), vec![groups(&["sg-3"]); 2]);
    assert_eq!(toy.cloud.enis[&EniId::new("eni-primary")].groups, groups(&["sg-2"]), "its owner's");
}

/// It is named, and service resumes when it is there, whatever came before.
#[test]
fn a_config_that_is_missing_or_wrong_is_named() {
    let missing = AppliedEniConfig::Missing { name: "zone-a".into() };
    let wrong = AppliedEniConfig::Wrong { name: "zone-a".into(), cause: "no subnet".into() };
    for (told, cause, hold) in [
        (AppliedEniConfig::Untold, Refusal::EniConfigUntold, true),
        (missing, Refusal::EniConfigMissing { name: "zone-a".into() }, false),
        (wrong, Refusal::EniConfigWrong { name: "zone-a".into(), cause: "no subnet".into() }, false),
    ] {
        let mut toy = node("m5.large", by_eni(1));
        toy.config.eni_config.value = Some(told);
        toy.add_pods(1);
        toy.run_to_rest();
        assert_eq!(toy.last.refusal(), Some(&cause));
        let shortage = toy.choose().unwrap_err();
        assert_eq!((&shortage.cause, shortage.hold), (&cause, hold));
        let reads = toy.cloud.calls.iter().all(|api| *api == Api::DescribeNetworkInterfaces);
        assert!(reads, "{:?}", toy.cloud.calls);
        toy.config.eni_config.value = applied("subnet-2", &[]);
        toy.run_to_rest();
        assert_eq!((toy.waiting(), pods(&toy)), (0, [(2, 1)].into()));
        toy.assert_in_agreement();
    }
}

/// The subnet that it names does not exist: EC2's words, and the right one is used at once.
#[test]
fn a_config_that_ec2_refuses_is_named_and_another_one_is_not_held_back() {
    let mut toy = node("m5.large", by_eni(1));
    toy.config.eni_config.value = applied("subnet-none", &[]);
    toy.add_pods(1);
    for _ in 0..600 {
        toy.round();
        toy.sleep(Duration::from_secs(5));
    }
    assert!(matches!(toy.last.refusal(), Some(Refusal::Rejected { .. })), "{:?}", toy.last.refusal());
    let tries = toy.cloud.count(Api::CreateNetworkInterface);
    assert!((5..90).contains(&tries), "{tries} in 50 minutes");
    toy.config.eni_config.value = applied("subnet-2", &[]);
    for _ in 0..10 {
        toy.round();
        toy.sleep(Duration::from_secs(1));
        toy.serve();
    }
    assert_eq!((toy.waiting(), pods(&toy)), (0, [(2, 1)].into()));
}

/// While what is wanted is not known nothing is given up for it: what was made for a config serves on, and the node's own
/// subnet gives no pod an address.
#[test]
fn a_config_that_disappears_takes_nothing_away() {
    let mut toy = custom("m5.xlarge", by_eni(1));
    toy.add_pods(10);
    toy.run_to_rest();
    let before = enis(&toy).into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Vec<_>>();
    toy.config.eni_config.value = Some(AppliedEniConfig::Missing { name: "zone-a".into() });
    toy.cloud.calls.clear();
    toy.sleep(Duration::from_secs(600));
    toy.run_to_rest();
    toy.add_pods(4);
    toy.run_to_rest();
    assert_eq!((toy.waiting(), pods(&toy)), (0, [(2, 14)].into()));
    let after = enis(&toy).into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Vec<_>>();
    assert_eq!(before, after);
    assert!(toy.cloud.calls.iter().all(|api| *api == Api::DescribeNetworkInterfaces));
}

#[test]
fn switched_on_under_pods_the_old_enis_go_with_them() {
    for warm in [by_eni(1), by_address(2, 0), by_prefix(1)] {
        let mut toy = node("m5.4xlarge", warm);
        toy.add_pods(30);
        toy.run_to_rest();
        assert_eq!(pods(&toy), [(1, 30)].into());
        let held: Vec<IpAddr> = toy.cloud.leased.iter().copied().collect();
        toy.config.eni_config.value = applied("subnet-2", &["sg-pods"]);
        toy.run_to_rest();
        assert!(held.iter().all(|ip| toy.cloud.leased.contains(ip)), "no pod loses its address");
        toy.add_pods(5);
        toy.run_to_rest();
        assert_eq!(pods(&toy), [(1, 30), (2, 5)].into());
        // What nobody uses on the old ones is given back.
        assert_eq!(enis(&toy)["subnet-1"].1, 30, "{warm:?}");
        for eni in toy.cloud.enis.values() {
            let wanted = if eni.subnet.as_str() == "subnet-1" { "sg-1" } else { "sg-pods" };
            assert_eq!(
                eni.groups,
                groups(&[wanted]),
                "old ENIs keep their groups for the sake of their pods"
            );
        }
        replace_pods(&mut toy);
        toy.sleep(Duration::from_secs(600));
        toy.run_to_rest();
        assert_eq!(pods(&toy), [(2, 35)].into());
        assert_eq!(enis(&toy)["subnet-1"], (1, 0), "{warm:?}");
        toy.assert_in_agreement();
        toy.cloud.calls.clear();
        toy.sleep(Duration::from_secs(3600));
        toy.run_to_rest();
        assert_eq!(toy.cloud.calls, []);
    }
}

#[test]
fn switched_off_under_pods_what_was_made_for_it_goes_with_them() {
    let mut toy = custom("m5.4xlarge", by_eni(1));
    toy.add_pods(30);
    toy.run_to_rest();
    toy.config.eni_config.value = None;
    toy.run_to_rest();
    assert_eq!(pods(&toy), [(2, 30)].into());
    toy.add_pods(5);
    toy.run_to_rest();
    replace_pods(&mut toy);
    toy.sleep(Duration::from_secs(600));
    toy.run_to_rest();
    assert_eq!(pods(&toy), [(1, 35)].into());
    assert!(!enis(&toy).contains_key("subnet-2"), "{:?}", enis(&toy));
    toy.assert_in_agreement();
}

/// From one config to another one, and back before anything was detached.
#[test]
fn another_config_under_pods_drains_what_was_of_the_first() {
    let mut toy = custom("m5.4xlarge", by_eni(1));
    toy.add_pods(30);
    toy.run_to_rest();
    toy.config.eni_config.value = applied("subnet-3", &["sg-others"]);
    toy.add_pods(3);
    toy.run_to_rest();
    assert_eq!(pods(&toy), [(2, 30), (3, 3)].into());
    let of = |toy: &Toy, subnet: &str| {
        let all = toy.cloud.enis.values().filter(|eni| eni.subnet.as_str() == subnet);
        all.map(|eni: &ToyEni| eni.groups.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(of(&toy, "subnet-2"), [groups(&["sg-pods"])].into());
    assert_eq!(of(&toy, "subnet-3"), [groups(&["sg-others"])].into());
    replace_pods(&mut toy);
    toy.sleep(Duration::from_secs(600));
    toy.run_to_rest();
    assert_eq!(pods(&toy), [(3, 33)].into());
    assert!(!enis(&toy).contains_key("subnet-2"));
    toy.assert_in_agreement();
}

/// Every slot is taken by ENIs of before: the cause says so, no pod of theirs is touched, and one that falls empty makes room, also
/// while ADDs wait.
#[test]
fn a_node_full_of_old_enis_says_so_and_serves_as_they_fall_empty() {
    let mut toy = node("m5.large", by_eni(0));
    toy.add_pods(27);
    toy.run_to_rest();
    assert_eq!((toy.waiting(), toy.shape()), (0, vec![9, 9, 9]));
    toy.config.eni_config.value = applied("subnet-2", &[]);
    toy.sleep(Duration::from_secs(120));
    toy.add_pods(1);
    toy.run_to_rest();
    assert_eq!(toy.last.refusal(), Some(&Refusal::OldSource { held: 2 }));
    let shortage = toy.choose().unwrap_err();
    assert_eq!((&shortage.cause, shortage.hold), (&Refusal::OldSource { held: 2 }, false));
    toy.delete_all_pods();
    toy.run_to_rest();
    assert_eq!((toy.waiting(), pods(&toy)), (0, [(2, 1)].into()));
    toy.assert_in_agreement();
}

/// One that is being made when the config changes serves nobody, and goes.
#[test]
fn an_eni_that_was_made_in_vain_is_deleted() {
    for (round, fate) in [(2, Fate::Fine), (2, Fate::KilledAfter), (2, Fate::LostAfter), (3, Fate::Fine)] {
        let mut toy = custom("m5.large", by_eni(1));
        toy.add_pods(1);
        let mut calls = 0;
        toy.fates = Box::new(move || {
            calls += 1;
            if calls == 3 { fate } else { Fate::Fine }
        });
        for _ in 0..round {
            toy.round();
        }
        toy.config.eni_config.value = applied("subnet-3", &[]);
        toy.run_to_rest();
        toy.sleep(Duration::from_secs(7 * 3600));
        toy.run_to_rest();
        let served = pods(&toy);
        assert!(served == [(3, 1)].into() || served == [(2, 1)].into(), "{served:?}");
        let left = usize::from(served.contains_key(&2));
        assert_eq!(enis(&toy).get("subnet-2").map_or(0, |(count, _)| *count), left, "{round} {fate:?}");
        toy.assert_in_agreement();
    }
}

/// The subnet is full: the cause is that, and it passes.
#[test]
fn a_full_subnet_is_the_cause_and_passes() {
    let mut toy = custom("m5.large", by_eni(1));
    let subnet = SubnetId::new("subnet-2");
    toy.cloud.others.get_mut(&subnet).unwrap().free = 1;
    toy.add_pods(1);
    for _ in 0..300 {
        toy.round();
        toy.sleep(Duration::from_secs(1));
    }
    assert_eq!(toy.last.refusal(), Some(&Refusal::SubnetFull { subnet: subnet.clone() }));
    toy.cloud.others.get_mut(&subnet).unwrap().free = 100;
    for _ in 0..130 {
        toy.round();
        toy.sleep(Duration::from_secs(1));
        toy.serve();
    }
    assert_eq!((toy.waiting(), pods(&toy)), (0, [(2, 1)].into()));
}

/// Wherever a process dies in a start with custom networking, and the next one begins without: all ENIs have the primary's groups in
/// the end.
#[test]
fn groups_follow_a_switch_that_a_death_hides() {
    for fatal in 1..25 {
        for fate in [Fate::KilledBefore, Fate::KilledAfter] {
            let mut toy = custom("t3.small", by_address(2, 0));
            toy.config.subnet_discovery.value = true;
            toy.set_waiting(2);
            let mut calls = 0;
            toy.fates = Box::new(move || {
                calls += 1;
                if calls == fatal { fate } else { Fate::Fine }
            });
            for _ in 0..fatal {
                toy.round();
            }
            toy.config.eni_config.value = None;
            toy.restart();
            toy.fates = Box::new(|| Fate::Fine);
            for _ in 0..60 {
                toy.round();
                toy.sleep(Duration::from_secs(1));
                toy.serve();
            }
            for (id, eni) in &toy.cloud.enis {
                assert_eq!(eni.groups, groups(&["sg-1"]), "{fatal} {fate:?}: {id} in {}", eni.subnet);
            }
        }
    }
}

/// With discovery another subnet's ENI serves, which a process that has just begun does not know before it has read the tags.
#[test]
fn a_start_makes_no_eni_before_it_knows_which_of_those_that_are_there_serve() {
    let mut toy = custom("t3.medium", by_prefix(1));
    toy.switch(AddressMode::Prefix);
    toy.config.eni_config.value = applied("subnet-1", &[]);
    toy.add_pods(1);
    toy.run_to_rest();
    toy.config.subnet_discovery.value = true;
    toy.cloud.own_tags = tagged(&[("kubernetes.io/role/cni", "1")]);
    toy.config.eni_config.value = applied("subnet-2", &[]);
    toy.sleep(Duration::from_secs(7 * 3600));
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0);
    toy.cloud.calls.clear();
    toy.restart();
    toy.run_to_rest();
    assert_eq!(toy.cloud.count(Api::CreateNetworkInterface), 0, "{:?}", toy.cloud.calls);
    // Who waits is not kept waiting for it.
    toy.restart();
    toy.add_pods(40);
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0);
}
