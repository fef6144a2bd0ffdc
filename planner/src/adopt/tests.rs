use std::time::Duration;

use holdfast_model::time::BootTime;

use holdfast_model::cloud::{Api, AttachmentStatus, CloudRead, TAG_INSTANCE, TAG_INTENT, TAG_NO_MANAGE};
use holdfast_model::eni::{EniKind, EniPhase, EniPlace, Management};
use holdfast_model::ids::{EniId, InstanceId};
use holdfast_model::ledger::Change;
use holdfast_model::ledger::Standing;

mod blocks;
mod enis;

use super::*;
use crate::reading::{TOMBSTONE, VIEWS_ARE_OLD_AT_MOST};
use crate::toy::{Toy, by_address, by_eni, writes};

fn full() -> CloudRead {
    CloudRead::InstanceEnis { instance: InstanceId::new("i-1") }
}

fn rested() -> Toy {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(4);
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(120));
    // Everything is proven since its last change.
    read_now(&mut toy);
    toy
}

fn read_now(toy: &mut Toy) {
    let began = toy.now.boottime;
    toy.read(&full(), began, 0);
}

/// Upstream's matrix (reference: vpc-cni 2.4).
#[test]
fn whose_an_eni_is() {
    let mine = (TAG_INSTANCE, "i-1");
    let theirs = (TAG_INSTANCE, "i-2");
    for (tags, untagged_too, managed) in [
        (vec![], true, true),
        (vec![], false, false),
        (vec![mine], false, true),
        (vec![theirs], false, false),
        (vec![theirs], true, true),
        (vec![(TAG_NO_MANAGE, "true"), mine], true, false),
        (vec![(TAG_NO_MANAGE, "false")], false, true),
        (vec![(TAG_NO_MANAGE, "yes")], false, true),
    ] {
        let mut toy = Toy::new("m5.large", by_eni(1));
        toy.config.manage_untagged.value = untagged_too;
        toy.cloud.attach_foreign("eni-other", 1, EniKind::Standard, &tags);
        toy.round();
        let expected = if managed { Management::Managed } else { Management::Unmanaged };
        assert_eq!(toy.ledger.enis[&EniId::new("eni-other")].management, expected, "{tags:?} {untagged_too}");
        assert_eq!(toy.ledger.enis[&EniId::new("eni-primary")].management, Management::Managed);
    }
}

#[test]
fn kinds_we_cannot_use_hold_a_slot_and_nothing_else() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.cloud.attach_foreign("eni-trunk", 1, EniKind::Trunk, &[]);
    toy.add_pods(20);
    toy.run_to_rest();
    assert_eq!(toy.ledger.leases.len(), 18, "two of three ENIs carry pods");
    assert_eq!(toy.cloud.count(Api::CreateNetworkInterface), 1);
}

#[test]
fn a_read_that_began_before_our_change_proves_nothing() {
    let mut toy = rested();
    let began = toy.now.boottime;
    toy.sleep(Duration::from_secs(1));
    let record = toy.ledger.enis[&EniId::new("eni-primary")].clone();
    let touched = EniRecord { changed: toy.now.boottime, ..record };
    toy.ledger.apply(&Change::PutEni(touched));
    toy.cloud.enis.get_mut(&EniId::new("eni-primary")).unwrap().secondary.clear();
    let before = toy.ledger.clone();
    toy.read(&full(), began, 0);
    assert_eq!(toy.ledger, before);
}

/// Not even that an address is there: it may have been taken away since.
#[test]
fn nor_does_it_prove_presence() {
    let mut toy = Toy::new("m5.large", by_address(1, 1));
    toy.run_to_rest();
    let changed = toy.ledger.enis[&EniId::new("eni-primary")].changed;
    let ip: IpAddr = "10.0.77.7".parse().unwrap();
    toy.cloud.enis.get_mut(&EniId::new("eni-primary")).unwrap().secondary.insert(ip);
    toy.read(&full(), BootTime(changed.0 - 1), 0);
    assert_eq!(toy.ledger.block_of(ip), None);
    toy.read(&full(), BootTime(changed.0 + 1), 0);
    assert!(toy.ledger.block_of(ip).is_some());
}

#[test]
fn an_address_somebody_took_is_dropped_when_free_and_kept_when_leased() {
    let mut toy = rested();
    let eni = EniId::new("eni-0001");
    let held: Vec<IpAddr> =
        toy.ledger.leases.values().filter(|l| l.faces[0].eni == eni).map(|l| l.faces[0].address).collect();
    assert_eq!(held.len(), 1);
    toy.cloud.enis.get_mut(&eni).unwrap().secondary.clear();
    toy.sleep(VIEWS_ARE_OLD_AT_MOST);
    read_now(&mut toy);
    let left: Vec<_> = toy.ledger.blocks_on(&eni).cloned().collect();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].net, left[0].state), (held[0].into(), BlockState::Withdrawn));
    assert_eq!(toy.ledger.leases.len(), 4, "no lease is ever lost by reading");
}

#[test]
fn absence_is_not_believed_right_after_a_change() {
    let mut toy = rested();
    let eni = EniId::new("eni-0001");
    let record = toy.ledger.enis[&eni].clone();
    toy.ledger.apply(&Change::PutEni(EniRecord { changed: toy.now.boottime, ..record }));
    toy.cloud.enis.get_mut(&eni).unwrap().secondary.clear();
    let before = toy.ledger.clone();
    toy.sleep(Duration::from_secs(29));
    read_now(&mut toy);
    assert_eq!(toy.ledger, before);
    toy.sleep(Duration::from_secs(1));
    read_now(&mut toy);
    assert_ne!(toy.ledger, before);
}

#[test]
fn a_rest_is_owed_even_when_the_address_vanishes_and_comes_back() {
    let mut toy = rested();
    let lease =
        toy.ledger.leases.values().find(|lease| lease.faces[0].place == EniPlace::PRIMARY).unwrap().clone();
    toy.delete_pod(toy.ledger.leases.keys().position(|key| *key == lease.sandbox).unwrap());
    toy.cloud.enis.get_mut(&lease.faces[0].eni).unwrap().secondary.remove(&lease.faces[0].address);
    read_now(&mut toy);
    assert!(!toy.ledger.is_held(lease.faces[0].address));
    toy.cloud.enis.get_mut(&lease.faces[0].eni).unwrap().secondary.insert(lease.faces[0].address);
    toy.sleep(Duration::from_secs(10));
    read_now(&mut toy);
    let back = toy.ledger.standing(lease.faces[0].address);
    assert!(toy.ledger.is_held(lease.faces[0].address), "{back:?}");
    assert!(
        matches!(back, Standing::Cooling(rest) if rest.remaining(&toy.now) == Some(Duration::from_secs(20))),
        "{back:?}"
    );
}

/// cni#1967: an ENI with pods is missing from a view. It is kept with its leases; nothing is detached or deleted.
#[test]
fn an_eni_with_pods_that_is_not_shown_is_kept() {
    let mut toy = rested();
    let eni = EniId::new("eni-0001");
    let hidden = toy.cloud.enis.remove(&eni).unwrap();
    read_now(&mut toy);
    assert_eq!(toy.ledger.leases.len(), 4);
    assert_eq!(toy.ledger.enis[&eni].management, Management::Excluded, "closed to new leases");
    toy.cloud.enis.insert(eni.clone(), hidden);
    read_now(&mut toy);
    assert!(toy.ledger.enis[&eni].serves_pods(), "and back when it is shown again");
    toy.run_to_rest();
    assert_eq!(toy.cloud.count(Api::DetachNetworkInterface), 0);
}

#[test]
fn an_idle_eni_that_somebody_detached_is_forgotten() {
    let mut toy = rested();
    toy.delete_all_pods();
    toy.sleep(Duration::from_secs(31));
    let eni = EniId::new("eni-0001");
    toy.cloud.enis.remove(&eni);
    read_now(&mut toy);
    toy.run_to_rest();
    assert!(!toy.ledger.enis.contains_key(&eni));
    assert_eq!(toy.ledger.blocks_on(&eni).count(), 0);
}

/// cni#1479, cni#3887: late views show what we have given back.
#[test]
fn tombstones_are_not_revived() {
    let mut toy = Toy::new("t3.small", by_address(1, 1));
    toy.add_pods(5);
    toy.run_to_rest();
    let before = (toy.cloud.at, toy.cloud.enis.clone());
    toy.delete_all_pods();
    for _ in 0..200 {
        let gone = toy.ledger.enis.values().any(|eni| eni.phase == EniPhase::Gone);
        if gone {
            break;
        }
        if !toy.round() {
            toy.sleep(Duration::from_secs(1));
        }
    }
    assert!(toy.ledger.enis.values().any(|eni| eni.phase == EniPhase::Gone));
    let gone = |block: &&Block| matches!(block.state, BlockState::Gone(_));
    assert!(toy.ledger.blocks.values().any(|block| gone(&block)));
    let (_, late) = before;
    let mut cloud = std::mem::replace(&mut toy.cloud.enis, late);
    let ledger = toy.ledger.clone();
    read_now(&mut toy);
    for (id, record) in &ledger.enis {
        assert_eq!(toy.ledger.enis.get(id).map(|eni| &eni.phase), Some(&record.phase));
    }
    for block in ledger.blocks.values().filter(gone) {
        assert_eq!(toy.ledger.blocks.get(&block.net), Some(block));
    }
    std::mem::swap(&mut toy.cloud.enis, &mut cloud);
}

#[test]
fn the_enis_own_address_is_never_in_the_pool() {
    let mut toy = rested();
    let own = toy.cloud.enis[&EniId::new("eni-0001")].primary;
    toy.cloud.enis.get_mut(&EniId::new("eni-0001")).unwrap().secondary.insert(IpAddr::V4(own));
    read_now(&mut toy);
    assert_eq!(toy.ledger.standing(IpAddr::V4(own)), Standing::Unknown);
}

#[test]
fn an_orphan_of_ours_is_taken_over_and_anothers_is_left_alone() {
    let orphans = CloudRead::AvailableEnis { instance: InstanceId::new("i-1") };
    // Whether it is taken over at once, and whether it is there in the end.
    for (tags, ours, stays) in [
        (vec![(TAG_INSTANCE, "i-1"), (TAG_INTENT, "00000000-0000-0000-0000-0000000000aa")], true, false),
        (vec![(TAG_INSTANCE, "i-1")], false, false),
        (vec![(TAG_INSTANCE, "i-2"), (TAG_INTENT, "00000000-0000-0000-0000-0000000000aa")], false, true),
    ] {
        let mut toy = rested();
        toy.cloud.attach_foreign("eni-orphan", 9, EniKind::Standard, &tags);
        toy.cloud.enis.get_mut(&EniId::new("eni-orphan")).unwrap().attachment = None;
        let began = toy.now.boottime;
        toy.read(&orphans, began, 0);
        assert_eq!(toy.ledger.enis.contains_key(&EniId::new("eni-orphan")), ours, "{tags:?}");
        toy.run_to_rest();
        assert_eq!(
            toy.cloud.enis.contains_key(&EniId::new("eni-orphan")),
            stays,
            "three ENIs are all that a t3.small carries: ours is deleted"
        );
    }
}

#[test]
fn the_ec2_object_of_an_open_creation_is_left_to_its_answer() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.run_to_rest();
    toy.add_pods(4);
    toy.fates = Box::new(|| crate::toy::Fate::KilledAfter);
    toy.round();
    assert_eq!(toy.cloud.enis.len(), 2);
    toy.fates = Box::new(|| crate::toy::Fate::Fine);
    assert!(!toy.ledger.intents.is_empty());
    let began = toy.now.boottime;
    toy.read(&CloudRead::AvailableEnis { instance: InstanceId::new("i-1") }, began, 0);
    assert_eq!(toy.ledger.enis.len(), 1);
    toy.run_to_rest();
    toy.assert_in_agreement();
    assert_eq!(toy.ledger.leases.len(), 4);
}

/// We took it for detached, and chose its slot for another, which EC2 then did not attach.
#[test]
fn an_eni_that_was_not_detached_after_all_keeps_its_slot() {
    let mut toy = rested();
    let id = EniId::new("eni-0001");
    let mut attached = toy.ledger.enis[&id].clone();
    let other = EniRecord {
        id: EniId::new("eni-other"),
        mac: holdfast_model::ids::MacAddr([2, 9, 9, 9, 9, 9]),
        phase: EniPhase::Available,
        ..attached.clone()
    };
    toy.delete_all_pods();
    attached.phase = EniPhase::Detached;
    attached.since = toy.now.boottime;
    toy.ledger.apply(&Change::PutEni(attached.clone()));
    toy.ledger.apply(&Change::PutEni(other.clone()));
    toy.sleep(TOMBSTONE);
    // The invariants are looked at after each change.
    read_now(&mut toy);
    assert_eq!(toy.ledger.enis[&id].place, attached.place);
    assert!(matches!(toy.ledger.enis[&id].phase, EniPhase::Attached { .. }));
    assert_ne!(toy.ledger.enis[&other.id].place, attached.place);
}

#[test]
fn somebody_elses_eni_in_our_slot_moves_ours() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.run_to_rest();
    toy.fates = Box::new(|| crate::toy::Fate::Fine);
    toy.add_pods(2);
    toy.round();
    let ours = toy.ledger.enis.values().find(|eni| eni.phase == EniPhase::Available).unwrap().clone();
    toy.cloud.attach_foreign(
        "eni-other",
        ours.slot().unwrap().device,
        EniKind::Standard,
        &[(TAG_NO_MANAGE, "true")],
    );
    toy.run_to_rest();
    assert_eq!(toy.ledger.enis[&EniId::new("eni-other")].place, ours.place);
    assert!(toy.ledger.enis[&ours.id].serves_pods());
    assert_ne!(toy.ledger.enis[&ours.id].place, ours.place);
}

#[test]
fn a_detachment_by_somebody_else_is_waited_for() {
    let mut toy = rested();
    let eni = EniId::new("eni-0001");
    toy.cloud.enis.get_mut(&eni).unwrap().attachment.as_mut().unwrap().status = AttachmentStatus::Detaching;
    let before = toy.ledger.clone();
    let views = vec![];
    let reading = Reading { read: &CloudRead::Enis { enis: vec![] }, views: &views, began: toy.now.boottime };
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let nothing = adopt(&desired, &toy.ledger, &toy.observed, reading, &toy.now);
    assert_eq!(writes(&nothing), Vec::<&Change>::new());
    assert_eq!(toy.ledger, before);
}

/// EC2 gives out again at once what it got back: unassigned here, assigned there, and a late view shows it here.
#[test]
fn a_late_view_does_not_move_an_address_back() {
    let mut toy = Toy::new("t3.small", by_address(1, 5));
    toy.run_to_rest();
    let (from, to) = (EniId::new("eni-primary"), EniId::new("eni-0001"));
    let ip = *toy.cloud.enis[&from].secondary.first().unwrap();
    for eni in [&from, &to] {
        assert!(toy.ledger.enis[eni].serves_pods());
    }
    // As our own calls leave it behind.
    let moved = Block::held(ip.into(), to.clone(), toy.now.boottime);
    toy.ledger.apply(&Change::PutBlock(moved.clone()));
    read_now(&mut toy);
    assert_eq!(toy.ledger.block_of(ip), Some(&moved));
    // When it is not there either for long, and seen here again, it is taken in.
    toy.sleep(Duration::from_secs(60));
    read_now(&mut toy);
    read_now(&mut toy);
    assert_eq!(toy.ledger.block_of(ip).unwrap().eni, from);
}

/// Small subnets meet it soon: EC2 gives out again at once what a deleted ENI had.
#[test]
fn the_own_address_of_a_deleted_eni_is_an_address_like_any_other() {
    let mut toy = rested();
    let id = EniId::new("eni-0001");
    let own = IpAddr::V4(toy.ledger.enis[&id].primary_ipv4.unwrap());
    let gone = EniRecord { phase: EniPhase::Gone, ..toy.ledger.enis[&id].clone() };
    let leases: Vec<_> = toy.ledger.leases_on(&id).map(|lease| lease.sandbox.clone()).collect();
    toy.delete_all_pods();
    assert!(!leases.is_empty());
    for block in toy.ledger.blocks_on(&id).cloned().collect::<Vec<_>>() {
        toy.ledger.apply(&Change::DropBlock(block.net));
    }
    toy.ledger.apply(&Change::PutEni(gone));
    toy.cloud.enis.remove(&id);
    let primary = EniId::new("eni-primary");
    let room = *toy.cloud.enis[&primary].secondary.first().unwrap();
    let secondary = &mut toy.cloud.enis.get_mut(&primary).unwrap().secondary;
    secondary.remove(&room);
    secondary.insert(own);
    toy.sleep(Duration::from_secs(60));
    read_now(&mut toy);
    assert!(toy.ledger.is_held(own), "{:?}", toy.ledger.standing(own));
}

/// Somebody detaches an ENI of ours: until it is gone it gives no address to anybody new.
/// The toy asserts besides that the same read says nothing more when it is taken in again.
#[test]
fn what_an_eni_had_that_is_gone_is_taken_in_by_the_read_that_shows_both() {
    let (gone, here) = (EniId::new("eni-0001"), EniId::new("eni-primary"));
    let mut toy = Toy::new("t3.small", by_eni(2));
    toy.run_to_rest();
    let record = toy.ledger.enis[&gone].clone();
    let own = IpAddr::V4(record.primary_ipv4.unwrap());
    toy.ledger.apply(&Change::PutEni(EniRecord { phase: EniPhase::Detached, ..record }));
    toy.cloud.enis.remove(&gone);
    let secondary = &mut toy.cloud.enis.get_mut(&here).unwrap().secondary;
    secondary.pop_first();
    secondary.insert(own);
    toy.sleep(VIEWS_ARE_OLD_AT_MOST);
    let began = toy.now.boottime;
    toy.read(&CloudRead::Enis { enis: [here.clone(), gone.clone()].into() }, began, 0);
    assert_eq!(toy.ledger.enis.get(&gone).map(|eni| &eni.phase), Some(&EniPhase::Gone));
    assert_eq!(toy.ledger.block_of(own).map(|block| &block.eni), Some(&here));
}

#[test]
fn an_eni_that_is_being_detached_gives_no_addresses() {
    let mut toy = rested();
    let eni = EniId::new("eni-0001");
    let free = |toy: &Toy| {
        let free = toy.free();
        free.iter().filter(|choice| choice.eni == eni).count()
    };
    assert!(free(&toy) > 0);
    let detaching = toy.cloud.enis.get_mut(&eni).unwrap();
    detaching.attachment.as_mut().unwrap().status = AttachmentStatus::Detaching;
    detaching.detached_at = u64::MAX - 10_000;
    read_now(&mut toy);
    assert_eq!(free(&toy), 0);
    assert_eq!(toy.ledger.leases.len(), 4, "who is on it stays there");
    toy.cloud.enis.get_mut(&eni).unwrap().attachment.as_mut().unwrap().status = AttachmentStatus::Attached;
    read_now(&mut toy);
    assert!(free(&toy) > 0, "it has stayed after all");
}

/// A /28 takes the place of one address. Where single ones are wanted it goes when nobody uses it.
#[test]
fn delegated_prefixes_take_up_room() {
    let mut toy = Toy::new("m5.large", by_address(1, 0));
    let primary = EniId::new("eni-primary");
    let prefixes = ["10.0.50.0/28", "10.0.50.16/28"].map(|net| net.parse::<ipnet::Ipv4Net>().unwrap());
    toy.cloud.enis.get_mut(&primary).unwrap().prefixes.extend(prefixes);
    toy.add_pods(8);
    while toy.waiting() > 0 {
        assert!(toy.round(), "{:?}", toy.last);
    }
    let on_primary = toy.cloud.enis[&primary].secondary.len();
    assert_eq!(on_primary, 7, "nine blocks are all that an m5.large has room for on one ENI");
    toy.run_to_rest();
    assert_eq!(toy.cloud.refused, 0, "EC2 was asked for no more than it could give");
    toy.assert_in_agreement();
    assert!(toy.ledger.blocks.values().all(Block::is_host), "{:?}", toy.ledger.blocks);
}

/// An older version, or another daemon, has left ENIs of this node's behind. Somebody else's stay.
#[test]
fn unattached_enis_that_were_made_for_this_node_are_deleted_and_no_others() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.run_to_rest();
    let mine = (TAG_INSTANCE, "i-1");
    let kept = (TAG_NO_MANAGE, "true");
    for (id, tags) in [
        ("eni-left", &[mine][..]),
        ("eni-another-nodes", &[(TAG_INSTANCE, "i-2")]),
        ("eni-kept", &[mine, kept]),
        ("eni-untagged", &[]),
        ("eni-about-to-be-attached", &[mine]),
    ] {
        toy.cloud.attach_foreign(id, 9, EniKind::Standard, tags);
        toy.cloud.enis.get_mut(&EniId::new(id)).unwrap().attachment = None;
    }
    let there = |toy: &Toy, id: &str| toy.cloud.enis.contains_key(&EniId::new(id));
    toy.restart();
    while toy.round() {}
    assert!(there(&toy, "eni-left"), "it may be about to be attached");
    toy.sleep(Duration::from_secs(240));
    while toy.round() {}
    // Somebody attaches it after all, elsewhere.
    let attached = toy.cloud.enis[&EniId::new("eni-primary")].attachment.clone().unwrap();
    let elsewhere = AttachmentView { instance: InstanceId::new("i-2"), ..attached };
    toy.cloud.enis.get_mut(&EniId::new("eni-about-to-be-attached")).unwrap().attachment = Some(elsewhere);
    for _ in 0..20 {
        toy.sleep(Duration::from_secs(20));
        while toy.round() {}
    }
    assert!(!there(&toy, "eni-left"));
    for id in ["eni-another-nodes", "eni-kept", "eni-untagged", "eni-about-to-be-attached"] {
        assert!(there(&toy, id), "{id}");
    }
    toy.cloud.calls.clear();
    toy.sleep(Duration::from_secs(3600));
    while toy.round() {}
    assert_eq!(toy.cloud.calls, [], "what is not ours to delete costs no reads");
}

/// We gave an address back, and somebody else puts that very one on again.
#[test]
fn an_address_that_we_gave_back_and_somebody_put_on_again_is_taken_in_soon() {
    let mut toy = Toy::new("t3.medium", by_address(1, 4));
    toy.run_to_rest();
    toy.add_pods(4);
    toy.run_to_rest();
    toy.delete_all_pods();
    let gone = |toy: &Toy| {
        let gone = |block: &&Block| matches!(block.state, BlockState::Gone(_));
        toy.ledger.blocks.values().find(gone).map(|block| (block.net.addr(), block.eni.clone()))
    };
    while gone(&toy).is_none() {
        if !toy.round() {
            toy.sleep(Duration::from_secs(1));
        }
    }
    let (ip, eni) = gone(&toy).unwrap();
    toy.cloud.enis.get_mut(&eni).unwrap().secondary.insert(ip);
    toy.sleep(Duration::from_secs(30));
    read_now(&mut toy);
    assert!(!toy.ledger.is_held(ip), "a late view");
    toy.sleep(Duration::from_secs(35));
    read_now(&mut toy);
    assert!(toy.ledger.is_held(ip));
    // It may have been a pod's by a ledger that is lost, and the view very late: it rests, and another read shows it.
    assert!(toy.observed.reads.unproven(ip.into()) && !toy.ledger.is_free(ip, &toy.now));
}

/// Somebody has attached another ENI in the place of one that is gone. Pods that live on it are wired for that place, and it
/// may be attached again: until they have gone, the newcomer has to wait.
#[test]
fn a_newcomer_in_the_place_of_an_eni_that_is_gone_waits_for_its_pods_to_go() {
    let (gone, newcomer) = (EniId::new("eni-0001"), EniId::new("eni-newcomer"));
    let mut toy = rested();
    let place = toy.ledger.enis[&gone].place.clone();
    let eni = toy.cloud.enis.get_mut(&gone).unwrap();
    let mut attachment = eni.attachment.take().unwrap();
    read_now(&mut toy);
    assert!(toy.ledger.leases_on(&gone).next().is_some());
    let device = place.slot().unwrap().device;
    toy.cloud.attach_foreign(newcomer.as_str(), device, EniKind::Standard, &[(TAG_INSTANCE, "i-1")]);
    read_now(&mut toy);
    assert_eq!(toy.ledger.enis.get(&newcomer), None);
    assert_eq!((&toy.ledger.enis[&gone].place, toy.ledger.leases.len()), (&place, 4));

    // It is attached again, wherever there was room, and serves them again where they are wired for.
    attachment.slot.device = 7;
    toy.cloud.enis.get_mut(&gone).unwrap().attachment = Some(attachment);
    read_now(&mut toy);
    assert!(toy.ledger.enis[&gone].serves_pods());
    assert_eq!(toy.ledger.enis[&gone].place, place);

    // A sandbox that no lease explains may be wired for it as well.
    toy.cloud.enis.get_mut(&gone).unwrap().attachment = None;
    read_now(&mut toy);
    let [lease] = &toy.ledger.leases_on(&gone).cloned().collect::<Vec<_>>()[..] else { panic!() };
    let ip = lease.faces[0].address;
    toy.cloud.leased.remove(&ip);
    let suspect = Use::Suspect(holdfast_model::uses::Suspicion::MaybeInUse);
    toy.commit(&[Change::DropLease(lease.sandbox.clone()), Change::PutUse(ip, suspect)]);
    read_now(&mut toy);
    assert_eq!(toy.ledger.enis.get(&newcomer), None);

    toy.commit(&[Change::DropUse(ip)]);
    read_now(&mut toy);
    assert_eq!(toy.ledger.enis.get(&newcomer).map(|eni| &eni.place), Some(&place));
    assert_ne!(toy.ledger.enis[&gone].place, place);
}
