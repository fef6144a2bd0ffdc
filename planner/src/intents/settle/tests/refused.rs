//! What each refusal and each answer makes of an ENI and its addresses.

use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::block::Ask;
use ipnet::Ipv4Net;

use super::*;
use crate::lifecycle::{DETACHMENT_TAKES_AT_MOST, GIVE_UP_ATTACHING_UNKNOWN};

fn second() -> EniId {
    EniId::new("eni-0001")
}

fn of_second() -> CloudRead {
    CloudRead::Enis { enis: vec![second()] }
}

/// A second ENI with nothing on it, in a phase since now.
fn with_second(phase: Option<EniPhase>) -> Toy {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    let since = toy.now.boottime;
    toy.alter(&second(), |eni| {
        eni.phase = phase.unwrap_or(eni.phase.clone());
        eni.since = since;
    });
    toy
}

fn draining(toy: &mut Toy) -> CloudChange {
    let attachment = toy.ledger.enis[&second()].attachment().unwrap().clone();
    toy.alter(&second(), |eni| eni.phase = EniPhase::Draining { attachment: attachment.clone() });
    CloudChange::DetachEni { eni: second(), attachment }
}

fn attach(toy: &Toy) -> CloudChange {
    let instance = toy.ledger.node.as_ref().unwrap().identity.instance.clone();
    CloudChange::AttachEni { eni: second(), instance, slot: toy.ledger.enis[&second()].slot().unwrap() }
}

/// Opens a change, lets so much time pass, and takes an outcome in.
fn ends(toy: &mut Toy, change: CloudChange, after: Duration, outcome: &Outcome) -> Settlement {
    let id = toy.open(change);
    toy.sleep(after);
    let settled = settle(&toy.ledger, id, outcome, &toy.now);
    toy.commit(&settled.changes);
    settled
}

fn phase(toy: &Toy) -> &EniPhase {
    &toy.ledger.enis[&second()].phase
}

#[test]
fn whose_call_it_was_is_told_also_when_it_never_left() {
    let mut toy = with_second(None);
    let change = draining(&mut toy);
    let settled = ends(&mut toy, change, Duration::ZERO, &refuse(Fault::NotSent));
    assert_eq!(settled.eni, Some(second()));
}

/// Too many at once says something of ENIs that are made, too.
#[test]
fn how_many_addresses_were_too_many_is_told() {
    let mut toy = with_second(None);
    let create = CloudChange::CreateEni {
        subnet: SubnetId::new("subnet-1"),
        security_groups: Vec::new(),
        ask: Ask::addresses(3),
        slot: EniSlot { card: 0, device: 2 },
        description: String::new(),
        tags: std::collections::BTreeMap::new(),
    };
    let limit = refuse(Fault::AddressLimit);
    assert_eq!(ends(&mut toy, create, Duration::ZERO, &limit).too_many, Some((None, 3)));
    let settled = settle(&with_open(assign).ledger, ID, &limit, &toy.now);
    assert_eq!(settled.too_many, Some((Some(EniId::new("eni-primary")), 2)));
}

/// What EC2 does not know may be too new for it, for a while.
#[test]
fn an_attachment_that_was_refused() {
    for (fault, after, doubts, gives_up) in [
        (Fault::Conflict, Duration::ZERO, true, false),
        (Fault::NotFound, Duration::from_secs(29), false, false),
        (Fault::NotFound, GIVE_UP_ATTACHING_UNKNOWN, false, true),
        (Fault::Denied, GIVE_UP_ATTACHING_UNKNOWN, false, false),
    ] {
        let mut toy = with_second(Some(EniPhase::Available));
        let change = attach(&toy);
        let settled = ends(&mut toy, change, after, &refuse(fault));
        assert_eq!(settled.doubt, doubts.then(of_second), "{fault:?}");
        let expected = if gives_up { EniPhase::Detached } else { EniPhase::Available };
        assert_eq!(*phase(&toy), expected, "{fault:?} after {after:?}");
    }
    // More are attached than the ledger has, or sit where it has none: only a read of all tells.
    for fault in [Fault::AttachmentLimit, Fault::SlotTaken] {
        let mut toy = with_second(Some(EniPhase::Available));
        let change = attach(&toy);
        let all = CloudRead::InstanceEnis { instance: InstanceId::new("i-1") };
        assert_eq!(ends(&mut toy, change, Duration::ZERO, &refuse(fault)).doubt, Some(all), "{fault:?}");
        assert_eq!(*phase(&toy), EniPhase::Available, "{fault:?}");
    }
}

#[test]
fn a_detachment_that_was_refused() {
    for (fault, open, doubts, detached) in [
        (Fault::Conflict, true, true, false),
        (Fault::NotFound, false, false, true),
        (Fault::Denied, false, false, false),
    ] {
        let mut toy = with_second(None);
        let change = draining(&mut toy);
        let settled = ends(&mut toy, change, Duration::ZERO, &refuse(fault));
        assert_eq!(settled.doubt, doubts.then(of_second), "{fault:?}");
        assert_eq!(!toy.ledger.intents.is_empty(), open, "{fault:?}");
        assert_eq!(*phase(&toy) == EniPhase::Detached, detached, "{fault:?}");
    }
}

#[test]
fn a_deletion_buries_the_eni_and_a_conflict_is_looked_into_when_it_lasts() {
    let delete = || CloudChange::DeleteEni { eni: second() };
    let done = Outcome::Answered(CloudAnswer::Done);
    for outcome in [done, refuse(Fault::NotFound)] {
        let mut toy = with_second(Some(EniPhase::Detached));
        ends(&mut toy, delete(), Duration::ZERO, &outcome);
        assert_eq!(*phase(&toy), EniPhase::Gone, "{outcome:?}");
    }
    let soon = Duration::from_secs(29);
    for (fault, after, doubts) in [
        (Fault::Conflict, soon, false),
        (Fault::Conflict, DETACHMENT_TAKES_AT_MOST, true),
        (Fault::Denied, DETACHMENT_TAKES_AT_MOST, false),
    ] {
        let mut toy = with_second(Some(EniPhase::Detached));
        let settled = ends(&mut toy, delete(), after, &refuse(fault));
        assert_eq!(settled.doubt, doubts.then(of_second), "{fault:?} after {after:?}");
        assert_eq!(*phase(&toy), EniPhase::Detached, "{fault:?}");
    }
}

/// EC2 gives addresses in answer to a call of ours; the book has them elsewhere, or as something else.
#[test]
fn what_an_answer_gives_is_taken_in_where_nothing_speaks_against_it() {
    let primary = || EniId::new("eni-primary");
    let given = |toy: &mut Toy, ip: IpAddr| {
        let answer = Outcome::Answered(CloudAnswer::Assigned(vec![ip.into()]));
        let room = toy.ledger.blocks_on(&primary()).map(|block| block.net).last().unwrap();
        toy.ledger.apply(&Change::DropBlock(room));
        ends(toy, CloudChange::Assign { eni: primary(), ask: Ask::addresses(1) }, Duration::ZERO, &answer);
        toy.ledger.block_of(ip).cloned()
    };
    // An ENI's own.
    let mut toy = with_second(None);
    let own = IpAddr::V4(toy.ledger.enis[&second()].primary_ipv4.unwrap());
    assert_eq!(given(&mut toy, own), None);
    // One of a prefix: so that has left.
    let mut toy = with_second(None);
    let prefix =
        Block::held(IpNet::V4(Ipv4Net::new([10, 0, 100, 0].into(), 28).unwrap()), second(), toy.now.boottime);
    let room = toy.ledger.blocks_on(&second()).next().unwrap().net;
    toy.ledger.apply_all(&[Change::DropBlock(room), Change::PutBlock(prefix.clone())]);
    let ip: IpAddr = "10.0.100.5".parse().unwrap();
    assert_eq!(given(&mut toy, ip).map(|block| (block.net, block.eni)), Some((ip.into(), primary())));
    assert_eq!(toy.ledger.blocks.get(&prefix.net), None);
    // One that nobody uses, wherever it was: it is here now.
    for state in [BlockState::Held, BlockState::Withdrawn, BlockState::Gone(BootTime(1))] {
        let mut toy = with_second(None);
        let block = toy.ledger.blocks_on(&second()).next().unwrap().clone();
        toy.ledger.apply(&Change::PutBlock(Block { state, ..block.clone() }));
        let now = given(&mut toy, block.net.addr()).unwrap();
        assert_eq!((now.eni, now.state), (primary(), BlockState::Held), "{state:?}");
    }
}

/// So it has left the other ENI; what leaves here leaves on.
#[test]
fn an_address_that_is_given_while_it_leaves() {
    let primary = || EniId::new("eni-primary");
    for (from, addresses) in [(second(), 2), (second(), 1), (primary(), 1)] {
        let mut toy = with_second(None);
        let idle = toy.ledger.blocks_on(&from).filter(|block| toy.ledger.is_idle(block, &toy.now));
        let leaving: Vec<IpNet> = idle.map(|block| block.net).take(addresses).collect();
        let left = toy.open(CloudChange::Unassign { eni: from.clone(), nets: leaving.clone() });
        let assign = IntentId(Uuid::from_u128(0xabcd));
        let change = CloudChange::Assign { eni: primary(), ask: Ask::addresses(1) };
        let planned = toy.now.wall;
        toy.ledger.apply(&Change::PutIntent(Intent {
            id: assign,
            change,
            sending: Sending::MaybeSent,
            planned,
        }));
        let answer = Outcome::Answered(CloudAnswer::Assigned(vec![leaving[0]]));
        let settled = settle(&toy.ledger, assign, &answer, &toy.now);
        toy.ledger.apply_all(&settled.changes);
        let block = &toy.ledger.blocks[&leaving[0]];
        let rest: Option<Vec<IpNet>> = toy.ledger.intents.get(&left).map(|intent| match &intent.change {
            CloudChange::Unassign { nets, .. } => nets.clone(),
            other => panic!("{other:?}"),
        });
        if from == primary() {
            assert_eq!((block.state, rest), (BlockState::Leaving(left), Some(leaving)));
        } else {
            assert_eq!((&block.eni, block.state), (&primary(), BlockState::Held));
            assert_eq!(rest, (addresses == 2).then(|| vec![leaving[1]]));
        }
    }
}

/// Its presence is as new as EC2's word.
#[test]
fn what_was_not_unassigned_is_proven_by_that() {
    let mut toy = with_open(unassign);
    let CloudChange::Unassign { nets, .. } = toy.ledger.intents[&ID].change.clone() else { panic!() };
    toy.sleep(Duration::from_secs(3));
    toy.commit(&settle(&toy.ledger, ID, &refuse(Fault::Denied), &toy.now).changes);
    for net in nets {
        let block = &toy.ledger.blocks[&net];
        assert_eq!((block.state, block.shown), (BlockState::Held, toy.now.boottime));
    }
}
