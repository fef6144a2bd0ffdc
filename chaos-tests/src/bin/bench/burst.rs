//! `bench burst`: 110 pods asked for at once on a fresh node, with EC2 as slow as it was for the incumbent.

use std::time::{Duration, Instant};

use anyhow::ensure;
use holdfast_chaos_tests::cni::Runner;
use holdfast_chaos_tests::latency::readable;
use holdfast_chaos_tests::pod::Pod;
use serde_json::{Value, json};

use crate::aims::{Aim, Aims};
use crate::place::{INSTANCE_TYPE, PER_ENI, PODS, Place};
use crate::threads;

/// Amazon VPC CNI 1.23.1, unchanged, filling the same instance type with the same 110 pods on a simulated EC2 with
/// the same delays (profile `measured`: reads 30 ms, writes 150 ms, Attach 500 ms, link 1 s after Attach, IMDS 0.5 s
/// behind EC2), on a machine of the same size.
mod incumbent {
    pub(super) const SECONDS: f64 = 15.8;
    pub(super) const CALLS: usize = 22;
    pub(super) const REFUSED: usize = 97;
}

/// The fewest EC2 calls that can serve them with the default targets, which keep one ENI's worth spare: one read of
/// what is attached, one assignment that fills the primary ENI, and for each further ENI its creation with all its
/// addresses, its attachment, and the order that it shall end with the instance, which Attach cannot give.
const fn fewest_calls() -> usize {
    let enis = (PODS + PER_ENI).div_ceil(PER_ENI);
    1 + 1 + 3 * (enis - 1)
}

/// More than the fewest by two are too many. They are counted.
#[allow(clippy::cast_precision_loss, reason = "a few dozen")]
const CALLS: Aim = Aim { name: "EC2 calls", most: (fewest_calls() + 2) as f64, noise: 0.0, unit: "" };

/// The last pod waits for ENIs that take 150 + 500 + 150 ms of calls each, and a second for a link; measured 2.0 s.
const LAST_SERVED: Aim = Aim { name: "last pod served", most: 4.0, noise: 0.25, unit: " s" };

/// A node with 110 pods.
#[derive(Debug)]
pub(crate) struct Filled {
    // In the order in which they must go.
    _pods: Vec<Pod>,
    pub(crate) place: Place,
    /// From the daemon's process start to its answering.
    pub(crate) serving: Duration,
    /// From the first question to the last answer.
    pub(crate) run: threads::Run,
}

/// Starts a daemon in a fresh box, and asks for 110 pods at once as soon as it answers.
pub(crate) fn fill(timing: &str) -> anyhow::Result<Filled> {
    let mut place = Place::make(timing)?;
    let pods = place.sandboxes(PODS)?;
    let began = Instant::now();
    place.node.start_serving()?;
    let serving = began.elapsed();
    let runner = place.runner();
    let run = threads::run(pods.len(), pods.len(), |number| ask(&runner, &pods[number]))?;
    Ok(Filled { _pods: pods, place, serving, run })
}

fn ask(runner: &Runner, pod: &Pod) -> anyhow::Result<Duration> {
    let called = runner.add(pod)?;
    let took = called.took;
    called.ok()?;
    Ok(took)
}

pub(crate) fn run(aims: &mut Aims) -> anyhow::Result<Value> {
    let filled = fill("measured")?;
    let at_last = filled.place.ec2_calls()?;
    let ledger = filled.place.node.wait_state("at rest", |ledger| ledger.intents.is_empty())?;
    ensure!(ledger.leases.len() == PODS, "{} leases for {PODS} pods", ledger.leases.len());
    let calls = filled.place.ec2_calls()?;
    let total: usize = calls.values().sum();
    let latency = filled.run.each.summary();
    let seconds = filled.run.whole.as_secs_f64();

    println!("\n{PODS} pods at once on a fresh {INSTANCE_TYPE}, EC2 with the measured delays");
    println!(
        "  served             {PODS} of {PODS}, none refused          incumbent: {} refused",
        incumbent::REFUSED
    );
    println!("  daemon answering   {} after its start", readable(filled.serving.as_micros()));
    println!(
        "  last pod served    {seconds:.2} s after the question       incumbent: {:.1} s",
        incumbent::SECONDS
    );
    if let Some(latency) = latency {
        println!(
            "  ADD                median {}, p99 {}",
            readable(latency.median_us),
            readable(latency.p99_us)
        );
    }
    println!(
        "  EC2 calls          {total}                              incumbent: {}; fewest possible: {}",
        incumbent::CALLS,
        fewest_calls()
    );
    for (action, count) in &calls {
        println!("    {count:>3} {action}");
    }
    #[allow(clippy::cast_precision_loss, reason = "a few dozen")]
    let told = [aims.hold(CALLS, total as f64), aims.hold(LAST_SERVED, seconds)];
    Ok(json!({
        "pods": PODS, "served": PODS, "refused": 0, "daemon_answering_us": filled.serving.as_micros(),
        "last_served_s": seconds, "add": latency, "ec2_calls": calls, "ec2_calls_total": total,
        "ec2_calls_until_last_served": at_last, "ec2_calls_fewest": fewest_calls(), "enis": ledger.enis.len(), "aims": told,
        "incumbent": { "last_served_s": incumbent::SECONDS, "ec2_calls_total": incumbent::CALLS, "refused": incumbent::REFUSED },
    }))
}
