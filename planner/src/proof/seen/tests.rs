//! What others have marked or taken is left alone, whenever they do so: a read comes between a decision and its call.

use holdfast_model::cloud::{Api, CloudChange, TAG_NO_MANAGE};
use holdfast_model::config::WarmTargets;
use holdfast_model::eni::{EniPhase, Management};
use holdfast_model::ids::{EniId, InstanceId, IntentId};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::Change;
use holdfast_model::time::BootTime;

use super::*;
use crate::Step;
use crate::looks::Looks;
use crate::toy::{Fate, Toy, by_address, by_eni};

const HOUR: Duration = Duration::from_secs(3600);

/// Somebody marks an ENI in EC2, and no hint tells.
fn mark(toy: &mut Toy, eni: &EniId) {
    let marked = toy.cloud.enis.get_mut(eni).unwrap();
    marked.tags.insert(TAG_NO_MANAGE.to_owned(), "true".to_owned());
}

/// A node that needs its second ENI, and has known it for hours.
fn needed(warm: WarmTargets) -> (Toy, EniId) {
    let mut toy = Toy::new("t3.small", warm);
    toy.add_pods(if warm.by_address() { 4 } else { 1 });
    toy.run_to_rest();
    toy.sleep(HOUR);
    toy.run_to_rest();
    let eni = toy.ledger.enis.values().find(|eni| !eni.is_primary()).unwrap().id.clone();
    (toy, eni)
}

/// Rounds, a second apart, until this holds.
fn until(toy: &mut Toy, what: impl Fn(&Toy) -> bool) {
    for _ in 0..600 {
        if what(toy) {
            return;
        }
        toy.round();
        toy.sleep(Duration::from_secs(1));
    }
    panic!("it does not come to that: {:?}", toy.ledger);
}

fn is_open(toy: &Toy, api: Api) -> bool {
    toy.ledger.intents.values().any(|intent| intent.change.api() == api)
}

fn drains(toy: &Toy, eni: &EniId) -> bool {
    matches!(toy.ledger.enis[eni].phase, EniPhase::Draining { .. })
}

/// Nothing was asked of EC2 that takes anything away.
fn asked_for_nothing(toy: &Toy) -> bool {
    let gives_back =
        [Api::DetachNetworkInterface, Api::DeleteNetworkInterface, Api::UnassignPrivateIpAddresses];
    gives_back.iter().all(|api| toy.cloud.count(*api) == 0)
}

#[track_caller]
fn assert_left_alone(toy: &Toy, eni: &EniId) {
    assert!(toy.cloud.is_attached(eni) && asked_for_nothing(toy), "{:?}", toy.cloud.calls);
    let record = &toy.ledger.enis[eni];
    assert_eq!(record.management, Management::Unmanaged);
    assert!(matches!(record.phase, EniPhase::Attached { .. }), "{record:?}");
    assert!(toy.ledger.intents.is_empty());
}

#[test]
fn an_eni_that_was_marked_since_the_last_read_is_not_detached() {
    // Before it is chosen to go, and after.
    for chosen in [false, true] {
        let (mut toy, eni) = needed(by_eni(1));
        if chosen {
            toy.delete_all_pods();
            until(&mut toy, |toy| drains(toy, &eni));
        }
        mark(&mut toy, &eni);
        toy.delete_all_pods();
        toy.run_to_rest();
        assert_left_alone(&toy, &eni);
    }
}

#[test]
fn an_eni_that_was_marked_while_it_waits_for_its_detachment_serves_whoever_marked_it() {
    let (mut toy, eni) = needed(by_eni(1));
    toy.delete_all_pods();
    until(&mut toy, |toy| drains(toy, &eni));
    toy.set_back(Api::DetachNetworkInterface, crate::PauseScope::Api, Some(crate::Fault::Denied));
    mark(&mut toy, &eni);
    toy.sleep(7 * HOUR);
    toy.run_to_rest();
    assert_left_alone(&toy, &eni);
}

/// Its detachment takes ten seconds more.
fn hang_about(toy: &mut Toy, eni: &EniId) {
    let primary = toy.ledger.enis.values().find(|eni| eni.is_primary()).unwrap();
    let attachment = toy.cloud.enis[&primary.id].attachment.clone().unwrap();
    let status = holdfast_model::cloud::AttachmentStatus::Detaching;
    let hanging = toy.cloud.enis.get_mut(eni).unwrap();
    hanging.attachment = Some(holdfast_model::cloud::AttachmentView { status, ..attachment });
    hanging.detached_at = toy.now.wall.0 + 10_000;
}

/// That EC2 refuses to delete it may be somebody's doing who has it now.
#[test]
fn an_eni_whose_deletion_was_refused_is_read_before_the_next_one() {
    let (mut toy, eni) = needed(by_eni(1));
    toy.delete_all_pods();
    until(&mut toy, |toy| toy.ledger.enis[&eni].phase == EniPhase::Detached);
    hang_about(&mut toy, &eni);
    until(&mut toy, |toy| toy.cloud.count(Api::DeleteNetworkInterface) > 0);
    assert!(toy.cloud.enis.contains_key(&eni), "it is in use");
    mark(&mut toy, &eni);
    toy.run_to_rest();
    assert!(toy.cloud.enis.contains_key(&eni), "{:?}", toy.cloud.calls);
    assert!(!toy.ledger.enis.contains_key(&eni), "it is none of ours");
}

#[test]
fn an_eni_that_was_marked_or_taken_once_it_is_detached_is_not_deleted() {
    type Deed = fn(&mut Toy, &EniId);
    let deeds: [(&str, Deed); 3] = [
        ("marked", mark),
        ("marked, and still being detached", |toy, eni| {
            mark(toy, eni);
            hang_about(toy, eni);
        }),
        ("another instance's", |toy, eni| {
            let tags = &mut toy.cloud.enis.get_mut(eni).unwrap().tags;
            tags.insert(holdfast_model::cloud::TAG_INSTANCE.to_owned(), "i-2".to_owned());
        }),
    ];
    for (what, deed) in deeds {
        let (mut toy, eni) = needed(by_eni(1));
        toy.delete_all_pods();
        until(&mut toy, |toy| toy.ledger.enis[&eni].phase == EniPhase::Detached);
        toy.sleep(Duration::from_secs(1));
        deed(&mut toy, &eni);
        toy.run_to_rest();
        assert!(toy.cloud.enis.contains_key(&eni), "{what}");
        assert_eq!(toy.cloud.asked_to_delete.len(), 0, "{what}");
        assert!(!toy.ledger.enis.contains_key(&eni), "{what}: it is none of ours");
    }
}

/// Given up without ever having been attached again, or left over from before a reboot that lasted for days.
#[test]
fn an_unattached_eni_that_was_long_not_looked_at_is_read_before_it_is_deleted() {
    for reboots in [false, true] {
        let (mut toy, eni) = needed(by_eni(1));
        toy.delete_all_pods();
        toy.cloud.denied.insert(Api::DeleteNetworkInterface);
        until(&mut toy, |toy| toy.cloud.count(Api::DeleteNetworkInterface) > 0);
        assert!(!is_open(&toy, Api::DeleteNetworkInterface));
        toy.cloud.denied.clear();
        mark(&mut toy, &eni);
        toy.sleep(HOUR);
        if reboots {
            toy.reboot();
        }
        toy.cloud.calls.clear();
        toy.run_to_rest();
        assert_eq!(toy.cloud.count(Api::DeleteNetworkInterface), 0, "{reboots}");
        assert!(toy.cloud.enis.contains_key(&eni));
    }
}

#[test]
fn addresses_of_an_eni_that_was_marked_since_the_last_read_stay_where_they_are() {
    let (mut toy, eni) = needed(by_address(1, 1));
    let had = toy.cloud.enis[&eni].secondary.clone();
    assert!(!had.is_empty());
    mark(&mut toy, &eni);
    toy.delete_all_pods();
    toy.run_to_rest();
    assert_eq!(toy.cloud.enis[&eni].secondary, had);
    assert!(toy.cloud.is_attached(&eni));
}

/// Whatever is to be given back, whose call was not answered, or never left, and then EC2 is silent for hours.
#[test]
fn after_a_long_silence_an_eni_is_looked_at_before_a_call_is_repeated() {
    let gone = [Api::DetachNetworkInterface, Api::DeleteNetworkInterface, Api::UnassignPrivateIpAddresses];
    for api in gone {
        for (lost, dies) in [
            (Fate::LostBefore, false),
            (Fate::LostBefore, true),
            (Fate::NotSent, false),
            (Fate::NotSent, true),
        ] {
            let by_addresses = api == Api::UnassignPrivateIpAddresses;
            let (mut toy, eni) = needed(if by_addresses { by_address(1, 1) } else { by_eni(1) });
            toy.delete_all_pods();
            if by_addresses {
                // Its addresses are wanted no more, and it is.
                toy.alter(&eni, |eni| eni.kind = holdfast_model::eni::EniKind::Efa);
                toy.cloud.enis.get_mut(&eni).unwrap().kind = holdfast_model::eni::EniKind::Efa;
            }
            // The call is opened in a round whose other calls are answered, and lost itself.
            for _ in 0..600 {
                let opens = toy.planned().steps.iter().any(
                    |step| matches!(step, Step::Open(change) if change.api() == api && change.eni() == Some(&eni)),
                );
                if opens {
                    toy.fates = Box::new(move || lost);
                }
                toy.round();
                if opens {
                    break;
                }
                toy.sleep(Duration::from_secs(1));
            }
            assert!(is_open(&toy, api), "{api:?}");
            for minute in 0..180 {
                if minute == 30 {
                    mark(&mut toy, &eni);
                }
                if dies && minute == 60 {
                    toy.restart();
                }
                toy.sleep(Duration::from_secs(60));
                toy.round();
            }
            assert!(is_open(&toy, api), "{api:?}");
            let there = &toy.cloud.enis[&eni];
            let before = (there.secondary.clone(), there.attachment.clone());
            toy.cloud.asked_to_delete.clear();
            toy.cloud.calls.clear();
            toy.fates = Box::new(|| Fate::Fine);
            toy.run_to_rest();
            assert!(!toy.cloud.asked_to_delete.contains(&eni), "{api:?} {lost:?} {dies}");
            let there = &toy.cloud.enis[&eni];
            assert_eq!(there.secondary, before.0, "{api:?} {lost:?} {dies}");
            assert!(api == Api::DeleteNetworkInterface || there.attachment == before.1, "{lost:?} {dies}");
            assert!(toy.ledger.intents.is_empty(), "{:?}", toy.ledger.intents);
        }
    }
}

/// A view that may be late does not tell that a call was not carried out; that it is not to be repeated, its tags do.
#[test]
fn a_call_that_was_not_answered_is_not_repeated_for_an_eni_that_was_marked_meanwhile() {
    for detaches in [false, true] {
        let (mut toy, eni) = needed(if detaches { by_eni(1) } else { by_address(1, 1) });
        let free = || toy.ledger.blocks_on(&eni).map(|block| block.net.addr());
        let attachment = toy.ledger.enis[&eni].attachment().unwrap().clone();
        let change = if detaches {
            toy.delete_all_pods();
            until(&mut toy, |toy| drains(toy, &eni));
            CloudChange::DetachEni { eni: eni.clone(), attachment }
        } else {
            let nets = free()
                .filter(|ip| toy.ledger.is_free(*ip, &toy.now))
                .take(1)
                .map(ipnet::IpNet::from)
                .collect();
            CloudChange::Unassign { eni: eni.clone(), nets }
        };
        let api = change.api();
        let intent = toy.open(change);
        let unknown = crate::Outcome::Unknown { cause: "lost".into() };
        let settlement = crate::settle(&toy.ledger, intent, &unknown, &toy.now);
        toy.observed.settled(intent, api, &settlement, &toy.now, 0);
        toy.commit(&settlement.changes);
        toy.sleep(Duration::from_secs(1));
        let read = holdfast_model::cloud::CloudRead::Enis { enis: vec![eni.clone()] };
        let began = toy.now.boottime;
        toy.read(&read, began, 0);
        assert!(toy.ledger.intents.contains_key(&intent), "{api:?}: it may have been carried out");
        mark(&mut toy, &eni);
        toy.read(&read, began, 0);
        assert!(toy.ledger.intents.is_empty(), "{api:?}");
        assert_eq!(toy.ledger.enis[&eni].management, Management::Unmanaged);
    }
}

/// What is ours still goes, however long EC2 was silent; and a short silence costs no read.
#[test]
fn what_is_still_ours_is_asked_for_again() {
    for (silence, reads) in [(Duration::from_secs(60), false), (2 * HOUR, true)] {
        let (mut toy, eni) = needed(by_eni(1));
        toy.delete_all_pods();
        let began = toy.now.boottime;
        let intent = loop {
            assert!(toy.now.boottime.since(began) < HOUR, "it is never to be deleted: {:?}", toy.last);
            toy.round();
            toy.sleep(Duration::from_millis(500));
            let decided = toy.ledger.enis[&eni].phase == EniPhase::Detached;
            if decided && Seen::lately(&toy.observed, &toy.ledger.enis[&eni], &toy.now).is_some() {
                break toy.open(CloudChange::DeleteEni { eni: eni.clone() });
            }
        };
        let unknown = crate::Outcome::Unknown { cause: "lost".into() };
        let settlement = crate::settle(&toy.ledger, intent, &unknown, &toy.now);
        let api = Api::DeleteNetworkInterface;
        toy.observed.settled(intent, api, &settlement, &toy.now, 0);
        toy.commit(&settlement.changes);
        toy.sleep(silence);
        let made = toy.planned();
        let repeats = made.steps.contains(&Step::Repeat(intent));
        let read = Step::Read(holdfast_model::cloud::CloudRead::Enis { enis: vec![eni.clone()] });
        assert_eq!((repeats, made.steps.contains(&read)), (!reads, reads), "{made:?}");
        toy.run_to_rest();
        assert!(!toy.cloud.enis.contains_key(&eni));
    }
}

#[test]
fn a_look_is_of_this_eni_since_it_is_in_its_phase_and_not_old() {
    let (mut toy, eni) = needed(by_eni(1));
    let seen =
        |toy: &Toy, eni: &EniId| Seen::lately(&toy.observed, &toy.ledger.enis[eni], &toy.now).is_some();
    assert!(!seen(&toy, &eni), "an hour ago");
    let read = holdfast_model::cloud::CloudRead::Enis { enis: vec![eni.clone()] };
    let began = toy.now.boottime;
    toy.read(&read, began, 0);
    assert!(seen(&toy, &eni));
    let primary = toy.ledger.enis.values().find(|eni| eni.is_primary()).unwrap().id.clone();
    assert!(!seen(&toy, &primary), "another one was read");
    toy.sleep(Duration::from_secs(299));
    assert!(seen(&toy, &eni));
    toy.sleep(Duration::from_secs(1));
    assert!(!seen(&toy, &eni));
    // A full one shows what is attached.
    let full = holdfast_model::cloud::CloudRead::InstanceEnis { instance: InstanceId::new("i-1") };
    let began = toy.now.boottime;
    toy.read(&full, began, 0);
    assert!(seen(&toy, &eni) && seen(&toy, &primary));
    toy.sleep(Duration::from_secs(1));
    let since = toy.now.boottime;
    toy.alter(&eni, |eni| eni.since = since);
    assert!(!seen(&toy, &eni), "before it was decided");
    // It says nothing of what was changed since it began, and that is not taken in.
    toy.alter(&eni, |eni| eni.changed = since);
    toy.read(&read, began, 0);
    assert!(!seen(&toy, &eni));
}

/// Its being made or found is a look at it too.
#[test]
fn what_takes_nothing_away_is_done_without_a_look_while_an_eni_is_new() {
    let (mut toy, eni) = needed(by_eni(1));
    for (ago, known) in [(299, true), (300, false)] {
        let since = BootTime(toy.now.boottime.0 - ago * 1000);
        toy.alter(&eni, |eni| eni.since = since);
        let mut looks = Looks::new(&toy.observed, &toy.now);
        assert_eq!(looks.known(&toy.ledger.enis[&eni]), known, "{ago}");
        assert_eq!(looks.wanted().contains(&eni), !known, "{ago}");
    }
}

/// Its attachment never left, and meanwhile it may have become somebody's.
#[test]
fn an_attachment_that_never_left_leaves_after_a_look_unless_the_eni_is_new() {
    let (mut toy, eni) = needed(by_eni(1));
    let slot = toy.ledger.enis[&eni].slot().unwrap();
    let change = CloudChange::AttachEni { eni: eni.clone(), instance: InstanceId::new("i-1"), slot };
    let (id, sending, planned) = (IntentId(uuid::Uuid::from_u128(1)), Sending::NeverSent, toy.now.wall);
    toy.ledger.apply(&Change::PutIntent(Intent { id, change, sending, planned }));
    for (ago, leaves) in [(60, true), (3600, false)] {
        let since = BootTime(toy.now.boottime.0 - ago * 1000);
        toy.alter(&eni, |eni| (eni.phase, eni.since) = (EniPhase::Available, since));
        let made = toy.planned();
        let read = Step::Read(holdfast_model::cloud::CloudRead::Enis { enis: vec![eni.clone()] });
        assert_eq!(made.steps.contains(&Step::Repeat(id)), leaves, "{ago}: {made:?}");
        assert_eq!(made.steps.contains(&read), !leaves, "{ago}: {made:?}");
    }
}
