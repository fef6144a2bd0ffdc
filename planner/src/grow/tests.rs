mod refused;

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_model::block::{Ask, Unit};
use holdfast_model::cloud::{Api, CloudChange, CloudRead, TAG_CLUSTER, TAG_INSTANCE};
use holdfast_model::ids::{InstanceId, IntentId};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::Change;
use holdfast_model::refusal::Refusal;
use uuid::Uuid;

use crate::toy::{Toy, by_address, by_eni};
use crate::{Desired, Step, open, plan};

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
        let Step::Open(CloudChange::CreateEni { slot, tags, description, ask, .. }) = step else {
            continue;
        };
        slots.insert(slot.device);
        assert_eq!(description, "aws-K8S-i-1");
        assert_eq!(*ask, Ask::addresses(29));
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

/// A change would keep the read that is wanted from telling which addresses of the ledger an ENI has no more, and those would
/// be given to pods.
#[test]
fn a_ledger_that_has_lost_something_grows_once_ec2_was_read() {
    let mut toy = Toy::new("m5.large", by_address(1, 1));
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(60));
    // Nor is what was asked for before asked for again.
    let eni = toy.ledger.enis.keys().next().unwrap().clone();
    let change = CloudChange::Assign { eni, ask: Ask::addresses(1) };
    let id = IntentId(Uuid::from_u128(0xfeed));
    toy.ledger.apply_all(&open(&toy.ledger, &toy.observed, change, id, &toy.now).unwrap());
    let never_sent = Intent { sending: Sending::NeverSent, ..toy.ledger.intents[&id].clone() };
    toy.ledger.apply(&Change::PutIntent(never_sent));
    toy.observed.ledger_lost(&toy.now);
    toy.set_waiting(5);
    let config = toy.config.clone();
    let planned = |toy: &Toy| {
        let desired = Desired { config: &config, limits: toy.limits.clone() };
        plan(&desired, &toy.ledger, &toy.observed, &toy.now)
    };
    let before = planned(&toy);
    let changes = |step: &Step| matches!(step, Step::Open(_) | Step::Repeat(_));
    assert!(!before.steps.iter().any(changes), "{before:?}");
    assert_eq!(before.refusal(), Some(&Refusal::NotReadYet));
    let (read, began) = (CloudRead::InstanceEnis { instance: InstanceId::new("i-1") }, toy.now.boottime);
    toy.read(&read, began, 0);
    let after = planned(&toy);
    assert!(after.steps.iter().any(changes), "{after:?}");
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

/// The account's quota of ENIs is everybody's: it is asked about seldom, and named.
#[test]
fn a_used_up_quota_of_enis_is_named_and_asked_about_seldom() {
    let mut toy = Toy::new("m5.large", by_address(0, 9));
    toy.add_pods(9);
    toy.run_to_rest();
    toy.cloud.quota_used_up = true;
    toy.cloud.calls.clear();
    toy.add_pods(1);
    let hour = toy.now.boottime.after(Duration::from_secs(3600));
    while toy.now.boottime < hour {
        if !toy.round() {
            toy.sleep(Duration::from_secs(1));
        }
    }
    let asked = toy.cloud.count(Api::CreateNetworkInterface);
    assert!((6..=16).contains(&asked), "{asked} in an hour");
    assert_eq!(toy.cloud.calls.len(), asked, "nor is EC2 read for it: {:?}", toy.cloud.calls);
    assert_eq!(toy.last.refusal(), Some(&Refusal::EniQuota));
    let shortage = toy.choose().unwrap_err();
    assert_eq!((shortage.cause, shortage.hold), (Refusal::EniQuota, false), "an ADD is told at once");

    toy.cloud.quota_used_up = false;
    toy.run_to_rest();
    assert_eq!(toy.ledger.leases.len(), 10);
}

/// An ADD that comes while an ENI is being created waits for that one, if it can carry it.
#[test]
fn an_eni_that_is_being_created_is_counted_with_its_room() {
    let mut toy = Toy::new("m5.4xlarge", by_address(1, 1));
    toy.add_pods(28);
    toy.run_to_rest();
    assert_eq!(toy.shape(), [29]);
    toy.set_waiting(2);
    let config = toy.config.clone();
    let desired = Desired { config: &config, limits: toy.limits.clone() };
    let made = plan(&desired, &toy.ledger, &toy.observed, &toy.now);
    let [Step::Open(change @ CloudChange::CreateEni { ask: Ask { unit: Unit::Address, count: 2 }, .. })] =
        &made.steps[..]
    else {
        panic!("{made:?}")
    };
    let id = IntentId(Uuid::from_u128(0xfeed));
    toy.ledger.apply_all(&open(&toy.ledger, &toy.observed, change.clone(), id, &toy.now).unwrap());
    toy.observed.sent(id, holdfast_model::cloud::Api::CreateNetworkInterface, &toy.now);
    toy.set_waiting(20);
    assert_eq!(plan(&desired, &toy.ledger, &toy.observed, &toy.now).steps, []);
    toy.set_waiting(40);
    assert_eq!(
        plan(&desired, &toy.ledger, &toy.observed, &toy.now).steps.len(),
        1,
        "it cannot carry so many"
    );
}

/// What is attached and has no link yet is not in use, and comes.
#[test]
fn an_add_waits_for_a_link_that_is_late_and_is_told_so() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.cloud.links_late = true;
    toy.add_pods(4);
    for _ in 0..200 {
        if !toy.round() {
            toy.sleep(Duration::from_millis(500));
        }
    }
    assert_eq!(toy.ledger.leases.len(), 3, "on the primary ENI");
    let shortage = toy.choose().unwrap_err();
    assert!(matches!(shortage.cause, Refusal::LinkAwaited { .. }), "{shortage:?}");
    assert!(shortage.hold && shortage.hindered, "{shortage:?}");
    toy.cloud.links_late = false;
    toy.observed.links_changed(&toy.now);
    toy.run_to_rest();
    assert_eq!(toy.ledger.leases.len(), 4);
}
