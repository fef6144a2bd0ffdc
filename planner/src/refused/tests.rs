use std::time::Duration;

use crate::toy::{Toy, by_address, by_prefix, now_at};

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn its_rest_grows_and_ends_with_a_success() {
    let (mut refused, address) = (Refused::default(), ip("10.0.0.7"));
    assert!(refused.failed(address, "no", &now_at(0)));
    assert!(refused.rests(address, &now_at(59)) && !refused.rests(address, &now_at(60)));
    assert!(refused.has(address), "it comes behind all others");
    assert!(!refused.failed(address, "no", &now_at(60)), "that is known");
    assert!(refused.rests(address, &now_at(179)) && !refused.rests(address, &now_at(180)));
    for failure in 0..30 {
        refused.failed(address, "no", &now_at(200 + failure));
    }
    assert!(refused.rests(address, &now_at(229 + 3599)) && !refused.rests(address, &now_at(229 + 3600)));
    let told: Vec<String> = refused.told(&now_at(300)).collect();
    assert!(
        told.len() == 1 && told[0].contains("10.0.0.7") && told[0].contains("32 times in 300 s"),
        "{told:?}"
    );
    refused.wired(address);
    assert_eq!((refused.has(address), refused.told(&now_at(300)).count()), (false, 0));
}

/// Where nothing can be wired it is no address's fault, and the pool does not grow for all of them.
#[test]
fn of_those_that_fail_while_none_succeeds_a_few_are_believed_in() {
    let mut refused = Refused::default();
    for number in 1..=9 {
        refused.failed(ip(&format!("10.0.0.{number}")), "no", &now_at(0));
    }
    assert_eq!(refused.told(&now_at(0)).count(), 3);
    refused.wired(ip("10.0.0.8"));
    refused.failed(ip("10.0.0.9"), "no", &now_at(0));
    assert_eq!(refused.told(&now_at(0)).count(), 4);
}

/// The pool's one spare cannot be wired: another is asked for, and given.
#[test]
fn another_address_makes_up_for_it() {
    let mut toy = Toy::new("m5.large", by_address(1, 0));
    toy.add_pods(2);
    toy.run_to_rest();
    let spare = toy.choose().unwrap().address;
    let now = toy.now.clone();
    toy.observed.wiring_failed(spare, "no", &now);
    assert!(toy.choose().is_err(), "it rests");
    assert_eq!(toy.observed.out_of_service(&toy.ledger, &toy.now).len(), 1);
    toy.observed.wiring_failed(spare, "no", &now);
    toy.run_to_rest();
    let other = toy.choose().unwrap().address;
    assert_ne!(other, spare);
    toy.sleep(Duration::from_secs(3600));
    toy.run_to_rest();
    let order: Vec<IpAddr> = toy.free().into_iter().map(|choice| choice.address).collect();
    assert_eq!(order, [other, spare], "behind all others");
    toy.observed.wiring_done(spare);
    toy.run_to_rest();
    assert_eq!(toy.shape(), [3], "it serves again, and the other one is a surplus");
}

/// Two of a prefix's addresses, and nobody on the others: what follows is not tried.
#[test]
fn a_prefix_of_which_nothing_can_be_wired_is_made_up_for() {
    let mut toy = Toy::with_prefixes("m5.large", by_prefix(1));
    toy.run_to_rest();
    let before = toy.free();
    assert_eq!(before.len(), 16);
    let now = toy.now.clone();
    for choice in &before[..2] {
        toy.observed.wiring_failed(choice.address, "no", &now);
        toy.observed.wiring_failed(choice.address, "no", &now);
    }
    assert_eq!(toy.free(), []);
    for _ in 0..10 {
        toy.round();
    }
    let net = toy.ledger.block_of(before[0].address).unwrap().net;
    assert!(toy.free().iter().all(|choice| !net.contains(&choice.address)) && toy.free().len() == 16);
    assert_eq!(toy.ledger.blocks.len(), 2);
    // Once one of them does it is the other only.
    toy.observed.wiring_done(before[0].address);
    assert_eq!(toy.free().len(), 31);
    assert_eq!(toy.free().iter().filter(|choice| choice.address == before[1].address).count(), 0);
}

/// What failed once may have been a moment's trouble.
#[test]
fn after_its_rest_what_failed_once_is_a_free_address_behind_the_others() {
    let mut toy = Toy::new("m5.large", by_address(2, 0));
    toy.run_to_rest();
    let free = toy.free();
    let now = toy.now.clone();
    toy.observed.wiring_failed(free[0].address, "no", &now);
    assert_eq!(toy.free(), free[1..]);
    toy.sleep(Duration::from_secs(61));
    let order: Vec<IpAddr> = toy.free().into_iter().map(|choice| choice.address).collect();
    assert_eq!(order, [free[1].address, free[0].address]);
    let calls = toy.cloud.calls.len();
    toy.round();
    assert_eq!(toy.cloud.calls[calls..], [], "nothing more is asked for");
    assert_eq!(toy.observed.out_of_service(&toy.ledger, &toy.now), Vec::<String>::new());
}
