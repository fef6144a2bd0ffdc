use std::collections::BTreeSet;

use holdfast_model::cloud::{CloudChange, TAG_CLUSTER, TAG_INSTANCE};

use crate::Step;
use crate::toy::{Toy, by_address, by_eni};

#[test]
fn a_creation_says_whose_it_is_and_each_has_a_slot_of_its_own() {
    let mut toy = Toy::new("m5.4xlarge", by_eni(1));
    toy.config.cluster.value = Some("prod".into());
    toy.config.extra_tags.value.insert("team".into(), "net".into());
    toy.run_to_rest();
    toy.add_pods(110);
    toy.round();
    let mut slots = BTreeSet::new();
    for step in &toy.last.steps {
        let Step::Open(CloudChange::CreateEni { slot, tags, description, secondary_addresses, .. }) = step
        else {
            continue;
        };
        slots.insert(slot.device);
        assert_eq!(description, "aws-K8S-i-1");
        assert_eq!(*secondary_addresses, 29);
        for (key, value) in [
            (TAG_INSTANCE, "i-1"),
            (TAG_CLUSTER, "prod"),
            ("eks:eni:owner", "amazon-vpc-cni"),
            ("team", "net"),
        ] {
            assert_eq!(tags.get(key).map(String::as_str), Some(value));
        }
    }
    assert_eq!(slots, BTreeSet::from([1, 2, 3, 4]));
}

/// Asking for one more while one is on its way asks for exactly one more.
#[test]
fn what_is_on_its_way_counts() {
    let mut toy = Toy::new("m5.4xlarge", by_address(1, 1));
    toy.run_to_rest();
    for _ in 0..40 {
        toy.add_pods(1);
        toy.round();
    }
    toy.run_to_rest();
    assert_eq!(toy.shape().iter().sum::<usize>(), 41);
}

/// F23: the subnet has fewer than a whole ENI's worth. Every one of them serves a pod.
#[test]
fn the_last_addresses_of_a_subnet_are_used() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.cloud.subnet_free = 3;
    toy.add_pods(5);
    for _ in 0..200 {
        if !toy.round() {
            toy.sleep(std::time::Duration::from_secs(1));
        }
    }
    assert_eq!(toy.ledger.leases.len(), 3);
    assert_eq!(toy.cloud.subnet_free, 0);
}
