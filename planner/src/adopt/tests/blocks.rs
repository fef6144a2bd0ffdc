//! What a read makes of each block and address that it shows or lacks.

use holdfast_model::block::BlockState;
use holdfast_model::eni::EniSlot;
use ipnet::Ipv4Net;

use super::*;
use crate::toy::cloud::view;

fn primary() -> EniId {
    EniId::new("eni-primary")
}

fn second() -> EniId {
    EniId::new("eni-0001")
}

/// What a full read at this instant changes.
fn adopted(toy: &Toy) -> Vec<Change> {
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let attached = toy.cloud.enis.iter().filter(|(_, eni)| eni.attachment.is_some());
    let views: Vec<EniView> = attached.map(|(id, eni)| view(id, eni)).collect();
    let (read, began) = (full(), toy.now.boottime);
    adopt(&desired, &toy.ledger, &toy.observed, Reading { read: &read, views: &views, began }, &toy.now)
}

fn journal(changes: &[Change]) -> Vec<&str> {
    changes
        .iter()
        .filter_map(|change| match change {
            Change::Journal(entry) => Some(entry.what.as_str()),
            _ => None,
        })
        .collect()
}

/// An address of the pool on that ENI that nobody uses.
fn free_on(toy: &Toy, eni: &EniId) -> IpAddr {
    let free = toy.free();
    free.iter().find(|choice| choice.eni == *eni).expect("one is free").address
}

fn leased_on(toy: &Toy, eni: &EniId) -> IpAddr {
    toy.ledger.leases_on(eni).next().expect("a pod lives there").faces[0].address
}

fn put_block(toy: &mut Toy, ip: IpAddr, change: impl FnOnce(&mut Block)) {
    let mut block = toy.ledger.block_of(ip).expect("it is in the book").clone();
    change(&mut block);
    toy.ledger.apply(&Change::PutBlock(block));
}

fn hide(toy: &mut Toy, eni: &EniId, ip: IpAddr) {
    toy.cloud.enis.get_mut(eni).unwrap().secondary.remove(&ip);
}

fn show(toy: &mut Toy, eni: &EniId, ip: IpAddr) {
    toy.cloud.enis.get_mut(eni).unwrap().secondary.insert(ip);
}

/// The other unusable kind, and a card that no pool is on.
#[test]
fn what_carries_no_pods_is_not_managed() {
    for (kind, card) in [(EniKind::Trunk, 0), (EniKind::EfaOnly, 0), (EniKind::Standard, 1)] {
        let mut toy = Toy::new("m5.large", by_eni(1));
        toy.cloud.attach_foreign("eni-other", 1, kind, &[]);
        let other = toy.cloud.enis.get_mut(&EniId::new("eni-other")).unwrap();
        other.attachment.as_mut().unwrap().slot = EniSlot { card, device: 1 };
        read_now(&mut toy);
        let record = &toy.ledger.enis[&EniId::new("eni-other")];
        assert_eq!(record.management, Management::Unmanaged, "{kind:?} on card {card}");
    }
}

#[test]
fn an_address_that_was_taken_from_a_pod_is_noted_and_is_whole_when_it_is_shown_again() {
    let mut toy = rested();
    let ip = leased_on(&toy, &second());
    hide(&mut toy, &second(), ip);
    // It was shown just now: the view may be of before it was given. Half a minute after the last change that is long over.
    let moment = Duration::from_millis(1);
    toy.sleep(VIEWS_ARE_OLD_AT_MOST.saturating_sub(moment));
    assert_eq!(journal(&adopted(&toy)), Vec::<String>::new());
    toy.sleep(moment);
    let changes = adopted(&toy);
    assert_eq!(
        journal(&changes),
        [format!("{ip}/32 on {} was taken away in EC2 while it is in use", second())],
        "{changes:?}"
    );
    toy.commit(&changes);
    assert_eq!(toy.ledger.block_of(ip).unwrap().state, BlockState::Withdrawn);
    show(&mut toy, &second(), ip);
    toy.commit(&adopted(&toy));
    assert_eq!(toy.ledger.block_of(ip).unwrap().state, BlockState::Held);
}

#[test]
fn a_block_is_proven_by_the_first_read_since_its_eni_was_changed() {
    let mut toy = rested();
    let ip = free_on(&toy, &second());
    let changed = toy.ledger.enis[&second()].changed;
    for (shown, then) in [
        (BootTime(changed.0 - 1), toy.now.boottime),
        (changed, changed),
        (BootTime(changed.0 + 1), BootTime(changed.0 + 1)),
    ] {
        put_block(&mut toy, ip, |block| block.shown = shown);
        toy.ledger.apply_all(&adopted(&toy));
        assert_eq!(toy.ledger.block_of(ip).unwrap().shown, then, "shown {shown:?}, changed {changed:?}");
    }
}

/// The book has an address on one ENI and EC2 shows it on another: it is moved when it has surely left and nobody holds it.
#[test]
fn an_address_that_is_shown_elsewhere_moves_only_when_it_left_and_is_not_leased() {
    for (state, leased, moves) in [
        (BlockState::Held, false, false),
        (BlockState::Withdrawn, true, false),
        (BlockState::Withdrawn, false, true),
    ] {
        let mut toy = rested();
        let ip = leased_on(&toy, &second());
        put_block(&mut toy, ip, |block| block.state = state);
        if !leased {
            toy.ledger.apply(&Change::PutUse(ip, Use::Suspect(Suspicion::MaybeInUse)));
        }
        // Its old place is not read again before it is shown in its new one.
        let record = toy.ledger.enis[&second()].clone();
        toy.ledger.apply(&Change::PutEni(EniRecord { changed: toy.now.boottime.after(SECOND), ..record }));
        hide(&mut toy, &second(), ip);
        show(&mut toy, &primary(), ip);
        toy.ledger.apply_all(&adopted(&toy));
        let block = toy.ledger.block_of(ip).unwrap();
        let expected = if moves { (primary(), BlockState::Held) } else { (second(), state) };
        assert_eq!((block.eni.clone(), block.state), expected, "{state:?}, leased: {leased}");
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// By the view that shows it, or by what the book has of another ENI.
#[test]
fn no_enis_own_address_is_taken_for_a_secondary_one() {
    let mut toy = Toy::new("m5.large", by_address(1, 1));
    toy.cloud.attach_foreign("eni-other", 1, EniKind::Standard, &[]);
    read_now(&mut toy);
    toy.sleep(Duration::from_secs(120));
    let others_own = IpAddr::V4(toy.cloud.enis[&EniId::new("eni-other")].primary);
    let primarys = toy.cloud.enis.get_mut(&primary()).unwrap();
    primarys.primary = "10.0.50.5".parse().unwrap();
    let own = IpAddr::V4(primarys.primary);
    primarys.secondary.extend([own, others_own]);
    read_now(&mut toy);
    assert_eq!((toy.ledger.block_of(own), toy.ledger.block_of(others_own)), (None, None));
}

#[test]
fn delegated_prefixes_come_stay_and_go_as_they_are_shown() {
    let prefix = |nth: u8| Ipv4Net::new([10, 0, 100, nth * 16].into(), 28).unwrap();
    let mut toy = rested();
    toy.cloud.enis.get_mut(&second()).unwrap().prefixes = [prefix(0), prefix(1)].into();
    // Room for them.
    toy.cloud.enis.get_mut(&second()).unwrap().secondary.retain(|ip| toy.cloud.leased.contains(ip));
    read_now(&mut toy);
    read_now(&mut toy);
    let booked = |toy: &Toy, nth| toy.ledger.blocks.get(&IpNet::V4(prefix(nth))).cloned();
    assert!(booked(&toy, 0).is_some_and(|block| block.eni == second()));

    // One is shown again after a change of its ENI, the other is not.
    toy.sleep(Duration::from_secs(60));
    let record = toy.ledger.enis[&second()].clone();
    let changed = BootTime(toy.now.boottime.0 - 31_000);
    toy.ledger.apply(&Change::PutEni(EniRecord { changed, ..record }));
    toy.cloud.enis.get_mut(&second()).unwrap().prefixes.remove(&prefix(1));
    let before = toy.now.boottime;
    read_now(&mut toy);
    assert_eq!(booked(&toy, 0).map(|block| block.shown), Some(before));
    assert_eq!(booked(&toy, 1), None);

    // Shown on another ENI too: the book keeps it where it is.
    let kept = booked(&toy, 0);
    toy.sleep(SECOND);
    let record = toy.ledger.enis[&primary()].clone();
    toy.ledger.apply(&Change::PutEni(EniRecord { changed: toy.now.boottime, ..record }));
    toy.sleep(SECOND);
    toy.cloud.enis.get_mut(&primary()).unwrap().prefixes = [prefix(0)].into();
    read_now(&mut toy);
    assert_eq!(booked(&toy, 0), kept);
}
