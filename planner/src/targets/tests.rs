use super::{Level, Targets};
use crate::toy::{by_address, by_eni};

fn level(leased: u32, free: u32) -> Level {
    Level { leased, free, cooling: 0, waiting: 0 }
}

/// Upstream's unit vectors (reference: vpc-cni 10.1): too low or not, by ENI and by address.
#[test]
fn too_low_as_upstream_sees_it() {
    let low = |warm, per_eni, level| Targets { warm, per_eni }.short(&level) > 0;
    assert!(low(by_eni(1), 14, level(0, 0)), "empty");
    assert!(low(by_eni(0), 14, level(0, 0)), "empty, and no spare ENI wanted");
    assert!(low(by_address(3, 0), 14, level(0, 0)), "empty");
    assert!(!low(by_eni(1), 3, level(0, 3)));
    assert!(!low(by_address(1, 0), 3, level(0, 3)));
    assert!(low(by_eni(1), 3, level(1, 2)));
    assert!(!low(by_eni(0), 3, level(1, 2)));
    assert!(low(by_eni(1), 3, level(3, 0)));
    assert!(low(by_eni(0), 3, level(3, 0)));
}

#[test]
fn short_and_over_as_upstream_sees_them() {
    let targets = Targets { warm: by_address(5, 0), per_eni: 14 };
    for (free, short, over) in [(0, 5, 0), (2, 3, 0), (5, 0, 0), (7, 0, 2)] {
        assert_eq!((targets.short(&level(0, free)), targets.over(&level(0, free))), (short, over), "{free}");
    }
    // The minimum keeps what the warm target would give back.
    let targets = Targets { warm: by_address(2, 10), per_eni: 14 };
    assert_eq!(targets.over(&level(3, 7)), 0);
    assert_eq!(targets.over(&level(8, 5)), 3);
}

/// Upstream's vector (reference: vpc-cni 3.7): one ENI with 2 pods, one with 2 free, one with 1 free.
#[test]
fn which_eni_may_go() {
    let all = level(2, 3);
    let spare = |warm, minimum, level: Level, free| {
        Targets { warm: by_address(warm, minimum), per_eni: 14 }.spare(&level, free)
    };
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
    let targets = Targets { warm: by_address(2, 23), per_eni: 29 };
    let resting = Level { leased: 19, free: 0, cooling: 4, waiting: 0 };
    assert_eq!(targets.short(&resting), 0);
    assert_eq!(targets.short(&Level { waiting: 1, ..resting }), 1, "cni#2896");
}

/// What is given back is never wanted at once: for every small pool and every target.
#[test]
fn giving_back_never_makes_short() {
    for warm in [by_eni(0), by_eni(1), by_eni(2), by_address(0, 3), by_address(2, 0), by_address(2, 5)] {
        let targets = Targets { warm, per_eni: 3 };
        for (leased, free, cooling) in
            (0..10).flat_map(|a| (0..10).flat_map(move |b| (0..4).map(move |c| (a, b, c))))
        {
            let level = Level { leased, free, cooling, waiting: 0 };
            let over = targets.over(&level);
            if over > 0 {
                assert_eq!(targets.short(&Level { free: free - over, ..level }), 0, "{warm:?} {level:?}");
            }
            for gone in 0..=free.min(3) {
                if targets.spare(&level, gone) {
                    assert_eq!(targets.short(&Level { free: free - gone, ..level }), 0, "{warm:?} {level:?}");
                }
            }
        }
    }
}

/// Settings are not bounded: too large a figure keeps all that can be had.
#[test]
fn figures_beyond_all_measure_keep_everything() {
    for warm in [by_address(u32::MAX, u32::MAX), by_eni(u32::MAX)] {
        let targets = Targets { warm, per_eni: 14 };
        let level = Level { leased: u32::MAX, free: 3, cooling: 2, waiting: u32::MAX };
        assert_eq!(targets.over(&level), 0);
        assert!(!targets.spare(&level, 3));
        assert!(targets.short(&Level { waiting: 1, ..Level::default() }) > 1000);
    }
}

/// Somebody is about to take what is free.
#[test]
fn nothing_is_given_back_while_an_add_waits() {
    for warm in [by_eni(0), by_address(1, 0)] {
        let targets = Targets { warm, per_eni: 3 };
        for (waiting, given) in [(0, true), (1, false)] {
            let level = Level { waiting, ..level(0, 30) };
            assert_eq!(targets.spare(&level, 3), given, "{warm:?}, {waiting}");
            assert_eq!(targets.over(&level) > 0, given && warm.by_address(), "{warm:?}, {waiting}");
        }
    }
}
