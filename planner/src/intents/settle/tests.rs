mod refused;

use std::net::IpAddr;

use holdfast_model::block::Ask;
use holdfast_model::cloud::CloudChange;
use holdfast_model::denial::Denial;
use holdfast_model::eni::EniPhase;
use holdfast_model::ids::{AttachmentId, EniId, InstanceId, IntentId, SubnetId};
use holdfast_model::ledger::Change;
use holdfast_model::refusal::{CredentialsFault, Refusal};
use holdfast_model::uses::{Suspicion, Use};
use uuid::Uuid;

use super::*;
use crate::Desired;
use crate::intents::open;
use crate::toy::{Fate, Toy, by_address, by_eni};
use holdfast_model::cloud::Api;

const ID: IntentId = IntentId(Uuid::from_u128(0xfeed));

/// A node at rest with free addresses on the primary ENI, and an intent opened on it.
fn with_open(change: impl Fn(&Toy) -> CloudChange) -> Toy {
    let mut toy = Toy::new("m5.large", by_address(4, 0));
    toy.run_to_rest();
    let change = change(&toy);
    toy.has_seen(&EniId::new("eni-primary"));
    let changes = open(&toy.ledger, &toy.observed, change, ID, &toy.now).expect("admitted");
    toy.commit(&changes);
    toy
}

fn unassign(toy: &Toy) -> CloudChange {
    let nets = toy.ledger.blocks.keys().copied().take(2).collect();
    CloudChange::Unassign { eni: EniId::new("eni-primary"), nets }
}

fn assign(_: &Toy) -> CloudChange {
    CloudChange::Assign { eni: EniId::new("eni-primary"), ask: Ask::addresses(2) }
}

fn refuse(fault: Fault) -> Outcome {
    Outcome::NotCarriedOut { fault, cause: "no".into() }
}

const FAULTS: [Fault; 13] = [
    Fault::Credentials(CredentialsFault::Expired),
    Fault::Credentials(CredentialsFault::NotValid),
    Fault::Throttled { retry_after: None },
    Fault::SubnetFull,
    Fault::NoFreeBlock,
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
fn an_unassignment_that_was_surely_not_carried_out_gives_its_addresses_back() {
    for (fault, unanswered) in FAULTS.into_iter().flat_map(|fault| [(fault, false), (fault, true)]) {
        let mut toy = with_open(unassign);
        if unanswered {
            let lost = settle(&toy.ledger, ID, &Outcome::Unknown { cause: "reset".into() }, &toy.now);
            toy.commit(&lost.changes);
        }
        let settled = settle(&toy.ledger, ID, &refuse(fault), &toy.now);
        toy.commit(&settled.changes);
        assert!(settled.setback.is_some(), "{fault:?}");
        let leaving =
            toy.ledger.blocks.values().filter(|block| block.state == BlockState::Leaving(ID)).count();
        let unclear = unanswered || matches!(fault, Fault::Rejected | Fault::NotFound | Fault::Conflict);
        assert_eq!(
            (leaving, settled.doubt.is_some()),
            if unclear { (2, true) } else { (0, false) },
            "{fault:?}"
        );
        assert_eq!(toy.ledger.intents.contains_key(&ID), unclear, "{fault:?}");
        let free = toy.ledger.blocks.values().filter(|block| toy.ledger.is_free(block.net.addr(), &toy.now));
        assert_eq!(free.count(), if unclear { 2 } else { 4 }, "{fault:?}");
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
fn a_call_that_never_left_is_known_as_such() {
    for change in [unassign as fn(&Toy) -> CloudChange, assign] {
        let toy = with_open(change);
        let settled = settle(&toy.ledger, ID, &refuse(Fault::NotSent), &toy.now);
        let unsent = Intent { sending: Sending::NeverSent, ..toy.ledger.intents[&ID].clone() };
        assert_eq!(
            settled.changes,
            [Change::PutIntent(unsent)],
            "not even the instant of the ENI's last change"
        );
        assert_eq!(settled.doubt, None);
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
    assert_eq!(
        (denied.scope, denied.cause),
        (PauseScope::Api, Refusal::Denied { api, denial: Denial::read(api, "", Some("eni-primary".into())) })
    );
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
    assert_eq!(open(&toy.ledger, &toy.observed, change, ID, &toy.now), None, "one of them was leased");

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
    toy.has_seen(&eni);
    let detach = CloudChange::DetachEni { eni: eni.clone(), attachment };
    assert_eq!(open(&toy.ledger, &toy.observed, detach, ID, &toy.now), None);
    record.phase = EniPhase::Detached;
    toy.ledger.apply(&Change::PutEni(record));
    assert_eq!(open(&toy.ledger, &toy.observed, CloudChange::DeleteEni { eni }, ID, &toy.now), None);
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
    toy.has_seen(&eni);
    toy.commit(
        &open(&toy.ledger, &toy.observed, CloudChange::DeleteEni { eni: eni.clone() }, ID, &toy.now).unwrap(),
    );
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
        Outcome::Answered(CloudAnswer::Assigned(vec!["10.0.66.6/32".parse().unwrap()])),
        Outcome::Unknown { cause: "reset".into() },
    ] {
        let mut toy = with_open(assign);
        toy.sleep(std::time::Duration::from_secs(3));
        let settled = settle(&toy.ledger, ID, &outcome, &toy.now);
        toy.commit(&settled.changes);
        assert_eq!(toy.ledger.enis[&EniId::new("eni-primary")].changed, toy.now.boottime);
    }
}

/// Once a call was not answered, one that did not leave tells nothing of it.
#[test]
fn what_may_have_been_carried_out_stays_so() {
    let mut toy = with_open(unassign);
    for outcome in [Outcome::Unknown { cause: "reset".into() }, refuse(Fault::NotSent)] {
        let settled = settle(&toy.ledger, ID, &outcome, &toy.now);
        toy.commit(&settled.changes);
        assert_eq!(toy.ledger.intents[&ID].sending, Sending::Unanswered, "{outcome:?}");
    }
}

/// Refused after a call that was not answered: reads tell, the first of which may be late.
#[test]
fn an_unassignment_that_nobody_knows_of_is_told_by_a_read_in_the_end() {
    for carried_out in [false, true] {
        let mut toy = Toy::new("m5.large", by_address(2, 0));
        toy.add_pods(8);
        toy.run_to_rest();
        let before = toy.ledger.blocks.len();
        toy.delete_all_pods();
        let mut calls = 0;
        toy.fates = Box::new(move || {
            calls += 1;
            match calls {
                1 if carried_out => Fate::LostAfter,
                1 => Fate::LostBefore,
                2..6 => Fate::Throttled,
                _ => Fate::Fine,
            }
        });
        toy.run_to_rest();
        toy.assert_in_agreement();
        assert!(toy.ledger.blocks.len() < before);
        assert!(toy.ledger.intents.is_empty());
    }
}

/// The right to detach is missing for long: the ENI that was to go serves as soon as it is wanted.
#[test]
fn an_eni_that_cannot_be_detached_serves_again_when_it_is_wanted() {
    let mut toy = Toy::new("m5.large", by_eni(0));
    toy.add_pods(20);
    toy.run_to_rest();
    assert_eq!(toy.ledger.leases.len(), 20);
    toy.delete_all_pods();
    toy.cloud.denied.insert(Api::DetachNetworkInterface);
    toy.cloud.denied.insert(Api::UnassignPrivateIpAddresses);
    for _ in 0..60 {
        while toy.round() {}
        toy.sleep(std::time::Duration::from_secs(10));
    }
    assert!(toy.ledger.enis.values().any(|eni| matches!(eni.phase, EniPhase::Draining { .. })));
    let attached = toy.cloud.attached().count();
    toy.cloud.calls.clear();
    toy.add_pods(20);
    for _ in 0..5 {
        toy.round();
    }
    assert_eq!(toy.ledger.leases.len(), 20, "{:?}", toy.last);
    assert_eq!(toy.cloud.count(Api::CreateNetworkInterface), 0);
    assert_eq!(toy.cloud.attached().count(), attached);
    toy.cloud.denied.clear();
    toy.run_to_rest();
    toy.assert_in_agreement();
}

/// EC2 says that it gave us here what the ledger has under a pod elsewhere: there it is no more.
#[test]
fn an_address_that_ec2_says_is_elsewhere_is_not_leased_again_where_it_was() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    let face = toy.ledger.leases.values().next().unwrap().faces[0].clone();
    let other = EniId::new("eni-0001");
    assert_ne!(face.eni, other);
    let room = toy.ledger.blocks_on(&other).next().unwrap().net;
    toy.commit(&[Change::DropBlock(room)]);
    let assign = CloudChange::Assign { eni: other, ask: Ask::addresses(1) };
    let opened = open(&toy.ledger, &toy.observed, assign, ID, &toy.now).unwrap();
    toy.commit(&opened);
    let answer = Outcome::Answered(CloudAnswer::Assigned(vec![face.address.into()]));
    let settled = settle(&toy.ledger, ID, &answer, &toy.now);
    toy.commit(&settled.changes);
    assert!(
        !toy.ledger.is_held(face.address),
        "the lease lives, and the address is known to be gone from it"
    );
    toy.delete_pod(0);
    toy.sleep(std::time::Duration::from_secs(60));
    assert!(!toy.ledger.is_free(face.address, &toy.now));
}

/// The rest is owed wherever EC2 has the address meanwhile.
#[test]
fn an_address_that_ec2_gives_out_again_has_not_rested() {
    let ip: IpAddr = "10.0.66.6".parse().unwrap();
    for before in [None, Some(BlockState::Gone(BootTime(1)))] {
        let mut toy = with_open(assign);
        let rest = crate::quarantine::rest(&Desired { config: &toy.config, limits: None }, &toy.now);
        toy.commit(&[Change::PutUse(ip, Use::Cooling(rest))]);
        if let Some(state) = before {
            let block = Block::held(ip.into(), EniId::new("eni-primary"), toy.now.boottime);
            toy.commit(&[Change::PutBlock(Block { state, ..block })]);
        }
        let answer = Outcome::Answered(CloudAnswer::Assigned(vec![ip.into()]));
        let settled = settle(&toy.ledger, ID, &answer, &toy.now);
        toy.commit(&settled.changes);
        assert!(toy.ledger.is_held(ip) && !toy.ledger.is_free(ip, &toy.now), "{before:?}");
    }
}

/// What rests or is suspect keeps its ENI where it is, as a pod does.
#[test]
fn an_eni_is_not_detached_under_a_rest_or_a_suspicion() {
    let rest = |toy: &Toy| {
        Use::Cooling(crate::quarantine::rest(&Desired { config: &toy.config, limits: None }, &toy.now))
    };
    for what in [rest as fn(&Toy) -> Use, |_| Use::Suspect(Suspicion::MaybeInUse)] {
        let mut toy = Toy::new("t3.small", by_eni(1));
        toy.add_pods(1);
        toy.run_to_rest();
        let eni = EniId::new("eni-0001");
        let mut record = toy.ledger.enis[&eni].clone();
        let attachment = record.attachment().unwrap().clone();
        record.phase = EniPhase::Draining { attachment: attachment.clone() };
        let block = toy.ledger.blocks_on(&eni).next().unwrap().net;
        let what = what(&toy);
        toy.commit(&[Change::PutEni(record)]);
        toy.has_seen(&eni);
        let detach = CloudChange::DetachEni { eni, attachment };
        assert!(open(&toy.ledger, &toy.observed, detach.clone(), ID, &toy.now).is_some());
        toy.commit(&[Change::PutUse(block.addr(), what)]);
        assert_eq!(open(&toy.ledger, &toy.observed, detach.clone(), ID, &toy.now), None);
    }
}

/// A view that may be late does not tell that a call was not carried out.
#[test]
fn what_is_shown_soon_after_a_call_may_be_gone() {
    let mut toy = with_open(unassign);
    let lost = settle(&toy.ledger, ID, &Outcome::Unknown { cause: "reset".into() }, &toy.now);
    toy.commit(&lost.changes);
    let read = CloudRead::Enis { enis: vec![EniId::new("eni-primary")] };
    for (after, open) in [(29, true), (1, false)] {
        toy.sleep(std::time::Duration::from_secs(after));
        let began = toy.now.boottime;
        toy.read(&read, began, 0);
        assert_eq!(toy.ledger.intents.contains_key(&ID), open);
        let leaving = toy.ledger.blocks.values().filter(|block| block.state == BlockState::Leaving(ID));
        assert_eq!(leaving.count() > 0, open);
    }
}

/// As with an unassignment: the answer to a detachment was lost, and then it was refused.
#[test]
fn a_detachment_that_was_surely_not_carried_out_is_over() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    let eni = EniId::new("eni-0001");
    let mut record = toy.ledger.enis[&eni].clone();
    let attachment = record.attachment().unwrap().clone();
    record.phase = EniPhase::Draining { attachment: attachment.clone() };
    toy.commit(&[Change::PutEni(record)]);
    toy.has_seen(&eni);
    let detach = CloudChange::DetachEni { eni: eni.clone(), attachment };
    let opened = open(&toy.ledger, &toy.observed, detach, ID, &toy.now).unwrap();
    toy.commit(&opened);
    for outcome in [Outcome::Unknown { cause: "reset".into() }, refuse(Fault::Denied)] {
        let settled = settle(&toy.ledger, ID, &outcome, &toy.now);
        toy.commit(&settled.changes);
        assert!(toy.ledger.intents.contains_key(&ID), "{outcome:?}");
    }
    for (after, open) in [(29, true), (1, false)] {
        toy.sleep(std::time::Duration::from_secs(after));
        let began = toy.now.boottime;
        toy.read(&CloudRead::Enis { enis: vec![eni.clone()] }, began, 0);
        assert_eq!(toy.ledger.intents.contains_key(&ID), open);
    }
    assert!(matches!(toy.ledger.enis[&eni].phase, EniPhase::Draining { .. }));
}

/// Who calls was in question, not what they may do; and without credentials nothing was sent.
#[test]
fn credentials_that_fail_are_no_missing_right_and_the_pause_is_short() {
    for fault in [
        CredentialsFault::Missing,
        CredentialsFault::Expired,
        CredentialsFault::ClockOff,
        CredentialsFault::NotValid,
    ] {
        let toy = with_open(unassign);
        let settled = settle(&toy.ledger, ID, &refuse(Fault::Credentials(fault)), &toy.now);
        let setback = settled.setback.unwrap();
        assert_eq!(setback.scope, PauseScope::Api);
        assert!(setback.longest <= std::time::Duration::from_secs(30), "{setback:?}");
        let words = setback.cause.to_string();
        assert!(!words.contains("policy"), "{words}");
        let says = match fault {
            CredentialsFault::Missing => "no credentials",
            CredentialsFault::Expired => "expired",
            CredentialsFault::ClockOff => "clock",
            CredentialsFault::NotValid => "does not accept the credentials",
        };
        assert!(words.contains(says), "{words}");
        let stays = settled
            .changes
            .iter()
            .any(|change| matches!(change, Change::PutIntent(Intent { sending: Sending::NeverSent, .. })));
        assert_eq!(stays, fault == CredentialsFault::Missing, "{:?}", settled.changes);
    }
}
