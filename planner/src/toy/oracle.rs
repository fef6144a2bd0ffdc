//! Upstream's worked examples (reference: vpc-cni 3.12), and the figures that we promise.

mod custom;
mod discovery;
mod ipv6;
mod prefix;

use std::time::Duration;

use holdfast_model::cloud::Api;
use holdfast_model::config::WarmTargets;
use holdfast_model::refusal::Refusal;

use crate::toy::{Toy, by_address, by_eni};

/// A fresh node, then this many pods, then rest.
#[track_caller]
fn settles_at(instance_type: &str, warm: WarmTargets, pods: u32, shape: &[usize]) {
    let mut toy = Toy::new(instance_type, warm);
    toy.run_to_rest();
    toy.add_pods(pods);
    toy.run_to_rest();
    assert_eq!(toy.shape(), shape, "{instance_type} {warm:?} with {pods} pods");
    assert_eq!(toy.waiting(), 0);
    toy.assert_in_agreement();
}

#[test]
fn worked_examples_by_eni() {
    settles_at("t3.small", by_eni(1), 0, &[3]);
    settles_at("t3.small", by_eni(1), 5, &[3, 3, 3]);
    settles_at("t3.small", by_eni(1), 9, &[3, 3, 3]);
    settles_at("p3dn.24xlarge", by_eni(1), 0, &[49]);
    settles_at("p3dn.24xlarge", by_eni(1), 3, &[49, 49]);
    settles_at("p3dn.24xlarge", by_eni(1), 95, &[49, 49, 49]);
}

#[test]
fn worked_examples_by_address() {
    settles_at("t3.small", by_address(1, 1), 0, &[1]);
    settles_at("t3.small", by_address(1, 1), 5, &[3, 3]);
    settles_at("t3.small", by_address(1, 1), 9, &[3, 3, 3]);
    settles_at("t3.small", by_address(2, 5), 0, &[3, 2]);
    settles_at("t3.small", by_address(2, 5), 5, &[3, 3, 1]);
    settles_at("t3.small", by_address(2, 5), 9, &[3, 3, 3]);
    settles_at("p3dn.24xlarge", by_address(5, 10), 0, &[10]);
    settles_at("p3dn.24xlarge", by_address(5, 10), 7, &[12]);
    settles_at("p3dn.24xlarge", by_address(5, 10), 15, &[20]);
    settles_at("p3dn.24xlarge", by_address(5, 10), 45, &[49, 1]);
}

/// The same places are reached whatever way led there.
#[test]
fn what_came_goes_again() {
    for warm in [by_eni(1), by_eni(0), by_address(1, 1), by_address(2, 5), by_address(0, 4)] {
        let mut fresh = Toy::new("t3.medium", warm);
        fresh.run_to_rest();
        let mut toy = Toy::new("t3.medium", warm);
        toy.add_pods(12);
        toy.run_to_rest();
        assert_eq!(toy.waiting(), 0, "{warm:?}");
        toy.delete_all_pods();
        toy.run_to_rest();
        assert_eq!(toy.shape().iter().sum::<usize>(), fresh.shape().iter().sum::<usize>(), "{warm:?}");
        toy.assert_in_agreement();
    }
}

/// 110 pods at once on a fresh m5.4xlarge: one Assign for the primary, Create, Attach and Modify for each
/// further ENI, and the three reads of every start.
#[test]
fn a_burst_takes_the_arithmetic_minimum_of_calls() {
    let mut toy = Toy::new("m5.4xlarge", by_eni(1));
    toy.add_pods(110);
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0);
    // 110 leased and one ENI's worth spare: 139 addresses, in units of 29.
    assert_eq!(toy.shape(), [29; 5]);
    assert_eq!(toy.cloud.count(Api::AssignPrivateIpAddresses), 1);
    for api in
        [Api::CreateNetworkInterface, Api::AttachNetworkInterface, Api::ModifyNetworkInterfaceAttribute]
    {
        assert_eq!(toy.cloud.count(api), 4, "{api:?}");
    }
    assert_eq!(toy.cloud.calls.len(), 1 + 3 * 4 + 3);
}

/// All of it in parallel: as many rounds of calls as one ENI takes, not per ENI.
#[test]
fn a_burst_takes_four_rounds() {
    let mut toy = Toy::new("m5.4xlarge", by_eni(1));
    toy.add_pods(110);
    let mut rounds = 0;
    while toy.waiting() > 0 {
        assert!(toy.round());
        rounds += 1;
    }
    assert!(rounds <= 4, "read, create, attach, set up: {rounds}");
}

#[test]
fn a_trickle_by_address_opens_no_eni_before_the_first_is_full() {
    let mut toy = Toy::new("m5.4xlarge", by_address(1, 1));
    toy.run_to_rest();
    for _ in 0..29 {
        toy.add_pods(1);
        toy.round();
    }
    toy.run_to_rest();
    assert_eq!(toy.shape(), [29, 1]);
}

#[test]
fn replacing_a_pod_makes_no_call() {
    for warm in [by_eni(1), by_address(1, 1), by_address(3, 10)] {
        let mut toy = Toy::new("m5.large", warm);
        toy.add_pods(10);
        toy.run_to_rest();
        toy.cloud.calls.clear();
        for pod in 0..5 {
            toy.delete_pod(pod);
            toy.sleep(Duration::from_secs(2));
            toy.round();
            toy.add_pods(1);
            // The next pod comes when the replaced one's address has rested, as in a rolling update.
            toy.sleep(Duration::from_secs(40));
            toy.round();
        }
        toy.run_to_rest();
        assert_eq!(toy.waiting(), 0);
        assert_eq!(toy.cloud.calls, [], "{warm:?}");
    }
}

#[test]
fn a_node_at_rest_makes_under_one_call_an_hour() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(10);
    toy.run_to_rest();
    toy.cloud.calls.clear();
    for _ in 0..24 {
        toy.sleep(Duration::from_secs(3600));
        toy.run_to_rest();
    }
    assert!(toy.cloud.calls.len() < 24, "{:?}", toy.cloud.calls);
    assert!(!toy.cloud.calls.is_empty(), "the safety net");
}

/// cni#2482: no targets at all, and pods come nevertheless.
#[test]
fn targets_of_zero_still_grow_for_a_waiting_add() {
    let mut toy = Toy::new("t3.small", by_eni(0));
    toy.add_pods(8);
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0);
}

/// cni#2896: 19 leased, 4 resting, targets 2 and 23: the formula sees enough, and nothing can be leased.
#[test]
fn resting_addresses_do_not_starve_a_waiting_add() {
    let mut toy = Toy::new("m5.xlarge", by_address(2, 23));
    toy.add_pods(23);
    toy.run_to_rest();
    assert_eq!(toy.ledger.leases.len(), 23);
    toy.add_pods(2);
    toy.round();
    toy.run_to_rest();
    while toy.ledger.leases.len() > 19 {
        toy.delete_pod(0);
    }
    let free = toy.shape().iter().sum::<usize>() - 25;
    toy.add_pods(u32::try_from(free).unwrap() + 3);
    assert_eq!(toy.waiting(), 3, "what is free serves at once, what rests does not");
    let asked_at = toy.now.boottime;
    while toy.waiting() > 0 {
        assert!(toy.round(), "it goes on until they are served: {:?}", toy.last);
    }
    assert!(toy.now.boottime.since(asked_at) < Duration::from_secs(5), "long before the rest is over");
}

#[test]
fn a_full_instance_says_so_and_serves_after_the_rest() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(10);
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 1, "nine is all it can carry");
    let refusal = Refusal::InstanceFull { addresses: 9, instance_type: "t3.small".into(), set_aside: 0 };
    assert_eq!(toy.last.refusal(), Some(&refusal));
    toy.cloud.calls.clear();
    toy.delete_pod(4);
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0);
    assert_eq!(toy.cloud.calls, []);
}

#[test]
fn a_full_subnet_is_named_and_asked_seldom() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.run_to_rest();
    toy.cloud.subnet_free = 0;
    toy.add_pods(12);
    let asked_before = toy.cloud.calls.len();
    let mut waited = 0;
    while waited < 600 {
        while toy.round() {}
        assert!(
            matches!(toy.last.refusal(), Some(Refusal::SubnetFull { .. })),
            "after {waited} s: {:?}",
            toy.last.refusal()
        );
        toy.sleep(Duration::from_secs(5));
        waited += 5;
    }
    let asked = toy.cloud.calls.len() - asked_before;
    assert!(asked <= 15, "{asked} calls in ten minutes");
    toy.cloud.subnet_free = 100;
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0);
}

#[test]
fn limits_of_the_user_are_named() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.config.max_enis.value = Some(2);
    toy.add_pods(20);
    toy.run_to_rest();
    assert_eq!(toy.shape(), [9, 9]);
    assert_eq!(toy.last.refusal(), Some(&Refusal::ConfiguredLimit { setting: "MAX_ENI".into() }));

    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.config.max_pods.value = Some(12);
    toy.add_pods(20);
    toy.run_to_rest();
    assert_eq!(toy.shape().iter().sum::<usize>(), 12);
    assert_eq!(toy.last.refusal(), Some(&Refusal::ConfiguredLimit { setting: "HOLDFAST_MAX_PODS".into() }));

    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.config.provisioning_disabled.value = true;
    toy.add_pods(1);
    toy.run_to_rest();
    assert_eq!(toy.last.refusal(), Some(&Refusal::ProvisioningDisabled));
    let reads = [Api::DescribeNetworkInterfaces, Api::DescribeSubnets];
    assert!(toy.cloud.calls.iter().all(|api| reads.contains(api)));
}
