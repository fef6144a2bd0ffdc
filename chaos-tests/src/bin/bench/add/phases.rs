//! Where the time of an ADD goes, from outside: what the daemon logs for each, and calls of the same plugin that do
//! less.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use holdfast_chaos_tests::cni::Runner;
use holdfast_chaos_tests::latency::{Latencies, readable};
use holdfast_model::ledger::Change;
use holdfast_model::time::WallTime;
use holdfast_store::{OpenOptions, Store};
use serde_json::{Value, json};

use super::Scores;
use crate::floor;
use crate::place::Place;

const TIMES: usize = 50;

/// A ledger of its own on the same disk, for what one durable commit costs there and then.
pub(super) struct Commits {
    store: Store,
    change: Change,
}

impl Commits {
    /// Beside the daemon's.
    pub(super) fn prepare(place: &Place) -> anyhow::Result<Self> {
        let ledger = place.node.state()?;
        let block = ledger.blocks.values().next().cloned().context("the pool has addresses")?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let options = OpenOptions::at(WallTime(u64::try_from(now.as_millis())?));
        let store = Store::open(&place.disk.path("commits.redb"), &options)?.store;
        Ok(Self { store, change: Change::PutBlock(block) })
    }

    /// So many commits of one small change.
    pub(super) fn measure(&mut self, count: usize) -> anyhow::Result<Latencies> {
        let once = || {
            let began = Instant::now();
            self.store.commit(std::slice::from_ref(&self.change))?;
            anyhow::Ok(began.elapsed())
        };
        std::iter::repeat_with(once).take(count).collect()
    }
}

/// What the daemon says its ADDs took, from the request's arrival to the answer.
pub(super) fn logged(log: &str) -> Latencies {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == "ADD")
        .filter_map(|line| line["took_us"].as_u64())
        .map(Duration::from_micros)
        .collect()
}

/// Medians, at one in flight.
pub(super) fn tell(runner: &Runner, scores: &Scores) -> anyhow::Result<Value> {
    let (mut version, mut status) = (Latencies::default(), Latencies::default());
    for _ in 0..TIMES {
        let called = runner.raw("VERSION", &[], br#"{"cniVersion":"1.0.0"}"#)?;
        version.push(called.took);
        called.ok()?;
        let called = runner.status()?;
        status.push(called.took);
        called.ok()?;
    }
    let median = |latencies: &Latencies| latencies.summary().map(|summary| summary.median_us);
    let process = median(&version).context("VERSION was called")?;
    let status = median(&status).context("STATUS was called")?;
    let add = median(&scores.holdfast.add.each).context("ADD was measured")?;
    let daemon = median(&scores.in_daemon).context("the daemon logs what an ADD took")?;
    let commit = median(&scores.commits).context("commits were measured")?;
    let of =
        |pick: fn(&floor::Floor) -> u64| u128::from(floor::median(scores.floor.iter().map(pick).collect()));
    let wire = of(|floor| floor.host_one_at_a_time.add_us.median);
    let bare = of(|floor| floor.one_at_a_time.add_us.median);

    let parts = [
        ("process_us", "process start and end (VERSION)", process),
        (
            "socket_us",
            "socket and one turn of the engine (STATUS less VERSION)",
            status.saturating_sub(process),
        ),
        ("bare_wiring_us", "bare netlink calls (floor)", bare),
        (
            "read_back_us",
            "alias, checks and read-back (Host in process less floor)",
            wire.saturating_sub(bare),
        ),
        ("commit_us", "one durable commit on this disk", commit),
        (
            "hand_over_us",
            "engine, and waking its threads in turn (daemon's figure less wiring and commit)",
            daemon.saturating_sub(wire).saturating_sub(commit),
        ),
        ("rest_us", "the rest", add.saturating_sub(status).saturating_sub(daemon)),
    ];
    println!(
        "\nWhere one ADD of {} goes (medians, 1 in flight; the daemon's part is {})",
        readable(add),
        readable(daemon)
    );
    let mut told = json!({ "add_us": add, "daemon_us": daemon });
    for (key, name, us) in parts {
        println!("  {:>9}  {name}", readable(us));
        told[key] = json!(us);
    }
    Ok(told)
}
