use holdfast_model::config::Config;
use holdfast_model::ids::{BootId, IntentId};
use holdfast_model::ledger::Change;
use holdfast_model::time::{BootTime, WallTime};
use holdfast_model::uses::{Cooldown, Suspicion};

use super::*;
use crate::desk::{Desk, pass, sandbox};
use crate::request::Deleted;
use crate::tally::Repair;

fn now() -> Now {
    Now { boot: BootId::new("b"), boottime: BootTime(100_000), wall: WallTime(0) }
}

fn rest(seconds: u64) -> Use {
    Use::Cooling(Cooldown { boot: now().boot, since: BootTime(90_000), period_ms: seconds * 1000 })
}

/// POOL-ACCOUNT: each address is doing exactly one thing, so that all together are what EC2 has there.
#[tokio::test(start_paused = true)]
async fn each_address_is_in_one_state_and_none_is_left_out() {
    let desk = Desk::serving(Config::default()).await;
    let mut ledger = desk.dump().await.unwrap().ledger;
    let eni = ledger.enis.values().next().unwrap().clone();
    let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
    let block = |last: u8, state| {
        Change::PutBlock(Block { state, ..Block::held(IpNet::from(ip(last)), eni.id.clone(), BootTime(1)) })
    };
    ledger.apply_all(&[
        block(5, BlockState::Held),
        Change::DropUse(ip(5)),
        block(6, BlockState::Held),
        Change::PutUse(ip(6), rest(30)),
        block(7, BlockState::Held),
        // Over: as if it had none.
        Change::PutUse(ip(7), rest(10)),
        block(8, BlockState::Held),
        Change::PutUse(ip(8), Use::Suspect(Suspicion::MaybeInUse)),
        block(9, BlockState::Held),
        Change::PutUse(ip(9), Use::Leased(sandbox("a"))),
        block(10, BlockState::Withdrawn),
        Change::PutUse(ip(10), Use::Leased(sandbox("b"))),
        block(11, BlockState::Leaving(IntentId(uuid::Uuid::nil()))),
        block(12, BlockState::Gone(BootTime(2))),
        // A prefix: each of its addresses counts.
        Change::PutBlock(Block::held("10.0.1.0/28".parse().unwrap(), eni.id.clone(), BootTime(1))),
        Change::PutUse([10, 0, 1, 0].into(), Use::Leased(sandbox("c"))),
        Change::PutUse([10, 0, 1, 1].into(), rest(30)),
    ]);
    let free = BTreeSet::from([ip(5), [10, 0, 1, 15].into()]);
    let figures = EniFigures::of(&eni, &ledger, &free, &now());
    let expected = [
        (AddressState::Primary, 1),
        (AddressState::Free, 2),
        (AddressState::Unready, 14),
        (AddressState::Leased, 2),
        (AddressState::Cooling, 2),
        (AddressState::Quarantined, 1),
        (AddressState::Withdrawn, 1),
        (AddressState::Leaving, 1),
    ];
    assert_eq!(figures.prefixes, 1);
    assert_eq!(figures.addresses, BTreeMap::from(expected));
    let there = ledger.blocks_on(&eni.id).filter(|block| block.occupies()).flat_map(Block::addresses).count();
    assert_eq!(figures.addresses.values().sum::<u64>() as usize, there + 1, "the ENI's own besides");
    let others = EniRecord { management: Management::Unmanaged, ..eni };
    assert_eq!(EniFigures::of(&others, &ledger, &free, &now()).addresses, BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn figures_follow_a_pods_life() {
    let desk = Desk::serving(Config::default()).await;
    let sums = async || {
        let figures = desk.figures().await.unwrap();
        let of = |state| figures.enis.iter().map(|eni| eni.count(state)).sum::<u64>();
        [AddressState::Free, AddressState::Leased, AddressState::Cooling].map(of)
    };
    assert_eq!(sums().await, [3, 0, 0]);
    desk.add("a").await.unwrap();
    assert_eq!(sums().await, [2, 1, 0]);
    let figures = desk.figures().await.unwrap();
    assert_eq!(figures.leased_by_block.iter().map(|(_, leased)| leased).sum::<u32>(), 1);
    assert_eq!(figures.leased_by_block.len(), 3);
    assert_eq!((figures.violations, figures.waiting, figures.longest_wait), (0, 0, None));
    assert_eq!(desk.del("a").await, Ok(Deleted::Durable));
    pass(1).await;
    assert_eq!(sums().await, [2, 0, 1]);
    pass(60).await;
    assert_eq!(sums().await, [3, 0, 0]);
    assert!(figures.enis.iter().all(|eni| eni.management == Management::Managed), "{figures:?}");
    assert!(matches!(figures.status, Status::Ready), "{figures:?}");
    assert!(figures.served_after.is_some() && figures.ledger_writable, "{figures:?}");
    assert_eq!(figures.tally.repairs.get(&Repair::Nat), Some(&1), "written at the start");
}

#[tokio::test(start_paused = true)]
async fn who_waits_and_what_is_under_way_is_told_while_it_is() {
    let desk = Desk::start(Config::default());
    desk.cloud_is_silent(true);
    pass(10).await;
    let waiting = desk.adding(crate::desk::request("a"));
    pass(5).await;
    let figures = desk.figures().await.unwrap();
    assert_eq!((figures.waiting, figures.longest_wait), (1, Some(Duration::from_secs(5))));
    assert!(figures.reads > 0, "{figures:?}");
    desk.cloud_is_silent(false);
    waiting.await.unwrap().unwrap();
    let figures = desk.figures().await.unwrap();
    assert_eq!((figures.waiting, figures.longest_wait), (0, None));
    let wait = figures.tally.adds.wait.sum();
    assert!(wait >= Duration::from_secs(5), "{wait:?}");
}

/// What is known of nothing yet is not there.
#[tokio::test(start_paused = true)]
async fn a_node_that_nobody_has_told_who_it_is_has_no_figures_of_its_type() {
    let desk = Desk::start_with(Config::default(), false);
    pass(1).await;
    let figures = desk.figures().await.unwrap();
    assert_eq!((figures.limits, figures.served_after), (None, None));
    assert!(matches!(figures.status, Status::Refusing(_)));
    assert!(figures.enis.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_is_told() {
    let desk = Desk::serving(Config::default()).await;
    desk.disk_hangs(true);
    let adding = desk.adding(crate::desk::request("a"));
    pass(10).await;
    assert!(!desk.figures().await.unwrap().ledger_writable);
    desk.disk_hangs(false);
    adding.await.unwrap().unwrap_err();
    pass(1).await;
    assert!(desk.figures().await.unwrap().ledger_writable);
}

/// A /80 is counted whole, and nobody goes through it: each address in one state, as the whole is where none is known of it.
#[tokio::test(start_paused = true)]
async fn the_addresses_of_an_ipv6_prefix_are_counted_by_what_is_known_of_a_few() {
    let desk = Desk::serving(Config::default()).await;
    let mut ledger = desk.dump().await.unwrap().ledger;
    let eni = ledger.enis.values().next().unwrap().clone();
    let before = EniFigures::of(&eni, &ledger, &BTreeSet::new(), &now());
    let ip = |last: u8| format!("2001:db8::{last}").parse::<IpAddr>().unwrap();
    let net: IpNet = "2001:db8::/80".parse().unwrap();
    ledger.apply_all(&[
        Change::PutBlock(Block::held(net, eni.id.clone(), BootTime(1))),
        Change::PutUse(ip(1), Use::Leased(sandbox("a"))),
        Change::PutUse(ip(2), rest(60)),
        Change::PutUse(ip(3), Use::Suspect(Suspicion::MaybeInUse)),
    ]);
    let count = |ledger: &Ledger, free: BTreeSet<IpAddr>| {
        let figures = EniFigures::of(&eni, ledger, &free, &now());
        AddressState::ALL.map(|state| figures.count(state) - before.count(state))
    };
    let all: u64 = 1 << 48;
    let [_, free, unready, leased, cooling, quarantined, ..] = count(&ledger, [ip(9)].into());
    assert_eq!((free, unready, leased, cooling, quarantined), (all - 3, 0, 1, 1, 1));
    assert_eq!(count(&ledger, BTreeSet::new())[2], all - 3, "none can be leased just now");
    ledger.apply(&Change::PutUse(ip(0), rest(60)));
    assert_eq!(count(&ledger, BTreeSet::new())[4], all - 2, "all of it rests");
}
