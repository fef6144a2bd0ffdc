//! The same for prefixes, and for a mode that is switched under a living node.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_model::block::{Block, Unit};
use holdfast_model::cloud::Api;
use holdfast_model::config::{AddressMode, WarmTargets};
use holdfast_model::lease::Lease;
use holdfast_model::limits::Hypervisor;
use holdfast_model::refusal::Refusal;
use ipnet::IpNet;

use crate::toy::{Toy, by_address, by_eni, by_prefix};

/// A fresh node, then this many pods, then rest.
#[track_caller]
fn settles_at(instance_type: &str, warm: WarmTargets, pods: u32, shape: &[usize]) {
    let mut toy = Toy::with_prefixes(instance_type, warm);
    toy.run_to_rest();
    toy.add_pods(pods);
    toy.run_to_rest();
    assert_eq!(toy.shape(), shape, "{instance_type} {warm:?} with {pods} pods");
    assert_eq!(toy.waiting(), 0);
    assert_eq!(toy.last.reports.values().next().unwrap().without, None);
    toy.assert_in_agreement();
}

#[test]
fn worked_examples_by_prefix() {
    settles_at("t3.small", by_prefix(1), 0, &[1]);
    settles_at("t3.small", by_prefix(1), 5, &[2]);
    settles_at("t3.small", by_prefix(1), 16, &[2]);
    settles_at("t3.small", by_prefix(1), 17, &[3]);
    settles_at("t3.small", by_prefix(1), 58, &[3, 2]);
}

#[test]
fn worked_examples_by_address() {
    settles_at("t3.small", by_address(1, 1), 0, &[1]);
    settles_at("t3.small", by_address(1, 1), 5, &[1]);
    settles_at("t3.small", by_address(1, 1), 17, &[2]);
    settles_at("t3.small", by_address(1, 1), 58, &[3, 1]);
    settles_at("t3.small", by_address(7, 20), 0, &[2]);
    settles_at("t3.small", by_address(7, 20), 5, &[2]);
    settles_at("t3.small", by_address(7, 20), 17, &[2]);
    settles_at("t3.small", by_address(7, 20), 58, &[3, 2]);
    settles_at("p3dn.24xlarge", by_address(5, 10), 7, &[1]);
    settles_at("p3dn.24xlarge", by_address(5, 10), 15, &[2]);
    settles_at("p3dn.24xlarge", by_address(5, 10), 45, &[4]);
}

/// WARM_ENI_TARGET says nothing of prefixes.
#[test]
fn whole_enis_are_not_filled_with_prefixes() {
    let warm = WarmTargets { warm_enis: 3, ..by_prefix(1) };
    settles_at("m5.large", warm, 3, &[2]);
}

/// The same places are reached whatever way led there.
#[test]
fn what_came_goes_again() {
    for warm in [by_prefix(0), by_prefix(1), by_prefix(2), by_address(1, 1), by_address(7, 20)] {
        let mut fresh = Toy::with_prefixes("t3.small", warm);
        fresh.run_to_rest();
        let mut toy = Toy::with_prefixes("t3.small", warm);
        toy.add_pods(70);
        toy.run_to_rest();
        assert_eq!(toy.waiting(), 0, "{warm:?}");
        toy.delete_all_pods();
        toy.run_to_rest();
        assert_eq!(toy.shape(), fresh.shape(), "{warm:?}");
        toy.assert_in_agreement();
    }
}

/// 110 pods at once on a fresh m5.4xlarge: one call, since the primary ENI has room for 29 prefixes.
#[test]
fn a_burst_takes_one_call_and_two_rounds() {
    let mut toy = Toy::with_prefixes("m5.4xlarge", by_prefix(1));
    toy.add_pods(110);
    let mut rounds = 0;
    while toy.waiting() > 0 {
        assert!(toy.round());
        rounds += 1;
    }
    assert!(rounds <= 2, "{rounds}");
    toy.run_to_rest();
    assert_eq!((toy.shape(), toy.cloud.count(Api::AssignPrivateIpAddresses)), (vec![8], 1));
    assert_eq!(toy.cloud.calls.len(), 1 + 3, "and the three reads of every start: {:?}", toy.cloud.calls);
}

/// More than one ENI carries: each further one is asked with all that it is to have.
#[test]
fn a_new_eni_has_its_prefixes_from_the_creation() {
    let mut toy = Toy::with_prefixes("t3.small", by_prefix(1));
    toy.add_pods(100);
    toy.run_to_rest();
    assert_eq!((toy.waiting(), toy.shape()), (0, vec![3, 3, 2]));
    assert_eq!(toy.cloud.count(Api::AssignPrivateIpAddresses), 1);
    assert_eq!(toy.cloud.count(Api::CreateNetworkInterface), 2);
}

#[test]
fn replacing_a_pod_makes_no_call() {
    for warm in [by_prefix(0), by_prefix(1), by_address(1, 1), by_address(3, 10)] {
        let mut toy = Toy::with_prefixes("m5.large", warm);
        toy.add_pods(20);
        toy.run_to_rest();
        toy.cloud.calls.clear();
        for pod in 0..8 {
            toy.delete_pod(pod);
            toy.sleep(Duration::from_secs(2));
            toy.round();
            toy.add_pods(1);
            toy.sleep(Duration::from_secs(5));
            toy.round();
        }
        toy.run_to_rest();
        assert_eq!(toy.waiting(), 0);
        assert_eq!(toy.cloud.calls, [], "{warm:?}");
    }
}

/// 10 % of 110 pods are replaced each minute, whichever: prefixes held then, minute by minute.
fn churned(toy: &mut Toy, minutes: u32) -> Vec<usize> {
    let mut draw = 1_usize;
    let minute = |_| {
        for _ in 0..11 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            toy.delete_pod(draw >> 33);
            toy.add_pods(1);
            toy.sleep(Duration::from_millis(5400));
            while toy.round() {}
        }
        assert_eq!((toy.waiting(), toy.ledger.leases.len()), (0, 110));
        toy.shape().iter().sum()
    };
    (0..minutes).map(minute).collect()
}

#[test]
fn under_churn_no_more_than_one_prefix_beyond_the_pods_is_held() {
    let most = 110_usize.div_ceil(16) + 1;
    let mut toy = Toy::with_prefixes("m5.4xlarge", by_prefix(1));
    toy.add_pods(110);
    toy.run_to_rest();
    toy.cloud.calls.clear();
    let held = churned(&mut toy, 60);
    assert!(held.iter().all(|held| *held <= most), "{held:?}");
    assert_eq!(toy.cloud.calls, []);

    // What a scale-down left all over its prefixes comes together. While addresses rest they count for nothing that is given
    // back, so one prefix more may stay.
    let mut toy = Toy::with_prefixes("m5.4xlarge", by_prefix(1));
    toy.add_pods(160);
    toy.run_to_rest();
    for nth in 0..50 {
        toy.delete_pod(nth * 37);
    }
    let held = churned(&mut toy, 60);
    assert!(held[..5].iter().all(|held| *held > most + 1), "it begins spread out: {held:?}");
    assert!(held[50..].iter().all(|held| *held <= most + 1), "{held:?}");
    let changes = toy.cloud.calls.iter().filter(|api| **api != Api::DescribeNetworkInterfaces).count();
    assert!(changes <= 6, "{changes}");
}

/// Ends a pod whose address is in a block of this kind.
fn delete_pod_of(toy: &mut Toy, host: bool) {
    let is_of = |lease: &Lease| {
        let block = toy.ledger.block_of(lease.faces[0].address).unwrap();
        block.is_host() == host
    };
    let nth = toy.ledger.leases.values().position(is_of).expect("one is left");
    toy.delete_pod(nth);
}

/// Pods keep their addresses, the others go, and at the end all is of the one unit.
#[test]
fn a_switch_of_the_mode_drains_what_is_of_the_other_unit() {
    for (warm, from, to) in [
        (by_eni(1), AddressMode::Secondary, AddressMode::Prefix),
        (by_eni(1), AddressMode::Prefix, AddressMode::Secondary),
        (by_address(2, 5), AddressMode::Secondary, AddressMode::Prefix),
        (by_address(2, 5), AddressMode::Prefix, AddressMode::Secondary),
    ] {
        for pods in [0_u32, 4, 9] {
            let mut toy = Toy::new("t3.small", warm);
            toy.switch(from);
            toy.add_pods(pods);
            toy.run_to_rest();
            assert_eq!((toy.waiting(), toy.ledger.leases.len()), (0, pods as usize), "{warm:?} {from:?}");
            let leased = toy.cloud.leased.clone();
            toy.switch(to);
            toy.run_to_rest();
            assert_eq!(toy.cloud.leased, leased);
            toy.assert_in_agreement();
            let wanted = |block: &&Block| block.is_host() == (to == AddressMode::Secondary);
            let others = |toy: &Toy| {
                let gone = toy.ledger.blocks.values().filter(|block| block.occupies() && !wanted(block));
                gone.filter(|block| !toy.ledger.is_somebodys(block)).count()
            };
            assert_eq!(others(&toy), 0, "what nobody uses has gone: {warm:?} to {to:?}, {pods} pods");

            // One after the other is replaced.
            for _ in 0..pods {
                delete_pod_of(&mut toy, to == AddressMode::Prefix);
                toy.sleep(Duration::from_secs(40));
                toy.run_to_rest();
                toy.add_pods(1);
                toy.run_to_rest();
                assert_eq!(toy.waiting(), 0, "{warm:?} to {to:?}");
            }
            let left = toy.ledger.blocks.values().filter(|block| block.occupies() && !wanted(block)).count();
            assert_eq!(left, 0, "{warm:?} to {to:?}, {pods} pods");
            toy.assert_in_agreement();
        }
    }
}

/// In the fullest prefix, what was never used, then what was freed longest ago.
#[test]
fn leases_go_to_the_fullest_prefix_and_there_to_the_address_freed_longest_ago() {
    let mut toy = Toy::with_prefixes("m5.large", by_prefix(1));
    toy.add_pods(3);
    toy.run_to_rest();
    let blocks: BTreeSet<IpNet> = toy.ledger.blocks.keys().copied().collect();
    assert_eq!(blocks.len(), 2);
    let block_of = |toy: &Toy, ip| toy.ledger.block_of(ip).unwrap().net;
    let fullest = block_of(&toy, toy.ledger.leases.values().next().unwrap().faces[0].address);
    assert!(toy.cloud.leased.iter().all(|ip| fullest.contains(ip)), "{:?}", toy.cloud.leased);
    let mut freed = Vec::new();
    for _ in 0..2 {
        let before = toy.cloud.leased.clone();
        toy.delete_pod(1);
        freed.extend(before.difference(&toy.cloud.leased).copied());
        toy.sleep(Duration::from_secs(40));
    }
    // One is left, thirteen were never used.
    for nth in 0..15_usize {
        let next = toy.choose().unwrap().address;
        assert!(fullest.contains(&next), "the {nth}th: {next}");
        assert_eq!(freed.iter().position(|ip| *ip == next), nth.checked_sub(13), "the {nth}th: {next}");
        toy.add_pods(1);
    }
    let next = toy.choose().unwrap().address;
    assert!(!fullest.contains(&next), "it is full");
    // Whichever comes first otherwise.
    for block in blocks {
        let mut toy = Toy::with_prefixes("m5.large", by_prefix(1));
        toy.add_pods(32);
        toy.run_to_rest();
        for _ in 0..28 {
            let others = |lease: &Lease| !block.contains(&lease.faces[0].address);
            let nth = toy.ledger.leases.values().position(others);
            toy.delete_pod(nth.unwrap_or(0));
        }
        toy.sleep(Duration::from_secs(40));
        assert!(toy.cloud.leased.iter().all(|ip| block.contains(ip)), "{:?}", toy.cloud.leased);
        assert!(block.contains(&toy.choose().unwrap().address), "{block}");
    }
}

/// Nobody is refused beside a free address, and who is refused hears what has the room.
#[test]
fn a_node_full_of_the_other_unit_says_so_and_serves_when_pods_go() {
    let mut toy = Toy::new("t3.small", by_eni(0));
    toy.add_pods(9);
    toy.run_to_rest();
    toy.switch(AddressMode::Prefix);
    toy.run_to_rest();
    toy.add_pods(1);
    let cause = toy.choose().unwrap_err().cause;
    assert_eq!(cause, Refusal::OtherUnit { unit: Unit::Address, held: 9 });
    let freed = *toy.cloud.leased.first().unwrap();
    let nth = toy.ledger.leases.values().position(|lease| lease.faces[0].address == freed).unwrap();
    toy.delete_pod(nth);
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0, "with the one address that has fallen free");
    toy.delete_pod(nth);
    toy.run_to_rest();
    toy.add_pods(16);
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0, "out of the prefix that has its room");
}

/// A subnet with single addresses and no block: each pod is served, and the node says what it makes do without.
#[test]
fn where_a_subnet_has_no_blocks_pods_get_single_addresses() {
    let mut toy = Toy::with_prefixes("m5.large", by_prefix(1));
    toy.cloud.blocks_free = 0;
    toy.add_pods(5);
    let begun = toy.now.boottime;
    while toy.waiting() > 0 {
        assert!(toy.round(), "{:?}", toy.last);
    }
    assert!(toy.now.boottime.since(begun) < Duration::from_secs(3));
    let singles = |toy: &Toy| toy.cloud.enis.values().map(|eni| eni.secondary.len()).sum::<usize>();
    assert_eq!(singles(&toy), 5, "and no spare ones, which would break up more of the subnet");
    let without = |toy: &Toy| toy.planned().reports.into_values().next().unwrap().without;
    assert!(matches!(without(&toy), Some(Refusal::SubnetFragmented { .. })), "{:?}", without(&toy));
    assert!(matches!(toy.planned().refusal(), Some(Refusal::SubnetFragmented { .. })));

    toy.cloud.calls.clear();
    for _ in 0..120 {
        while toy.round() {}
        toy.sleep(Duration::from_secs(30));
    }
    let asked = toy.cloud.count(Api::AssignPrivateIpAddresses);
    assert!((3..=10).contains(&asked), "{asked} in an hour");
    // What falls free is kept: it is what there is.
    toy.delete_pod(0);
    toy.delete_pod(0);
    for _ in 0..30 {
        while toy.round() {}
        toy.sleep(Duration::from_secs(60));
    }
    assert_eq!(toy.cloud.count(Api::UnassignPrivateIpAddresses), 0);
    toy.add_pods(2);
    assert_eq!((singles(&toy), toy.waiting()), (5, 0));

    // A block falls free: pods go over to it.
    toy.cloud.blocks_free = 3;
    toy.run_to_rest();
    assert_eq!(without(&toy), None);
    for _ in 0..5 {
        delete_pod_of(&mut toy, true);
        toy.sleep(Duration::from_secs(60));
        toy.run_to_rest();
        toy.add_pods(1);
        toy.run_to_rest();
    }
    assert_eq!((singles(&toy), toy.waiting()), (0, 0));
    toy.assert_in_agreement();
}

/// EC2 gives all or none of what is asked: what there is is found in a few calls.
#[test]
fn the_last_blocks_of_a_subnet_are_found_by_halves() {
    for free in 1..8 {
        let mut toy = Toy::with_prefixes("m5.4xlarge", by_prefix(1));
        toy.cloud.blocks_free = free;
        toy.add_pods(110);
        let begun = toy.now.boottime;
        while toy.waiting() > 0 {
            assert!(toy.round(), "{free}: {:?}", toy.last);
        }
        let took = toy.now.boottime.since(begun);
        assert!(took < Duration::from_secs(5), "{free}: {took:?}");
        let prefixes: usize = toy.cloud.enis.values().map(|eni| eni.prefixes.len()).sum();
        assert_eq!(prefixes, free as usize, "all that there were");
        assert!(toy.cloud.refused <= 8, "{free}: {} refused", toy.cloud.refused);
    }
}

/// Neither blocks nor addresses: that is the cause, and it passes without a restart.
#[test]
fn a_full_subnet_is_the_cause_and_passes() {
    let mut toy = Toy::with_prefixes("m5.large", by_prefix(1));
    (toy.cloud.blocks_free, toy.cloud.subnet_free) = (0, 2);
    toy.add_pods(4);
    for _ in 0..20 {
        while toy.round() {}
        toy.sleep(Duration::from_secs(1));
    }
    assert_eq!(toy.waiting(), 2);
    let cause = toy.choose().unwrap_err().cause;
    assert!(matches!(cause, Refusal::SubnetFull { .. }), "{cause:?}");
    (toy.cloud.blocks_free, toy.cloud.subnet_free) = (100, 2000);
    toy.sleep(Duration::from_secs(120));
    while toy.round() {}
    assert_eq!(toy.waiting(), 0);
}

/// By the table, or by EC2's word: pods are served with single addresses, and the node says so.
#[test]
fn a_type_that_cannot_carry_prefixes_is_named() {
    for known in [true, false] {
        let mut toy = Toy::with_prefixes("m5.large", by_prefix(1));
        toy.cloud.does_prefixes = false;
        if known {
            let limits = toy.limits.as_mut().unwrap();
            limits.hypervisor = Some(Hypervisor::Xen);
        }
        toy.add_pods(5);
        toy.run_to_rest();
        assert_eq!(toy.waiting(), 0);
        assert_eq!(toy.cloud.refused == 0, known);
        let without = toy.planned().reports.into_values().next().unwrap().without.unwrap();
        assert_eq!(without.reason(), if known { "PrefixesNotSupported" } else { "EC2Refuses" });
    }
}
