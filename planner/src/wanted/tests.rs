mod due;

use proptest::prelude::*;

use super::*;
use crate::toy::now_at;

const HOUR: u64 = 3600;

fn instance() -> InstanceId {
    InstanceId::new("i-1")
}

/// Which of EC2's and the metadata service's whims comes next.
#[derive(Clone, Copy, Debug)]
enum Whim {
    Contradicts(u8),
    Miscounts,
    HidesAddress(u8),
    ShowsAddress(u8),
    Hints(u8),
    HintAgrees,
    LosesIntents,
    LeavesUnanswered(u8),
    HidesWhatIsToGo(u8),
    Waits(u8),
}

fn whim() -> impl Strategy<Value = Whim> {
    prop_oneof![
        (0..2_u8).prop_map(Whim::Contradicts),
        Just(Whim::Miscounts),
        any::<u8>().prop_map(Whim::HidesAddress),
        any::<u8>().prop_map(Whim::ShowsAddress),
        (0..3_u8).prop_map(Whim::Hints),
        Just(Whim::HintAgrees),
        Just(Whim::LosesIntents),
        (0..2_u8).prop_map(Whim::LeavesUnanswered),
        (0..2_u8).prop_map(Whim::HidesWhatIsToGo),
        any::<u8>().prop_map(Whim::Waits),
    ]
}

fn eni(nth: u8) -> EniId {
    EniId::new(format!("eni-{nth}"))
}

fn hint(nth: u8) -> HintDiff {
    HintDiff { missing: BTreeSet::from([eni(nth)]), ..HintDiff::default() }
}

/// A process whose reads are all answered at once, and never settle anything by what they show.
fn host(last: u8) -> IpNet {
    IpNet::from(std::net::IpAddr::from([10, 0, 0, last]))
}

struct World {
    reads: WantedReads,
    unanswered: BTreeSet<EniId>,
    looks: BTreeSet<EniId>,
    ledger: Ledger,
    now: Now,
    made: Vec<(u64, CloudRead)>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            reads: WantedReads::default(),
            unanswered: BTreeSet::new(),
            looks: BTreeSet::new(),
            ledger: Ledger::default(),
            now: now_at(1000),
            made: Vec::new(),
        };
        world.read_all();
        assert_eq!(world.made.len(), 2, "each listing is read at the start: {:?}", world.made);
        world.made.clear();
        world
    }

    fn follow(&mut self, whim: Whim) {
        let now = self.now.boottime;
        match whim {
            Whim::Contradicts(nth) => self.reads.want(Reason::Contradicted(eni(nth)), now),
            Whim::Miscounts => self.reads.want(Reason::Miscounted, now),
            Whim::HidesAddress(last) => {
                self.reads.want_from(Reason::NotShown(host(last)), now);
            }
            Whim::ShowsAddress(last) => {
                self.reads.want_from(Reason::Unasked(host(last)), now.after(SECOND));
            }
            Whim::Hints(nth) => self.reads.hinted(Some(hint(nth)), &self.now),
            Whim::HintAgrees => self.reads.hinted(None, &self.now),
            Whim::LosesIntents => self.reads.want_from(Reason::IntentsLost, now),
            Whim::LeavesUnanswered(nth) => drop(self.unanswered.insert(eni(nth))),
            Whim::HidesWhatIsToGo(nth) => drop(self.looks.insert(eni(nth))),
            Whim::Waits(_) => {}
        }
        self.read_all();
        if let Whim::Waits(seconds) = whim {
            for _ in 0..seconds {
                self.now.boottime = self.now.boottime.after(SECOND);
                self.read_all();
            }
        }
    }

    fn read_all(&mut self) {
        for _ in 0..4 {
            let mut agenda = Agenda::new(&self.now);
            let due = self.reads.due(
                &instance(),
                &self.ledger,
                &self.unanswered,
                &self.looks,
                Periods::of(6 * 3600 * SECOND, crate::share::Share::default()),
                &mut agenda,
            );
            if due.is_empty() {
                return;
            }
            for read in due {
                self.reads.began(&read);
                self.made.push((self.now.boottime.0, read.clone()));
                self.now.boottime = BootTime(self.now.boottime.0 + 1);
                let began = BootTime(self.now.boottime.0 - 1);
                self.reads.answered(&read, began, &self.ledger, &self.unanswered);
                self.reads.looked(&read, began, BTreeSet::new(), &self.ledger);
            }
        }
        panic!("answers lead to reads at once: {:?}", self.made);
    }

    /// The most reads that began within so many seconds.
    fn most_within(&self, seconds: u64) -> usize {
        let begins: Vec<u64> = self.made.iter().map(|(at, _)| *at).collect();
        (0..begins.len())
            .map(|from| begins[from..].iter().take_while(|at| **at < begins[from] + seconds * 1000).count())
            .max()
            .unwrap_or(0)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Each reason alone, found again every second for three hours, whatever the reads tell.
#[test]
fn no_reason_leads_to_more_than_a_few_reads() {
    /// A name, the whim of each second, and how many reads there may be in two minutes and in an hour.
    type Case = (&'static str, fn(u64) -> Whim, usize, usize);
    let each: [Case; 10] = [
        ("contradicted", |_| Whim::Contradicts(0), 6, 20),
        ("miscounted", |_| Whim::Miscounts, 6, 20),
        ("unanswered", |_| Whim::LeavesUnanswered(0), 6, 20),
        ("what is to go is not shown", |_| Whim::HidesWhatIsToGo(0), 6, 20),
        ("one address hidden", |_| Whim::HidesAddress(7), 4, 12),
        ("ever other addresses hidden", |at| Whim::HidesAddress(at as u8), 4, 12),
        ("ever other addresses shown", |at| Whim::ShowsAddress(at as u8), 4, 12),
        ("one hint", |_| Whim::Hints(0), 2, 7),
        (
            "a hint that comes and goes",
            |at| if at % 2 == 0 { Whim::Hints(0) } else { Whim::HintAgrees },
            2,
            7,
        ),
        ("intents lost", |_| Whim::LosesIntents, 3, 8),
    ];
    for (name, whim, two_minutes, hour) in each {
        let mut world = World::new();
        for at in 0..3 * HOUR {
            world.follow(whim(at));
            world.now.boottime = world.now.boottime.after(SECOND);
        }
        assert!(!world.made.is_empty(), "{name}: looked into");
        assert!(world.most_within(120) <= two_minutes, "{name}: {} in two minutes", world.most_within(120));
        assert!(world.most_within(HOUR) <= hour, "{name}: {} in an hour", world.most_within(HOUR));
    }
}

/// Each difference that was not seen before is to be looked into within two minutes, so this one is the dearest.
#[test]
fn ever_new_hints_lead_to_a_read_a_minute() {
    let mut world = World::new();
    for at in 0..2 * HOUR {
        world.follow(Whim::Hints((at % 200) as u8));
        world.now.boottime = world.now.boottime.after(SECOND);
    }
    assert!(world.most_within(120) <= 3, "{}", world.most_within(120));
    assert!(world.most_within(HOUR) <= 61, "{}", world.most_within(HOUR));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_series_of_whims_leads_to_a_storm(whims in proptest::collection::vec(whim(), 1..200)) {
        let mut world = World::new();
        for whim in whims {
            world.follow(whim);
            let hour = HOUR * 1000;
            if world.now.boottime.0 > 1_000_000 + 2 * hour {
                break;
            }
        }
        prop_assert!(world.most_within(120) <= 40, "{} in two minutes", world.most_within(120));
        prop_assert!(world.most_within(HOUR) <= 160, "{} in an hour", world.most_within(HOUR));
    }
}

#[test]
fn one_read_serves_all_who_want_it() {
    let mut world = World::new();
    let now = world.now.boottime;
    world.ledger = crate::toy::Toy::new("m5.large", crate::toy::by_eni(1)).ledger;
    world.reads.want(Reason::Miscounted, now);
    world.reads.want(Reason::Contradicted(eni(0)), now);
    world.reads.want(Reason::Contradicted(eni(1)), now);
    world.read_all();
    assert_eq!(world.made.len(), 1, "the full one tells of all: {:?}", world.made);
    assert!(!world.reads.doubted(&eni(0)) && !world.reads.doubted(&eni(1)));
    let mut world = World::new();
    world.reads.want(Reason::Contradicted(eni(0)), world.now.boottime);
    world.reads.want(Reason::Contradicted(eni(1)), world.now.boottime);
    world.read_all();
    assert_eq!(
        world.made.iter().map(|(_, read)| read.clone()).collect::<Vec<_>>(),
        [CloudRead::Enis { enis: vec![eni(0), eni(1)] }]
    );
}

/// What a read began before it was doubted, it cannot have told.
#[test]
fn a_read_that_is_older_than_the_reason_does_not_settle_it() {
    let mut world = World::new();
    let read = CloudRead::Enis { enis: vec![eni(0)] };
    let began = world.now.boottime;
    world.reads.began(&read);
    world.reads.want(Reason::Contradicted(eni(0)), began.after(SECOND));
    world.reads.answered(&read, began, &world.ledger, &BTreeSet::new());
    assert!(world.reads.doubted(&eni(0)));
    world.now.boottime = began.after(SECOND);
    world.read_all();
    assert_eq!(world.made.len(), 1);
    assert!(!world.reads.doubted(&eni(0)));
}
