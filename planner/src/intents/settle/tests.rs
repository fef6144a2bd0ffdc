use holdfast_model::cloud::CloudChange;
use holdfast_model::eni::EniPhase;
use holdfast_model::ids::{AttachmentId, EniId, IntentId, SubnetId};
use holdfast_model::ledger::Change;
use holdfast_model::refusal::Refusal;
use uuid::Uuid;

use super::*;
use crate::intents::open;
use crate::toy::{Toy, by_address, by_eni};
use holdfast_model::cloud::Api;

const ID: IntentId = IntentId(Uuid::from_u128(0xfeed));

/// A node at rest with free addresses on the primary ENI, and an intent opened on it.
fn with_open(change: impl Fn(&Toy) -> CloudChange) -> Toy {
    let mut toy = Toy::new("m5.large", by_address(4, 0));
    toy.run_to_rest();
    let change = change(&toy);
    let changes = open(&toy.ledger, change, ID, &toy.now).expect("admitted");
    toy.commit(&changes);
    toy
}

fn unassign(toy: &Toy) -> CloudChange {
    let addresses = toy.ledger.blocks.keys().map(IpNet::addr).take(2).collect();
    CloudChange::UnassignAddresses { eni: EniId::new("eni-primary"), addresses }
}

fn assign(_: &Toy) -> CloudChange {
    CloudChange::AssignAddresses { eni: EniId::new("eni-primary"), count: 2 }
}

fn refuse(fault: Fault) -> Outcome {
    Outcome::NotCarriedOut { fault, cause: "no".into() }
}

const FAULTS: [Fault; 10] = [
    Fault::Throttled { retry_after: None },
    Fault::SubnetFull,
    Fault::AddressLimit,
    Fault::AttachmentLimit,
    Fault::EniQuota,
    Fault::NotFound,
    Fault::Conflict,
    Fault::TokenMismatch,
    Fault::Denied,
    Fault::Rejected,
];

#[test]
fn an_unassignment_stays_open_until_its_addresses_are_known_to_be_gone() {
    for fault in FAULTS {
        let mut toy = with_open(unassign);
        let settled = settle(&toy.ledger, ID, &refuse(fault), &toy.now);
        toy.commit(&settled.changes);
        assert!(toy.ledger.intents.contains_key(&ID), "{fault:?}");
        let departing =
            toy.ledger.blocks.values().filter(|block| block.state == BlockState::Leaving(ID)).count();
        assert_eq!(departing, 2, "{fault:?}");
        assert!(settled.setback.is_some(), "{fault:?}");
    }
    let mut toy = with_open(unassign);
    let settled = settle(&toy.ledger, ID, &Outcome::Answered(CloudAnswer::Done), &toy.now);
    toy.commit(&settled.changes);
    assert!(toy.ledger.intents.is_empty());
    let gone = toy.ledger.blocks.values().filter(|block| matches!(block.state, BlockState::Gone(_))).count();
    assert_eq!(gone, 2);
}

#[test]
fn a_refused_assignment_is_closed_and_an_unknown_one_is_not() {
    for fault in FAULTS {
        let mut toy = with_open(assign);
        let settled = settle(&toy.ledger, ID, &refuse(fault), &toy.now);
        toy.commit(&settled.changes);
        assert!(toy.ledger.intents.is_empty(), "{fault:?}");
        let reads = matches!(fault, Fault::AddressLimit | Fault::Conflict | Fault::NotFound);
        assert_eq!(settled.doubt.is_some(), reads, "{fault:?}");
    }
    let mut toy = with_open(assign);
    let before = toy.ledger.blocks.clone();
    let lost = Outcome::Unknown { cause: "reset".into() };
    let settled = settle(&toy.ledger, ID, &lost, &toy.now);
    toy.commit(&settled.changes);
    assert!(toy.ledger.intents.contains_key(&ID));
    assert_eq!(toy.ledger.blocks, before);
}

#[test]
fn a_call_that_never_left_changes_nothing() {
    for change in [unassign as fn(&Toy) -> CloudChange, assign] {
        let toy = with_open(change);
        let settled = settle(&toy.ledger, ID, &refuse(Fault::NotSent), &toy.now);
        assert_eq!(settled.changes, [], "not even the instant of the ENI's last change");
        assert_eq!(settled.doubt, None);
        assert!(settled.unsent);
        let setback = settled.setback.unwrap();
        assert_eq!(setback.scope, PauseScope::Api, "the others would not leave either");
        assert!(matches!(setback.cause, Refusal::Unreachable { .. }), "{setback:?}");
    }
}

#[test]
fn refusals_say_what_rests_and_why() {
    let toy = with_open(assign);
    let setback = |fault| settle(&toy.ledger, ID, &refuse(fault), &toy.now).setback.unwrap();
    let api = Api::AssignPrivateIpAddresses;
    let throttled = setback(Fault::Throttled { retry_after: None });
    assert_eq!((throttled.scope, throttled.cause), (PauseScope::Api, Refusal::Throttled { api }));
    let subnet = SubnetId::new("subnet-1");
    let full = setback(Fault::SubnetFull);
    assert_eq!(
        (full.scope, full.cause),
        (PauseScope::Subnet(subnet.clone()), Refusal::SubnetFull { subnet })
    );
    let denied = setback(Fault::Denied);
    assert_eq!((denied.scope, denied.cause), (PauseScope::Api, Refusal::Denied { api }));
    let limit = setback(Fault::AddressLimit);
    assert_eq!(limit.scope, PauseScope::Eni(EniId::new("eni-primary")), "others may grow on");
    assert!(matches!(limit.cause, Refusal::Miscounted { .. }), "{limit:?}");
}

#[test]
fn an_answer_that_does_not_fit_proves_nothing() {
    let mut toy = with_open(assign);
    let settled =
        settle(&toy.ledger, ID, &Outcome::Answered(CloudAnswer::Attached(AttachmentId::new("x"))), &toy.now);
    toy.commit(&settled.changes);
    assert!(toy.ledger.intents.contains_key(&ID) && settled.setback.is_some());
}

#[test]
fn a_closed_intent_means_nothing() {
    let toy = with_open(assign);
    let other = IntentId(Uuid::from_u128(1));
    let answer = Outcome::Answered(CloudAnswer::Done);
    assert_eq!(settle(&toy.ledger, other, &answer, &toy.now), Settlement::default());
}

/// The second guard behind the plan: what was leased meanwhile is not taken away.
#[test]
fn a_plan_that_is_too_late_is_not_admitted() {
    let mut toy = Toy::new("m5.large", by_address(4, 0));
    toy.run_to_rest();
    let change = unassign(&toy);
    toy.add_pods(1);
    assert_eq!(open(&toy.ledger, change, ID, &toy.now), None, "one of them was leased");

    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(4);
    toy.run_to_rest();
    let eni = toy.ledger.leases.values().find(|lease| lease.faces[0].place.route_table() == 2).unwrap().faces
        [0]
    .eni
    .clone();
    let mut record = toy.ledger.enis[&eni].clone();
    let attachment = record.attachment().unwrap().clone();
    record.phase = EniPhase::Draining { attachment: attachment.clone() };
    toy.ledger.apply(&Change::PutEni(record.clone()));
    let detach = CloudChange::DetachEni { eni: eni.clone(), attachment };
    assert_eq!(open(&toy.ledger, detach, ID, &toy.now), None);
    record.phase = EniPhase::Detached;
    toy.ledger.apply(&Change::PutEni(record));
    assert_eq!(open(&toy.ledger, CloudChange::DeleteEni { eni }, ID, &toy.now), None);
}

#[test]
fn an_eni_that_is_gone_already_is_no_setback() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    let eni = EniId::new("eni-0001");
    let mut record = toy.ledger.enis[&eni].clone();
    record.phase = EniPhase::Detached;
    toy.ledger.apply(&Change::PutEni(record));
    toy.commit(&open(&toy.ledger, CloudChange::DeleteEni { eni: eni.clone() }, ID, &toy.now).unwrap());
    let settled = settle(&toy.ledger, ID, &refuse(Fault::NotFound), &toy.now);
    toy.commit(&settled.changes);
    assert_eq!(settled.setback, None);
    assert_eq!(toy.ledger.enis[&eni].phase, EniPhase::Gone);
    assert_eq!(toy.ledger.blocks_on(&eni).count(), 0);
}

/// A read that began while the call was under way may show either state.
#[test]
fn from_the_answer_on_older_reads_prove_nothing() {
    for outcome in [
        Outcome::Answered(CloudAnswer::Assigned(vec!["10.0.66.6".parse().unwrap()])),
        Outcome::Unknown { cause: "reset".into() },
    ] {
        let mut toy = with_open(assign);
        toy.sleep(std::time::Duration::from_secs(3));
        let settled = settle(&toy.ledger, ID, &outcome, &toy.now);
        toy.commit(&settled.changes);
        assert_eq!(toy.ledger.enis[&EniId::new("eni-primary")].changed, toy.now.boottime);
    }
}
