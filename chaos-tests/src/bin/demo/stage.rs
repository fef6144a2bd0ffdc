//! What the scenes play on: the box, two nodes, their pods, and a runtime that starts and stops pods as kubelet does.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::cni::Runner;
use holdfast_chaos_tests::latency::Latencies;
use holdfast_chaos_tests::packets::Echo;
use holdfast_chaos_tests::pod::Pod;
use holdfast_chaos_tests::report::Report;
use holdfast_chaos_tests::rig::{NodeUnderTest, Rig};

/// As kubelet's pause between two tries to start a pod, made short.
const RETRY: Duration = Duration::from_millis(20);

/// When a pod that does not start is given up.
const GIVE_UP: Duration = Duration::from_secs(30);

/// Lines of a daemon's log that are shown when the demo failed.
const LAST_WORDS: usize = 8;

/// A pod that has its address and answers questions.
#[derive(Debug)]
pub(crate) struct LivePod {
    pub(crate) address: Ipv4Addr,
    // Before the sandbox: its server lets the namespace go first.
    _echo: Echo,
    pub(crate) pod: Pod,
}

/// A node and what runs on it.
#[derive(Debug)]
pub(crate) struct Place {
    // Before the node: pods end first.
    pub(crate) pods: Vec<LivePod>,
    pub(crate) node: NodeUnderTest,
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
    /// Calls that failed and were made again.
    pub(crate) retries: usize,
}

impl Started {
    fn absorb(&mut self, other: Self) {
        self.pods.extend(other.pods);
        self.adds.extend(other.adds);
        self.retries += other.retries;
    }
}

impl Stage {
    /// The addresses of all pods, each of which must be alone with its own.
    pub(crate) fn addresses(&self) -> anyhow::Result<BTreeSet<Ipv4Addr>> {
        let mut seen = BTreeSet::new();
        for pod in self.places.iter().flat_map(|place| &place.pods) {
            ensure!(seen.insert(pod.address), "{} was given to two pods", pod.address);
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
) -> anyhow::Result<Started> {
    let next = AtomicUsize::new(0);
    let work = || -> anyhow::Result<Started> {
        let mut all = Started::default();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            all.absorb(start_pod(rig, runner, name, in_flight)?);
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
fn start_pod(rig: &Rig, runner: &Runner, name: &str, in_flight: &AtomicUsize) -> anyhow::Result<Started> {
    let began = Instant::now();
    let mut retries = 0;
    loop {
        let pod = rig.pod(name)?;
        in_flight.fetch_add(1, Ordering::SeqCst);
        let called = runner.add(&pod);
        in_flight.fetch_sub(1, Ordering::SeqCst);
        let called = called?;
        let took = called.took;
        match called.ok() {
            Ok(result) => {
                let pod =
                    LivePod { address: Runner::address(&result)?, _echo: Echo::serve(pod.netns())?, pod };
                return Ok(Started { pods: vec![pod], adds: [took].into_iter().collect(), retries });
            }
            Err(error) if began.elapsed() > GIVE_UP => {
                return Err(error).with_context(|| format!("starting {name}, {retries} tries before"));
            }
            Err(_) => {
                retries += 1;
                runner.del(&pod)?.ok().with_context(|| format!("DEL of {name} after its failed ADD"))?;
                std::thread::sleep(RETRY);
            }
        }
    }
}
