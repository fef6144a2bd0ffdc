//! `bench recovery`: from the start of the process to the first served ADD, on a node with 110 leased pods whose
//! daemon was killed; with EC2 and IMDS there, and without.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::latency::{Latencies, readable};
use serde_json::{Value, json};

use crate::burst::{self, Filled};
use crate::place::PODS;

const AIM: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(times: usize) -> anyhow::Result<Value> {
    let mut filled = burst::fill("instant")?;
    filled.place.node.wait_state("at rest", |ledger| ledger.intents.is_empty())?;
    println!("\nKilled with {PODS} leased pods: from process start to the first ADD served, {times} times");
    let mut told = json!({ "times": times, "aim_us": AIM.as_micros() });
    for (key, name, connected) in
        [("connected", "EC2 and IMDS there", true), ("cut_off", "EC2 and IMDS refuse connections", false)]
    {
        let mut latencies = Latencies::default();
        for _ in 0..times {
            latencies.push(once(&mut filled, connected)?);
        }
        let summary = latencies.summary().context("measured at least once")?;
        let word = if summary.max_us <= AIM.as_micros() { "reached" } else { "MISSED" };
        println!(
            "  {name:<34} median {:>8}, longest {:>8}; aim {}: {word}",
            readable(summary.median_us),
            readable(summary.max_us),
            readable(AIM.as_micros())
        );
        told[key] = json!(summary);
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
    ensure!(state.intents.is_empty() || connected, "what was begun cannot end without EC2");
    Ok(took)
}
