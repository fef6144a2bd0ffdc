use std::time::Duration;

use holdfast_model::cloud::Api;
use holdfast_model::eni::{EniKind, EniPhase};

use crate::toy::{Fate, Toy, by_address, by_eni};

/// cni#1223 in small: what is chosen to go is durable before it goes, and goes in order.
#[test]
fn an_eni_leaves_by_draining_detaching_deleting() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(10);
    toy.run_to_rest();
    toy.delete_all_pods();
    let mut seen = Vec::new();
    for _ in 0..120 {
        toy.sleep(Duration::from_secs(1));
        toy.round();
        let phases: Vec<_> = toy.ledger.enis.values().map(|eni| std::mem::discriminant(&eni.phase)).collect();
        if seen.last() != Some(&phases) {
            seen.push(phases);
        }
    }
    assert_eq!(toy.shape(), [9], "as on a fresh node");
    assert_eq!(toy.cloud.count(Api::DetachNetworkInterface), 2);
    let of = |phase: EniPhase| std::mem::discriminant(&phase);
    assert!(seen.iter().any(|phases| phases.contains(&of(EniPhase::Detached))));
    assert!(seen.iter().any(|phases| phases.contains(&of(EniPhase::Gone))));
}

#[test]
fn an_efa_and_the_primary_are_never_given_back() {
    let mut toy = Toy::new("m5.xlarge", by_address(1, 1));
    toy.cloud.attach_foreign("eni-efa", 1, EniKind::Efa, &[]);
    toy.add_pods(20);
    toy.run_to_rest();
    assert_eq!(toy.shape().len(), 2);
    toy.delete_all_pods();
    toy.run_to_rest();
    assert_eq!(toy.shape(), [1, 0], "addresses go, the interfaces stay");
}

#[test]
fn nothing_is_given_back_before_ec2_was_read() {
    let mut toy = Toy::new("m5.large", by_address(1, 1));
    toy.add_pods(5);
    toy.run_to_rest();
    toy.delete_all_pods();
    toy.sleep(Duration::from_secs(300));
    toy.restart();
    toy.fates = Box::new(|| Fate::LostBefore);
    for _ in 0..50 {
        toy.round();
        toy.sleep(Duration::from_secs(10));
    }
    assert!(toy.ledger.intents.is_empty(), "{:?}", toy.ledger.intents);
    toy.fates = Box::new(|| Fate::Fine);
    toy.run_to_rest();
    assert_eq!(toy.shape(), [1]);
}

#[test]
fn addresses_are_kept_for_half_a_minute_after_any_change() {
    let mut toy = Toy::new("m5.large", by_address(1, 1));
    toy.add_pods(5);
    for _ in 0..100 {
        toy.round();
        if toy.waiting() == 0 {
            break;
        }
    }
    assert_eq!(toy.waiting(), 0);
    toy.config.cooldown.value = Duration::ZERO;
    toy.delete_all_pods();
    let asked_at = toy.ledger.enis.values().map(|eni| eni.changed).max().unwrap();
    for _ in 0..600 {
        toy.round();
        if toy.cloud.count(Api::UnassignPrivateIpAddresses) > 0 {
            break;
        }
        toy.sleep(Duration::from_secs(1));
    }
    assert!(toy.cloud.count(Api::UnassignPrivateIpAddresses) > 0, "nothing is given back");
    assert!(toy.now.boottime.since(asked_at) >= Duration::from_secs(30));
}
