//! Which reads are due when, and what each tells.

use super::*;
use crate::share::Share;
use crate::toy::{Toy, by_eni};
use crate::wanted::periods::{ANSWERED_WITHIN, UNATTACHED_READ_EVERY};
use holdfast_model::ledger::Change;
use holdfast_model::subnet::SubnetRecord;

fn full() -> CloudRead {
    CloudRead::InstanceEnis { instance: instance() }
}

fn unattached() -> CloudRead {
    CloudRead::AvailableEnis { instance: instance() }
}

fn of(nth: u8) -> CloudRead {
    CloudRead::Enis { enis: vec![eni(nth)] }
}

fn due(world: &World, share: u128, at: BootTime) -> Vec<CloudRead> {
    let now = Now { boottime: at, ..world.now.clone() };
    let periods = Periods::of(6 * 3600 * SECOND, Share::of(share));
    world.reads.due(
        &instance(),
        &world.ledger,
        &world.unanswered,
        &BTreeSet::new(),
        periods,
        &mut Agenda::new(&now),
    )
}

#[test]
fn what_each_read_tells() {
    let net: IpNet = "10.0.0.7/32".parse().unwrap();
    let subnets = CloudRead::Subnets { subnets: Vec::new() };
    let ledger = Ledger::default();
    let full_only = [
        Reason::Miscounted,
        Reason::PrimaryNotShown,
        Reason::LedgerLost,
        Reason::NotShown(net),
        Reason::Unasked(net),
        Reason::Hinted(hint(0)),
    ];
    for reason in &full_only {
        for (read, told) in [(full(), true), (unattached(), false), (of(0), false), (subnets.clone(), false)]
        {
            assert_eq!(tells(&read, reason, &ledger), told, "{read:?} of {reason:?}");
        }
    }
    for (read, told) in [(full(), false), (unattached(), true), (of(0), false)] {
        assert_eq!(tells(&read, &Reason::IntentsLost, &ledger), told, "{read:?}");
    }
    for (read, told) in
        [(of(0), true), (of(1), false), (unattached(), false), (subnets, false), (full(), true)]
    {
        assert_eq!(tells(&read, &Reason::Contradicted(eni(0)), &ledger), told, "{read:?}");
    }
    // A full one lists what is attached.
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.run_to_rest();
    let id = holdfast_model::ids::EniId::new("eni-primary");
    assert!(tells_of(&full(), &id, &toy.ledger));
    toy.alter(&id, |eni| eni.phase = holdfast_model::eni::EniPhase::Available);
    assert!(!tells_of(&full(), &id, &toy.ledger));
}

#[test]
fn each_listing_is_read_every_six_hours_but_for_a_nodes_own_jitter() {
    let world = World::new();
    let last = world.reads.last_full().unwrap();
    let six_hours = 6 * HOUR;
    // Half of the eighth by which the interval may be shorter.
    let half = six_hours / 16;
    for (share, after, reads) in [
        (0, six_hours - 6, 0),
        (0, six_hours - 4, 2),
        (0x8000, six_hours - half - 6, 0),
        (0x8000, six_hours - half - 4, 2),
    ] {
        let at = last.after(Duration::from_secs(after));
        assert_eq!(due(&world, share, at).len(), reads, "share {share}, after {after}");
    }
}

/// Of a process that goes on from a ledger, with half of the fleet before it.
#[test]
fn the_first_of_each_listing_comes_in_turn_unless_something_is_wanted() {
    let started = now_at(1000);
    let at = |seconds| started.boottime.after(Duration::from_secs(seconds));
    let mut world = World { reads: WantedReads::default(), ..World::new() };
    assert_eq!(due(&world, 0, at(0)), [full(), unattached()], "nothing serves meanwhile");
    world.reads.begin_in_turn(Share::of(0x8000), &started);
    assert!(world.reads.waits_its_turn());
    for (seconds, reads) in [(149, vec![]), (150, vec![full()]), (600, vec![full(), unattached()])] {
        assert_eq!(due(&world, 0, at(seconds)), reads, "after {seconds} s");
    }
    let asked = |reason: Reason| {
        let mut reads = world.reads.clone();
        reads.want(reason, at(1));
        due(&World { reads, ..World::new() }, 0, at(1))
    };
    for reason in [Reason::Hinted(hint(0)), Reason::LedgerLost, Reason::Miscounted, Reason::PrimaryNotShown] {
        assert_eq!(asked(reason.clone()), [full()], "{reason:?}");
    }
    assert_eq!(asked(Reason::IntentsLost), [unattached()]);
    world.reads.answered(&full(), at(2), &Ledger::default(), &BTreeSet::new());
    assert!(!world.reads.waits_its_turn());
    assert_eq!(due(&world, 0, at(599)), []);
    world.reads.forget();
    assert_eq!(due(&world, 0, at(3)), [full(), unattached()], "what was known is another instance's");
}

/// What is noticed within the interval is read more often than that; and no node reads much more often than another.
#[test]
fn what_is_attached_is_read_as_often_as_is_set_and_what_is_not_no_more_often_than_every_six_hours() {
    for interval in [60, 61, 120, 3600, 6 * HOUR, 24 * HOUR] {
        for share in [0, 1, 7500, 0xffff] {
            let share = Share::of(share);
            let periods = Periods::of(Duration::from_secs(interval), share);
            let took = Duration::from_secs(interval).checked_sub(periods.full).unwrap();
            let most = ANSWERED_WITHIN + Duration::from_secs(interval) / 8;
            assert!((ANSWERED_WITHIN..most).contains(&took), "{interval} {share:?}: {periods:?}");
            let seldom = Duration::from_secs(interval).max(UNATTACHED_READ_EVERY);
            assert_eq!(periods.unattached, Periods::of(seldom, share).full);
        }
    }
    let [one, other] = [100, 200].map(|share| Periods::of(120 * SECOND, Share::of(share)).full);
    assert_ne!(one, other, "they drift apart");
}

/// Which ENI has more than the ledger, EC2 did not say.
#[test]
fn where_the_whole_was_miscounted_every_eni_is_in_doubt() {
    let mut world = World::new();
    assert!(!world.reads.doubted(&eni(0)));
    world.reads.want(Reason::Miscounted, world.now.boottime);
    assert!(world.reads.doubted(&eni(0)) && world.reads.doubted(&eni(1)));
}

#[test]
fn an_address_is_unproven_from_when_it_was_wanted() {
    let mut world = World::new();
    let net: IpNet = "10.0.0.7/32".parse().unwrap();
    assert_eq!((world.reads.unproven(net), world.reads.unasked(net)), (false, None));
    world.reads.want_from(Reason::Unasked(net), BootTime(77));
    assert_eq!((world.reads.unproven(net), world.reads.unasked(net)), (true, Some(BootTime(77))));
}

#[test]
fn a_read_that_is_under_way_is_not_due_and_one_that_failed_is() {
    let mut world = World::new();
    let now = world.now.boottime;
    world.reads.want(Reason::Contradicted(eni(0)), now);
    world.reads.want(Reason::IntentsLost, now);
    let wanted = [unattached(), of(0)];
    assert_eq!(due(&world, 0, now), wanted);
    for read in &wanted {
        world.reads.began(read);
        world.reads.began(read);
    }
    assert_eq!(due(&world, 0, now), []);
    for read in &wanted {
        world.reads.failed(read);
    }
    assert_eq!(due(&world, 0, now), wanted);
}

/// How soon after a read another is due.
fn rest_after(world: &World, last: BootTime) -> Option<u64> {
    (0..=1200).find(|seconds| !due(world, 0, last.after(Duration::from_secs(*seconds))).is_empty())
}

/// What is looked into in vain comes at growing distances; what became of a call is another matter with each call.
#[test]
fn a_call_that_was_told_of_and_another_later_are_two() {
    let mut world = World::new();
    let look = |world: &mut World, after: u64| {
        let at = world.now.boottime.after(Duration::from_secs(after));
        world.now.boottime = at;
        world.reads.began(&of(0));
        world.reads.answered(&of(0), at, &world.ledger, &world.unanswered);
        rest_after(world, at)
    };
    world.unanswered.insert(eni(0));
    assert_eq!(
        (look(&mut world, 0), look(&mut world, 5), look(&mut world, 10)),
        (Some(5), Some(10), Some(20))
    );
    world.unanswered.clear();
    assert_eq!(look(&mut world, 20), None);
    world.unanswered.insert(eni(0));
    assert_eq!(look(&mut world, 1), Some(5));
}

#[test]
fn a_reason_that_was_not_looked_into_for_long_is_as_good_as_new() {
    for (after, rest) in [(899, 10), (900, 5)] {
        let mut world = World::new();
        let begun = world.now.boottime;
        for seconds in [0, after] {
            let at = begun.after(Duration::from_secs(seconds));
            world.reads.want(Reason::Contradicted(eni(0)), at);
            world.reads.answered(&of(0), at, &world.ledger, &world.unanswered);
        }
        let last = begun.after(Duration::from_secs(after));
        world.reads.want(Reason::Contradicted(eni(0)), last);
        assert_eq!(rest_after(&world, last), Some(rest), "after {after} s");
    }
}

/// What has no address of its own, or is not to be set up, needs no range.
#[test]
fn ranges_are_asked_for_where_a_set_up_lacks_nothing_else() {
    let toy = || {
        let mut toy = Toy::new("t3.small", by_eni(1));
        toy.run_to_rest();
        let id = SubnetId::new("subnet-1");
        toy.ledger.apply(&Change::PutSubnet(SubnetRecord { id, ipv4: None, ipv6: None }));
        toy
    };
    let asked = |toy: &Toy| toy.observed.reads.subnets_due(&toy.ledger, &mut Agenda::new(&toy.now)).is_some();
    assert!(asked(&toy()));
    let every = |toy: &mut Toy, change: &dyn Fn(&mut holdfast_model::eni::EniRecord)| {
        for id in toy.ledger.enis.keys().cloned().collect::<Vec<_>>() {
            toy.alter(&id, |eni| change(eni));
        }
    };
    let mut toy_without = toy();
    every(&mut toy_without, &|eni| eni.primary_ipv4 = None);
    assert!(!asked(&toy_without));
    let mut toy_without = toy();
    every(&mut toy_without, &|eni| eni.management = holdfast_model::eni::Management::Unmanaged);
    assert!(!asked(&toy_without));
}
