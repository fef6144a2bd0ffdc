//! `bench add`: ADD and DEL through the real plugin process, beside the reference plugin and the bare netlink calls.
//!
//! Contenders take turns within each round, so that whatever else the machine does hits all of them. Sandboxes are
//! made before and used again under new container ids: making and removing namespaces is nobody's work here. After
//! our DELs the round waits until the kernel has removed the links, which our DEL does not wait for and the
//! reference's does, so that this work is not done in another's time.

mod phases;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::latency::{Latencies, readable};
use holdfast_chaos_tests::look;
use holdfast_chaos_tests::pod::Pod;
use serde_json::{Value, json};

use crate::aims::{Aim, Aims};
use crate::contenders::{Contender, Holdfast, Ptp};
use crate::floor::{self, Floor};
use crate::place::{INSTANCE_TYPE, Place};
use crate::threads::{self, Run};

/// Pods of one turn.
const PODS: usize = 32;

/// ADDs under way at once.
const WIDTHS: [usize; 2] = [1, 16];

/// Addresses that the pool keeps before the first ADD: more than two turns use, so that EC2 has nothing to do.
const POOL: usize = 150;

/// Removed namespaces of the floor's run are torn down by the kernel after its end.
const KERNEL_TIDIES: Duration = Duration::from_millis(500);

const PATIENCE: Duration = Duration::from_secs(90);

/// ADD at most half of the reference's, DEL at most a quarter, ADD under twice the floor. Ratios of medians that were
/// taken in turns; with a compiler beside them runs differ by this much.
const ADD_TO_PTP: Aim = Aim { name: "ADD to ptp", most: 0.5, noise: 0.15, unit: "x" };
const DEL_TO_PTP: Aim = Aim { name: "DEL to ptp", most: 0.25, noise: 0.15, unit: "x" };
const ADD_TO_FLOOR: Aim = Aim { name: "ADD to floor", most: 2.0, noise: 0.15, unit: "x" };

/// Of one contender at one width.
#[derive(Debug, Default)]
struct Score {
    add: Run,
    del: Run,
}

/// Of all at one width.
#[derive(Debug, Default)]
struct Scores {
    holdfast: Score,
    ptp: Score,
    floor: Vec<Floor>,
    /// From the last DEL's answer until the kernel had removed the last link.
    links_gone: Latencies,
    /// As the daemon logged it.
    in_daemon: Latencies,
    /// One durable commit at a time, on the same disk.
    commits: Latencies,
}

pub(crate) fn run(rounds: usize, aims: &mut Aims) -> anyhow::Result<Value> {
    let program = floor::Program::from_env()?;
    let mut place = Place::make("instant")?;
    place.node.set("IP_COOLDOWN_PERIOD", "0").set("MINIMUM_IP_TARGET", &POOL.to_string());
    place.node.set("WARM_IP_TARGET", "1");
    place.node.start_serving()?;
    wait_for_pool(&mut place)?;
    let calls_before = place.ec2_calls()?;
    let holdfast = Holdfast(place.runner());
    let ptp = Ptp::new(&place.disk.path("ptp"))?;
    let sync = place.disk.sync_cost()?;
    println!(
        "ADD and DEL, from the start of the plugin process to its end; {rounds} rounds of {PODS} pods.\n\
         {INSTANCE_TYPE} in the box, pool of {POOL}; ledger and host-local's files on {} (fdatasync {}, p99 {}).",
        place.disk.file_system()?,
        readable(sync.median_us),
        readable(sync.p99_us),
    );

    let mut pods = place.sandboxes(PODS)?;
    let mut scores: Vec<Scores> = WIDTHS.iter().map(|_| Scores::default()).collect();
    let mut commits = phases::Commits::prepare(&place)?;
    for round in 0..rounds {
        scores[0].commits.extend(commits.measure(PODS)?);
        for (width, scores) in WIDTHS.into_iter().zip(&mut scores) {
            let mut turns = [0, 1, 2];
            turns.rotate_left(round % 3);
            for turn in turns {
                match turn {
                    0 => ours(&place, &holdfast, &mut pods, width, scores)?,
                    1 => play(&ptp, &mut pods, width, &mut scores.ptp)?,
                    _ => {
                        scores.floor.push(program.measure(PODS, width)?);
                        std::thread::sleep(KERNEL_TIDIES);
                    }
                }
            }
        }
    }
    let calls_after = place.ec2_calls()?;
    ensure!(
        calls_before == calls_after,
        "EC2 was asked during the measurement: {calls_before:?}, then {calls_after:?}"
    );

    let mut figures = json!({
        "rounds": rounds, "pods_per_round": PODS, "file_system": place.disk.file_system()?,
        "fdatasync": sync, "ec2_calls_meanwhile": 0,
    });
    for (width, scores) in WIDTHS.into_iter().zip(&scores) {
        figures[format!("at_once_{width}")] = tell(width, scores, aims)?;
    }
    figures["phases"] = phases::tell(&holdfast.0, &scores[0])?;
    Ok(figures)
}

/// Waits until the pool is full, nothing more is wanted of EC2, and it is left alone. A new ledger has EC2 read once more
/// when reads no longer lag behind what it may have forgotten.
fn wait_for_pool(place: &mut Place) -> anyhow::Result<()> {
    place.node.wait_state("full", |ledger| ledger.blocks.len() >= POOL && ledger.intents.is_empty())?;
    let began = Instant::now();
    loop {
        let calls = place.ec2_calls()?;
        std::thread::sleep(Duration::from_millis(1500));
        if place.ec2_calls()? == calls && place.node.dump()?["reads_wanted"] == json!([]) {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "the daemon does not leave EC2 alone: {calls:?}");
    }
}

fn ours(
    place: &Place,
    holdfast: &Holdfast,
    pods: &mut [Pod],
    width: usize,
    scores: &mut Scores,
) -> anyhow::Result<()> {
    let logged = place.node.log().len();
    play(holdfast, pods, width, &mut scores.holdfast)?;
    let began = Instant::now();
    let node = place.node.netns()?;
    loop {
        let left = look::left_of_pods(&node)?;
        if left.is_empty() {
            break;
        }
        ensure!(began.elapsed() < PATIENCE, "DEL has left something: {left:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    scores.links_gone.push(began.elapsed());
    scores.in_daemon.extend(phases::logged(&place.node.log()[logged..]));
    Ok(())
}

/// All ADDs, then all DELs, in the same sandboxes under new ids.
fn play(contender: &dyn Contender, pods: &mut [Pod], width: usize, score: &mut Score) -> anyhow::Result<()> {
    for pod in pods.iter_mut() {
        // Its last digits count up: container ids are never used twice.
        let number =
            u64::from_str_radix(&pod.container_id[48..], 16).context("container ids are hexadecimal")?;
        pod.container_id.replace_range(48.., &format!("{:016x}", number.wrapping_add(1)));
    }
    let pods = &*pods;
    let context = || format!("{} at {width} in flight", contender.name());
    score.add.extend(threads::run(pods.len(), width, |n| contender.add(&pods[n])).with_context(context)?);
    score.del.extend(threads::run(pods.len(), width, |n| contender.del(&pods[n])).with_context(context)?);
    Ok(())
}

fn tell(width: usize, scores: &Scores, aims: &mut Aims) -> anyhow::Result<Value> {
    println!("\n{width} in flight            median       p99       max     per s");
    let mut told = json!({});
    for (name, score) in [("holdfast", &scores.holdfast), ("ptp + host-local", &scores.ptp)] {
        for (command, run) in [("ADD", &score.add), ("DEL", &score.del)] {
            let summary = run.each.summary().context("nothing was measured")?;
            let rate = rate(summary.count, run.whole);
            println!(
                "  {command} {name:<17} {:>9} {:>9} {:>9} {rate:>9.0}",
                readable(summary.median_us),
                readable(summary.p99_us),
                readable(summary.max_us),
            );
            told[name][command.to_lowercase()] = json!({ "latency": summary, "per_second": rate });
        }
    }
    let rows =
        || scores.floor.iter().map(|floor| if width == 1 { floor.one_at_a_time } else { floor.many_at_once });
    let add = floor::median(rows().map(|row| row.add_us.median).collect());
    let worst = rows().map(|row| row.add_us.p99).max().unwrap_or(0);
    let del = floor::median(rows().map(|row| row.del_us.median).collect());
    let link = floor::median(rows().map(|row| row.link_us.median).collect());
    println!("  ADD floor             {:>9} {:>9}", readable(add.into()), readable(worst.into()));
    println!(
        "  DEL floor             {:>9}           and {} to remove the link",
        readable(del.into()),
        readable(link.into())
    );
    told["floor"] =
        json!({ "add_median_us": add, "add_p99_us": worst, "del_median_us": del, "link_median_us": link });

    let median = |run: &Run| run.each.summary().map_or(0, |summary| summary.median_us);
    let ours = (median(&scores.holdfast.add), median(&scores.holdfast.del));
    let ratios = [
        ("add_to_ptp", ADD_TO_PTP, ratio(ours.0, median(&scores.ptp.add))),
        ("del_to_ptp", DEL_TO_PTP, ratio(ours.1, median(&scores.ptp.del))),
        ("add_to_floor", ADD_TO_FLOOR, ratio(ours.0, add.into())),
    ];
    for (key, aim, ratio) in ratios {
        told["ratios"][key] = aims.hold(aim, ratio);
    }
    let gone = scores.links_gone.summary().context("nothing was measured")?;
    println!(
        "  the last of {PODS} links was gone {} after the last DEL's answer (median)",
        readable(gone.median_us)
    );
    told["links_gone_after"] = json!(gone);
    Ok(told)
}

#[allow(clippy::cast_precision_loss, reason = "a few digits are told")]
fn ratio(ours: u128, theirs: u128) -> f64 {
    ours as f64 / theirs.max(1) as f64
}

#[allow(clippy::cast_precision_loss, reason = "a few digits are told")]
fn rate(count: usize, whole: Duration) -> f64 {
    count as f64 / whole.as_secs_f64()
}
