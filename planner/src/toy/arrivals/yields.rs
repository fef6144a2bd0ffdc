//! Spares make way for other nodes' pods.

use std::time::Duration;

use holdfast_model::cloud::Api;
use holdfast_model::config::{AddressMode, Setting};
use holdfast_model::warm::WarmMode;

use crate::Explained;
use crate::explain::{Source, explain};
use crate::toy::{Toy, by_address, by_eni};

const HOUR: Duration = Duration::from_secs(3600);

fn explained(toy: &Toy) -> Explained {
    let all = toy.with_desired(|desired| explain(desired, &toy.ledger, &toy.observed, &toy.now));
    all[&toy.pool()].clone()
}

/// One that has learned of bursts of ten.
fn learned(mode: AddressMode, floor: u32) -> Toy {
    let warm = if floor > 0 { by_address(floor, 0) } else { by_eni(1) };
    let mut toy = Toy::new("m5.xlarge", warm);
    toy.switch(mode);
    toy.config.warm_mode = Setting::from_environment(WarmMode::Adaptive);
    toy.run_to_rest();
    toy.sleep(2 * HOUR);
    toy.run_to_rest();
    toy.add_pods(10);
    toy.run_to_rest();
    toy
}

fn looks(toy: &mut Toy, count: u32) {
    for _ in 0..count {
        toy.sleep(Duration::from_secs(2 * 3600 + 60));
        toy.run_to_rest();
    }
}

#[test]
fn spares_make_way_when_the_subnet_runs_low_and_come_back_when_it_does_not() {
    for mode in [AddressMode::Secondary, AddressMode::Prefix] {
        let mut toy = learned(mode, 0);
        let before = explained(&toy);
        assert_eq!((before.source, before.least), (Source::Learned, 10), "{mode:?}");
        assert!(toy.free().len() >= 10, "{mode:?}");
        // Of its 16,384 addresses 512 are kept.
        toy.cloud.subnet_free = 20;
        looks(&mut toy, 1);
        let low = explained(&toy);
        assert_eq!((low.source, low.most), (Source::Yielding, Some(0)), "{mode:?}: {low:?}");
        // Of a prefix that pods are in nothing is given back.
        assert!(
            toy.free().len() < toy.unit().addresses() as usize,
            "{mode:?}: {} are free",
            toy.free().len()
        );
        assert!(toy.cloud.subnet_free >= 30, "{mode:?}: another node finds {}", toy.cloud.subnet_free);
        // A pod is served all the same.
        toy.add_pods(8);
        toy.run_to_rest();
        assert_eq!((toy.waiting(), toy.ledger.leases.len()), (0, 18), "{mode:?}");
        (toy.cloud.subnet_free, toy.cloud.blocks_free) = (9000, 500);
        looks(&mut toy, 3);
        let after = explained(&toy);
        assert_eq!(after.source, Source::Learned, "{mode:?}: {after:?}");
        assert!(toy.free().len() >= after.least as usize, "{mode:?}: {after:?}");
    }
}

#[test]
fn a_floor_that_is_set_makes_no_way() {
    let mut toy = learned(AddressMode::Secondary, 4);
    toy.cloud.subnet_free = 20;
    looks(&mut toy, 2);
    assert_eq!(toy.free().len(), 4);
    assert_eq!(explained(&toy).most, Some(4));
}

/// The first hour's targets, which are more, make way too.
#[test]
fn the_set_targets_make_way_before_anything_was_learned() {
    let mut toy = Toy::new("m5.xlarge", by_eni(1));
    toy.config.warm_mode = Setting::from_environment(WarmMode::Adaptive);
    toy.cloud.subnet_free = 400;
    toy.add_pods(1);
    for _ in 0..40 {
        if !toy.round() {
            toy.sleep(Duration::from_secs(30));
        }
    }
    assert!(matches!(explained(&toy).source, Source::Yielding | Source::SetWhileLearning(_)));
    assert!(toy.free().len() < 14, "{} are free", toy.free().len());
}

/// A refusal for want of addresses is the truth, whatever the count said.
#[test]
fn a_node_that_is_refused_gives_its_spares_to_pods() {
    let mut toy = learned(AddressMode::Secondary, 0);
    let spares = toy.free().len();
    toy.cloud.subnet_free = 0;
    toy.add_pods(u32::try_from(spares).unwrap() + 1);
    for _ in 0..30 {
        if !toy.round() {
            toy.sleep(Duration::from_secs(1));
        }
    }
    assert_eq!(explained(&toy).yields_to, Some(0));
    toy.delete_all_pods();
    toy.set_waiting(0);
    toy.sleep(Duration::from_secs(60));
    toy.run_to_rest();
    assert_eq!(toy.free().len(), 0, "what pods gave back goes to the subnet: {:?}", explained(&toy));
}

/// At rest it calls EC2 less than once an hour, as without.
#[test]
fn at_rest_a_node_calls_less_than_once_an_hour() {
    let mut toy = learned(AddressMode::Secondary, 0);
    looks(&mut toy, 3);
    toy.cloud.calls.clear();
    let began = toy.now.boottime;
    for _ in 0..24 {
        toy.sleep(HOUR);
        toy.run_to_rest();
    }
    let changes = toy.cloud.calls.iter().filter(|api| **api == Api::UnassignPrivateIpAddresses).count();
    assert!(changes <= 4, "{:?}", toy.cloud.calls);
    let hours = usize::try_from(toy.now.boottime.since(began).as_secs() / 3600).unwrap();
    assert!(toy.cloud.calls.len() < hours, "in {hours} hours: {:?}", toy.cloud.calls);
}
