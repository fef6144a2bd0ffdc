//! Subnet discovery: ENIs in several subnets of the zone, and what becomes of those that are not for pods any more.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::cloud::Api;
use holdfast_model::config::{AddressMode, WarmTargets};
use holdfast_model::ids::SubnetId;
use holdfast_model::refusal::Refusal;

use super::custom::{applied, enis, groups, pods, replace_pods};
use crate::toy::subnet::{ToySubnet, tagged};
use crate::toy::{Toy, by_address, by_eni, by_prefix};

const ROLE: &str = "kubernetes.io/role/cni";

/// A node with a tagged subnet besides its own, and one that is not tagged.
fn node(instance_type: &str, warm: WarmTargets) -> Toy {
    let mut toy = Toy::new(instance_type, warm);
    toy.cloud.others = BTreeMap::from([ToySubnet::nth(1, &[(ROLE, "1")]), ToySubnet::nth(2, &[])]);
    toy
}

fn other<'a>(toy: &'a mut Toy, id: &str) -> &'a mut ToySubnet {
    toy.cloud.others.get_mut(&SubnetId::new(id)).unwrap()
}

/// The tags are seen when the subnets are read next.
fn tags_change(toy: &mut Toy, id: &str, tags: &[(&str, &str)]) {
    if id == "subnet-1" {
        toy.cloud.own_tags = tagged(tags);
    } else {
        other(toy, id).tags = tagged(tags);
    }
    toy.sleep(Duration::from_secs(7 * 3600));
    toy.run_to_rest();
}

#[test]
fn the_subnet_with_most_free_addresses_gives_the_next_eni() {
    for (own, tagged, wanted) in [(10_000, 9000, "subnet-1"), (9000, 10_000, "subnet-2")] {
        let mut toy = node("m5.large", by_eni(1));
        toy.cloud.subnet_free = own;
        other(&mut toy, "subnet-2").free = tagged;
        toy.add_pods(10);
        toy.run_to_rest();
        let made: Vec<&str> = toy.cloud.enis.values().skip(1).map(|eni| eni.subnet.as_str()).collect();
        assert!(toy.cloud.enis.len() == 3 && made.contains(&wanted), "{:?}", enis(&toy));
        assert_eq!(toy.waiting(), 0);
        assert!(toy.cloud.enis.values().all(|eni| eni.groups == groups(&["sg-1"])));
        assert!(!enis(&toy).contains_key("subnet-3"), "it is not tagged");
        toy.assert_in_agreement();
    }
}

/// At once: no ADD waits for the first one's rest.
#[test]
fn a_full_subnet_is_left_for_another_at_once() {
    for (mode, warm) in [
        (AddressMode::Secondary, by_eni(1)),
        (AddressMode::Secondary, by_address(2, 0)),
        (AddressMode::Prefix, by_prefix(1)),
    ] {
        let mut toy = node("m5.xlarge", warm);
        toy.switch(mode);
        toy.add_pods(1);
        toy.run_to_rest();
        // Others have taken all that there was since it was read.
        (toy.cloud.subnet_free, toy.cloud.blocks_free) = (0, 0);
        toy.add_pods(35);
        let began = toy.now.boottime;
        while toy.waiting() > 0 {
            assert!(toy.now.boottime.since(began) < Duration::from_secs(5), "{:?}", toy.last);
            toy.round();
        }
        assert!(pods(&toy)[&2] > 0, "{:?}", pods(&toy));
        toy.run_to_rest();
        toy.assert_in_agreement();
    }
}

/// With room left on ENIs in the full subnet (cni-PR#2954), and when the full one is not the node's own.
#[test]
fn cni_pr_2954_room_on_an_eni_in_a_full_subnet_keeps_nobody_waiting() {
    let mut toy = node("m5.xlarge", by_address(1, 0));
    toy.cloud.subnet_free = 20;
    toy.add_pods(3);
    toy.run_to_rest();
    toy.cloud.subnet_free = 0;
    for _ in 0..20 {
        toy.add_pods(1);
        let began = toy.now.boottime;
        while toy.waiting() > 0 {
            assert!(toy.now.boottime.since(began) < Duration::from_secs(5), "{:?}", toy.last);
            toy.round();
        }
        toy.run_to_rest();
    }
    assert_eq!(enis(&toy)["subnet-2"].0, 2, "{:?}", enis(&toy));
    toy.assert_in_agreement();
}

#[test]
fn a_subnet_is_left_before_it_is_full() {
    let mut toy = node("m5.4xlarge", by_eni(1));
    // 512 of 16,384 are kept for who has no other one.
    toy.cloud.subnet_free = 600;
    other(&mut toy, "subnet-2").free = 590;
    toy.add_pods(100);
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0);
    let (own, tagged) = (enis(&toy)["subnet-1"], enis(&toy)["subnet-2"]);
    assert!(own.0 >= 2 && tagged.0 >= 2, "{own:?} {tagged:?}: none of them alone");
    assert_eq!(toy.cloud.refused, 0, "nothing was found out by a refusal");
    // When all are low, the lowest is no worse than none.
    toy.add_pods(100);
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0);
}

/// Fragmentation: another subnet's prefixes before single addresses, and those only when none has any.
#[test]
fn prefixes_of_another_subnet_come_before_single_addresses() {
    let mut toy = node("m5.large", by_prefix(1));
    toy.switch(AddressMode::Prefix);
    toy.cloud.blocks_free = 0;
    toy.add_pods(20);
    toy.run_to_rest();
    assert_eq!((toy.waiting(), pods(&toy)), (0, [(2, 20)].into()));
    let report = &toy.last.reports[&holdfast_model::pool::PoolKey::DEFAULT];
    assert_eq!(report.without, None, "there are prefixes");
    other(&mut toy, "subnet-2").blocks = 0;
    toy.add_pods(20);
    for _ in 0..60 {
        toy.round();
        toy.sleep(Duration::from_secs(1));
        toy.serve();
    }
    assert_eq!(toy.waiting(), 0);
    let report = &toy.last.reports[&holdfast_model::pool::PoolKey::DEFAULT];
    assert!(matches!(report.without, Some(Refusal::SubnetFragmented { .. })), "{report:?}");
}

#[test]
fn when_all_are_full_all_are_named_and_one_that_has_some_again_serves() {
    let mut toy = node("m5.large", by_eni(1));
    toy.cloud.subnet_free = 5;
    other(&mut toy, "subnet-2").free = 5;
    toy.add_pods(27);
    for _ in 0..600 {
        toy.round();
        toy.sleep(Duration::from_secs(1));
        toy.serve();
    }
    let (full, waits) = (toy.last.refusal().cloned(), toy.waiting());
    assert!(waits > 10, "{waits}");
    let named = matches!(full, Some(Refusal::SubnetsFull { .. } | Refusal::SubnetFull { .. }));
    assert!(named, "{full:?}");
    let tries = toy.cloud.count(Api::CreateNetworkInterface) + toy.cloud.count(Api::AssignPrivateIpAddresses);
    assert!(tries < 80, "{tries} in ten minutes");
    assert!(toy.cloud.count(Api::DescribeSubnets) <= 8, "{:?}", toy.cloud.count(Api::DescribeSubnets));
    other(&mut toy, "subnet-2").free = 100;
    for _ in 0..130 {
        toy.round();
        toy.sleep(Duration::from_secs(1));
        toy.serve();
    }
    assert!(toy.waiting() < waits, "it goes on without a restart");
}

/// The administrator tags another one when all are full: it is seen without a restart.
#[test]
fn a_subnet_that_is_tagged_later_serves() {
    let mut toy = node("m5.xlarge", by_eni(1));
    other(&mut toy, "subnet-2").tags.clear();
    toy.cloud.subnet_free = 2;
    toy.add_pods(20);
    for _ in 0..300 {
        toy.round();
        toy.sleep(Duration::from_secs(1));
        toy.serve();
    }
    assert!(matches!(toy.last.refusal(), Some(Refusal::SubnetFull { .. })), "{:?}", toy.last.refusal());
    other(&mut toy, "subnet-2").tags = tagged(&[(ROLE, "1")]);
    let mut waited = 0;
    while toy.waiting() > 0 {
        waited += 1;
        assert!(waited < 1300, "{:?}", toy.last);
        toy.round();
        toy.sleep(Duration::from_secs(1));
        toy.serve();
    }
    assert!(pods(&toy)[&2] > 10);
}

/// Pods that are there keep their addresses; no other gets one; what is free is given back.
#[test]
fn an_excluded_subnet_keeps_its_pods_and_takes_no_other() {
    for excluded in ["subnet-1", "subnet-2"] {
        let mut toy = node("m5.4xlarge", by_eni(1));
        toy.add_pods(40);
        toy.run_to_rest();
        let nth = if excluded == "subnet-1" { 1 } else { 2 };
        let before = pods(&toy).get(&nth).copied().unwrap_or(0);
        tags_change(&mut toy, excluded, &[(ROLE, "0")]);
        assert_eq!(pods(&toy).get(&nth).copied().unwrap_or(0), before);
        toy.add_pods(40);
        toy.run_to_rest();
        assert_eq!((toy.waiting(), pods(&toy).get(&nth).copied().unwrap_or(0)), (0, before), "{excluded}");
        assert_eq!(enis(&toy).get(excluded).map_or(0, |(_, blocks)| *blocks), before, "{excluded}");
        replace_pods(&mut toy);
        toy.sleep(Duration::from_secs(600));
        toy.run_to_rest();
        assert_eq!(pods(&toy).get(&nth), None);
        let left = enis(&toy).get(excluded).copied().unwrap_or_default();
        assert_eq!(left, (usize::from(excluded == "subnet-1"), 0));
        toy.assert_in_agreement();
        // And after all.
        tags_change(&mut toy, excluded, &[(ROLE, "1")]);
        toy.assert_in_agreement();
    }
}

#[test]
fn where_every_subnet_is_excluded_the_cause_says_so() {
    let mut toy = node("m5.large", by_eni(1));
    toy.cloud.own_tags = tagged(&[(ROLE, "0")]);
    other(&mut toy, "subnet-2").tags = tagged(&[(ROLE, "0")]);
    toy.add_pods(1);
    toy.run_to_rest();
    let cause = Refusal::NoSubnet { subnet: SubnetId::new("subnet-1") };
    assert_eq!((toy.last.refusal(), toy.waiting()), (Some(&cause), 1));
    tags_change(&mut toy, "subnet-2", &[(ROLE, "1")]);
    assert_eq!((toy.waiting(), pods(&toy)), (0, [(2, 1)].into()));
}

/// Off and on under pods: what was made elsewhere serves who waits, goes with its pods, and no target counts on it.
#[test]
fn switched_off_under_pods_other_subnets_enis_go_with_them() {
    let mut toy = node("m5.4xlarge", by_eni(1));
    toy.cloud.subnet_free = 5000;
    toy.add_pods(100);
    toy.run_to_rest();
    assert!(pods(&toy)[&2] > 0);
    let before = toy.cloud.leased.clone();
    toy.config.subnet_discovery.value = false;
    toy.run_to_rest();
    assert_eq!(before, toy.cloud.leased);
    replace_pods(&mut toy);
    toy.sleep(Duration::from_secs(600));
    toy.run_to_rest();
    assert_eq!(pods(&toy), [(1, 100)].into());
    assert!(!enis(&toy).contains_key("subnet-2"), "{:?}", enis(&toy));
    toy.assert_in_agreement();
    toy.config.subnet_discovery.value = true;
    toy.add_pods(60);
    toy.run_to_rest();
    assert!(pods(&toy).contains_key(&2), "{:?}", pods(&toy));
    toy.assert_in_agreement();
}

/// A role without the right: the node's own subnet serves, as upstream's documentation has it.
#[test]
fn without_leave_to_read_subnets_the_nodes_own_serves() {
    let mut toy = node("m5.large", by_eni(1));
    toy.cloud.denied.insert(Api::DescribeSubnets);
    toy.add_pods(12);
    toy.run_to_rest();
    assert_eq!((toy.waiting(), pods(&toy)), (0, [(1, 12)].into()));
}

/// Together with custom networking: the config's subnet first, tagged ones when it runs low, with the config's groups; never the
/// node's own.
#[test]
fn with_custom_networking_tagged_subnets_serve_when_the_configs_runs_low() {
    let mut toy = node("m5.4xlarge", by_eni(1));
    toy.config.eni_config.value = applied("subnet-3", &["sg-pods"]);
    toy.add_pods(20);
    toy.run_to_rest();
    assert_eq!(pods(&toy), [(3, 20)].into(), "the others have as many free");
    other(&mut toy, "subnet-3").free = 0;
    toy.add_pods(60);
    let began = toy.now.boottime;
    while toy.waiting() > 0 {
        assert!(toy.now.boottime.since(began) < Duration::from_secs(5), "{:?}", toy.last);
        toy.round();
    }
    toy.run_to_rest();
    let served = pods(&toy);
    assert!(served[&3] >= 20 && served[&2] >= 20 && !served.contains_key(&1), "{served:?}");
    for eni in toy.cloud.enis.values().filter(|eni| eni.subnet.as_str() == "subnet-2") {
        assert_eq!(eni.groups, groups(&["sg-pods"]));
    }
    toy.restart();
    toy.run_to_rest();
    assert_eq!(pods(&toy), served);
    toy.assert_in_agreement();
}

/// Nobody who can be served is refused on the way to another subnet.
#[test]
fn no_add_is_refused_while_another_subnet_has_addresses() {
    for own in 0..6 {
        let mut toy = node("t3.small", by_address(2, 0));
        toy.cloud.subnet_free = own;
        toy.set_waiting(2);
        let mut rounds = 0;
        while toy.waiting() > 0 {
            rounds += 1;
            assert!(rounds < 40, "{own}: {:?}", toy.last);
            toy.round();
            toy.sleep(Duration::from_millis(100));
            if toy.waiting() > 0
                && let Err(shortage) = toy.choose()
            {
                assert!(
                    shortage.hold && !matches!(shortage.cause, Refusal::SubnetFull { .. }),
                    "{own}, {rounds}: {shortage:?} {:?}",
                    toy.last
                );
            }
        }
    }
}

/// Nor while the ENI that is to serve them is being made, or taken up by another call: in a burst each asks by himself.
#[test]
fn no_add_is_refused_while_an_eni_of_another_subnet_is_about_to_take_more() {
    let mut toy = node("m5.xlarge", by_address(1, 0));
    toy.add_pods(3);
    toy.run_to_rest();
    toy.cloud.subnet_free = 0;
    for pod in 0..20 {
        toy.add_pods(1);
        let began = toy.now.boottime;
        while toy.waiting() > 0 {
            assert!(toy.now.boottime.since(began) < Duration::from_secs(5), "{pod}: {:?}", toy.last);
            toy.round();
            if let Err(shortage) = toy.choose() {
                assert!(shortage.hold || pod < 2, "{pod}: {shortage:?} {:?}", toy.ledger.intents);
            }
        }
    }
}
