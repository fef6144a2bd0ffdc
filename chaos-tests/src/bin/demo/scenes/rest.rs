//! A node without a spare address: the next pod waits until one has rested.

use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::report::Report;

use super::{AT_ONCE, COOLDOWN};
use crate::stage::{Stage, start_pods};
use crate::summary::Summary;

/// Pods that come and go one after the other.
const ONE_BY_ONE: usize = 20;

/// Of IPv6 addresses there are more than pods: who comes gets one that was nobody's.
pub(super) fn comes_back_last(
    report: &mut Report,
    stage: &mut Stage,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let (rig, place) = (&stage.rig, &mut stage.places[0]);
    let (name, runner, in_flight) = (place.node.name().to_owned(), place.node.runner(), AtomicUsize::new(0));
    let mut seen: std::collections::BTreeSet<_> = place.pods.iter().map(|pod| pod.address).collect();
    for number in 0..ONE_BY_ONE {
        let gone = place.pods.pop().context("a node has pods")?;
        place.rests.begins(gone.address);
        runner.del(&gone.pod)?.ok()?;
        let next = [format!("{name}-next-{number}")];
        let asked = Instant::now();
        let started = start_pods(rig, &runner, &next, 1, &in_flight, &place.rests)?;
        started.none_refused_since(asked)?;
        summary.pods += started.pods.len();
        let address = started.pods.first().context("a pod was started")?.address;
        ensure!(seen.insert(address), "{name} gave {address} again, with 2^48 addresses to choose from");
        place.pods.extend(started.pods);
    }
    report.held(&format!(
        "{name}: {ONE_BY_ONE} pods came and went, and none had an address that another had had"
    ));
    stage.wait_sound()
}

/// How long the rest may take beyond itself, on a busy machine.
const LATE: Duration = Duration::from_secs(8);

/// Fills the first node, deletes a pod, and has another come at once.
pub(super) fn wait_for_one(
    report: &mut Report,
    stage: &mut Stage,
    room: usize,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let (rig, place) = (&stage.rig, &mut stage.places[0]);
    let (name, runner, in_flight) = (place.node.name().to_owned(), place.runner(), AtomicUsize::new(0));
    let names: Vec<String> = (place.pods.len()..room).map(|number| format!("{name}-full-{number}")).collect();
    let began = Instant::now();
    let started = start_pods(rig, &runner, &names, AT_ONCE, &in_flight, &place.rests)?;
    started.none_refused_since(began)?;
    summary.pods += started.pods.len();
    place.pods.extend(started.pods);

    let gone = place.pods.pop().context("a full node has pods")?;
    gone.goes(&place.rests);
    let asked = Instant::now();
    runner.del(&gone.pod)?.ok()?;
    let next = [format!("{name}-next")];
    let started = start_pods(rig, &runner, &next, 1, &in_flight, &place.rests)?;
    let took = asked.elapsed();
    started.none_refused_since(asked)?;
    summary.pods += started.pods.len();
    let address = started.pods.first().context("a pod was started")?.address;
    ensure!(address == gone.address, "{name} was full, but for {}, and gave {address}", gone.address);
    ensure!(took <= COOLDOWN + LATE, "{name}: {address} rested for {} ms", took.as_millis());
    place.pods.extend(started.pods);
    report.held(&format!(
        "{name} is full with {room} pods; one goes, and the next has {address} {} ms later, when it has rested",
        took.as_millis()
    ));
    stage.wait_sound()
}
