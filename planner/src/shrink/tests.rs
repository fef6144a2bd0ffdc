use std::time::Duration;

use holdfast_model::block::Ask;
use holdfast_model::cloud::{Api, CloudChange, CloudRead};
use holdfast_model::eni::{EniKind, EniPhase};
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Change;

use crate::Step;
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

/// What a plan gives back: whether an ENI, and how many addresses of which.
fn given_back(toy: &Toy) -> (bool, Vec<(EniId, usize)>) {
    let made = toy.planned();
    let drains = made.steps.iter().any(|step| {
        matches!(step, Step::Adjust(changes) if changes.iter().any(|change| {
            matches!(change, Change::PutEni(eni) if matches!(eni.phase, EniPhase::Draining { .. }))
        }))
    });
    let unassigned = made.steps.iter().filter_map(|step| match step {
        Step::Open(CloudChange::Unassign { eni, nets }) => Some((eni.clone(), nets.len())),
        _ => None,
    });
    (drains, unassigned.collect())
}

/// Three ENIs full of pods, and those of the second one gone for good.
fn with_an_idle_eni() -> Toy {
    let mut toy = Toy::new("m5.large", by_eni(0));
    toy.add_pods(19);
    toy.run_to_rest();
    assert_eq!(toy.shape(), [9, 9, 9]);
    let second = EniId::new("eni-0001");
    assert_eq!(toy.ledger.enis[&second].slot().unwrap().device, 1);
    for _ in 0..9 {
        let at = toy.ledger.leases.values().position(|lease| lease.is_on(&second));
        toy.delete_pod(at.expect("nine pods live there"));
    }
    toy.sleep(Duration::from_secs(120));
    toy
}

#[test]
fn nothing_is_given_back_while_growth_is_under_way_or_nothing_may_be_changed() {
    let mut toy = with_an_idle_eni();
    assert!(given_back(&toy).0);
    toy.config.provisioning_disabled.value = true;
    assert_eq!(given_back(&toy), (false, Vec::new()));

    // One more is wanted than there is, for a moment.
    let mut toy = with_an_idle_eni();
    toy.has_seen(&EniId::new("eni-0001"));
    toy.open(CloudChange::Assign { eni: EniId::new("eni-0002"), ask: Ask::addresses(1) });
    assert_eq!(given_back(&toy), (false, Vec::new()));
}

/// So that it becomes empty, and can go as a whole.
#[test]
fn surplus_addresses_are_taken_from_an_idle_eni_first() {
    let mut toy = with_an_idle_eni();
    assert_eq!((toy.ledger.leases.len(), toy.shape().iter().sum::<usize>()), (10, 27));
    toy.config.warm.value = by_address(14, 0);
    assert_eq!(given_back(&toy), (false, vec![]), "it is looked at before");
    let read = Step::Read(CloudRead::Enis { enis: vec![EniId::new("eni-0001")] });
    assert!(toy.planned().steps.contains(&read));
    toy.has_seen(&EniId::new("eni-0001"));
    assert_eq!(given_back(&toy), (false, vec![(EniId::new("eni-0001"), 3)]));
}
