//! What the scenes play on: the box, two nodes, their pods, and a runtime that starts and stops pods as kubelet does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use holdfast_chaos_tests::cni::Runner;
use holdfast_chaos_tests::latency::Latencies;
use holdfast_chaos_tests::look::{self, Answer, Patience, Promise, Watched};
use holdfast_chaos_tests::packets::Echo;
use holdfast_chaos_tests::pod::Pod;
use holdfast_chaos_tests::report::Report;
use holdfast_chaos_tests::rig::{NodeUnderTest, Rig};
use serde_json::Value;

use crate::mode::Mode;
use crate::rests::Rests;

/// As kubelet's pause between two tries to start a pod, made short.
const RETRY: Duration = Duration::from_millis(20);

/// When a pod that does not start is given up.
const GIVE_UP: Duration = Duration::from_secs(30);

/// Lines of a daemon's log that are shown when the demo failed.
const LAST_WORDS: usize = 8;

/// A pod that has its address and answers questions.
#[derive(Debug)]
pub(crate) struct LivePod {
    pub(crate) address: IpAddr,
    /// All its addresses, that one first.
    pub(crate) addresses: Vec<IpAddr>,
    /// What its ADD was answered with.
    pub(crate) result: Value,
    /// An earlier sandbox of its name was deleted just before.
    pub(crate) namesake: bool,
    // Before the sandbox: its server lets the namespace go first.
    _echoes: Vec<Echo>,
    pub(crate) pod: Pod,
}

/// A node and what runs on it.
#[derive(Debug)]
pub(crate) struct Place {
    // Before the node: pods end first.
    pub(crate) pods: Vec<LivePod>,
    pub(crate) rests: Rests,
    pub(crate) watched: Watched,
    pub(crate) node: NodeUnderTest,
    pub(crate) mode: Mode,
}

impl Place {
    /// The plugin, as a runtime calls it for this node's pods.
    pub(crate) fn runner(&self) -> Runner {
        self.mode.ask(self.node.runner())
    }
}

impl LivePod {
    /// It is about to be deleted: what it has rests from then on.
    pub(crate) fn goes(&self, rests: &Rests) {
        for address in &self.addresses {
            rests.begins(*address);
        }
    }
}

/// Everything. Fields are dropped in order: pods, daemons, then the box.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) places: Vec<Place>,
    pub(crate) rig: Rig,
}

/// Pods that were started, and what it took.
#[derive(Debug, Default)]
pub(crate) struct Started {
    pub(crate) pods: Vec<LivePod>,
    /// Of the calls that succeeded.
    pub(crate) adds: Latencies,
    /// When they were answered.
    pub(crate) served: Vec<Instant>,
    /// Calls that failed and were made again.
    pub(crate) refused: Vec<Refusal>,
}

/// An ADD that failed.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) began: Instant,
    pub(crate) pod: String,
    pub(crate) why: String,
}

impl Started {
    fn absorb(&mut self, other: Self) {
        self.pods.extend(other.pods);
        self.adds.extend(other.adds);
        self.served.extend(other.served);
        self.refused.extend(other.refused);
    }

    /// No ADD that was asked for from `since` on was refused.
    pub(crate) fn none_refused_since(&self, since: Instant) -> anyhow::Result<()> {
        let mut late = self.refused.iter().filter(|refusal| refusal.began >= since);
        match late.next() {
            None => Ok(()),
            Some(Refusal { pod, why, .. }) => {
                bail!("the ADD of {pod} was refused with all parts well, and {} more: {why}", late.count())
            }
        }
    }
}

impl LivePod {
    fn promise(&self) -> Promise<'_> {
        Promise { namesake: self.namesake, ..Promise::to(&self.pod, Answer::Printed(&self.result)) }
    }
}

impl Stage {
    /// Waits until all nodes are as they must be with the pods that live: see `holdfast_chaos_tests::oracle`.
    pub(crate) fn wait_sound(&self) -> anyhow::Result<()> {
        look::wait_sound(Patience::of(&self.rig)?, || {
            let picture = |place: &Place| {
                let pods: Vec<Promise<'_>> = place.pods.iter().map(LivePod::promise).collect();
                place.watched.picture(&self.rig, &place.node, &pods)
            };
            self.places.iter().map(picture).collect()
        })
    }
}

impl Stage {
    /// The addresses of all pods, each of which must be alone with its own.
    pub(crate) fn addresses(&self) -> anyhow::Result<BTreeSet<IpAddr>> {
        let mut seen = BTreeSet::new();
        let pods = self.places.iter().flat_map(|place| &place.pods);
        for address in pods.flat_map(|pod| &pod.addresses) {
            ensure!(seen.insert(*address), "{address} was given to two pods");
        }
        Ok(seen)
    }
}

impl Stage {
    /// The end of what each daemon has logged, for a demo that failed.
    pub(crate) fn last_words(&self, report: &Report) {
        for place in &self.places {
            report.note(&format!("the daemon of {} said at last:", place.node.name()));
            let log = place.node.log();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(LAST_WORDS)..] {
                report.note(line);
            }
        }
    }
}

/// Starts pods of these names at once, at most `at_once` of them. ADDs under way are counted in `in_flight`.
pub(crate) fn start_pods(
    rig: &Rig,
    runner: &Runner,
    names: &[String],
    at_once: usize,
    in_flight: &AtomicUsize,
    rests: &Rests,
) -> anyhow::Result<Started> {
    let next = AtomicUsize::new(0);
    let work = || -> anyhow::Result<Started> {
        let mut all = Started::default();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            all.absorb(start_pod(rig, runner, name, in_flight, rests)?);
        }
        Ok(all)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        let mut all = Started::default();
        for thread in threads {
            let started = thread.join().map_err(|_panic| anyhow::anyhow!("a runtime's thread panicked"))?;
            all.absorb(started?);
        }
        Ok(all)
    })
}

/// As kubelet does: an ADD that failed is followed by DEL, and tried again with a new sandbox.
fn start_pod(
    rig: &Rig,
    runner: &Runner,
    name: &str,
    in_flight: &AtomicUsize,
    rests: &Rests,
) -> anyhow::Result<Started> {
    let first = Instant::now();
    let mut started = Started::default();
    loop {
        let pod = rig.pod(name)?;
        let began = Instant::now();
        in_flight.fetch_add(1, Ordering::SeqCst);
        let called = runner.add(&pod);
        in_flight.fetch_sub(1, Ordering::SeqCst);
        let called = called?;
        let took = called.took;
        match called.ok() {
            Ok(result) => {
                // At once: a runtime starts the pod's programs now.
                let unlike = look::unlike_its_answer(&Promise::to(&pod, Answer::Printed(&result)))?;
                ensure!(
                    unlike.is_empty(),
                    "{name} is not wired as its ADD was answered: {}",
                    unlike.join("; ")
                );
                started.served.push(Instant::now());
                started.adds.push(took);
                let (address, addresses) = (Runner::ip(&result)?, Runner::addresses(&result)?);
                for address in &addresses {
                    rests.ends(*address)?;
                }
                let echoes: Result<_, _> =
                    addresses.iter().map(|at| Echo::serve_at(pod.netns(), *at)).collect();
                let (namesake, echoes) = (!started.refused.is_empty(), echoes?);
                started.pods.push(LivePod { address, addresses, result, namesake, _echoes: echoes, pod });
                return Ok(started);
            }
            Err(error) if first.elapsed() > GIVE_UP => {
                let tries = started.refused.len();
                return Err(error).with_context(|| format!("starting {name}, {tries} tries before"));
            }
            Err(error) => {
                started.refused.push(Refusal { began, pod: name.to_owned(), why: format!("{error:#}") });
                runner.del(&pod)?.ok().with_context(|| format!("DEL of {name} after its failed ADD"))?;
                std::thread::sleep(RETRY);
            }
        }
    }
}
