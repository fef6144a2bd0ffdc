//! What others did to ENIs of ours, and what a read leaves open of it.

use holdfast_model::block::Ask;
use holdfast_model::cloud::{AttachmentStatus, CloudChange};
use holdfast_model::eni::{EniPhase, EniRecord, Management};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::Change;
use uuid::Uuid;

use super::*;
use crate::toy::cloud::view;

fn second() -> EniId {
    EniId::new("eni-0001")
}

/// A node with an ENI of ours beside the primary.
fn rested() -> Toy {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(120));
    assert!(toy.ledger.enis[&second()].serves_pods());
    toy
}

/// What others take away time and again is replaced ever later. Taken away is what served, and what we were not giving back.
#[test]
fn that_others_took_an_eni_away_holds_back_the_next() {
    let record = |toy: &Toy, alter: &dyn Fn(&mut EniRecord)| {
        let mut record = toy.ledger.enis[&second()].clone();
        alter(&mut record);
        record
    };
    let put = |toy: &Toy, alter: &dyn Fn(&mut EniRecord)| vec![Change::PutEni(record(toy, alter))];
    let held_back = |toy: &mut Toy, changes: &[Change]| {
        let now = toy.now.clone();
        toy.observed.note_taken(&toy.ledger, changes, &now, u64::MAX);
        toy.observed.pause_of(Api::CreateNetworkInterface, None, None, &now).is_some()
    };
    let detached = |eni: &mut EniRecord| eni.phase = EniPhase::Detached;
    let dropped = [Change::DropEni(second())];

    let mut toy = rested();
    let changes = put(&toy, &detached);
    assert!(held_back(&mut toy, &changes), "detached");
    assert!(held_back(&mut rested(), &dropped), "nowhere to be found");
    let mut toy = rested();
    let changes = put(&toy, &|eni| eni.management = Management::Excluded);
    assert!(held_back(&mut toy, &changes), "detached under its pods");

    let mut toy = rested();
    let changes = put(&toy, &|eni| eni.changed = BootTime(eni.changed.0 + 1));
    assert!(!held_back(&mut toy, &changes), "it serves as before");
    let mut toy = rested();
    let changes = put(&toy, &|eni| eni.management = Management::Unmanaged);
    assert!(!held_back(&mut toy, &changes), "it is here, and somebody has marked it as theirs");
    let mut toy = rested();
    toy.ledger.apply_all(&put(&toy, &|eni| eni.phase = EniPhase::Available));
    assert!(!held_back(&mut toy, &dropped), "it has not served");
    let mut toy = rested();
    toy.ledger.apply_all(&put(&toy, &|eni| eni.created_by = None));
    assert!(!held_back(&mut toy, &dropped), "it was another's to take");
    let mut toy = rested();
    let attachment = toy.ledger.enis[&second()].attachment().unwrap().clone();
    let change = CloudChange::DetachEni { eni: second(), attachment };
    let id = IntentId(Uuid::from_u128(1));
    let planned = toy.now.wall;
    toy.ledger.apply(&Change::PutIntent(Intent { id, change, sending: Sending::MaybeSent, planned }));
    assert!(!held_back(&mut toy, &dropped), "we had it detached");
}

/// What is just being detached, or is at another instance as it seems, is looked at again.
#[test]
fn an_eni_that_a_read_shows_as_not_bound_here_is_read_again() {
    for (status, instance, again) in [
        (AttachmentStatus::Attached, "i-1", false),
        (AttachmentStatus::Attaching, "i-1", false),
        (AttachmentStatus::Detaching, "i-1", true),
        (AttachmentStatus::Attached, "i-2", true),
    ] {
        let mut toy = rested();
        let mut shown = view(&second(), &toy.cloud.enis[&second()]);
        let at = shown.attachment.as_mut().unwrap();
        (at.status, at.instance) = (status, InstanceId::new(instance));
        let read = CloudRead::Enis { enis: vec![second()] };
        let reading = Reading { read: &read, views: &[shown], began: toy.now.boottime };
        toy.observed.read_adopted(&toy.ledger, reading);
        assert_eq!(toy.observed.doubted(&second()), again, "{status:?} at {instance}");
    }
}

/// A read that began before our last change of an ENI, or that comes while a call about it is under way, was not taken in: it
/// has not shown it.
#[test]
fn a_read_has_shown_an_eni_when_nothing_of_ours_came_between() {
    for (changed, under_way, shown) in
        [(false, false, true), (true, false, false), (false, true, false), (true, true, false)]
    {
        let mut toy = rested();
        let began = toy.now.boottime;
        toy.sleep(Duration::from_secs(1));
        if under_way {
            toy.open(CloudChange::Assign { eni: second(), ask: Ask::addresses(1) });
        }
        let at = if changed { toy.now.boottime } else { began };
        toy.alter(&second(), |eni| eni.changed = at);
        let views = [view(&second(), &toy.cloud.enis[&second()])];
        let read = CloudRead::Enis { enis: vec![second()] };
        toy.observed.read_adopted(&toy.ledger, Reading { read: &read, views: &views, began });
        assert_eq!(toy.observed.reads.shown(&second()) == Some(began), shown, "{changed} {under_way}");
    }
}
