//! `bench scale`: one ADD at a time on a node with ten pods, with as many as an m5.24xlarge has, and with as many as any
//! instance type has; and how long a restart takes there.
//!
//! All of it on one node in one run, which is filled and emptied several times, so that whatever else the machine does hits
//! all sizes. Kernel and runtime have as many pods as the daemon.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::latency::{Latencies, readable};
use holdfast_chaos_tests::look;
use holdfast_chaos_tests::pod::Pod;
use serde_json::{Value, json};

use crate::aims::{Aim, Aims};
use crate::place::Place;
use crate::threads;

/// The one with the most addresses: 24 ENIs of 63.
const INSTANCE_TYPE: &str = "m8a.48xlarge";
const ADDRESSES: usize = 24 * 63;

/// Pods that are there while others are measured. Upstream counts two on the host's network to 737 and 1,514.
const SIZES: [usize; 5] = [10, 110, 735, 1100, ADDRESSES - PROBES];

/// Pods that come and go one by one, at each size.
const PROBES: usize = 24;

/// ADDs that fill it, at one time.
const WIDTH: usize = 16;

/// Restarts at each size, each time round.
const RESTARTS: usize = 3;

const PATIENCE: Duration = Duration::from_secs(120);

/// Of medians that were taken in turns.
const GROWTH: Aim = Aim { name: "ADD at 1,488 pods to ADD at 10", most: 1.5, noise: 0.1, unit: "x" };
const GROWTH_735: Aim = Aim { name: "ADD at 735 pods to ADD at 10", most: 1.5, noise: 0.1, unit: "x" };
const RESTART_735: Aim =
    Aim { name: "restart at 735 pods, the median", most: 100.0, noise: 0.25, unit: " ms" };
const RESTART: Aim = Aim { name: "restart at 1,488 pods, the median", most: 100.0, noise: 0.25, unit: " ms" };

#[derive(Debug, Default)]
struct Score {
    add: Latencies,
    del: Latencies,
    restart: Latencies,
}

pub(crate) fn run(rounds: usize, aims: &mut Aims) -> anyhow::Result<Value> {
    let mut place = Place::of("instant", INSTANCE_TYPE)?;
    place.node.set("IP_COOLDOWN_PERIOD", "0").set("MINIMUM_IP_TARGET", &ADDRESSES.to_string());
    place.node.set("WARM_IP_TARGET", "1");
    place.node.start_serving()?;
    place.node.wait_state("full", |ledger| ledger.blocks.len() >= ADDRESSES && ledger.intents.is_empty())?;
    let most = SIZES[SIZES.len() - 1];
    let mut pods = place.sandboxes(most)?;
    let mut probes = place.sandboxes(PROBES)?;
    let mut scores: Vec<Score> = SIZES.iter().map(|_| Score::default()).collect();
    let mut there = 0;
    println!(
        "\n{INSTANCE_TYPE} in the box: one ADD or DEL at a time beside so many pods; {rounds} times up and down"
    );
    for _ in 0..rounds {
        let up = SIZES.iter().enumerate();
        let down = SIZES.iter().enumerate().rev();
        for (at, &size) in up.chain(down) {
            there = resize(&place, &mut pods, there, size)?;
            measure(&mut place, &mut probes, size, &mut scores[at])?;
        }
    }
    tell(&scores, aims)
}

/// Container ids are never used twice.
fn renew(pod: &mut Pod) -> anyhow::Result<()> {
    let number = u64::from_str_radix(&pod.container_id[48..], 16).context("container ids are hexadecimal")?;
    pod.container_id.replace_range(48.., &format!("{:016x}", number.wrapping_add(1)));
    Ok(())
}

fn resize(place: &Place, pods: &mut [Pod], there: usize, size: usize) -> anyhow::Result<usize> {
    let runner = place.runner();
    if size > there {
        pods[there..size].iter_mut().try_for_each(renew)?;
        let pods = &pods[there..size];
        threads::run(pods.len(), WIDTH, |number| ended(runner.add(&pods[number])?))?;
    } else {
        let pods = &pods[size..there];
        threads::run(pods.len(), WIDTH, |number| ended(runner.del(&pods[number])?))?;
        links_gone(place, size)?;
    }
    Ok(size)
}

fn ended(called: holdfast_chaos_tests::cni::Called) -> anyhow::Result<Duration> {
    let took = called.took;
    called.ok()?;
    Ok(took)
}

/// Waits until so many pods' links are left.
fn links_gone(place: &Place, size: usize) -> anyhow::Result<()> {
    let (node, began) = (place.node.netns()?, Instant::now());
    loop {
        let left = look::links_of_pods(&node)?;
        if left <= size {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{left} links of {size} pods");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn measure(place: &mut Place, probes: &mut [Pod], size: usize, score: &mut Score) -> anyhow::Result<()> {
    let runner = place.runner();
    probes.iter_mut().try_for_each(renew)?;
    let pods = &*probes;
    score.add.extend(threads::run(pods.len(), 1, |number| ended(runner.add(&pods[number])?))?.each);
    score.del.extend(threads::run(pods.len(), 1, |number| ended(runner.del(&pods[number])?))?.each);
    links_gone(place, size)?;
    for _ in 0..RESTARTS {
        place.node.kill()?;
        renew(&mut probes[0])?;
        let began = Instant::now();
        place.node.start()?;
        let took = loop {
            let served = runner.add(&probes[0])?.ok();
            let took = began.elapsed();
            match served {
                Ok(_) => break took,
                Err(error) if took > PATIENCE => {
                    return Err(error).context("no ADD was served after the restart");
                }
                Err(_) => {}
            }
        };
        score.restart.push(took);
        runner.del(&probes[0])?.ok()?;
        place.node.wait_state("as before", |ledger| ledger.leases.len() == size)?;
    }
    links_gone(place, size)
}

fn tell(scores: &[Score], aims: &mut Aims) -> anyhow::Result<Value> {
    println!("      pods   ADD median        p99   DEL median   restart median   longest");
    let mut told = json!({});
    let mut medians = Vec::new();
    for (size, score) in SIZES.iter().zip(scores) {
        let of = |latencies: &Latencies| latencies.summary().context("nothing was measured");
        let (add, del, restart) = (of(&score.add)?, of(&score.del)?, of(&score.restart)?);
        println!(
            "  {size:>8} {:>12} {:>10} {:>12} {:>16} {:>9}",
            readable(add.median_us),
            readable(add.p99_us),
            readable(del.median_us),
            readable(restart.median_us),
            readable(restart.max_us),
        );
        medians.push((add.median_us, restart.median_us));
        told[size.to_string()] = json!({ "add": add, "del": del, "restart": restart });
    }
    #[allow(clippy::cast_precision_loss, reason = "a few digits are told")]
    let growth = |at: usize| medians[at].0 as f64 / medians[0].0.max(1) as f64;
    #[allow(clippy::cast_precision_loss, reason = "a few digits are told")]
    let restart = |at: usize| medians[at].1 as f64 / 1000.0;
    let last = SIZES.len() - 1;
    told["aims"] = json!([
        aims.hold(GROWTH_735, growth(2)),
        aims.hold(GROWTH, growth(last)),
        aims.hold(RESTART_735, restart(2)),
        aims.hold(RESTART, restart(last)),
    ]);
    Ok(told)
}
