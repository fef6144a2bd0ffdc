//! `bench recovery`: from the start of the process to the first served ADD, on a node with 110 leased pods whose
//! daemon was killed; with EC2 and IMDS there, and without.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::latency::{Latencies, readable};
use holdfast_model::intent::Sending;
use serde_json::{Value, json};

use crate::aims::{Aim, Aims};
use crate::burst::{self, Filled};
use crate::place::PODS;

const USUAL: Aim = Aim { name: "the median", most: 40.0, noise: 0.25, unit: " ms" };
/// The longest of some: one that the machine held up is among them.
const FIRST_ADD: Aim = Aim { name: "the longest", most: 100.0, noise: 0.5, unit: " ms" };
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(times: usize, aims: &mut Aims) -> anyhow::Result<Value> {
    let mut filled = burst::fill("instant")?;
    filled.place.node.wait_state("at rest", |ledger| ledger.intents.is_empty())?;
    println!("\nKilled with {PODS} leased pods: from process start to the first ADD served, {times} times");
    let mut told = json!({ "times": times });
    for (key, name, connected) in
        [("connected", "EC2 and IMDS there", true), ("cut_off", "EC2 and IMDS refuse connections", false)]
    {
        let mut latencies = Latencies::default();
        for _ in 0..times {
            latencies.push(once(&mut filled, connected)?);
        }
        let summary = latencies.summary().context("measured at least once")?;
        println!("  {name:<34} median {:>8}", readable(summary.median_us));
        #[allow(clippy::cast_precision_loss, reason = "a few digits are told")]
        let told_of = [(USUAL, summary.median_us), (FIRST_ADD, summary.max_us)]
            .map(|(aim, us)| aims.hold(aim, us as f64 / 1000.0));
        told[key] = json!({ "latency": summary, "aims": told_of });
    }
    println!("  incumbent, to serving: 0.61 s with EC2 at once, 1.5 s with its delays, never without EC2");
    Ok(told)
}

fn once(filled: &mut Filled, connected: bool) -> anyhow::Result<Duration> {
    let Filled { place, .. } = filled;
    place.node.kill()?;
    if connected {
        place.node.reconnect();
    } else {
        place.node.cut_off();
    }
    let runner = place.runner();
    let pod = place.sandboxes(1)?.pop().context("one was made")?;
    let began = Instant::now();
    place.node.start()?;
    // As a runtime does, only sooner: asks again until it is served.
    let took = loop {
        let served = runner.add(&pod)?.ok();
        let took = began.elapsed();
        match served {
            Ok(_) => break took,
            Err(error) if took > PATIENCE => {
                return Err(error).context("no ADD was served after the restart");
            }
            Err(_) => {}
        }
    };
    runner.del(&pod)?.ok()?;
    let state = place.node.wait_state("as before", |ledger| ledger.leases.len() == PODS)?;
    // Addresses that rest may have the pool want more.
    let sent = state.intents.values().any(|intent| intent.sending != Sending::NeverSent);
    ensure!(connected || !sent, "what was begun cannot end without EC2: {:?}", state.intents);
    Ok(took)
}
