use std::time::Duration;

use holdfast_model::block::Ask;
use holdfast_model::cloud::Api;
use holdfast_model::config::AddressMode;
use holdfast_model::ids::EniId;
use holdfast_model::refusal::Refusal;

use super::*;
use crate::toy::{Fate, Toy, by_address, by_eni};

const GIVING_BACK: [Api; 3] =
    [Api::UnassignPrivateIpAddresses, Api::DetachNetworkInterface, Api::DeleteNetworkInterface];

/// A node with more than it needs: thirty addresses, twenty of which were pods' until a while ago.
fn roomy() -> Toy {
    let mut toy = Toy::new("m5.xlarge", by_address(2, 0));
    toy.add_pods(28);
    toy.run_to_rest();
    for _ in 0..20 {
        toy.delete_pod(0);
    }
    toy.cloud.calls.clear();
    toy
}

fn pass(toy: &mut Toy, hours: u64) {
    for _ in 0..hours * 60 {
        toy.sleep(Duration::from_secs(60));
        toy.run_to_rest();
    }
}

fn gave_back(toy: &Toy) -> usize {
    GIVING_BACK.into_iter().map(|api| toy.cloud.count(api)).sum()
}

#[test]
fn nothing_is_given_back_while_the_brake_is_on_and_all_of_it_when_it_is_off() {
    for brake in [Brake::Release, Brake::All] {
        let mut toy = roomy();
        let shape = toy.shape();
        toy.config.brake.value = brake;
        pass(&mut toy, 3);
        assert_eq!((gave_back(&toy), toy.shape()), (0, shape), "{brake}");
        assert!(toy.cloud.calls.len() <= 3, "{brake}, three hours: {:?}", toy.cloud.calls);
        toy.config.brake.value = Brake::None;
        pass(&mut toy, 1);
        assert_eq!(toy.shape().iter().sum::<usize>(), 10, "{brake}: eight pods and two spare");
        toy.assert_in_agreement();
    }
}

#[test]
fn with_the_whole_brake_nobody_is_called_pods_get_what_is_there_and_who_gets_none_is_told() {
    let mut toy = roomy();
    toy.config.brake.value = Brake::All;
    toy.sleep(Duration::from_secs(60));
    toy.add_pods(22);
    assert_eq!(toy.waiting(), 0, "what has rested serves");
    toy.add_pods(1);
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 1);
    let told = toy.choose().unwrap_err();
    assert_eq!(told.cause, Refusal::Braked { brake: Brake::All });
    assert!(!told.hold && told.hindered, "{told:?}");
    assert!(told.cause.to_string().contains("HOLDFAST_BRAKE=all"), "{}", told.cause);
    pass(&mut toy, 24);
    assert_eq!(toy.cloud.calls, []);
    toy.restart();
    pass(&mut toy, 1);
    assert_eq!(toy.cloud.calls, [], "nor by the next process");
    toy.config.brake.value = Brake::None;
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0);
    toy.assert_in_agreement();
}

/// The pool grows with the half brake.
#[test]
fn with_the_half_brake_the_pool_grows() {
    let mut toy = roomy();
    toy.config.brake.value = Brake::Release;
    toy.add_pods(40);
    toy.run_to_rest();
    assert_eq!((toy.waiting(), gave_back(&toy)), (0, 0));
}

/// What was to go has nobody on it, and would serve nobody for as long as the brake is on.
#[test]
fn an_eni_that_was_to_go_serves_again() {
    let mut toy = Toy::new("m5.large", by_eni(0));
    toy.add_pods(19);
    toy.run_to_rest();
    toy.delete_all_pods();
    // Till the first is chosen to go.
    while !toy.ledger.enis.values().any(|eni| matches!(eni.phase, EniPhase::Draining { .. })) {
        toy.sleep(Duration::from_secs(5));
        toy.round();
    }
    toy.config.brake.value = Brake::All;
    toy.sleep(Duration::from_secs(60));
    toy.add_pods(27);
    toy.run_to_rest();
    assert_eq!((toy.waiting(), toy.ledger.leases.len()), (0, 27));
    assert_eq!(gave_back(&toy), 0);
}

/// A call that was not answered is not sent again, and what EC2 did is read: the ENI goes on being used.
#[test]
fn what_was_not_answered_when_the_brake_came_is_found_out_and_not_repeated() {
    for fate in [Fate::LostBefore, Fate::LostAfter, Fate::NotSent] {
        let mut toy = roomy();
        let gives = |step: &Step| matches!(step, Step::Open(CloudChange::Unassign { .. }));
        while !toy.planned().steps.iter().any(gives) {
            toy.sleep(Duration::from_secs(1));
            toy.round();
        }
        toy.fates = Box::new(move || fate);
        toy.round();
        assert!(!toy.ledger.intents.is_empty(), "{fate:?}");
        toy.fates = Box::new(|| Fate::Fine);
        toy.config.brake.value = Brake::Release;
        toy.cloud.calls.clear();
        pass(&mut toy, 1);
        assert_eq!(gave_back(&toy), 0, "{fate:?}");
        assert!(toy.ledger.intents.is_empty(), "{fate:?}: {:?}", toy.ledger.intents);
        assert!(toy.cloud.calls.len() <= 8, "{fate:?}: {:?}", toy.cloud.calls);
        toy.add_pods(25);
        toy.run_to_rest();
        assert_eq!(toy.waiting(), 0, "{fate:?}");
    }
}

/// Where giving back is what would make room, the brake is the cause.
#[test]
fn room_that_the_brake_keeps_from_being_made_is_told_as_such() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(9);
    toy.run_to_rest();
    toy.delete_pod(0);
    toy.delete_pod(0);
    toy.switch(AddressMode::Prefix);
    toy.config.brake.value = Brake::Release;
    toy.add_pods(3);
    toy.sleep(Duration::from_secs(60));
    toy.serve();
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 1);
    assert_eq!(toy.choose().unwrap_err().cause, Refusal::Braked { brake: Brake::Release });
}

/// Between the plan and the call lies the disk.
#[test]
fn a_call_that_became_durable_before_the_brake_came_does_not_leave_after_it() {
    let assign = CloudChange::Assign { eni: EniId::new("eni-primary"), ask: Ask::addresses(1) };
    let delete = CloudChange::DeleteEni { eni: EniId::new("eni-primary") };
    for (brake, assigns, deletes) in
        [(Brake::None, true, true), (Brake::Release, true, false), (Brake::All, false, false)]
    {
        assert_eq!((lets_leave(brake, &assign), lets_leave(brake, &delete)), (assigns, deletes), "{brake}");
    }
}
