//! SIGKILL at every step, on the real kernel and a real file: each life of the script dies at another step, and the next
//! life must make good what it left.
//!
//! The steps are those that a recorded life passed: before and after each durable commit, around the effect of each
//! EC2 call, around each change to the kernel and inside the wiring of each pod. None is listed by hand. The same
//! in one process, with a simulated kernel and power cuts, is `simulated::crash`; what this adds is a process that
//! truly dies, with threads in the middle of their work, and a kernel that keeps what they had begun.
//!
//! Needs root. All steps are tried unless `HOLDFAST_KILL_EVERY=n` says every nth only (and the first of each kind); the
//! output says how many were.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::life::{Halt, Life};
use crate::node::Node;
use crate::room::enter_own_namespaces;
use crate::wire::{Death, Passed, Side};

/// Nodes at the same time, each in namespaces of its own.
const NODES: usize = 4;

/// Faults after which no more are looked for.
const ENOUGH: usize = 10;

/// How often a step is tried to be reached: two lives on a real kernel are not equal.
const TRIES: usize = 3;

/// After this the pool has no business with EC2 left from before: rests, ages of ENIs and second looks at what
/// seemed to be missing have passed.
const SETTLE_TIME: Duration = Duration::from_secs(300);

type Steps = Vec<(Passed, &'static str)>;

/// Start, growth by address, growth by ENI, ADD, DEL, release of addresses, release of an ENI.
fn script(life: &mut Life<'_>) -> Result<(), Halt> {
    life.stage("start");
    life.quiet(2)?;
    life.stage("ADD, growth by address");
    let adds = [life.add("web-0", "c0")?, life.add("web-1", "c1")?];
    life.answered(&adds)?;
    let add = life.add("web-2", "c2")?;
    life.answered(&[add])?;
    // More than the primary ENI carries: an ENI is created, attached and set up while these are held.
    life.stage("ADD, growth by ENI");
    let adds = [3, 4, 5, 6].map(|number| life.add(&format!("web-{number}"), &format!("c{number}")));
    let adds: Vec<u64> = adds.into_iter().collect::<Result<_, _>>()?;
    life.answered(&adds)?;
    life.quiet(9)?;
    life.stage("DEL");
    let dels: Vec<u64> = ["c2", "c3", "c6"].map(|pod| life.del(pod)).into_iter().collect::<Result<_, _>>()?;
    life.answered(&dels)?;
    for pod in ["c4", "c5"] {
        let del = life.del(pod)?;
        life.answered(&[del])?;
    }
    // Rests end, spare addresses and the spare ENI go back.
    life.stage("release of addresses and ENI");
    life.rest(Duration::from_secs(400))?;
    life.quiet(2)?;
    life.stage("ADD after release");
    let add = life.add("late", "late")?;
    life.answered(&[add])?;
    life.stage("stop");
    life.stop()
}

/// What the next life finds besides what the dead one left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The runtime repeats the ADD of the same sandbox.
    AddedAgain,
    /// The runtime deletes the sandbox and makes another; and the life that makes good what was left dies itself at its
    /// nth step, so that the one after it has to.
    MadeAnew { dies_at: u64 },
}

/// A sandbox with an ADD or DEL that was not answered: its container, its pod, and whether it is being deleted.
type Unfinished = (String, String, bool);

fn unfinished(node: &Node) -> Vec<Unfinished> {
    node.sandboxes()
        .iter()
        .filter(|(_, sandbox)| sandbox.deleting || sandbox.address.is_none())
        .map(|(container, sandbox)| (container.clone(), sandbox.pod.name.clone(), sandbox.deleting))
        .collect()
}

/// What the runtime does with what it had begun, and one pod more.
fn retry(life: &mut Life<'_>, unfinished: &[Unfinished], next: Next, extra: &str) -> Result<(), Halt> {
    for (container, name, deleting) in unfinished {
        if !*deleting && next == Next::AddedAgain {
            let add = life.add_again(container)?;
            life.answered(&[add])?;
            continue;
        }
        let del = life.del(container)?;
        life.answered(&[del])?;
        if !*deleting {
            let add = life.add(name, &format!("{container}b"))?;
            life.answered(&[add])?;
        }
    }
    let add = life.add(extra, extra)?;
    life.answered(&[add])?;
    life.rest(SETTLE_TIME)
}

/// How the life with an appointed step ended.
enum Ended {
    /// It died there.
    Died {
        /// So did the life after it.
        twice: bool,
        /// What was wrong afterwards.
        wrong: Vec<String>,
    },
    /// It never came there.
    Missed,
}

fn die_at(program: &Path, dir: &Path, step: &Passed, next: Next) -> anyhow::Result<Ended> {
    let mut node = Node::new(program, dir)?;
    match script(&mut node.start(Some(Death::At(step.clone())))?) {
        Err(Halt::Died) => {}
        Ok(()) => return Ok(Ended::Missed),
        Err(Halt::Failed(error)) => return Err(error.context("before its death")),
    }
    let mut wrong = promises_of_the_dead(&node);
    let mut twice = false;
    let mut death = match next {
        Next::AddedAgain => None,
        Next::MadeAnew { dies_at } => Some(Death::AtNth(dies_at)),
    };
    let (ledger, words) = loop {
        let unfinished = unfinished(&node);
        let mut life = node.start(death.clone())?;
        let extra = if twice { "after-both" } else { "after" };
        let lived = retry(&mut life, &unfinished, next, extra).and_then(|()| {
            let ledger = life.quiet(2)?;
            life.stop()?;
            Ok(ledger)
        });
        match lived {
            Ok(ledger) => break (ledger, life.last_words()),
            Err(Halt::Died) if death.is_some() => {
                death = None;
                twice = true;
                drop(life);
                wrong.extend(promises_of_the_dead(&node));
            }
            Err(Halt::Died) => anyhow::bail!("the next life was killed, and not by itself"),
            Err(Halt::Failed(error)) => return Err(error.context("in the next life")),
        }
    };
    wrong.extend(node.faults(&ledger)?);
    if !wrong.is_empty() {
        wrong.push(format!("the last words of all:\n{words}"));
    }
    Ok(Ended::Died { twice, wrong })
}

/// With no daemon at all, what was promised holds already.
fn promises_of_the_dead(node: &Node) -> Vec<String> {
    node.broken_promises().into_iter().map(|fault| format!("while dead: {fault}")).collect()
}

fn record(program: &Path, dir: &Path) -> Steps {
    let mut node = Node::new(program, dir).unwrap();
    let mut life = node.start(None).unwrap();
    match script(&mut life) {
        Ok(()) => life.passed().to_vec(),
        other => panic!("the recorded life: {other:?}"),
    }
}

/// On a thread with namespaces of its own, which end with it.
fn in_own_namespaces<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_own_namespaces().unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// Where the nodes keep their files: on a disk, below the build folder. What a killed run left is removed first.
fn place() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kill");
    if place.exists() {
        fs::remove_dir_all(&place).unwrap();
    }
    place
}

/// What came of all deaths.
#[derive(Debug, Default)]
struct Tally {
    died: Steps,
    twice: usize,
    missed: Vec<Passed>,
    failures: Vec<String>,
}

impl Tally {
    /// One more, tried until it comes to its step.
    fn die_at(&mut self, program: &Path, dir: &Path, at: &(Passed, &'static str), next: Next) {
        let (step, stage) = at;
        let mut tries = (0..TRIES).map(|attempt| die_at(program, &dir.join(attempt.to_string()), step, next));
        let ended = tries.find(|ended| !matches!(ended, Ok(Ended::Missed)));
        let wrong = match ended {
            None | Some(Ok(Ended::Missed)) => {
                self.missed.push(step.clone());
                return;
            }
            Some(Ok(Ended::Died { twice, wrong })) => {
                self.twice += usize::from(twice);
                wrong
            }
            Some(Err(error)) => vec![format!("{error:#}")],
        };
        self.died.push((step.clone(), stage));
        let of = |what| format!("{step} ({stage}; {next:?}): {what}");
        self.failures.extend(wrong.into_iter().map(of));
    }

    fn add(&mut self, other: Self) {
        self.died.extend(other.died);
        self.twice += other.twice;
        self.missed.extend(other.missed);
        self.failures.extend(other.failures);
    }

    fn tell(&self) {
        let mut by_stage: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
        let mut by_kind: BTreeMap<String, usize> = BTreeMap::new();
        for (step, stage) in &self.died {
            let column = match (step.deed.as_str(), step.side) {
                ("commit", _) => 0,
                _ if step.is_call() => 1,
                (_, Side::Before | Side::After) => 2,
                (_, Side::Amid) => 3,
            };
            by_stage.entry(stage).or_default()[column] += 1;
            *by_kind.entry(step.kind()).or_default() += 1;
        }
        println!("{:<32}{:>8}{:>10}{:>8}{:>15}", "stage", "commits", "EC2 calls", "kernel", "inside wiring");
        for (stage, [commits, calls, kernel, wiring]) in by_stage {
            println!("{stage:<32}{commits:>8}{calls:>10}{kernel:>8}{wiring:>15}");
        }
        for (kind, deaths) in by_kind {
            println!("{deaths:>4}  {kind}");
        }
    }
}

pub(crate) fn sigkill_at_every_step_leaves_nothing_that_the_next_start_does_not_make_good() {
    let begun = Instant::now();
    let every: usize = match std::env::var("HOLDFAST_KILL_EVERY") {
        Ok(text) => text.parse().expect("HOLDFAST_KILL_EVERY is a number"),
        Err(_unset) => 1,
    };
    let program = &std::env::current_exe().unwrap();
    let place = place();
    let recorded = in_own_namespaces(|| record(program, &place.join("recorded")));
    let kinds: BTreeSet<String> = recorded.iter().map(|(step, _)| step.kind()).collect();
    for action in [
        "AssignPrivateIpAddresses",
        "CreateNetworkInterface",
        "AttachNetworkInterface",
        "ModifyNetworkInterfaceAttribute",
        "UnassignPrivateIpAddresses",
        "DetachNetworkInterface",
        "DeleteNetworkInterface",
    ] {
        for side in ["before", "after"] {
            let kind = format!("{side} {action}");
            assert!(kinds.contains(&kind), "the script never came to {kind}: {kinds:#?}");
        }
    }
    let mut seen = BTreeSet::new();
    let chosen: Vec<&(Passed, &str)> = recorded
        .iter()
        .enumerate()
        .filter(|(number, (step, _))| seen.insert(step.kind()) || number % every == 0)
        .map(|(_, step)| step)
        .collect();
    let (of, kinds_of) = (recorded.len(), kinds.len());
    println!("recorded {of} steps of {kinds_of} kinds in {} ms", begun.elapsed().as_millis());

    // Each twice: once for each way that the runtime may go on. The second deaths are spread over what a next life does.
    let deaths: Vec<(usize, Next)> = (0..chosen.len())
        .flat_map(|step| [(step, Next::AddedAgain), (step, Next::MadeAnew { dies_at: step as u64 * 7 % 32 })])
        .collect();
    let (turn, faults) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        let mut tally = Tally::default();
        while faults.load(Ordering::Relaxed) < ENOUGH {
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            let Some(&(step, next)) = deaths.get(turn) else { break };
            let before = tally.failures.len();
            tally.die_at(program, &place.join(turn.to_string()), chosen[step], next);
            faults.fetch_add(tally.failures.len() - before, Ordering::Relaxed);
        }
        tally
    };
    let mut all = Tally::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..NODES).map(|_| scope.spawn(|| in_own_namespaces(work))).collect();
        for worker in workers {
            all.add(worker.join().unwrap());
        }
    });

    all.tell();
    println!(
        "{} deaths at {} of {of} recorded steps, {} of them followed by a second one, in {} s; not reached in {TRIES} \
         tries: {:?}",
        all.died.len(),
        all.died.iter().map(|(step, _)| step).collect::<BTreeSet<_>>().len(),
        all.twice,
        begun.elapsed().as_secs(),
        all.missed.iter().map(ToString::to_string).collect::<Vec<_>>()
    );
    if every > 1 {
        println!("HOLDFAST_KILL_EVERY={every}: the other steps were NOT tried");
    }
    assert!(all.failures.is_empty(), "{} faults:\n{}", all.failures.len(), all.failures.join("\n"));
    // A batch of the writer may hold more in one life than in another: then its last commits are never made.
    assert!(all.missed.len() * 20 <= deaths.len(), "too many steps were never reached: {:?}", all.missed);
    assert!(all.twice * 4 >= chosen.len(), "only {} of the next lives came to their own death", all.twice);
    let hit: BTreeSet<String> = all.died.iter().map(|(step, _)| step.kind()).collect();
    assert_eq!(hit, kinds, "each recorded kind was died at");
}
