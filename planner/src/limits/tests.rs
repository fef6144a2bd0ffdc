use holdfast_model::denial::Denial;
use std::time::Duration;

use holdfast_model::ledger::Change;
use holdfast_model::refusal::Refusal;

use super::*;
use crate::Desired;
use crate::toy::{Toy, by_address, by_eni};

/// A node of a type that is not in the table, with the limits of an `m5.large` in EC2.
fn unheard_of(mut toy: Toy) -> Toy {
    let mut node = toy.ledger.node.clone().unwrap();
    node.identity.instance_type = "z9.large".to_owned();
    toy.ledger.apply(&Change::PutNode(node));
    toy.limits = None;
    toy.restart();
    toy
}

#[test]
fn a_type_that_is_not_in_the_table_is_asked_about_once() {
    let mut toy = unheard_of(Toy::new("m5.large", by_eni(1)));
    assert_eq!(toy.ledger.limits(), None);
    toy.add_pods(20);
    toy.run_to_rest();
    toy.assert_in_agreement();
    assert_eq!((toy.ledger.leases.len(), toy.cloud.attached().count()), (20, 3));
    toy.sleep(Duration::from_secs(24 * 3600));
    toy.run_to_rest();
    // Neither does the next process.
    toy.restart();
    toy.delete_all_pods();
    toy.run_to_rest();
    assert_eq!(toy.cloud.count(Api::DescribeInstanceTypes), 1);
    let mut known = Toy::new("m5.large", by_eni(1));
    known.run_to_rest();
    assert_eq!(known.cloud.count(Api::DescribeInstanceTypes), 0);
}

#[test]
fn until_ec2_has_told_nothing_is_asked_for_and_the_cause_is_named() {
    let mut toy = unheard_of(Toy::new("m5.large", by_address(1, 0)));
    toy.cloud.tells_limits = false;
    toy.add_pods(4);
    for _ in 0..300 {
        toy.round();
        toy.sleep(Duration::from_secs(1));
    }
    assert_eq!(toy.ledger.leases.len(), 0);
    assert_eq!(
        toy.cloud.count(Api::AssignPrivateIpAddresses) + toy.cloud.count(Api::CreateNetworkInterface),
        0
    );
    let asked = toy.cloud.count(Api::DescribeInstanceTypes);
    assert!((10..=40).contains(&asked), "{asked} in five minutes");
    let cause = toy.last.refusal().cloned();
    let api = Api::DescribeInstanceTypes;
    assert_eq!(cause, Some(Refusal::Unreachable { api, cause: "lost".to_owned() }));

    toy.cloud.tells_limits = true;
    toy.run_to_rest();
    assert_eq!(toy.ledger.leases.len(), 4);
    toy.assert_in_agreement();
}

#[test]
fn an_add_is_told_that_the_right_to_ask_is_lacking() {
    let mut toy = unheard_of(Toy::new("m5.large", by_address(1, 0)));
    let api = Api::DescribeInstanceTypes;
    let denied = Some(crate::Fault::Denied);
    toy.add_pods(4);
    for _ in 0..20 {
        // Whatever the toy would have told.
        toy.observed.limits_untold(denied, "no", &toy.now, 0);
        toy.round();
        toy.limits = None;
        toy.ledger.type_limits = None;
    }
    let shortage = toy.choose().unwrap_err();
    assert_eq!(
        (shortage.cause, shortage.hold),
        (Refusal::Denied { api, denial: Denial::read(api, "", None) }, false)
    );
    assert_eq!(toy.cloud.count(api), 0, "it rests");
}

/// A restart: what the node carries is more than the smallest type could, and stays.
#[test]
fn nothing_is_given_back_before_the_limits_are_known() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(10);
    toy.run_to_rest();
    toy.delete_all_pods();
    toy.sleep(Duration::from_secs(3600));
    let before = toy.cloud.enis.clone();
    let mut toy = unheard_of(toy);
    for _ in 0..20 {
        toy.observed.limits_untold(None, "lost", &toy.now, 499);
        let desired = Desired { config: &toy.config, limits: None };
        let made = crate::plan(&desired, &toy.ledger, &toy.observed, &toy.now);
        let kept = made.steps.iter().all(|step| matches!(step, Step::Read(_) | Step::SetUpEni(_)));
        assert!(kept, "{made:?}");
        for step in made.steps {
            if let Step::Read(read) = step {
                toy.observed.read_began(&read, &toy.now);
                let began = toy.now.boottime;
                toy.read(&read, began, 0);
            }
        }
        toy.sleep(Duration::from_millis(200));
    }
    assert_eq!(toy.cloud.enis, before);
    toy.run_to_rest();
    assert!(toy.cloud.enis.len() < before.len(), "then it is: {:?}", toy.shape());
}
