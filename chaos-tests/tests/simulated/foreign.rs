//! Others change what is the node's, in EC2 and in its kernel, at random times: within two minutes the ledger shows what
//! EC2 has, and the kernel is as it was. EC2 is not asked more often for it.

mod deeds;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_engine::Dump;
use holdfast_model::config::Setting;
use holdfast_model::eni::EniRecord;
use holdfast_ports::Clock;
use tokio::time::Instant;

use crate::box_of::{one_node, warm};
use crate::clock::VirtualClock;
use crate::node::Life;
use crate::steps::Steps;
use crate::tasks::words;
use deeds::{Deed, Menu};

/// How many lives are lived.
const LIVES: u64 = 60;

/// How many changes there are in each.
const CHANGES: usize = 8;

/// How soon a change is noticed.
const NOTICED: Duration = Duration::from_secs(120);

/// A detachment that is not forced is over by then.
const DETACHED: Duration = Duration::from_secs(20);

/// In so many of all lives each kind of change must come.
const COMES_IN: usize = 5;

pub(crate) struct Chance(VirtualClock);

impl Chance {
    pub(crate) fn below(&self, limit: u64) -> u64 {
        (self.0.random() as u64) % limit
    }

    pub(crate) fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        (!of.is_empty()).then(|| &of[self.below(of.len() as u64) as usize])
    }
}

/// What happened in a life: each kind of change how often, and what is wrong.
#[derive(Debug, Default)]
struct Told {
    deeds: BTreeMap<&'static str, u32>,
    longest: Duration,
    wrong: Vec<String>,
}

/// Waits until nothing of this is left, so long at most. Gives how long that took, and what is left.
async fn gone(life: &Life, within: Duration, left: impl Fn(&Dump) -> Vec<String>) -> (Duration, Vec<String>) {
    let begun = Instant::now();
    loop {
        let left = left(&life.engine.dump().await.expect("the daemon lives"));
        if left.is_empty() || begun.elapsed() >= within {
            return (begun.elapsed(), left);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn live(menu: Menu, seed: u64) -> Told {
    let mut told = Told::default();
    let types = ["m5.large", "m5.xlarge", "z9.large", "c5.large"];
    let targets = [(1, 0, 0), (0, 2, 0), (0, 1, 8)];
    let (enis, ips, minimum) = targets[(seed % 3) as usize];
    let mut config = warm(enis, ips, minimum);
    if menu.marks {
        config.ec2_read_interval = Setting::from_environment(NOTICED);
    }
    let node = one_node(types[(seed % 4) as usize], config, seed);
    let chance = Chance(node.clock.clone());
    node.live(&Steps::default(), async |life| {
        let mut number = 0;
        let mut come = async |count: u64| {
            for _ in 0..count {
                number += 1;
                let container = format!("c{number}");
                if life.add(&format!("web-{number}"), &container).await.is_err() {
                    life.del(&container).await;
                }
            }
        };
        come(10 + chance.below(8)).await;
        life.quiet().await;
        let (mut touched, mut taken) = (Vec::new(), Vec::new());
        for _ in 0..CHANGES {
            tokio::time::sleep(Duration::from_millis(chance.below(200_000))).await;
            let dump = life.engine.dump().await.unwrap();
            let Some(deed) = Deed::draw(menu, &chance, &node, &dump, &touched) else { continue };
            touched.extend(deed.eni());
            let back = deed.taken_back();
            for deed in std::iter::once(deed).chain(back) {
                let before: BTreeSet<String> = node.disorder().into_iter().collect();
                if !deed.carry_out(&node) {
                    break;
                }
                taken.extend(deed.takes_away());
                let left = |dump: &Dump| {
                    let mut unseen = deed.unnoticed(&node, dump, &taken);
                    unseen.retain(|one| !before.contains(one));
                    unseen
                };
                let (took, unseen) = gone(&life, NOTICED, left).await;
                told.longest = told.longest.max(took);
                *told.deeds.entry(deed.name()).or_default() += 1;
                if !unseen.is_empty() {
                    told.wrong.push(format!("after {took:?} unnoticed: {deed:?}: {}", unseen.join("; ")));
                }
                if deed.takes_away().is_some() {
                    tokio::time::sleep(DETACHED).await;
                }
            }
            if !told.wrong.is_empty() {
                break;
            }
            for container in Deed::ended(&node) {
                life.del(&container).await;
            }
            if chance.below(2) == 0 {
                if let Some(container) = chance.pick(&node.pods().into_keys().collect::<Vec<_>>()) {
                    life.del(container).await;
                }
                come(1).await;
            }
        }
        if told.wrong.is_empty() {
            tokio::time::sleep(Duration::from_secs(300)).await;
            let ledger = life.quiet().await;
            // Groups that others have set are left, on what they attached, too.
            let of_others = |eni: &&EniRecord| eni.source.security_groups.is_none();
            let left = |fault: &String| {
                let mut enis = ledger.enis.values().filter(of_others);
                enis.any(|eni| fault.contains(&format!("{} has the groups", eni.id)))
            };
            told.wrong.extend(node.faults(&ledger).into_iter().filter(|fault| !left(fault)));
            told.wrong.extend(deeds::differences(&node, &life.engine.dump().await.unwrap(), &[]));
        }
    })
    .unwrap();
    told
}

/// So many lives; what went wrong in them, and how often each kind of change came.
fn lives(menu: Menu, count: u64) -> (Vec<String>, BTreeMap<&'static str, usize>, Duration) {
    let asked = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let count = asked("HOLDFAST_RANDOM_LIVES").unwrap_or(count);
    let first = asked("HOLDFAST_RANDOM_FIRST").unwrap_or(0);
    let told: Vec<(u64, Told)> = std::thread::scope(|scope| {
        let workers = [0, 1].map(|worker| {
            scope.spawn(move || {
                let seeds = (first + worker..first + count).step_by(2);
                let lived = seeds.map(|seed| {
                    let panicked = |payload: Box<dyn std::any::Any + Send>| Told {
                        wrong: vec![format!("panicked: {}", words(&*payload))],
                        ..Told::default()
                    };
                    (seed, std::panic::catch_unwind(|| live(menu, seed)).unwrap_or_else(panicked))
                });
                lived.collect::<Vec<_>>()
            })
        });
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let mut came: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in told.iter().flat_map(|(_, told)| told.deeds.keys()) {
        *came.entry(kind).or_default() += 1;
    }
    let longest = told.iter().map(|(_, told)| told.longest).max().unwrap_or_default();
    let wrong = told
        .into_iter()
        .flat_map(|(seed, told)| told.wrong.into_iter().map(move |wrong| format!("seed {seed}: {wrong}")));
    (wrong.collect(), came, longest)
}

#[test]
fn what_others_change_is_noticed_within_two_minutes() {
    let (wrong, came, longest) = lives(Menu { again: false, takes_enis: false, marks: false }, LIVES);
    println!("noticed within {longest:?}; changes came in so many lives: {came:?}");
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(came.len(), Deed::KINDS - Deed::ON_THE_MENU, "{came:?}");
    assert!(came.values().all(|lives| *lives >= COMES_IN), "{came:?}");
}

#[test]
fn what_others_change_again_is_noticed_within_two_minutes() {
    let (wrong, _, longest) = lives(Menu { again: true, takes_enis: false, marks: false }, LIVES);
    assert!(wrong.is_empty(), "{}, {longest:?}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Where EC2 is read so often.
#[test]
fn what_others_mark_as_not_to_be_managed_is_noticed_within_two_minutes() {
    let (wrong, came, longest) = lives(Menu { again: true, takes_enis: false, marks: true }, LIVES);
    assert!(wrong.is_empty(), "{}, {longest:?}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(came.get("mark").is_some_and(|lives| *lives >= COMES_IN), "{came:?}");
}

#[test]
fn an_eni_that_others_take_away_is_out_of_use_in_two_minutes_and_forgotten_in_five() {
    let (wrong, _, longest) = lives(Menu { again: false, takes_enis: true, marks: false }, LIVES);
    assert!(wrong.is_empty(), "{}, {longest:?}:\n{}", wrong.len(), wrong.join("\n"));
}
