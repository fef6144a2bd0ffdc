//! Learning, step by step.

use super::*;

fn at(seconds: u64) -> BootTime {
    BootTime(seconds * 1000)
}

fn quantile(percent: &str) -> Quantile {
    Quantile::of_percent(percent).unwrap()
}

/// One that has seen this many addresses in use at these seconds; nothing is on its way.
fn seen(counts: &[(u64, u32)]) -> Warm {
    let mut warm = Warm::default();
    warm.see(Seen { used: 0, coming: 0, found: None }, at(0));
    for (second, used) in counts {
        warm.see(Seen { used: *used, coming: 0, found: None }, at(*second));
    }
    warm
}

#[test]
fn the_stock_is_the_demand_within_a_lead_time() {
    // Three at once, and two within the ten seconds after them: the last of them saw five come.
    let warm = seen(&[(1000, 3), (1004, 4), (1009, 5), (1030, 6)]);
    assert_eq!(warm.largest(), 5);
    assert_eq!(warm.stock(Quantile::default(), 0, at(1030)).least, 5);
    // Seconds further apart than EC2 takes are no demand together.
    let apart = seen(&[(1000, 3), (1011, 4), (1022, 5)]);
    assert_eq!(apart.largest(), 3);
}

#[test]
fn what_was_given_back_meanwhile_serves_again() {
    let warm = seen(&[(1000, 4), (1100, 0), (1101, 1), (1102, 2), (1103, 1), (1104, 2)]);
    assert_eq!(warm.largest(), 4);
    // Pods that come and go one after the other demand one, however many they are.
    let mut counts = Vec::new();
    for turn in 0..200 {
        counts.push((1000 + 40 * turn, 1));
        counts.push((1031 + 40 * turn, 0));
    }
    assert_eq!(seen(&counts).learned(Quantile::default()), FEWEST);
}

#[test]
fn the_quantile_is_over_all_adds() {
    // A hundred times one, and once ten at once.
    let mut counts: Vec<(u64, u32)> =
        (0..100).map(|nth| (1000 + 15 * nth, u32::try_from(nth).unwrap() + 1)).collect();
    counts.push((3500, 110));
    let warm = seen(&counts);
    assert_eq!(warm.remembered(), 110);
    // A tenth of 110 is eleven, and nine of the ten saw more than one.
    assert_eq!(warm.demand.quantile(quantile("90")), 1);
    assert_eq!(warm.demand.quantile(quantile("95")), 5, "five of 110 may wait");
    assert_eq!(warm.demand.quantile(quantile("99.9")), 10);
}

#[test]
fn what_comes_with_the_start_is_not_learned_from() {
    let joined = seen(&[(10, 30), (290, 40)]);
    assert_eq!((joined.largest(), joined.remembered()), (0, 0));
    let mut warm = joined;
    assert!(!warm.is_learned(at(3599)) && warm.is_learned(at(3600)));
    warm.see(Seen { used: 41, coming: 0, found: None }, at(3700));
    assert_eq!(warm.stock(Quantile::default(), 0, at(8000)), Stock { least: 2, filled: 3, most: 3 });
}

#[test]
fn a_burst_is_forgotten_in_days_and_not_in_hours() {
    let mut warm = seen(&[(1000, 12)]);
    let mut after = |hours: u64| {
        warm.see(Seen { used: 12, coming: 0, found: None }, at(1000 + hours * 3600));
        warm.learned(Quantile::default())
    };
    assert_eq!([after(12), after(26)], [12, 11]);
    assert!(after(72) >= 6);
    assert_eq!(after(150), FEWEST);
}

#[test]
fn what_was_in_use_lately_is_kept_for_its_return() {
    let warm = seen(&[(7200, 8), (7210, 3)]);
    let most = |second| warm.stock(Quantile::default(), 0, at(second)).most;
    let filled = warm.stock(Quantile::default(), 0, at(7210)).filled;
    assert_eq!(most(7210), filled + 5);
    let falls = warm.changes_at(at(7210)).unwrap();
    assert!(falls >= at(7210).after(recess::REMEMBERED) && falls <= at(7210 + 60).after(recess::REMEMBERED));
    assert_eq!(warm.stock(Quantile::default(), 0, falls).most, filled);
    assert_eq!(warm.changes_at(falls), None);
    // The most of all minutes counts.
    assert_eq!(seen(&[(7200, 8), (7270, 5), (7340, 3)]).recess(at(7341)), 5);
    // What was in use for hours was in use lately too.
    let mut long = seen(&[(1000, 50), (90_000, 50)]);
    long.see(Seen { used: 20, coming: 0, found: None }, at(90_000));
    assert_eq!(long.recess(at(90_001)), 30);
}

#[test]
fn the_lead_time_is_what_ec2_has_taken_within_bounds() {
    let mut warm = Warm::default();
    let mut see = |coming, second| {
        warm.see(Seen { used: 0, coming, found: None }, at(second));
        (warm.lead().as_secs(), warm.lead_seen().map(|seen| seen.as_secs()))
    };
    assert_eq!(see(0, 0), (10, None));
    assert_eq!(see(4, 100), (10, None));
    assert_eq!(see(9, 105), (10, None));
    assert_eq!(see(5, 103), (10, Some(5)), "an instant before the last one is the last one");
    // The first four were asked for at 100, the others at 105.
    assert_eq!(see(0, 130), (25, Some(25)));
    assert_eq!(see(1, 200), (25, Some(25)));
    assert_eq!(see(0, 10_000), (60, Some(60)), "an outage is not reckoned with in full");
    // Two spans later nobody knows of it.
    assert_eq!(see(0, 3 * 6 * 3600), (10, None));
}

#[test]
fn a_longer_lead_time_sees_more_demand() {
    let mut warm = Warm::default();
    warm.see(Seen { used: 0, coming: 5, found: None }, at(0));
    warm.see(Seen { used: 0, coming: 0, found: None }, at(40));
    for nth in 1..=8 {
        warm.see(Seen { used: nth, coming: 0, found: None }, at(1000 + 9 * u64::from(nth)));
    }
    assert_eq!((warm.lead().as_secs(), warm.largest()), (40, 5));
}

#[test]
fn spares_make_way_and_come_back_slowly() {
    let mut warm = seen(&[(1000, 20)]);
    let stock = |warm: &Warm| warm.stock(Quantile::default(), 0, at(9000));
    let some = |free| Room::Some { free, kept: 100 };
    assert_eq!(stock(&warm).least, 20);
    warm.yields(some(90), 24, at(9001));
    assert_eq!(stock(&warm), Stock { least: 12, filled: 12, most: 12 });
    // The same look says nothing new; the next one does.
    warm.yields(some(90), 24, at(9001));
    warm.yields(some(90), 24, at(8000));
    assert_eq!(warm.yields_to(at(9000)), Some(12));
    warm.yields(some(10), 12, at(9002));
    assert_eq!(warm.yields_to(at(9000)), Some(1));
    warm.yields(Room::None, 1, at(9003));
    assert_eq!(stock(&warm), Stock { least: 0, filled: 0, most: 0 });
    assert_eq!(warm.stock(Quantile::default(), 3, at(9000)).most, 3, "a floor that is set stays");
    warm.yields(some(150), 0, at(9004));
    assert_eq!(warm.yields_to(at(9000)), Some(0), "not plenty yet");
    let mut looks = 0;
    while warm.yields_to(at(9000)).is_some() {
        looks += 1;
        assert!(looks < 100);
        let held = warm.yields_to(at(9000)).unwrap().min(20);
        warm.yields(some(5000), held, at(9010 + looks));
    }
    assert!(looks >= 9, "{looks} looks");
    assert_eq!(stock(&warm).least, 20);
}

/// Where subnets are not looked at, nothing tells that there is room again.
#[test]
fn what_was_refused_once_does_not_hold_for_ever() {
    let mut warm = seen(&[(1000, 20)]);
    warm.yields(Room::None, 24, at(4000));
    let least = |seconds| warm.stock(Quantile::default(), 0, at(seconds)).least;
    assert_eq!((least(4001), least(14_799), least(14_800)), (0, 0, 20));
    assert_eq!(warm.changes_at(at(5000)), Some(at(14_800)));
}

/// Whatever numbers and instants come, nothing overflows and nothing grows without end.
#[test]
fn odd_numbers_and_clocks_do_no_harm() {
    let mut warm = Warm::default();
    let numbers = [0, 1, u32::MAX, u32::MAX - 1, 7, 4096, 4097, 0, u32::MAX];
    let instants = [0, 1, u64::MAX, 3, u64::MAX / 2, u64::MAX - 1, 1 << 40, 0];
    for (nth, used) in numbers.iter().cycle().take(60).enumerate() {
        let (used, now) = (*used, BootTime(instants[nth % instants.len()]));
        warm.see(Seen { used, coming: numbers[nth % numbers.len()], found: None }, now);
        warm.yields(Room::Some { free: numbers[nth % numbers.len()], kept: 0 }, u32::MAX, now);
        let stock = warm.stock(quantile("99.99"), u32::MAX, now);
        assert!(stock.least <= stock.filled && stock.filled <= stock.most && stock.too_many() >= stock.most);
        let _next = warm.changes_at(now);
    }
    // A month without a look, and a storm of them.
    let mut warm = Warm::default();
    for nth in 0..20_000_u64 {
        let used = u32::try_from(nth * 7 % 1500).unwrap();
        warm.see(Seen { used, coming: used, found: None }, BootTime(nth * 40));
    }
    warm.see(Seen { used: 3, coming: 0, found: None }, at(30 * 24 * 3600));
    assert_eq!(warm.learned(Quantile::default()), FEWEST);
    let held = format!("{warm:?}").len();
    assert!(held < 40_000, "{held} bytes in words");
}

/// Many nodes that know nothing of each other, and one subnet that is too small for all their spares.
#[test]
fn nodes_share_what_a_small_subnet_has_and_do_not_swing() {
    const NODES: usize = 60;
    let room = |spares: u32| Room::Some { free: 800_u32.saturating_sub(spares), kept: 100 };
    let mut nodes: Vec<Warm> = (0..NODES).map(|_| seen(&[(1000, 20)])).collect();
    let spares = |nodes: &[Warm]| -> Vec<u32> {
        nodes.iter().map(|node| node.stock(Quantile::default(), 0, at(9000)).least).collect()
    };
    let sum = |nodes: &[Warm]| spares(nodes).into_iter().sum::<u32>();
    assert_eq!(sum(&nodes), 1200);
    let mut swing = (u32::MAX, 0);
    for look in 0..4000_u64 {
        // One after the other, each once in a round.
        let nth = usize::try_from(look).unwrap() % NODES;
        let (room, held) = (room(sum(&nodes)), spares(&nodes)[nth]);
        nodes[nth].yields(room, held, at(9001 + look));
        if look > 2000 {
            let all = sum(&nodes);
            swing = (swing.0.min(all), swing.1.max(all));
        }
    }
    assert!(swing.0 >= 550 && swing.1 <= 720, "{swing:?}");
}

/// What a process finds it keeps while it learns: it asks for no more and gives nothing back.
#[test]
fn a_start_keeps_what_is_there() {
    for (found, set, wanted) in [
        (None, 18, None),
        (Some(0), 18, Some((2, 3, 3))),
        (Some(9), 18, Some((9, 11, 11))),
        // More than the targets that are set would have: no more is asked for, and none given back.
        (Some(40), 18, Some((18, 21, 40))),
        // Targets below the fewest.
        (Some(5), 1, Some((1, 2, 5))),
    ] {
        let mut warm = Warm::default();
        warm.see(Seen { used: 20, coming: 0, found }, at(0));
        // Later ones are none of a start's.
        warm.see(Seen { used: 20, coming: 0, found: Some(30) }, at(60));
        let stock = warm.stock_kept(set, 0, at(60)).map(|stock| (stock.least, stock.filled, stock.most));
        assert_eq!(stock, wanted, "{found:?}");
    }
    // A floor is one in the first hour, too; and where a subnet runs low it is not kept.
    let mut warm = Warm::default();
    warm.see(Seen { used: 20, coming: 0, found: Some(9) }, at(0));
    assert_eq!(warm.stock_kept(18, 12, at(1)).map(|stock| stock.least), Some(12));
    warm.yields(Room::None, 9, at(2));
    assert_eq!(warm.stock_kept(18, 0, at(3)).map(|stock| stock.most), Some(0));
}
