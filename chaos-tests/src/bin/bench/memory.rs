//! `bench memory`: what the daemon takes with 110 pods, after it has got them all at once.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;
use serde_json::{Value, json};

use crate::aims::{Aim, Aims};
use crate::burst;
use crate::place::PODS;

/// With the Kubernetes client in the program, though it asks nobody here; without it 20 MB were held. Runs differ by a few
/// hundred kilobytes.
const RESIDENT: Aim = Aim { name: "resident memory", most: 25_000.0, noise: 0.03, unit: " kB" };

/// The incumbent with as many pods, on the same simulated EC2.
const INCUMBENT: u64 = 64_000;

pub(crate) fn run(aims: &mut Aims) -> anyhow::Result<Value> {
    let filled = burst::fill("measured")?;
    filled.place.node.wait_state("at rest", |ledger| ledger.intents.is_empty())?;
    let pid = filled.place.node.pid()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("reading the daemon's status")?;
    let lines: BTreeMap<&str, &str> = status.lines().filter_map(|line| line.split_once(':')).collect();
    let number = |name: &str| -> anyhow::Result<u64> {
        let text = lines.get(name).with_context(|| format!("no {name} in the daemon's status"))?;
        Ok(text.trim().trim_end_matches(" kB").parse()?)
    };
    let resident = number("VmRSS")?;
    println!("\nResident memory of the daemon with {PODS} pods; incumbent {INCUMBENT} kB");
    #[allow(clippy::cast_precision_loss, reason = "kilobytes")]
    let told = aims.hold(RESIDENT, resident as f64);
    println!("  of it {} kB its own and {} kB of the mapped program", number("RssAnon")?, number("RssFile")?);
    println!("  at its most {} kB; {} threads", number("VmHWM")?, number("Threads")?);
    Ok(json!({
        "pods": PODS, "rss_kb": resident, "rss_anon_kb": number("RssAnon")?, "rss_file_kb": number("RssFile")?,
        "peak_kb": number("VmHWM")?, "threads": number("Threads")?, "aims": told, "incumbent_kb": INCUMBENT,
    }))
}
