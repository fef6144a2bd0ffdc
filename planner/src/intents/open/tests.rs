use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::block::Ask;
use holdfast_model::eni::{EniSlot, Management};
use holdfast_model::ids::{AttachmentId, InstanceId, SecurityGroupId, SubnetId};
use uuid::Uuid;

use super::*;
use crate::proof::LOOKED_AT_FOR;
use crate::toy::{Toy, by_eni};

const ID: IntentId = IntentId(Uuid::from_u128(0xfeed));

fn second() -> EniId {
    EniId::new("eni-0001")
}

/// A second ENI at the first free slot, with nothing on it; it was just looked at.
fn toy() -> Toy {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    toy.has_seen(&second());
    toy
}

fn slot(device: u16) -> EniSlot {
    EniSlot { card: 0, device }
}

fn admitted(toy: &Toy, change: &CloudChange) -> bool {
    open(&toy.ledger, &toy.observed, change.clone(), ID, &toy.now).is_some()
}

/// EC2 takes a time in whole seconds.
#[test]
fn a_creation_is_tagged_with_its_intent_and_the_second_in_which_it_was_planned() {
    let mut toy = toy();
    toy.now.wall = WallTime(1_750_000_000_987);
    let create = CloudChange::CreateEni {
        subnet: SubnetId::new("subnet-1"),
        security_groups: Vec::new(),
        ask: Ask::addresses(3),
        slot: slot(2),
        description: String::new(),
        tags: BTreeMap::new(),
    };
    let changes = open(&toy.ledger, &toy.observed, create.clone(), ID, &toy.now).unwrap();
    let [Change::PutIntent(Intent { change: CloudChange::CreateEni { tags, .. }, .. })] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(tags[TAG_INTENT], ID.to_string());
    assert_eq!(tags[TAG_CREATED_AT], WallTime(1_750_000_000_000).to_string());
    toy.commit(&changes);
    assert!(!admitted(&toy, &create), "its slot is taken, and its id");
}

#[test]
fn an_eni_is_attached_where_it_is_to_go_and_only_once() {
    let attach = |device| CloudChange::AttachEni {
        eni: second(),
        instance: InstanceId::new("i-1"),
        slot: slot(device),
    };
    let mut toy = toy();
    assert!(!admitted(&toy, &attach(1)), "it is attached");
    toy.alter(&second(), |eni| eni.phase = EniPhase::Available);
    assert!(admitted(&toy, &attach(1)) && !admitted(&toy, &attach(2)));
}

#[test]
fn deletion_with_the_instance_is_set_on_the_attachment_that_is_there() {
    let mut toy = toy();
    let attachment = toy.ledger.enis[&second()].attachment().unwrap().clone();
    let set = |attachment| CloudChange::SetDeleteOnTermination { eni: second(), attachment };
    assert!(admitted(&toy, &set(attachment.clone())));
    assert!(!admitted(&toy, &set(AttachmentId::new("eni-attach-other"))));
    toy.open(set(attachment.clone()));
    assert!(!admitted(&toy, &set(attachment)), "one call at a time");
}

#[test]
fn addresses_are_asked_for_on_an_eni_that_serves() {
    let assign = |count| CloudChange::Assign { eni: second(), ask: Ask::addresses(count) };
    let mut toy = toy();
    assert!(admitted(&toy, &assign(1)) && !admitted(&toy, &assign(0)));
    toy.alter(&second(), |eni| eni.management = Management::Excluded);
    assert!(!admitted(&toy, &assign(1)));
}

#[test]
fn groups_are_set_on_enis_that_follow() {
    let groups = |names: &[&str]| CloudChange::SetSecurityGroups {
        eni: second(),
        groups: names.iter().map(|name| SecurityGroupId::new(*name)).collect::<BTreeSet<_>>(),
    };
    let mut toy = toy();
    assert!(admitted(&toy, &groups(&["sg-2"])) && !admitted(&toy, &groups(&[])));
    let mut unmanaged = toy;
    unmanaged.alter(&second(), |eni| eni.management = Management::Unmanaged);
    assert!(!admitted(&unmanaged, &groups(&["sg-2"])));
    toy = self::toy();
    toy.open(groups(&["sg-2"]));
    assert!(!admitted(&toy, &groups(&["sg-3"])), "one call at a time");
}

/// Each address must be there, free, and on that very ENI.
#[test]
fn addresses_are_given_back_from_the_eni_that_has_them() {
    let toy = toy();
    let of = |eni: &EniId| toy.ledger.blocks_on(eni).map(|block| block.net).last().unwrap();
    let give_back = |nets| CloudChange::Unassign { eni: second(), nets };
    let (here, elsewhere) = (of(&second()), of(&EniId::new("eni-primary")));
    assert!(admitted(&toy, &give_back(vec![here])));
    assert!(!admitted(&toy, &give_back(vec![elsewhere])));
    assert!(!admitted(&toy, &give_back(vec![here, elsewhere])));
    let mut withdrawn = self::toy();
    let block = withdrawn.ledger.blocks[&here].clone();
    withdrawn.ledger.apply(&Change::PutBlock(Block { state: BlockState::Withdrawn, ..block }));
    assert!(!admitted(&withdrawn, &give_back(vec![here])), "EC2 has it there no more");
    let mut long_ago = self::toy();
    long_ago.sleep(LOOKED_AT_FOR);
    assert!(!admitted(&long_ago, &give_back(vec![here])), "somebody may have made the ENI theirs");
}

/// A sandbox that no lease explains may hold anything: nothing is given back, and all else goes on.
#[test]
fn what_gives_nothing_back_needs_no_proof() {
    let mut toy = toy();
    toy.observed.traces.looked = false;
    let net = toy.ledger.blocks_on(&second()).next().unwrap().net;
    let assign = CloudChange::Assign { eni: second(), ask: Ask::addresses(1) };
    let unassign = CloudChange::Unassign { eni: second(), nets: vec![net] };
    assert!(admitted(&toy, &assign) && !admitted(&toy, &unassign));
    toy.observed.traces.looked = true;
    assert!(admitted(&toy, &unassign));
}

/// Between the plan and the call lies the disk, which may hang: a look does not last so long. What takes nothing away needs none.
#[test]
fn a_call_that_takes_something_away_leaves_while_the_look_before_it_is_fresh() {
    let net = toy().ledger.blocks_on(&second()).next().unwrap().net;
    for (change, needs_a_look) in [
        (CloudChange::Unassign { eni: second(), nets: vec![net] }, true),
        (CloudChange::Assign { eni: second(), ask: Ask::addresses(1) }, false),
    ] {
        let mut toy = toy();
        let id = toy.open(change);
        let leaves = |toy: &Toy| {
            let intent = &toy.ledger.intents[&id];
            toy.with_desired(|desired| may_leave(desired, &toy.ledger, &toy.observed, intent, &toy.now))
        };
        assert!(leaves(&toy));
        toy.sleep(LOOKED_AT_FOR);
        assert_eq!(leaves(&toy), !needs_a_look);
    }
}
