mod phases;

use std::time::Duration;

use holdfast_model::cloud::{Api, CloudChange, CloudRead};
use holdfast_model::eni::{EniPhase, EniRecord};
use holdfast_model::ids::{ClientToken, EniId, InstanceId};
use holdfast_model::ledger::Change;
use holdfast_model::uses::Use;

use crate::toy::{Fate, Toy, by_eni};

/// A creation that was answered, and a process that died with the pods that wanted it.
fn left_over() -> Toy {
    let mut toy = Toy::new("m5.large", by_eni(0));
    toy.run_to_rest();
    toy.add_pods(10);
    toy.round();
    assert!(toy.ledger.enis.values().any(|eni| eni.phase == EniPhase::Available));
    toy.delete_all_pods();
    toy.set_waiting(0);
    toy.sleep(Duration::from_secs(31));
    toy.restart();
    toy
}

#[test]
fn an_eni_that_nobody_wants_any_more_is_deleted_unattached() {
    let mut toy = left_over();
    toy.run_to_rest();
    assert_eq!(toy.cloud.count(Api::AttachNetworkInterface), 0);
    assert_eq!(toy.cloud.enis.len(), 1);
    toy.assert_in_agreement();
}

/// The process died while it attached the ENI, and a late view told the next one that it was not.
#[test]
fn but_not_before_ec2_was_read() {
    let mut toy = left_over();
    let mut eni = toy.ledger.enis.values().find(|eni| eni.phase == EniPhase::Available).unwrap().clone();
    let attach = CloudChange::AttachEni {
        eni: eni.id.clone(),
        instance: InstanceId::new("i-1"),
        slot: eni.slot().unwrap(),
    };
    toy.cloud.perform(&attach, &ClientToken::new("unheard-of")).unwrap();
    toy.sleep(Duration::from_secs(3600));
    toy.round();
    eni = toy.ledger.enis[&eni.id].clone();
    assert!(matches!(eni.phase, EniPhase::Attached { .. }), "{eni:?}");
    toy.run_to_rest();
    toy.assert_in_agreement();
}

#[test]
fn and_is_used_when_the_pods_come_again_in_time() {
    let mut toy = left_over();
    toy.sleep(Duration::from_secs(5));
    toy.add_pods(10);
    toy.run_to_rest();
    assert_eq!(toy.cloud.count(Api::CreateNetworkInterface), 1);
    assert_eq!(toy.waiting(), 0);
}

/// The windows of cni#69: whatever is lost between the steps, the ENI ends in service and dies with its instance.
#[test]
fn delete_on_termination_is_set_in_the_end() {
    for lost in 0..12 {
        for fate in [Fate::KilledBefore, Fate::KilledAfter, Fate::LostBefore, Fate::LostAfter] {
            let mut toy = Toy::new("m5.large", by_eni(1));
            let mut call = 0;
            toy.fates = Box::new(move || {
                call += 1;
                if call == lost { fate } else { Fate::Fine }
            });
            toy.add_pods(12);
            toy.run_to_rest();
            toy.assert_in_agreement();
            assert_eq!(toy.waiting(), 0);
            assert_eq!(toy.cloud.attached().count(), 3, "call {lost} {fate:?}");
        }
    }
}

#[test]
fn tombstones_are_forgotten_after_their_time() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(10);
    toy.run_to_rest();
    toy.delete_all_pods();
    toy.run_to_rest();
    assert_eq!(toy.ledger.enis.len(), 1);
}

/// A rest is remembered for as long as it lasts, and where the address is ours, for the order in which they are taken.
#[test]
fn rests_of_addresses_that_are_gone_are_forgotten_when_they_are_over() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    let ours = toy.ledger.leases.values().next().unwrap().faces[0].address;
    toy.delete_pod(0);
    let Some(rest @ Use::Cooling(_)) = toy.ledger.uses.get(&ours).cloned() else { panic!() };
    let gone = "10.9.9.9".parse().unwrap();
    toy.commit(&[Change::PutUse(gone, rest)]);
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(1));
    toy.run_to_rest();
    assert!(toy.ledger.uses.contains_key(&ours) && !toy.ledger.uses.contains_key(&gone));
}

/// A late view says that an ENI is gone, so its tables are taken away; the next view has it again.
#[test]
fn an_eni_that_comes_back_serves_only_when_it_was_set_up_again() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    let eni = EniId::new("eni-0001");
    assert!(toy.observed.ready_enis.contains(&eni));
    let read = |toy: &mut Toy| {
        let began = toy.now.boottime;
        toy.read(&CloudRead::InstanceEnis { instance: InstanceId::new("i-1") }, began, 0);
    };
    toy.sleep(Duration::from_secs(60));
    let hidden = toy.cloud.enis.remove(&eni).unwrap();
    read(&mut toy);
    assert!(!toy.ledger.enis.get(&eni).is_some_and(EniRecord::serves_pods));
    toy.cloud.enis.insert(eni.clone(), hidden);
    read(&mut toy);
    assert!(toy.ledger.enis[&eni].serves_pods());
    assert!(!toy.observed.ready_enis.contains(&eni), "it serves nobody yet");
    toy.run_to_rest();
    assert!(toy.observed.ready_enis.contains(&eni));
}

/// What it had in the kernel is taken away as soon as it is to go.
#[test]
fn an_eni_that_is_taken_back_serves_only_when_it_was_set_up_again() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(20);
    toy.run_to_rest();
    toy.cloud.denied = [Api::DetachNetworkInterface].into();
    while !toy.ledger.leases.is_empty() {
        toy.delete_pod(0);
    }
    let draining = |toy: &Toy| {
        let draining = |eni: &&EniRecord| matches!(eni.phase, EniPhase::Draining { .. });
        toy.ledger.enis.values().find(draining).map(|eni| eni.id.clone())
    };
    while draining(&toy).is_none() {
        if !toy.round() {
            toy.sleep(Duration::from_secs(1));
        }
    }
    let eni = draining(&toy).unwrap();
    toy.round();
    assert!(!toy.observed.ready_enis.contains(&eni));
    toy.add_pods(27);
    while draining(&toy).is_some() {
        toy.round();
    }
    assert!(!toy.observed.ready_enis.contains(&eni), "it is wanted again, and has nothing in the kernel");
    for _ in 0..5 {
        toy.round();
    }
    assert!(toy.observed.ready_enis.contains(&eni));
    assert_eq!(toy.waiting(), 0);
}
