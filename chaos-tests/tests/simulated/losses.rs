//! Every way in which a ledger is lost, in every weather, under thirty running pods: none of them is cut off at any step,
//! no address is given twice or before it has rested, nothing of another node's is touched, and when the weather is fair
//! again the pool is right.

mod weather;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_chaos_tests::oracle::picture::Eni;
use holdfast_sim::vpc::Caller;

use crate::box_of::{nodes, warm};
use crate::crash::quiet_deaths;
use crate::disk::Disk;
use crate::node::{Life, Node, Outcome};
use crate::steps::Steps;
use crate::tasks::words;
use weather::Weather;

/// Its limits are not built in: EC2 must tell. It carries 33 pods on three ENIs.
const TYPE: &str = "z9.large";
const MOST: usize = 33;

/// How many pods run.
const PODS: usize = 30;

/// How many addresses are to be spare.
const SPARE: usize = 2;

/// A schema that no version knows.
const NEXT_SCHEMA: u8 = 200;

/// How long the daemon lives on what is left of its ledger before it is killed once more.
const FIRST_LIFE: u64 = 20;

/// How long the weather lasts, and how long after it all is looked at.
const WEATHER: u64 = 300;
const AFTER: u64 = 600;

/// So much is told of one step or stage of a case.
const MOST_WORDS: usize = 4;

/// How the ledger is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is not there.
    Whole,
    /// The last commit is not in it: the pod that was answered for last.
    OneCommit,
    /// It is of yesterday.
    OneDay,
    /// It is another instance's, of the same boot (a machine that was copied as it ran).
    AnothersOfThisBoot,
    /// It is another instance's, of another boot (a disk that was copied).
    AnothersOfItsBoot,
    /// It is damaged.
    Damaged,
    /// A later version has written it, and an operator moves it away.
    OfALaterVersion,
}

impl Way {
    const ALL: [Self; 7] = [
        Self::Whole,
        Self::OneCommit,
        Self::OneDay,
        Self::AnothersOfThisBoot,
        Self::AnothersOfItsBoot,
        Self::Damaged,
        Self::OfALaterVersion,
    ];

    fn is_anothers(self) -> bool {
        matches!(self, Self::AnothersOfThisBoot | Self::AnothersOfItsBoot)
    }
}

/// What is found wrong, each once.
#[derive(Debug, Clone, Default)]
struct Wrongs(Arc<Mutex<BTreeSet<String>>>);

impl Wrongs {
    fn add(&self, when: &str, wrongs: Vec<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for wrong in wrongs {
            if all.iter().filter(|one| one.starts_with(when)).count() < MOST_WORDS {
                all.insert(format!("{when}: {wrong}"));
            }
        }
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The steps of a life in which at every one of them every pod must be reached.
fn watched(node: &Node, wrongs: &Wrongs) -> Steps {
    let (reach, wrongs) = (node.reach(), wrongs.clone());
    Steps::default().seen_by(move |step| wrongs.add(step, reach()))
}

/// Pods keep their paths, looked at each second, and so do those of other nodes.
async fn all_keep_their_paths(node: &Node, seconds: u64, when: &str, wrongs: &Wrongs) {
    for second in 0..seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The reach is looked at with each step; all else changes slowly.
        if second < 30 || second % 5 == 0 {
            wrongs.add(when, node.broken_promises());
        }
    }
}

/// Pods that come while it is so; not all can.
async fn some_come(life: &Life, prefix: &str, count: usize) {
    for number in 0..count {
        let container = format!("{prefix}{number}");
        if life.add(&container, &container).await.is_err() {
            life.del(&container).await;
        }
    }
}

/// A pod that comes, as a runtime tries again: a pool that has just shrunk may refuse it once.
async fn come(life: &Life, name: &str, container: &str) {
    life.make_sandbox(name, container);
    for _ in 0..20 {
        if life.add_again(container).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    panic!("{name} never came");
}

/// As a killed process ends.
async fn killed(steps: &Steps) {
    steps.kill();
    std::future::pending::<()>().await;
}

/// Thirty pods, and a ledger that knows them; then one goes and another comes, and the daemon is killed. Gives the ledger
/// that is found next.
fn until_the_loss(three: &mut [Node], way: Way, wrongs: &Wrongs) -> Disk {
    if way.is_anothers() {
        three[1]
            .live(&Steps::default(), async |life| {
                some_come(&life, "other", 12).await;
                life.quiet().await;
            })
            .unwrap();
    }
    if way == Way::AnothersOfItsBoot {
        three[0].reboot();
    }
    let node = &three[0];
    let mut yesterday = None;
    node.live(&watched(node, wrongs), async |life| {
        for number in 0..PODS {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
        yesterday = Some(node.disk.copy());
        if way == Way::OneDay {
            for round in 0..4 {
                for number in 0..20 {
                    let old =
                        if round == 0 { format!("c{number}") } else { format!("d{}-{number}", round - 1) };
                    life.del(&old).await;
                }
                // So long that the pool shrinks, and addresses have rested.
                tokio::time::sleep(Duration::from_secs(200 * round)).await;
                for number in 0..20 {
                    come(&life, &format!("day-{number}"), &format!("d{round}-{number}")).await;
                }
            }
            life.quiet().await;
        }
    })
    .unwrap();
    if way == Way::OneDay {
        node.on_stage(async { tokio::time::sleep(Duration::from_secs(23 * 3600)).await });
    }
    node.disk.keep_one_commit_back();
    let steps = watched(node, wrongs);
    let died = node.live(&steps, async |life| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        life.del("c29").await;
        life.add("newest", "newest").await.unwrap();
        killed(&steps).await;
    });
    assert_eq!(died.unwrap(), Outcome::Killed);
    match way {
        Way::Whole => Disk::default(),
        Way::OneCommit => node.disk.one_commit_back(),
        Way::OneDay => yesterday.unwrap(),
        Way::AnothersOfThisBoot | Way::AnothersOfItsBoot => three[1].disk.copy(),
        Way::Damaged => {
            node.disk.damage(64);
            refused(node, "damaged");
            Disk::default()
        }
        Way::OfALaterVersion => {
            node.disk.set_schema(NEXT_SCHEMA);
            refused(node, "has schema 200");
            Disk::default()
        }
    }
}

/// Nothing is made of it. What happens to such a file is the store's affair, and it ends with another, empty one in its
/// place.
fn refused(node: &Node, words: &str) {
    let started = node.live(&Steps::default(), async |_| panic!("it was taken for a ledger"));
    let said = format!("{:#}", started.unwrap_err());
    assert!(said.contains(words), "{said}");
}

fn live_through(way: Way, weather: Weather, seed: u64) -> Vec<String> {
    let wrongs = Wrongs::default();
    let mut three = nodes(3, TYPE, warm(0, SPARE as u32, 0), seed);
    let left = until_the_loss(&mut three, way, &wrongs);
    three[0].disk = left;
    let node = &three[0];
    weather.begin(&three);
    let steps = watched(node, &wrongs);
    let died = node.live(&steps, async |life| {
        let come = async {
            some_come(&life, "early", 1).await;
            life.del("c28").await;
            some_come(&life, "soon", 1).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = come => {}
            () = all_keep_their_paths(node, FIRST_LIFE, "in the first life", &wrongs) => {}
        }
        killed(&steps).await;
    });
    assert_eq!(died.unwrap(), Outcome::Killed);
    node.live(&watched(node, &wrongs), async |life| {
        let go_and_come = async {
            for number in 20..24 {
                life.del(&format!("c{number}")).await;
                some_come(&life, &format!("later{number}-"), 1).await;
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        };
        let watch = all_keep_their_paths(node, WEATHER, "in the weather", &wrongs);
        tokio::join!(go_and_come, watch);
        Weather::end(&three);
        all_keep_their_paths(node, AFTER, "after the weather", &wrongs).await;
        // Whoever was not answered is tried again, or ends.
        for (container, pod) in node.pods() {
            if pod.address.is_none() {
                life.del(&container).await;
            }
        }
        if let Err(error) = life.add("last", "last").await {
            wrongs.add("in the end", vec![format!("an ADD failed: {error}")]);
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        let ledger = life.quiet().await;
        wrongs.add("in the end", node.faults(&ledger));
        wrongs.add("in the end", wrong_pool(node));
    })
    .unwrap();
    wrongs.add("in the end", three[1].broken_promises());
    wrongs.add("at any time", changes_of_others(&three));
    wrongs.all()
}

/// What the pool has that it should not, by EC2's truth.
fn wrong_pool(node: &Node) -> Vec<String> {
    let has: usize = node.shared.cloud_of(&node.instance).enis.iter().map(|eni| eni.secondary.len()).sum();
    let pods = node.pods().len();
    let wanted = (pods + SPARE).min(MOST);
    if (wanted..=MOST).contains(&has) { Vec::new() } else { vec![format!("{has} addresses for {pods} pods")] }
}

/// What this node's daemon asked of EC2 about what other instances have, but for looking.
fn changes_of_others(three: &[Node]) -> Vec<String> {
    let enis = |node: &Node| -> Vec<Eni> { node.shared.cloud_of(&node.instance).enis };
    let others: Vec<String> = three[1..]
        .iter()
        .flat_map(|other| {
            enis(other).into_iter().map(|eni| eni.id).chain([other.instance.to_string()]).collect::<Vec<_>>()
        })
        .collect();
    let caller = Caller::instance(&three[0].instance);
    three[0].shared.now(|vpc| {
        let changes = vpc.log().by(&caller).filter(|call| !call.action.is_read());
        let words: Vec<String> = changes.map(|call| format!("{:?}", call.request)).collect();
        words.into_iter().filter(|words| others.iter().any(|id| words.contains(id.as_str()))).collect()
    })
}

/// What is wrong in these cases, each lived through.
fn wrong_in(cases: &[(Way, Weather)]) -> Vec<String> {
    quiet_deaths();
    let named = |(way, weather): &(Way, Weather)| format!("{way:?} in {weather:?}");
    let only = std::env::var("HOLDFAST_ONLY_LOSS").ok();
    let asked = |case: &&(Way, Weather)| only.as_ref().is_none_or(|only| named(case).contains(only.as_str()));
    let cases: Vec<_> = cases.iter().filter(asked).collect();
    std::thread::scope(|scope| {
        let workers = [0, 1].map(|worker| {
            let cases = &cases;
            scope.spawn(move || {
                let mut wrongs = Vec::new();
                for (number, case) in cases.iter().enumerate().skip(worker).step_by(2) {
                    let lived =
                        std::panic::catch_unwind(|| live_through(case.0, case.1, 100 + number as u64));
                    let found =
                        lived.unwrap_or_else(|payload| vec![format!("panicked: {}", words(&*payload))]);
                    wrongs.extend(found.into_iter().map(|wrong| format!("{}: {wrong}", named(case))));
                }
                wrongs
            })
        });
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

#[test]
fn whatever_is_lost_of_the_ledger_in_whatever_weather_no_pod_notices() {
    let all = Way::ALL.into_iter().flat_map(|way| Weather::ALL.map(|weather| (way, weather)));
    let wrongs = wrong_in(&all.collect::<Vec<_>>());
    assert!(wrongs.is_empty(), "{}:\n{}", wrongs.len(), wrongs.join("\n"));
}
