//! How long things may take, and how often EC2 may be asked. The bounds leave room for a busy machine: what they are
//! for is a program that is wrong, not one that is a little slower.

use std::time::Duration;

use anyhow::ensure;
use holdfast_chaos_tests::latency::{Latencies, readable};
use holdfast_chaos_tests::rig::Rig;

use crate::mode::Mode;
use crate::stage::Stage;
use crate::summary::Summary;

/// A DEL waits for nobody.
const DEL_MEDIAN: Duration = Duration::from_millis(500);
const DEL_LONGEST: Duration = Duration::from_secs(3);

/// The longest waits for an ENI.
pub(super) fn adds(rig: &Rig, mode: Mode, adds: &Latencies) -> anyhow::Result<()> {
    within("ADD", adds, mode.median_add(), rig.growth()?)
}

pub(super) fn dels(dels: &Latencies) -> anyhow::Result<()> {
    within("DEL", dels, DEL_MEDIAN, DEL_LONGEST)
}

fn within(what: &str, took: &Latencies, median: Duration, longest: Duration) -> anyhow::Result<()> {
    let Some(summary) = took.summary() else { return Ok(()) };
    for (which, took, bound) in [("median", summary.median_us, median), ("longest", summary.max_us, longest)]
    {
        let bound = bound.as_micros();
        ensure!(
            took <= bound,
            "the {which} {what} took {}, where {} are allowed",
            readable(took),
            readable(bound)
        );
    }
    Ok(())
}

/// A start looks at what is attached, at its surroundings and at the zone's subnets; an ENI is made, attached, told to end with its node, and
/// seen to come; each node fills its primary ENI.
const CALLS_OF_A_START: usize = 3;
const CALLS_OF_AN_ENI: usize = 5;
const CALLS_OF_A_NODE: usize = 3;
const CALLS_OF_A_BLOCK: usize = 2;

/// Not one for each pod. A node takes so many blocks after its first ones (`later`), each by a call, and seen to come.
pub(super) fn calls(stage: &Stage, later: usize, summary: &Summary) -> anyhow::Result<()> {
    let nodes = stage.places.len();
    let mut enis = 0;
    for place in &stage.places {
        enis += stage.rig.admin().enis_of(place.node.instance())?.len();
    }
    let most = CALLS_OF_A_START * summary.starts
        + CALLS_OF_AN_ENI * (enis - nodes)
        + (CALLS_OF_A_NODE + CALLS_OF_A_BLOCK * later) * nodes;
    ensure!(summary.calls() <= most, "EC2 was called {} times, where {most} are allowed", summary.calls());
    Ok(())
}
