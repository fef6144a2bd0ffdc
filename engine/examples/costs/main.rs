//! What decisions cost: `cargo run --release -p holdfast-engine --example costs`.
//!
//! Medians of one run on nodes of 10, 735 (an m5.24xlarge), 1,512 (an m8a.48xlarge, the most of any instance type) and 2,450
//! addresses: the planner's functions, and a turn of the whole engine between stand-ins. Ends with 1 when an aim is missed by more than half of it: that much the machines
//! that this runs on may differ.

mod node;
mod world;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use holdfast_model::cloud::CloudRead;
use holdfast_model::config::Config;
use holdfast_model::ids::InstanceId;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::pool::PoolKey;
use holdfast_planner::{
    Desired, Observed, Reading, desired_host, free_addresses, host_diff, plan, report, spared,
};

const REPEATS: usize = 51;

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[REPEATS / 2]
}

fn median_of(runs: usize, mut work: impl FnMut() -> anyhow::Result<Duration>) -> anyhow::Result<Duration> {
    let mut times = (0..runs).map(|_| work()).collect::<Result<Vec<_>, _>>()?;
    times.sort();
    Ok(times[runs / 2])
}

/// Prints a figure beside its aim; false when it is missed by more than half.
fn told(what: &str, took: Duration, aim: Option<Duration>) -> bool {
    match aim {
        Some(aim) => println!("{what:<58} {took:>12.1?}   aim {aim:?}"),
        None => println!("{what:<58} {took:>12.1?}"),
    }
    aim.is_none_or(|aim| took <= aim + aim / 2)
}

fn main() -> anyhow::Result<ExitCode> {
    let config = Config::default();
    let mut met = true;
    for (enis, per_eni, waiting, plan_aim, turn_aim, diff_aim) in [
        (1, 10, 6, 200, 2000, Some(2000)),
        (15, 49, 400, 200, 2000, Some(2000)),
        (24, 63, 800, 2000, 2000, Some(4000)),
        (50, 49, 1000, 2000, 2000, None),
    ] {
        let all = u32::from(enis) * per_eni;
        let full = node::ledger(enis, per_eni, all);
        let half = node::ledger(enis, per_eni, all - waiting / 2);
        let limits = Some(InstanceLimits::of_addresses(vec![enis.into()], per_eni + 1));
        let desired = Desired { config: &config, limits };
        let mut observed = Observed::default();
        observed.waiting.insert(PoolKey::DEFAULT, waiting);
        observed.ready_enis = full.enis.keys().cloned().collect();
        let instance = InstanceId::new("i-1");
        let reads =
            [CloudRead::InstanceEnis { instance: instance.clone() }, CloudRead::AvailableEnis { instance }];
        for read in &reads {
            observed.read_adopted(&full, Reading { read, views: &[], began: node::now().boottime });
        }
        let now = node::now();
        let micros = Duration::from_micros;

        let planned = median(|| drop(black_box(plan(&desired, &full, &observed, &now))));
        met &= told(&format!("plan, {all} pods, {waiting} wait"), planned, Some(micros(plan_aim)));
        let decided = median(|| {
            let free = free_addresses(PoolKey::DEFAULT, &desired, &half, &observed, &now);
            assert_eq!(free.len(), waiting as usize / 2);
            let planned = plan(&desired, &half, &observed, &now);
            let report = &planned.reports[&PoolKey::DEFAULT];
            drop(black_box((free, report.shortage(config.add_hold.value, &now))));
        });
        met &= told(
            &format!("a turn's decisions, {all} addresses, {waiting} wait"),
            decided,
            Some(micros(turn_aim)),
        );
        let said = median(|| drop(black_box(report(PoolKey::DEFAULT, &desired, &full, &observed, &now))));
        met &= told(&format!("STATUS of a full node, {all} pods"), said, None);

        let (wanted, seen, spared) =
            (desired_host(&full, &config), node::kernel(&full, &config), spared(&full));
        assert_eq!(host_diff(&wanted, &seen, &spared), [], "nothing is to be done");
        let compared = median(|| drop(black_box(host_diff(&wanted, &seen, &spared))));
        met &= told(&format!("host_diff without a difference, {all} pods"), compared, diff_aim.map(micros));
        let turned = median_of(5, || world::turn(enis, per_eni, waiting, 200))?;
        met &= told(
            &format!("a turn of the engine, {all} pods, {waiting} wait for EC2"),
            turned,
            Some(micros(turn_aim)),
        );
        let cloned = median(|| drop(black_box(full.clone())));
        met &= told(&format!("a copy of the ledger, {all} pods"), cloned, None);
    }
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
