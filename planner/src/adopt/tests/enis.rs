//! What a read makes of each ENI that it shows otherwise than the ledger has it.

use std::collections::BTreeSet;

use holdfast_model::cloud::{AttachmentView, CloudChange};
use holdfast_model::eni::EniSlot;
use holdfast_model::ids::IntentId;
use holdfast_model::intent::{Intent, Sending};
use uuid::Uuid;

use super::*;
use crate::toy::cloud::view;

const ID: IntentId = IntentId(Uuid::from_u128(0xfeed));

fn primary() -> EniId {
    EniId::new("eni-primary")
}

fn second() -> EniId {
    EniId::new("eni-0001")
}

fn of_second() -> CloudRead {
    CloudRead::Enis { enis: vec![second()] }
}

/// A second ENI without pods, unchanged for two minutes.
fn idle() -> Toy {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(120));
    read_now(&mut toy);
    toy
}

/// What a read of it with this view, or without it, brings.
fn read_second(toy: &Toy, read: &CloudRead, shown: Option<EniView>) -> Ledger {
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let views: Vec<EniView> = shown.into_iter().collect();
    let reading = Reading { read, views: &views, began: toy.now.boottime };
    let mut ledger = toy.ledger.clone();
    // As the view says, so it is.
    let mut observed = toy.observed.clone();
    observed.links_seen(&toy.ledger, &BTreeSet::new(), &toy.now);
    ledger.apply_all(&adopt(&desired, &toy.ledger, &observed, reading, &toy.now));
    ledger
}

fn shown(toy: &Toy, change: impl FnOnce(&mut EniView)) -> EniView {
    let mut view = view(&second(), &toy.cloud.enis[&second()]);
    change(&mut view);
    view
}

fn bound(view: &mut EniView, instance: &str, status: AttachmentStatus) {
    let attachment = view.attachment.take().expect("it is attached");
    view.attachment = Some(AttachmentView { instance: InstanceId::new(instance), status, ..attachment });
}

fn phase(ledger: &Ledger) -> Option<EniPhase> {
    ledger.enis.get(&second()).map(|eni| eni.phase.clone())
}

/// The list of unattached ENIs lags: of what is known it says nothing.
#[test]
fn the_list_of_orphans_says_nothing_of_what_we_know() {
    let mut toy = idle();
    toy.alter(&second(), |eni| eni.phase = EniPhase::Available);
    let mut late = shown(&toy, |view| view.attachment = None);
    late.secondary.clear();
    let orphans = CloudRead::AvailableEnis { instance: InstanceId::new("i-1") };
    assert_eq!(read_second(&toy, &orphans, Some(late.clone())), toy.ledger);
    assert_ne!(read_second(&toy, &of_second(), Some(late)), toy.ledger);
}

/// A detachment by somebody else that is not finished closes it to new pods; one elsewhere is none of ours.
#[test]
fn an_eni_that_is_bound_elsewhere_is_not_ours_any_more() {
    let toy = idle();
    for status in [AttachmentStatus::Attached, AttachmentStatus::Detaching] {
        let ledger = read_second(&toy, &of_second(), Some(shown(&toy, |view| bound(view, "i-2", status))));
        assert_eq!(phase(&ledger), None, "{status:?}");
    }
    let ledger = read_second(
        &toy,
        &of_second(),
        Some(shown(&toy, |view| bound(view, "i-1", AttachmentStatus::Detaching))),
    );
    assert_eq!(phase(&ledger), phase(&toy.ledger));
    assert_eq!(ledger.enis[&second()].management, Management::Excluded);

    let mut unattached = idle();
    unattached.alter(&second(), |eni| eni.phase = EniPhase::Available);
    let there = Some(shown(&unattached, |view| bound(view, "i-2", AttachmentStatus::Attached)));
    assert_eq!(phase(&read_second(&unattached, &of_second(), there)), Some(EniPhase::Gone));
}

/// Our own detachment takes its time.
#[test]
fn an_eni_that_we_detach_is_let_go() {
    let mut toy = idle();
    let attachment = toy.ledger.enis[&second()].attachment().unwrap().clone();
    toy.alter(&second(), |eni| eni.phase = EniPhase::Draining { attachment: attachment.clone() });
    let detaching = |toy: &Toy| Some(shown(toy, |view| bound(view, "i-1", AttachmentStatus::Detaching)));
    assert_eq!(read_second(&toy, &of_second(), detaching(&toy)), toy.ledger, "nobody asked for it");

    let change = CloudChange::DetachEni { eni: second(), attachment };
    let intent = Intent { id: ID, change, sending: Sending::Unanswered, planned: toy.now.wall };
    toy.ledger.apply(&Change::PutIntent(intent));
    let ledger = read_second(&toy, &of_second(), detaching(&toy));
    assert_eq!((phase(&ledger), ledger.intents.len()), (Some(EniPhase::Detached), 0));

    // Seen late, it is what it was; after so long it is somebody's new attachment.
    toy.ledger = ledger;
    let since = toy.now.boottime;
    for (after, back) in [(Duration::from_secs(299), false), (TOMBSTONE, true)] {
        toy.now.boottime = since.after(after);
        let ledger = read_second(&toy, &of_second(), Some(shown(&toy, |_| ())));
        let attached = matches!(phase(&ledger), Some(EniPhase::Attached { .. }));
        assert_eq!(attached, back, "{after:?}");
    }
}

/// Where EC2 has it, unless pods are wired for where it was or another ENI has that slot in the book.
#[test]
fn an_eni_is_where_ec2_has_it() {
    let slot = |device| EniSlot { card: 0, device };
    for (leased, device, moves) in [(false, 2, true), (true, 2, false), (false, 1, false), (false, 0, false)]
    {
        let mut toy = if leased { rested() } else { idle() };
        let before = toy.ledger.enis[&second()].place.clone();
        assert_eq!(before, EniPlace::Device(slot(1)));
        let view = Some(shown(&toy, |view| view.attachment.as_mut().unwrap().slot = slot(device)));
        let ledger = read_second(&toy, &of_second(), view);
        let expected = if moves { EniPlace::Device(slot(2)) } else { before };
        assert_eq!(ledger.enis[&second()].place, expected, "leased: {leased}, at {device}");
        toy.set_waiting(0);
    }
}

/// Tags were missing once in an outage.
#[test]
fn no_tags_say_nothing_and_open_again_what_is_back() {
    let mut toy = idle();
    toy.config.manage_untagged.value = false;
    let untagged = shown(&toy, |view| view.tags.clear());
    assert_eq!(read_second(&toy, &of_second(), Some(untagged.clone())), toy.ledger);
    toy.config.manage_untagged.value = true;
    toy.alter(&second(), |eni| eni.management = Management::Excluded);
    assert_eq!(
        read_second(&toy, &of_second(), Some(untagged)).enis[&second()].management,
        Management::Managed
    );
}

#[test]
fn the_primary_is_never_forgotten() {
    let toy = idle();
    let read = CloudRead::Enis { enis: vec![primary()] };
    let ledger = read_second(&toy, &read, None);
    assert_eq!(ledger.enis, toy.ledger.enis);
    assert_eq!(ledger.blocks, toy.ledger.blocks);
}

/// What EC2 does not know, asked for by its id, is gone; what a list lacks may be anywhere.
#[test]
fn an_unattached_eni_is_gone_when_ec2_does_not_know_its_id() {
    for phase_before in [EniPhase::Available, EniPhase::Detached] {
        let mut toy = idle();
        toy.alter(&second(), |eni| eni.phase = phase_before.clone());
        assert_eq!(phase(&read_second(&toy, &of_second(), None)), Some(EniPhase::Gone), "{phase_before:?}");
        let elsewhere = CloudRead::Enis { enis: vec![EniId::new("eni-other")] };
        assert_eq!(phase(&read_second(&toy, &elsewhere, None)), Some(phase_before.clone()));
        let unattached = Some(shown(&toy, |view| view.attachment = None));
        assert_eq!(phase(&read_second(&toy, &of_second(), unattached)), Some(phase_before));
    }
}

/// That EC2 deletes it with the instance is believed when it is shown; while it is not, the call may be under way.
#[test]
fn a_read_tells_whether_deletion_with_the_instance_is_set() {
    for set in [false, true] {
        let mut toy = idle();
        let attachment = toy.ledger.enis[&second()].attachment().unwrap().clone();
        let phase = EniPhase::Attached { attachment: attachment.clone(), delete_on_termination: false };
        toy.alter(&second(), |eni| eni.phase = phase);
        let change = CloudChange::SetDeleteOnTermination { eni: second(), attachment };
        let intent = Intent { id: ID, change, sending: Sending::Unanswered, planned: toy.now.wall };
        toy.ledger.apply(&Change::PutIntent(intent));
        let view = Some(shown(&toy, |view| view.attachment.as_mut().unwrap().delete_on_termination = set));
        let ledger = read_second(&toy, &of_second(), view);
        assert_eq!(ledger.intents.is_empty(), set);
        let EniPhase::Attached { delete_on_termination, .. } = ledger.enis[&second()].phase else { panic!() };
        assert_eq!(delete_on_termination, set);
    }
}

/// An orphan of ours is put into service where there is room, and is on its way out where there is none.
#[test]
fn an_orphan_is_taken_over_and_managed() {
    let orphans = CloudRead::AvailableEnis { instance: InstanceId::new("i-1") };
    let ours = [(TAG_INSTANCE, "i-1"), (TAG_INTENT, "00000000-0000-0000-0000-0000000000aa")];
    for (most, phase) in [(3, EniPhase::Available), (2, EniPhase::Detached)] {
        let mut toy = idle();
        toy.config.max_enis.value = Some(most);
        toy.cloud.attach_foreign("eni-orphan", 9, EniKind::Standard, &ours);
        toy.cloud.enis.get_mut(&EniId::new("eni-orphan")).unwrap().attachment = None;
        let began = toy.now.boottime;
        toy.read(&orphans, began, 0);
        let record = &toy.ledger.enis[&EniId::new("eni-orphan")];
        assert_eq!((&record.phase, record.management), (&phase, Management::Managed), "{most}");
        assert_eq!(record.place, EniPlace::Device(EniSlot { card: 0, device: 2 }));
    }
}

/// Whoever made it to attach it never will. What is kept from us, or is no ENI for pods, may hang about for other reasons.
#[test]
fn an_eni_that_bears_no_intent_and_hung_about_for_long_is_deleted() {
    let orphans = CloudRead::AvailableEnis { instance: InstanceId::new("i-1") };
    let (ours, kept) = ((TAG_INSTANCE, "i-1"), (holdfast_model::cloud::TAG_NO_MANAGE, "true"));
    let stray = || EniId::new("eni-stray");
    for (kind, tags, goes) in [
        (EniKind::Standard, &[ours][..], true),
        (EniKind::Efa, &[ours], false),
        (EniKind::Standard, &[ours, kept], false),
    ] {
        let mut toy = idle();
        toy.cloud.attach_foreign("eni-stray", 9, kind, tags);
        toy.cloud.enis.get_mut(&stray()).unwrap().attachment = None;
        toy.observed.strays.insert(stray(), toy.now.boottime);
        toy.sleep(crate::orphan::STRAY_AFTER);
        let began = toy.now.boottime;
        toy.read(&orphans, began, 0);
        let record = toy.ledger.enis.get(&stray()).map(|record| (&record.phase, record.management));
        let deleted = goes.then_some((&EniPhase::Detached, Management::Managed));
        assert_eq!(record, deleted, "{kind:?} {tags:?}");
    }
}

/// Kept from us, or made over to another instance: it is neither attached nor deleted any more, whichever read tells.
#[test]
fn an_unattached_eni_that_is_somebody_elses_by_its_tags_is_let_go() {
    let orphans = CloudRead::AvailableEnis { instance: InstanceId::new("i-1") };
    for phase_before in [EniPhase::Available, EniPhase::Detached] {
        for (key, word, goes) in [
            (holdfast_model::cloud::TAG_NO_MANAGE, "true", true),
            (holdfast_model::cloud::TAG_NO_MANAGE, "false", false),
            (TAG_INSTANCE, "i-2", true),
            (TAG_INSTANCE, "i-1", false),
        ] {
            let mut toy = idle();
            toy.alter(&second(), |eni| eni.phase = phase_before.clone());
            let view = shown(&toy, |view| {
                view.attachment = None;
                view.tags.insert(key.to_owned(), word.to_owned());
            });
            let left = if goes { EniPhase::Gone } else { phase_before.clone() };
            for read in [of_second(), orphans.clone()] {
                let ledger = read_second(&toy, &read, Some(view.clone()));
                assert_eq!(phase(&ledger), Some(left.clone()), "{phase_before:?} {key}={word} by {read:?}");
            }
            // Nor is a deletion sent again whose answer is lacking.
            let change = CloudChange::DeleteEni { eni: second() };
            let intent = Intent { id: ID, change, sending: Sending::Unanswered, planned: toy.now.wall };
            toy.ledger.apply(&Change::PutIntent(intent));
            let ledger = read_second(&toy, &of_second(), Some(view));
            assert_eq!((phase(&ledger), ledger.intents.is_empty()), (Some(left), goes), "{key}={word}");
        }
    }
}

/// Describes were seen to lag by more than half a minute, and then they lack what has just been attached.
#[test]
fn a_view_that_lacks_an_eni_whose_link_is_here_lags() {
    let mut toy = idle();
    let full = CloudRead::InstanceEnis { instance: InstanceId::new("i-1") };
    let changed = toy.now.boottime;
    toy.alter(&second(), |eni| eni.changed = changed);
    let primary = toy.cloud.read(&full, 0).into_iter().find(|view| view.id != second()).unwrap();
    let unattached = shown(&toy, |view| view.attachment = None);
    let left = |toy: &Toy, links: Option<&[EniId]>, view: Option<&EniView>| {
        let views: Vec<EniView> = std::iter::once(&primary).chain(view).cloned().collect();
        let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
        let observed = crate::observed::Observed {
            links: links.map(|links| links.iter().cloned().collect()),
            ..toy.observed.clone()
        };
        let reading = Reading { read: &full, views: &views, began: toy.now.boottime };
        let mut ledger = toy.ledger.clone();
        ledger.apply_all(&adopt(&desired, &toy.ledger, &observed, reading, &toy.now));
        !ledger.enis.get(&second()).is_some_and(EniRecord::serves_pods)
    };
    let (here, gone) = ([primary.id.clone(), second()], [primary.id.clone()]);
    // Without its link, half a minute after the last change; with it, or while nobody has looked, after five.
    for (seconds, by_link, by_time) in
        [(29, false, false), (30, true, false), (299, true, false), (300, true, true)]
    {
        toy.sleep(changed.after(Duration::from_secs(seconds)).since(toy.now.boottime));
        for view in [None, Some(&unattached)] {
            assert_eq!(left(&toy, Some(&gone), view), by_link, "gone, {seconds} s");
            assert_eq!(left(&toy, Some(&here), view), by_time, "here, {seconds} s");
            assert_eq!(left(&toy, None, view), by_time, "not looked, {seconds} s");
        }
    }
}
