//! Random lives of a node, with every fault of the toy EC2.

use std::time::Duration;

use holdfast_model::block::Block;
use holdfast_model::brake::Brake;
use holdfast_model::cloud::Api;
use holdfast_model::config::{AddressMode, WarmTargets};
use proptest::prelude::*;

use crate::toy::{Fate, Toy, by_address, by_eni, by_prefix};

#[derive(Clone, Debug)]
enum Op {
    Add(u32),
    Delete(usize),
    DeleteAll,
    Round,
    Sleep(u64),
    Restart,
    Reboot,
    SubnetFull,
    SubnetEmpties,
    BlocksLeft(u32),
    Switch(AddressMode),
    Targets(WarmTargets),
    Brake(Brake),
    Cordon(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (1..30_u32).prop_map(Op::Add),
        3 => (0..50_usize).prop_map(Op::Delete),
        1 => Just(Op::DeleteAll),
        8 => Just(Op::Round),
        4 => (1..90_000_u64).prop_map(Op::Sleep),
        1 => Just(Op::Restart),
        1 => Just(Op::Reboot),
        1 => Just(Op::SubnetFull),
        1 => Just(Op::SubnetEmpties),
        1 => (0..3_u32).prop_map(Op::BlocksLeft),
        1 => mode().prop_map(Op::Switch),
        1 => warm().prop_map(Op::Targets),
        1 => brake().prop_map(Op::Brake),
        1 => any::<bool>().prop_map(Op::Cordon),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        10 => Just(Fate::Fine),
        1 => Just(Fate::Throttled),
        1 => Just(Fate::LostBefore),
        1 => Just(Fate::LostAfter),
        2 => Just(Fate::NotSent),
        1 => Just(Fate::KilledBefore),
        1 => Just(Fate::KilledAfter),
        3 => (1..20_u8).prop_map(Fate::Stale),
    ]
}

fn mode() -> impl Strategy<Value = AddressMode> {
    prop_oneof![Just(AddressMode::Secondary), Just(AddressMode::Prefix)]
}

fn brake() -> impl Strategy<Value = Brake> {
    prop_oneof![2 => Just(Brake::None), 1 => Just(Brake::Release), 1 => Just(Brake::All)]
}

fn warm() -> impl Strategy<Value = WarmTargets> {
    prop_oneof![
        (0..3_u32).prop_map(by_eni),
        (0..3_u32).prop_map(by_prefix),
        (0..4_u32, 1..8_u32).prop_map(|(warm, minimum)| by_address(warm, minimum)),
        (1..4_u32).prop_map(|warm| by_address(warm, 0)),
    ]
}

fn live(toy: &mut Toy, ops: &[Op]) {
    for op in ops {
        let called = toy.cloud.calls.len();
        match op {
            Op::Add(count) => toy.add_pods(*count),
            Op::Delete(nth) => toy.delete_pod(*nth),
            Op::DeleteAll => toy.delete_all_pods(),
            Op::Round => {
                toy.round();
            }
            Op::Sleep(ms) => {
                toy.sleep(Duration::from_millis(*ms));
                toy.serve();
            }
            Op::Restart => toy.restart(),
            Op::Reboot => toy.reboot(),
            Op::SubnetFull => toy.cloud.subnet_free = 0,
            Op::SubnetEmpties => (toy.cloud.subnet_free, toy.cloud.blocks_free) = (1000, 50),
            Op::BlocksLeft(count) => toy.cloud.blocks_free = *count,
            Op::Switch(mode) => toy.switch(*mode),
            Op::Targets(warm) => toy.config.warm.value = *warm,
            Op::Brake(brake) => toy.config.brake.value = *brake,
            Op::Cordon(cordoned) => toy.observed.cordoned = *cordoned,
        }
        assert_held_back(toy, called);
    }
}

/// What somebody has forbidden was not called for since so many calls.
fn assert_held_back(toy: &Toy, called: usize) {
    let brake = toy.config.brake.value;
    let cordoned = toy.observed.cordoned;
    let forbidden = |api: &Api| match api {
        Api::UnassignPrivateIpAddresses | Api::DeleteNetworkInterface => brake.keeps(),
        Api::DetachNetworkInterface => brake.keeps() || cordoned,
        _ => brake.is_silent(),
    };
    let calls = &toy.cloud.calls[called..];
    assert!(!calls.iter().any(forbidden), "{brake}, cordoned {cordoned}: {calls:?}");
}

fn assert_all_well(toy: &mut Toy) {
    toy.config.brake.value = Brake::None;
    toy.observed.cordoned = false;
    toy.fates = Box::new(|| Fate::Fine);
    (toy.cloud.subnet_free, toy.cloud.blocks_free) = (1000, 50);
    toy.run_to_rest();
    // What a stale read hid, the next full one shows.
    toy.sleep(Duration::from_secs(7 * 3600));
    toy.run_to_rest();
    toy.assert_in_agreement();
    // With pods in blocks of the other unit it can carry fewer, or more.
    let unit = |block: &&Block| block.occupies() && block.unit() != toy.unit();
    let mixed = toy.ledger.blocks.values().any(|block| unit(&block));
    let capacity = toy.cloud.limits.most_addresses(toy.unit()) as usize;
    if toy.waiting() > 0 && !mixed {
        assert_eq!(
            toy.ledger.leases.len(),
            capacity,
            "POOL-PROGRESS: {} wait and {:?}",
            toy.waiting(),
            toy.last
        );
    }
    let idle_others = toy.ledger.blocks.values().filter(unit).filter(|block| !toy.ledger.is_somebodys(block));
    assert_eq!(idle_others.count(), 0, "what is of the other unit goes when nobody uses it: {:?}", toy.last);
    // No oscillation: left alone for a day, it only looks.
    toy.cloud.calls.clear();
    for _ in 0..24 {
        toy.sleep(Duration::from_secs(3600));
        toy.run_to_rest();
    }
    assert!(
        toy.cloud.calls.iter().all(|api| *api == Api::DescribeNetworkInterfaces),
        "oscillates: {:?}",
        toy.cloud.calls
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_life_with_faults_ends_well(
        warm in warm(),
        mode in mode(),
        ops in proptest::collection::vec(op(), 1..60),
        fates in proptest::collection::vec(fate(), 1..80),
        small in any::<bool>(),
    ) {
        let mut toy = Toy::new(if small { "t3.small" } else { "t3.medium" }, warm);
        toy.switch(mode);
        let mut turn = 0;
        toy.fates = Box::new(move || {
            turn += 1;
            fates[turn % fates.len()]
        });
        live(&mut toy, &ops);
        assert_all_well(&mut toy);
    }

    #[test]
    fn any_life_without_faults_ends_well(
        warm in warm(),
        mode in mode(),
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        let mut toy = Toy::new("t3.medium", warm);
        toy.switch(mode);
        live(&mut toy, &ops);
        assert_all_well(&mut toy);
    }
}
