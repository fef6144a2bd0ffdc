//! Cordoned nodes: their pools neither grow nor lose an ENI, unless that is asked for.

use std::time::Duration;

use holdfast_model::cloud::Api;
use holdfast_model::refusal::Refusal;

use crate::toy::{Toy, by_address, by_eni};

#[test]
fn the_pool_of_a_cordoned_node_does_not_grow_and_says_so() {
    let mut toy = Toy::new("m5.large", by_address(1, 0));
    toy.add_pods(3);
    toy.run_to_rest();
    toy.observed.cordoned = true;
    toy.cloud.calls.clear();
    toy.add_pods(2);
    toy.run_to_rest();
    assert_eq!((toy.waiting(), toy.cloud.calls.as_slice()), (1, [].as_slice()));
    let told = toy.choose().unwrap_err();
    assert_eq!((told.cause, told.hold), (Refusal::Cordoned, false));
    toy.config.manage_cordoned.value = true;
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0, "asked for");
    toy.config.manage_cordoned.value = false;
    toy.observed.cordoned = false;
    toy.add_pods(2);
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0, "schedulable again");
}

/// An instance that is drained ends a moment later, which would leave a detached ENI behind (cni#1223).
#[test]
fn no_eni_is_detached_while_the_node_is_drained_and_addresses_are_given_back() {
    for (warm, unassigned) in [(by_eni(0), 0), (by_address(1, 0), 26)] {
        let mut toy = Toy::new("m5.large", warm);
        toy.add_pods(27);
        toy.run_to_rest();
        toy.observed.cordoned = true;
        toy.cloud.calls.clear();
        toy.delete_all_pods();
        for _ in 0..120 {
            toy.sleep(Duration::from_secs(60));
            toy.run_to_rest();
        }
        let addresses: usize = toy.shape().iter().sum();
        assert_eq!((toy.cloud.count(Api::DetachNetworkInterface), 27 - addresses), (0, unassigned));
        assert_eq!(toy.cloud.enis.len(), 3);
        toy.observed.cordoned = false;
        for _ in 0..10 {
            toy.sleep(Duration::from_secs(60));
            toy.run_to_rest();
        }
        assert_eq!(toy.cloud.enis.len(), 1, "schedulable again");
        toy.assert_in_agreement();
    }
}

/// What was chosen to go before is not detached after, and what was detached is deleted.
#[test]
fn a_cordon_in_the_middle_leaves_nothing_half_done() {
    let mut toy = Toy::new("m5.large", by_eni(0));
    toy.add_pods(19);
    toy.run_to_rest();
    toy.delete_all_pods();
    while toy.cloud.count(Api::DetachNetworkInterface) == 0 {
        toy.sleep(Duration::from_secs(5));
        toy.round();
    }
    let there = toy.cloud.enis.len();
    toy.observed.cordoned = true;
    for _ in 0..120 {
        toy.sleep(Duration::from_secs(60));
        toy.run_to_rest();
    }
    assert_eq!((toy.cloud.count(Api::DetachNetworkInterface), toy.cloud.enis.len()), (1, there - 1));
    toy.assert_in_agreement();
}
