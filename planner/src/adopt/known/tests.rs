//! Others detach ENIs of ours.

use std::time::Duration;

use holdfast_model::cloud::{Api, AttachmentView, CloudRead, TAG_INTENT, TAG_NO_MANAGE};
use holdfast_model::eni::{EniKind, EniPhase, Management};
use holdfast_model::ids::{EniId, InstanceId, SecurityGroupId};
use holdfast_model::refusal::Refusal;

use crate::toy::{Toy, by_address, by_eni};

/// Ours, besides the primary.
fn second() -> EniId {
    EniId::new("eni-0001")
}

fn instance() -> InstanceId {
    InstanceId::new("i-1")
}

/// With one ENI of ours, on which there are pods or not, and nothing that was changed lately.
fn rested(pods_on_it: bool) -> Toy {
    let mut toy = Toy::new("t3.medium", by_eni(1));
    toy.add_pods(if pods_on_it { 7 } else { 2 });
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(120));
    assert_eq!(toy.ledger.leases_on(&second()).next().is_some(), pods_on_it);
    toy.cloud.calls.clear();
    toy
}

fn detach(toy: &mut Toy, id: &EniId) {
    toy.cloud.enis.get_mut(id).unwrap().attachment = None;
}

/// Goes on for so long, looking at the kernel every second.
fn live(toy: &mut Toy, seconds: u64) {
    for _ in 0..seconds {
        for _ in 0..20 {
            if !toy.round() {
                break;
            }
        }
        toy.sleep(Duration::from_secs(1));
        toy.serve();
    }
}

#[test]
fn one_that_is_wanted_is_attached_again_with_all_that_is_on_it() {
    let mut toy = rested(false);
    // Else another one makes up for it before it is known what became of it.
    toy.config.max_enis.value = Some(2);
    let had = toy.cloud.enis[&second()].secondary.len();
    assert!(had > 0);
    detach(&mut toy, &second());
    live(&mut toy, 60);
    assert_eq!(toy.cloud.count(Api::CreateNetworkInterface), 0);
    assert_eq!(toy.cloud.count(Api::AttachNetworkInterface), 1);
    assert_eq!(toy.cloud.count(Api::AssignPrivateIpAddresses), 0);
    assert_eq!(toy.ledger.blocks_on(&second()).count(), had);
    assert!(toy.ledger.enis[&second()].serves_pods() && toy.observed.ready_enis.contains(&second()));
    toy.assert_in_agreement();
}

#[test]
fn one_that_is_not_wanted_any_more_is_deleted() {
    let mut toy = rested(false);
    toy.config.warm.value = by_address(1, 1);
    detach(&mut toy, &second());
    live(&mut toy, 150);
    assert!(!toy.cloud.enis.contains_key(&second()));
    assert_eq!(toy.cloud.count(Api::AttachNetworkInterface), 0);
    toy.assert_in_agreement();
}

/// Whatever the list says of an ENI that it lacks, only a read of that very ENI tells what became of it.
#[test]
fn one_that_is_gone_is_forgotten_when_ec2_does_not_know_it() {
    let mut toy = rested(false);
    toy.cloud.enis.remove(&second());
    let began = toy.now.boottime;
    toy.read(&CloudRead::InstanceEnis { instance: instance() }, began, 0);
    let known = &toy.ledger.enis[&second()];
    assert!(known.attachment().is_some() && !known.serves_pods(), "{known:?}");
    live(&mut toy, 20);
    assert!(toy.ledger.enis.get(&second()).is_none_or(|eni| eni.phase == EniPhase::Gone));
    assert_eq!(toy.ledger.blocks_on(&second()).count(), 0);
    assert_eq!(toy.cloud.count(Api::DeleteNetworkInterface), 0);
    live(&mut toy, 60);
    toy.assert_in_agreement();
}

/// Its pods cannot be helped. When they have gone, nothing of it hangs about.
#[test]
fn one_with_pods_is_kept_for_their_sake_and_deleted_after_them() {
    let mut toy = rested(true);
    let leases = toy.ledger.leases.len();
    detach(&mut toy, &second());
    live(&mut toy, 60);
    assert_eq!(toy.ledger.enis[&second()].management, Management::Excluded);
    assert_eq!(toy.ledger.leases.len(), leases);
    assert!(toy.cloud.enis.contains_key(&second()));
    // Others have made up for it.
    live(&mut toy, 60);
    let calls = toy.cloud.calls.len();
    live(&mut toy, 1800);
    assert!(
        toy.cloud.calls.len() - calls <= 8,
        "nothing is asked of EC2 while they live: {:?}",
        toy.cloud.calls
    );
    toy.delete_all_pods();
    toy.config.warm.value = by_address(1, 1);
    // It is read, what is on it rests, and it might have been wanted again.
    live(&mut toy, 180);
    assert!(
        !toy.cloud.enis.contains_key(&second()),
        "{:?} {:?}",
        toy.ledger.blocks_on(&second()).collect::<Vec<_>>(),
        toy.ledger.uses
    );
    live(&mut toy, 120);
    toy.assert_in_agreement();
}

/// A read in the middle of the detachment shows it coming. Nobody else tells that it is over.
#[test]
fn one_that_was_seen_being_detached_is_looked_at_again() {
    let mut toy = rested(false);
    let eni = toy.cloud.enis.get_mut(&second()).unwrap();
    eni.attachment.as_mut().unwrap().status = holdfast_model::cloud::AttachmentStatus::Detaching;
    eni.detached_at = toy.now.wall.0;
    let began = toy.now.boottime;
    toy.read(&CloudRead::InstanceEnis { instance: instance() }, began, 0);
    assert_eq!(toy.ledger.enis[&second()].management, Management::Excluded);
    for _ in 0..150 {
        while toy.round() {}
        toy.sleep(Duration::from_secs(1));
    }
    toy.assert_in_agreement();
}

/// Our own change was too short a while ago, so the read that a link's end led to could not tell.
#[test]
fn one_that_was_changed_just_before_is_looked_at_again() {
    let mut toy = rested(false);
    let began = toy.now.boottime;
    let mut changed = toy.ledger.enis[&second()].clone();
    changed.changed = toy.now.boottime;
    toy.commit(&[holdfast_model::ledger::Change::PutEni(changed)]);
    detach(&mut toy, &second());
    toy.read(&CloudRead::InstanceEnis { instance: instance() }, began, 0);
    toy.sleep(Duration::from_secs(1));
    let began = toy.now.boottime;
    toy.read(&CloudRead::InstanceEnis { instance: instance() }, began, 0);
    assert!(toy.ledger.enis[&second()].attachment().is_some(), "too soon to tell");
    for _ in 0..120 {
        while toy.round() {}
        toy.sleep(Duration::from_secs(1));
    }
    toy.assert_in_agreement();
}

/// A program of somebody else's that detaches whatever is attached would have us call EC2 for as long as it runs.
#[test]
fn what_others_take_away_again_and_again_is_brought_back_ever_later() {
    let mut toy = rested(false);
    let two_hours = 2 * 3600;
    let mut detached = 0;
    for _ in 0..two_hours {
        let serving: Vec<EniId> = toy.observed.ready_enis.iter().cloned().collect();
        for id in serving.into_iter().filter(|id| id.as_str() != "eni-primary") {
            if toy.cloud.is_attached(&id) && toy.ledger.enis[&id].serves_pods() {
                detach(&mut toy, &id);
                detached += 1;
            }
        }
        live(&mut toy, 1);
    }
    let attached = toy.cloud.count(Api::AttachNetworkInterface);
    assert!((5..=20).contains(&attached), "{attached} attachments for {detached} detachments");
    assert!(toy.cloud.calls.len() <= 150, "{} calls", toy.cloud.calls.len());
    // Who asks is told.
    toy.add_pods(10);
    while toy.round() {}
    assert!(matches!(toy.last.refusal(), Some(Refusal::EniTaken { .. })), "{:?}", toy.last);
    // Left in peace, all is well within the hour.
    live(&mut toy, 4000);
    assert_eq!(toy.waiting(), 0);
    toy.assert_in_agreement();
}

/// What was detached by force is in the way at its place until the instance stops (EC2's API reference).
#[test]
fn one_that_was_detached_by_force_is_attached_again_at_another_place() {
    let mut toy = rested(false);
    toy.config.max_enis.value = Some(2);
    let slot = toy.ledger.enis[&second()].slot().unwrap();
    toy.cloud.haunted.insert(slot);
    detach(&mut toy, &second());
    live(&mut toy, 60);
    assert_eq!(toy.cloud.count(Api::AttachNetworkInterface), 2);
    assert_ne!(toy.ledger.enis[&second()].slot(), Some(slot));
    toy.assert_in_agreement();
    // Nor is another tried there.
    toy.config.max_enis.value = None;
    toy.cloud.calls.clear();
    toy.add_pods(10);
    live(&mut toy, 60);
    assert_eq!(toy.cloud.attached().count(), 3);
    assert_eq!(toy.cloud.count(Api::AttachNetworkInterface), 1);
}

/// Somebody attached it to another instance before we came to delete it.
#[test]
fn one_that_is_anothers_by_now_is_left_to_it() {
    let mut toy = rested(false);
    toy.config.warm.value = by_address(1, 1);
    let there = toy.cloud.enis[&second()].attachment.clone().unwrap();
    detach(&mut toy, &second());
    let began = toy.now.boottime;
    while toy.ledger.enis.contains_key(&second()) {
        assert!(toy.now.boottime.since(began) < Duration::from_secs(1200), "it is kept: {:?}", toy.last);
        let detached = toy.ledger.enis[&second()].phase == EniPhase::Detached;
        if detached && toy.cloud.enis[&second()].attachment.is_none() {
            let elsewhere = AttachmentView { instance: InstanceId::new("i-2"), ..there.clone() };
            toy.cloud.enis.get_mut(&second()).unwrap().attachment = Some(elsewhere);
        }
        live(&mut toy, 1);
    }
    live(&mut toy, 1800);
    assert_eq!(toy.cloud.count(Api::DeleteNetworkInterface), 0, "it is not ours to delete");
    assert!(toy.cloud.enis.contains_key(&second()) && !toy.ledger.enis.contains_key(&second()));
}

/// Ours by all its tags, unattached, and kept from us by another.
#[test]
fn one_that_hangs_about_and_is_kept_from_us_is_left_alone() {
    let mut toy = rested(false);
    let intent = "00000000-0000-0000-0000-0000000000aa";
    let tags = [(holdfast_model::cloud::TAG_INSTANCE, "i-1"), (TAG_INTENT, intent), (TAG_NO_MANAGE, "true")];
    let kept = EniId::new("eni-kept");
    toy.cloud.attach_foreign("eni-kept", 9, EniKind::Standard, &tags);
    detach(&mut toy, &kept);
    let began = toy.now.boottime;
    toy.read(&CloudRead::AvailableEnis { instance: instance() }, began, 0);
    live(&mut toy, 120);
    assert!(toy.cloud.enis.contains_key(&kept) && !toy.cloud.is_attached(&kept));
    assert!(!toy.ledger.enis.contains_key(&kept));
    // The same of one that we have served pods from.
    let tags = &mut toy.cloud.enis.get_mut(&second()).unwrap().tags;
    tags.insert(TAG_NO_MANAGE.to_owned(), "true".to_owned());
    detach(&mut toy, &second());
    live(&mut toy, 600);
    assert!(toy.cloud.enis.contains_key(&second()) && !toy.cloud.is_attached(&second()));
    assert!(!toy.ledger.enis.contains_key(&second()));
}

/// Whose it is when its pods have gone, only a read from then tells; that others detached it, the read of long ago.
#[test]
fn one_that_became_somebody_elses_under_its_pods_is_left_alone() {
    let tagged = |key: &'static str, value: &'static str| {
        move |toy: &mut Toy| {
            let tags = &mut toy.cloud.enis.get_mut(&second()).unwrap().tags;
            tags.insert(key.to_owned(), value.to_owned());
        }
    };
    let elsewhere = |toy: &mut Toy| {
        let attachment = toy.ledger.enis[&second()].attachment().unwrap().clone();
        toy.cloud.enis.get_mut(&second()).unwrap().attachment = Some(AttachmentView {
            id: attachment,
            instance: InstanceId::new("i-2"),
            slot: holdfast_model::eni::EniSlot { card: 0, device: 5 },
            delete_on_termination: true,
            status: holdfast_model::cloud::AttachmentStatus::Attached,
        });
    };
    let become_anothers: [&dyn Fn(&mut Toy); 3] =
        [&tagged(TAG_NO_MANAGE, "true"), &tagged(holdfast_model::cloud::TAG_INSTANCE, "i-0dead"), &elsewhere];
    for (nth, become_anothers) in become_anothers.into_iter().enumerate() {
        let mut toy = rested(true);
        detach(&mut toy, &second());
        live(&mut toy, 60);
        assert_eq!(toy.ledger.enis[&second()].management, Management::Excluded);
        become_anothers(&mut toy);
        toy.delete_all_pods();
        toy.cloud.calls.clear();
        live(&mut toy, 120);
        assert!(!toy.cloud.asked_to_delete.contains(&second()), "{nth}: {:?}", toy.cloud.calls);
        assert!(toy.cloud.enis.contains_key(&second()), "{nth}");
        assert!(!toy.ledger.enis.contains_key(&second()), "{nth}: {:?}", toy.ledger.enis.get(&second()));
        live(&mut toy, 600);
        let attached = toy.cloud.enis[&second()].attachment.as_ref();
        assert!(attached.is_none_or(|at| at.instance != instance()), "{nth}: it is not ours to attach");
        // What the pool gives back besides goes on; of this one nobody asks.
        let reads = toy.cloud.count(Api::DescribeNetworkInterfaces);
        assert!(reads <= 8, "{nth}: {reads} reads {:?}", toy.cloud.calls);
    }
}

/// EC2 refuses what is to be done with it for so long that it may have become somebody else's meanwhile.
#[test]
fn one_that_ec2_refuses_for_long_is_looked_at_before_the_next_try() {
    for (wanted, api) in [(true, Api::AttachNetworkInterface), (false, Api::DeleteNetworkInterface)] {
        let mut toy = rested(false);
        toy.config.max_enis.value = Some(2);
        if !wanted {
            toy.config.warm.value = by_address(1, 1);
        }
        toy.cloud.denied.insert(api);
        detach(&mut toy, &second());
        live(&mut toy, 400);
        assert!(toy.cloud.count(api) >= 2, "{api:?}: {:?}", toy.cloud.calls);
        let tags = &mut toy.cloud.enis.get_mut(&second()).unwrap().tags;
        tags.insert(TAG_NO_MANAGE.to_owned(), "true".to_owned());
        toy.sleep(Duration::from_secs(320));
        toy.cloud.denied.clear();
        live(&mut toy, 700);
        let reads = toy.cloud.count(Api::DescribeNetworkInterfaces);
        assert!(!toy.cloud.asked_to_delete.contains(&second()), "{:?}", toy.cloud.calls);
        assert!(toy.cloud.enis.contains_key(&second()) && !toy.cloud.is_attached(&second()), "{api:?}");
        assert!(!toy.ledger.enis.contains_key(&second()), "{api:?}");
        assert!(reads <= 8, "{api:?}: {reads} reads");
    }
}

/// Tags that were lost say nothing of an ENI that served; others than ours say that it is somebody else's.
#[test]
fn whose_one_is_that_hangs_about_its_tags_tell_if_it_has_any() {
    for (tags, ours) in [(&[][..], true), (&[("Name", "db-0")], false)] {
        let mut toy = rested(false);
        toy.config.manage_untagged.value = false;
        toy.config.max_enis.value = Some(2);
        let eni = toy.cloud.enis.get_mut(&second()).unwrap();
        eni.tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        detach(&mut toy, &second());
        live(&mut toy, 60);
        assert_eq!(toy.cloud.is_attached(&second()), ours, "{tags:?}");
        assert_eq!(toy.ledger.enis.contains_key(&second()), ours, "{tags:?}");
    }
}

/// As EC2 shows it, from then on: what we were giving back has only to be deleted, the rest may be attached again.
#[test]
fn one_that_others_detached_is_taken_in_as_it_is() {
    for draining in [false, true] {
        let mut toy = rested(false);
        toy.alter(&second(), |eni| {
            if draining {
                eni.phase = EniPhase::Draining { attachment: eni.attachment().unwrap().clone() };
            }
        });
        detach(&mut toy, &second());
        toy.cloud.enis.get_mut(&second()).unwrap().groups = [SecurityGroupId::new("sg-9")].into();
        let now = toy.now.boottime;
        toy.read(&CloudRead::Enis { enis: vec![second()] }, now, 0);
        let known = &toy.ledger.enis[&second()];
        assert_eq!(known.phase, if draining { EniPhase::Detached } else { EniPhase::Available });
        assert_eq!(
            (known.since, &known.source.security_groups),
            (now, &None),
            "they are none that we gave it"
        );
    }
}
