use holdfast_model::config::WarmTargets;

use super::*;
use crate::toy::{by_address, by_eni, by_prefix};

const ADDRESS: Unit = Unit::Address;
const PREFIX: Unit = Unit::Prefix;

fn level(leased: u32, free: u32) -> Level {
    Level { leased, free, ..Level::default() }
}

fn of(warm: WarmTargets, unit: Unit, per_eni: u32) -> Targets {
    Targets { warm, unit, per_eni, stock: None }
}

/// One vector of upstream's unit tests: whether the pool is too low (reference: vpc-cni 10.1).
struct Low {
    unit: Unit,
    warm: WarmTargets,
    per_eni: u32,
    leased: u32,
    total: u32,
    low: bool,
}

const fn low(unit: Unit, warm: WarmTargets, per_eni: u32, leased: u32, total: u32, low: bool) -> Low {
    Low { unit, warm, per_eni, leased, total, low }
}

#[test]
fn too_low_as_upstream_sees_it() {
    let vectors = [
        low(ADDRESS, by_eni(1), 14, 0, 0, true),
        low(ADDRESS, by_eni(0), 14, 0, 0, true),
        low(ADDRESS, by_address(3, 0), 14, 0, 0, true),
        low(ADDRESS, by_eni(1), 3, 0, 3, false),
        low(ADDRESS, by_address(1, 0), 3, 0, 3, false),
        low(ADDRESS, by_eni(1), 3, 1, 3, true),
        low(ADDRESS, by_eni(0), 3, 1, 3, false),
        low(ADDRESS, by_eni(1), 3, 3, 3, true),
        low(ADDRESS, by_eni(0), 3, 3, 3, true),
        low(PREFIX, by_prefix(1), 14, 0, 0, true),
        low(PREFIX, by_prefix(0), 14, 0, 0, true),
        low(PREFIX, by_prefix(1), 14, 0, 16, false),
        low(PREFIX, by_prefix(1), 14, 1, 16, true),
        low(PREFIX, by_prefix(1), 14, 3, 16, true),
        low(PREFIX, by_prefix(0), 14, 1, 16, false),
        low(PREFIX, by_prefix(0), 14, 3, 16, false),
    ];
    for it in vectors {
        let short = of(it.warm, it.unit, it.per_eni).short(&level(it.leased, it.total - it.leased));
        assert_eq!(short > 0, it.low, "{:?} {:?}: {} of {}", it.unit, it.warm, it.leased, it.total);
    }
}

/// Upstream's vectors of how much is missing and how much too many (reference: vpc-cni 3.3, 10.1), in units.
#[test]
fn short_and_over_as_upstream_sees_them() {
    for (unit, warm, leased, total, idle, short, over) in [
        (ADDRESS, by_address(5, 0), 0, 0, 0, 5, 0),
        (ADDRESS, by_address(5, 0), 0, 2, 2, 3, 0),
        (ADDRESS, by_address(5, 0), 0, 5, 5, 0, 0),
        (ADDRESS, by_address(5, 0), 0, 7, 7, 0, 2),
        // The minimum keeps what the warm target would give back.
        (ADDRESS, by_address(2, 10), 3, 10, 7, 0, 0),
        (ADDRESS, by_address(2, 10), 8, 13, 5, 0, 3),
        (PREFIX, by_address(5, 0), 0, 0, 0, 1, 0),
        (PREFIX, by_address(5, 0), 0, 32, 2, 0, 1),
        (PREFIX, by_address(5, 0), 0, 16, 1, 0, 0),
        (PREFIX, by_address(5, 20), 0, 48, 3, 0, 1),
        (PREFIX, by_address(1, 1), 1, 48, 2, 0, 2),
        (PREFIX, by_address(1, 1), 17, 64, 1, 0, 1),
        (PREFIX, by_prefix(1), 5, 48, 2, 0, 1),
        (PREFIX, by_prefix(1), 16, 32, 1, 0, 0),
        (PREFIX, by_prefix(2), 1, 16, 0, 2, 0),
        (PREFIX, by_prefix(0), 1, 32, 1, 0, 1),
    ] {
        let (targets, level) = (of(warm, unit, 14), level(leased, total - leased));
        let figures = (targets.short(&level), targets.over(&level, idle));
        assert_eq!(figures, (short, over), "{unit:?} {warm:?}: {leased} of {total}, {idle} idle");
    }
}

/// Where we differ on purpose, in figures. The reasons are in docs/differences.md.
#[test]
fn what_differs_from_upstream_on_purpose() {
    let short = |warm, level: Level| of(warm, PREFIX, 14).short(&level);
    let over = |warm, level: Level, idle| of(warm, PREFIX, 14).over(&level, idle);
    // Upstream counts wholly free prefixes, and asks for two here: two half-used ones have a prefix's worth between them.
    assert_eq!(short(by_prefix(2), level(16, 16)), 1);
    assert_eq!(short(by_prefix(1), level(16, 16)), 0);
    // Upstream gives its last prefix back, finds the pool empty, and takes another.
    assert_eq!(over(by_prefix(0), level(0, 16), 1), 0);
    assert_eq!(over(by_prefix(0), level(0, 32), 2), 1);
    // Upstream gives back what rests.
    assert_eq!(over(by_prefix(1), Level { leased: 1, free: 31, cooling: 16, ..Level::default() }, 1), 0);
    // Upstream grows by one prefix, or by one ENI's room, at a time.
    assert_eq!(short(by_prefix(1), Level { waiting: 110, ..Level::default() }), 8);
}

/// Under churn some addresses always rest. A prefix goes all the same, if those that were leased at once lately need none of it.
#[test]
fn what_rests_holds_no_prefix_unless_its_pods_may_be_about_to_be_replaced() {
    for (leased, free, cooling, returning, over) in [
        // 96 pods in eight prefixes, of which seven are enough.
        (96, 27, 5, 0, 1),
        (96, 32, 0, 0, 1),
        (96, 27, 5, 1, 0),
        (96, 32, 0, 1, 0),
        (95, 28, 5, 1, 1),
        // More than half of what is left would rest.
        (96, 17, 15, 0, 0),
        (96, 22, 26, 0, 0),
        (96, 37, 11, 0, 1),
    ] {
        let level = Level { leased, free, cooling, returning, ..Level::default() };
        let targets = of(by_prefix(1), PREFIX, 29);
        assert_eq!(targets.over(&level, 2), over, "{level:?}");
        // Single addresses go when they are free.
        let (targets, single) = (of(by_address(20, 0), ADDRESS, 29), free.saturating_sub(20));
        assert_eq!(targets.over(&level, 99), single, "{level:?}");
    }
}

/// Upstream's vector (reference: vpc-cni 3.7): one ENI with 2 pods, one with 2 free, one with 1 free.
#[test]
fn which_eni_may_go() {
    let all = level(2, 3);
    let spare =
        |warm, minimum, level: Level, free| of(by_address(warm, minimum), ADDRESS, 14).spare(&level, free);
    for free in [1, 2] {
        assert!(!spare(3, 1, all, free));
        assert!(!spare(1, 5, all, free));
    }
    assert!(spare(2, 4, all, 1) && !spare(2, 4, all, 2), "the third, not the second");
    let two = level(2, 2);
    assert!(!spare(0, 3, two, 2));
    assert!(spare(0, 2, two, 2));
}

#[test]
fn resting_addresses_count_for_targets_and_not_for_waiting_adds() {
    for (unit, more) in [(ADDRESS, 1), (PREFIX, 1)] {
        let targets = of(by_address(2, 23), unit, 29);
        let resting = Level { leased: 19, cooling: 4, ..Level::default() };
        assert_eq!(targets.short(&resting), 0);
        assert_eq!(targets.short(&Level { waiting: 1, ..resting }), more, "cni#2896");
    }
}

/// What is of the other unit serves those who wait, and nothing else: no target is met by it.
#[test]
fn what_is_of_the_other_unit_meets_no_target() {
    let targets = of(by_prefix(1), PREFIX, 14);
    let beside = Level { leased: 3, beside: 9, ..Level::default() };
    assert_eq!(targets.short(&beside), 1);
    assert_eq!(Targets::lacking(&Level { waiting: 9, ..beside }), 0);
    assert_eq!(Targets::lacking(&Level { waiting: 11, ..beside }), 2);
    assert_eq!(targets.short(&Level { waiting: 9, ..beside }), 1, "they are served without it");
    assert_eq!(targets.over(&Level { free: 16, ..beside }, 1), 0);
}

/// What is given back is never wanted at once: for every small pool and every target.
#[test]
fn giving_back_never_makes_short() {
    let by_addresses = [by_address(0, 3), by_address(2, 0), by_address(2, 5), by_address(7, 20)];
    let enis = [by_eni(0), by_eni(1), by_eni(2)].map(|warm| (ADDRESS, warm));
    let prefixes = [by_prefix(0), by_prefix(1), by_prefix(2)].map(|warm| (PREFIX, warm));
    let both = by_addresses.into_iter().flat_map(|warm| [(ADDRESS, warm), (PREFIX, warm)]);
    for (unit, warm) in enis.into_iter().chain(prefixes).chain(both) {
        let targets = of(warm, unit, 3);
        let steps = unit.addresses();
        for (leased, free, cooling) in
            (0..10).flat_map(|a| (0..10).flat_map(move |b| (0..4).map(move |c| (a, b * steps + a % 3, c))))
        {
            let level = Level { leased, free, cooling, ..Level::default() };
            let over = targets.over(&level, free / steps);
            if over > 0 {
                let then = Level { free: free - over * steps, ..level };
                assert_eq!(targets.short(&then), 0, "{unit:?} {warm:?} {level:?}");
                assert_eq!(targets.over(&then, then.free / steps), 0, "all at once: {warm:?} {level:?}");
            }
            for gone in (0..=free.min(3 * steps)).step_by(steps as usize) {
                if targets.spare(&level, gone) {
                    let then = Level { free: free - gone, ..level };
                    assert_eq!(targets.short(&then), 0, "{unit:?} {warm:?} {level:?}");
                }
            }
        }
    }
}

/// Settings are not bounded: too large a figure keeps all that can be had.
#[test]
fn figures_beyond_all_measure_keep_everything() {
    for (unit, warm) in [
        (ADDRESS, by_address(u32::MAX, u32::MAX)),
        (PREFIX, by_address(u32::MAX, u32::MAX)),
        (ADDRESS, by_eni(u32::MAX)),
        (PREFIX, by_prefix(u32::MAX)),
    ] {
        for per_eni in [14, u32::MAX] {
            let targets = of(warm, unit, per_eni);
            let level = Level {
                leased: u32::MAX,
                free: 3,
                cooling: 2,
                returning: 0,
                waiting: u32::MAX,
                beside: u32::MAX,
            };
            assert_eq!(targets.over(&level, u32::MAX), 0);
            assert!(!targets.spare(&level, 3));
            assert!(targets.short(&Level { waiting: 1, ..Level::default() }) > 1000);
        }
    }
}

/// Somebody is about to take what is free.
#[test]
fn nothing_is_given_back_while_an_add_waits() {
    for (unit, warm) in [
        (ADDRESS, by_eni(0)),
        (ADDRESS, by_address(1, 0)),
        (PREFIX, by_address(1, 0)),
        (PREFIX, by_prefix(0)),
    ] {
        let targets = of(warm, unit, 3);
        for (waiting, given) in [(0, true), (1, false)] {
            let level = Level { waiting, ..level(0, 64) };
            assert_eq!(targets.spare(&level, 3), given, "{warm:?}, {waiting}");
            let exact = unit == PREFIX || warm.by_address();
            assert_eq!(targets.over(&level, 64) > 0, given && exact, "{unit:?} {warm:?}, {waiting}");
        }
    }
}

/// Learned ones count what can be leased, and between asking and giving back there is room.
#[test]
fn a_learned_stock_is_of_addresses_that_can_be_leased() {
    let stock = Some(Stock { least: 6, filled: 7, most: 12 });
    let of = |unit, minimum| Targets { stock, ..of(by_address(0, minimum), unit, 14) };
    let at = |free, cooling, waiting| Level { leased: 20, free, cooling, waiting, ..Level::default() };
    for (level, minimum, short, over) in [
        (at(6, 0, 0), 0, 0, 0),
        (at(5, 0, 0), 0, 2, 0),
        // Who rests serves nobody.
        (at(5, 9, 0), 0, 2, 0),
        (at(0, 0, 3), 0, 10, 0),
        (at(12, 0, 0), 0, 0, 0),
        (at(13, 0, 0), 0, 0, 0),
        (at(14, 0, 0), 0, 0, 2),
        (at(30, 0, 0), 0, 0, 18),
        (at(30, 0, 1), 0, 0, 0),
        (at(14, 0, 0), 33, 0, 1),
        (at(6, 0, 0), 40, 14, 0),
    ] {
        let targets = of(ADDRESS, minimum);
        assert_eq!((targets.short(&level), targets.over(&level, 99)), (short, over), "{level:?}");
    }
    // Whole prefixes.
    assert_eq!(of(PREFIX, 0).short(&at(5, 0, 0)), 1);
    assert_eq!(of(PREFIX, 0).over(&at(27, 0, 0), 9), 0);
    assert_eq!(of(PREFIX, 0).over(&at(28, 0, 0), 9), 1);
    // An ENI goes when what is left is no fewer than may be.
    assert!(of(ADDRESS, 0).spare(&at(26, 0, 0), 14));
    assert!(!of(ADDRESS, 0).spare(&at(25, 9, 0), 14));
    assert!(!of(ADDRESS, 0).spare(&at(60, 0, 1), 14));
}
