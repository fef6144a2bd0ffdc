//! Which step each phase of an ENI leads to, and which setbacks it waits for.

use holdfast_model::block::{Block, BlockState};
use holdfast_model::eni::{EniKind, EniPlace, EniSlot, Management};
use holdfast_model::ids::AttachmentId;
use holdfast_model::time::BootTime;
use holdfast_model::uses::Suspicion;

use super::*;
use crate::lifecycle::{DETACHMENT_TAKES_AT_MOST, GIVE_UP_ATTACHING};
use crate::toy::by_address;
use crate::wanted::Reason;
use crate::{Fault, PauseScope, Plan, Step};

fn second() -> EniId {
    EniId::new("eni-0001")
}

/// A second ENI that nothing is on, and that is in service. EC2 was read.
fn with_spare() -> Toy {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(120));
    assert!(toy.ledger.leases_on(&second()).next().is_none());
    toy
}

fn attachment(toy: &Toy) -> AttachmentId {
    toy.ledger.enis[&second()].attachment().unwrap().clone()
}

fn draining(toy: &mut Toy) {
    let attachment = attachment(toy);
    toy.alter(&second(), |eni| eni.phase = EniPhase::Draining { attachment });
}

/// In that phase since now.
fn unattached(toy: &mut Toy, phase: EniPhase) {
    let since = toy.now.boottime;
    toy.alter(&second(), |eni| {
        eni.phase = phase;
        eni.since = since;
    });
}

fn opens(made: &Plan, api: Api) -> bool {
    made.steps.iter().any(|step| matches!(step, Step::Open(change) if change.api() == api))
}

/// The phase that a step of the ledger alone brings the second ENI to.
fn becomes(made: &Plan) -> Option<EniPhase> {
    made.steps.iter().find_map(|step| match step {
        Step::Adjust(changes) => changes.iter().find_map(|change| match change {
            Change::PutEni(eni) if eni.id == second() => Some(eni.phase.clone()),
            _ => None,
        }),
        _ => None,
    })
}

const DETACH: Api = Api::DetachNetworkInterface;
const DELETE: Api = Api::DeleteNetworkInterface;
const ATTACH: Api = Api::AttachNetworkInterface;

#[test]
fn what_is_to_go_is_detached_and_deleted_when_ec2_lets_us() {
    let mut toy = with_spare();
    draining(&mut toy);
    // It may go: the primary's free addresses are enough.
    toy.config.warm.value = by_address(1, 0);
    assert!(!opens(&toy.planned(), DETACH), "it is looked at before");
    toy.has_seen(&second());
    assert!(opens(&toy.planned(), DETACH));
    toy.set_back(DETACH, PauseScope::Api, Some(Fault::Denied));
    assert!(!opens(&toy.planned(), DETACH));

    let mut toy = with_spare();
    toy.config.warm.value = by_address(1, 0);
    unattached(&mut toy, EniPhase::Detached);
    let made = toy.planned();
    assert!(!opens(&made, DELETE), "EC2 still has it attached");
    assert_eq!(made.next_look, Some(toy.now.boottime.after(Duration::from_secs(2))));
    toy.sleep(Duration::from_secs(2));
    assert!(!opens(&toy.planned(), DELETE), "it is looked at before");
    toy.has_seen(&second());
    assert!(opens(&toy.planned(), DELETE));
    toy.set_back(DELETE, PauseScope::Eni(second()), Some(Fault::Conflict));
    assert!(!opens(&toy.planned(), DELETE));
}

/// Only ENIs that we made ourselves: whoever attached another has chosen.
#[test]
fn deletion_with_the_instance_is_set_on_our_own_enis_only() {
    let sets = |change: &dyn Fn(&mut EniRecord)| {
        let mut toy = with_spare();
        let attachment = attachment(&toy);
        toy.alter(&second(), |eni| {
            eni.phase = EniPhase::Attached { attachment, delete_on_termination: false };
            change(eni);
        });
        opens(&toy.planned(), Api::ModifyNetworkInterfaceAttribute)
    };
    assert!(sets(&|_| ()));
    assert!(!sets(&|eni| eni.created_by = None), "made by somebody else");
    assert!(!sets(&|eni| eni.management = Management::Excluded), "about to go");
}

/// What is held up by EC2's own trouble may be attached yet.
#[test]
fn an_eni_that_ec2_will_not_attach_is_given_up_unless_ec2_is_merely_slow() {
    for (fault, gives_up) in [(Some(Fault::Denied), true), (None, false)] {
        let mut toy = with_spare();
        toy.set_waiting(1);
        unattached(&mut toy, EniPhase::Available);
        toy.sleep(GIVE_UP_ATTACHING);
        let read = CloudRead::Enis { enis: vec![second()] };
        let reads = |made: &Plan| made.steps.contains(&Step::Read(read.clone()));
        assert!(reads(&toy.planned()) && !opens(&toy.planned(), ATTACH), "it may be another's by now");
        toy.observed.read_began(&read, &toy.now);
        assert!(!reads(&toy.planned()) && !opens(&toy.planned(), ATTACH));
        toy.has_seen(&second());
        assert!(!reads(&toy.planned()) && opens(&toy.planned(), ATTACH));
        toy.set_back(ATTACH, PauseScope::Api, fault);
        let made = toy.planned();
        assert!(!opens(&made, ATTACH));
        assert_eq!(becomes(&made) == Some(EniPhase::Detached), gives_up, "{fault:?}: {made:?}");
    }
}

/// Somebody has attached others meanwhile, or the limit was lowered: as many as are too many go, the last ones first.
#[test]
fn unattached_enis_beyond_what_the_node_may_have_are_given_up() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(12);
    for _ in 0..20 {
        toy.round();
        let made = toy.ledger.enis.values().filter(|eni| eni.phase == EniPhase::Available).count();
        if made == 2 {
            break;
        }
    }
    let made: Vec<EniRecord> =
        toy.ledger.enis.values().filter(|eni| eni.phase == EniPhase::Available).cloned().collect();
    assert_eq!(made.len(), 2, "{:?}", toy.ledger.enis);
    toy.sleep(Duration::from_secs(120));
    assert!(toy.observed.reads.last_full().is_some());
    for eni in &made {
        toy.ledger.apply(&Change::PutEni(eni.clone()));
    }
    for (most, given_up) in [(3, 0), (2, 1), (1, 2)] {
        toy.config.max_enis.value = Some(most);
        let planned = toy.planned();
        let gone: Vec<EniSlot> = planned
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Adjust(changes) => Some(changes),
                _ => None,
            })
            .flatten()
            .filter_map(|change| match change {
                Change::PutEni(eni) if eni.phase == EniPhase::Detached => eni.slot(),
                _ => None,
            })
            .collect();
        assert_eq!(gone.len(), given_up, "{most}: {planned:?}");
        assert!(given_up != 1 || gone[0].device == 2, "the last one: {gone:?}");
    }
}

/// On another card there is another limit.
#[test]
fn what_sits_on_another_card_takes_no_slot_of_the_first() {
    let mut toy = with_spare();
    toy.config.max_enis.value = Some(2);
    unattached(&mut toy, EniPhase::Available);
    toy.set_waiting(3);
    let other = EniRecord {
        id: EniId::new("eni-other"),
        mac: holdfast_model::ids::MacAddr([2, 8, 8, 8, 8, 8]),
        place: EniPlace::Device(EniSlot { card: 1, device: 1 }),
        management: Management::Unmanaged,
        phase: EniPhase::Attached { attachment: AttachmentId::new("a-other"), delete_on_termination: true },
        ..toy.ledger.enis[&second()].clone()
    };
    toy.ledger.apply(&Change::PutEni(other));
    let made = toy.planned();
    assert!(opens(&made, ATTACH) && becomes(&made).is_none(), "{made:?}");
}

/// Neither while a call about it is open nor while a read is to tell what it is.
#[test]
fn an_eni_that_was_to_go_is_taken_back_only_when_all_is_known_of_it() {
    let taken = |toy: &Toy| matches!(becomes(&toy.planned()), Some(EniPhase::Attached { .. }));
    let mut toy = with_spare();
    draining(&mut toy);
    assert!(taken(&toy), "the pool wants a spare ENI");
    let mut doubted = toy;
    doubted.observed.reads.want(Reason::Contradicted(second()), doubted.now.boottime);
    assert!(!taken(&doubted));
    let mut busy = with_spare();
    draining(&mut busy);
    let attachment = attachment(&busy);
    busy.open(CloudChange::DetachEni { eni: second(), attachment });
    assert!(!taken(&busy));
    // There is no room for it: the node has too many as it is.
    let mut full = with_spare();
    draining(&mut full);
    full.config.max_enis.value = Some(1);
    assert!(!taken(&full));
}

/// A detached ENI that may not be deleted, and that is wanted.
#[test]
fn an_eni_that_cannot_be_deleted_is_attached_again_before_another_is_made() {
    let stuck = || {
        let mut toy = with_spare();
        unattached(&mut toy, EniPhase::Detached);
        toy.sleep(DETACHMENT_TAKES_AT_MOST);
        toy.set_back(DELETE, PauseScope::Api, Some(Fault::Denied));
        toy
    };
    let taken = |toy: &Toy| becomes(&toy.planned()) == Some(EniPhase::Available);
    let toy = stuck();
    assert!(taken(&toy) && !opens(&toy.planned(), Api::CreateNetworkInterface), "{:?}", toy.planned());

    let mut may_be_deleted = stuck();
    may_be_deleted.observed.pauses = crate::Pauses::default();
    assert!(!taken(&may_be_deleted));
    let mut young = stuck();
    let since = BootTime(young.now.boottime.0 - 29_999);
    young.alter(&second(), |eni| eni.since = since);
    assert!(!taken(&young), "an ordinary detachment may not be finished");
    let mut doubted = stuck();
    doubted.observed.reads.want(Reason::Contradicted(second()), doubted.now.boottime);
    assert!(!taken(&doubted));
    let mut being_deleted = stuck();
    being_deleted.open(CloudChange::DeleteEni { eni: second() });
    assert!(!taken(&being_deleted));
    let mut efa = stuck();
    efa.alter(&second(), |eni| eni.kind = EniKind::Efa);
    assert!(!taken(&efa));
    let mut full = stuck();
    full.config.max_enis.value = Some(1);
    assert!(!taken(&full));
    let mut other_card = stuck();
    other_card.config.max_enis.value = Some(2);
    let other = EniRecord {
        id: EniId::new("eni-other"),
        mac: holdfast_model::ids::MacAddr([2, 8, 8, 8, 8, 8]),
        place: EniPlace::Device(EniSlot { card: 1, device: 1 }),
        management: Management::Unmanaged,
        phase: EniPhase::Attached { attachment: AttachmentId::new("a-other"), delete_on_termination: true },
        ..other_card.ledger.enis[&second()].clone()
    };
    other_card.ledger.apply(&Change::PutEni(other));
    assert!(taken(&other_card), "that one is no slot of the first card");
}

/// What vanished from EC2 under its pods is forgotten with the last that is owed on it; what is somebody's is not.
#[test]
fn what_left_ec2_is_forgotten_when_nobody_has_anything_of_it() {
    let forgotten = |toy: &Toy| {
        let made = toy.planned();
        let dropped = |what: &Change| {
            made.steps.iter().any(|step| matches!(step, Step::Adjust(all) if all.contains(what)))
        };
        let blocks =
            toy.ledger.blocks_on(&second()).filter(|block| dropped(&Change::DropBlock(block.net))).count();
        (dropped(&Change::DropEni(second())), blocks)
    };
    let mut toy = with_spare();
    toy.alter(&second(), |eni| eni.management = Management::Excluded);
    let blocks: Vec<Block> = toy.ledger.blocks_on(&second()).cloned().collect();
    assert_eq!((blocks.len(), forgotten(&toy)), (3, (false, 0)), "its addresses are there");
    for block in &blocks {
        let withdrawn = Block { state: BlockState::Withdrawn, ..block.clone() };
        toy.ledger.apply(&Change::PutBlock(withdrawn));
    }
    assert_eq!(forgotten(&toy), (false, 3), "we made it, and it may hang about");
    let read = Step::Read(CloudRead::Enis { enis: vec![second()] });
    assert!(toy.planned().steps.contains(&read), "so it is read");
    assert_eq!(becomes(&toy.planned()), None, "before it is deleted");
    toy.alter(&second(), |eni| eni.created_by = None);
    assert_eq!(forgotten(&toy), (true, 3));
    toy.ledger.apply(&Change::PutUse(blocks[0].net.addr(), Use::Suspect(Suspicion::MaybeInUse)));
    assert_eq!(forgotten(&toy), (false, 2));
    // What is merely ours is not forgotten, and the primary never.
    let mut toy = with_spare();
    for block in blocks {
        toy.ledger.apply(&Change::DropBlock(block.net));
    }
    assert_eq!(forgotten(&toy), (false, 0));
    toy.alter(&second(), |eni| eni.management = Management::Unmanaged);
    assert_eq!(forgotten(&toy), (false, 0));
    let primary = EniId::new("eni-primary");
    toy.alter(&primary, |eni| eni.management = Management::Excluded);
    for block in toy.ledger.blocks_on(&primary).cloned().collect::<Vec<_>>() {
        toy.ledger.apply(&Change::DropBlock(block.net));
    }
    let made = toy.planned();
    assert!(
        !made
            .steps
            .iter()
            .any(|step| matches!(step, Step::Adjust(all) if all.contains(&Change::DropEni(primary.clone()))))
    );
}
