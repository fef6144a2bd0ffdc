//! Real packets: everybody to everybody, to the internet, and home by the right ENI.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, ensure};
use holdfast_chaos_tests::packets::{Prober, ask_internet, sent_by_link};
use holdfast_chaos_tests::report::Report;

use crate::stage::{Place, Stage};
use crate::summary::Summary;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Questions for counting which way they go.
const QUESTIONS: u64 = 20;

pub(super) fn flow(report: &mut Report, stage: &Stage, summary: &mut Summary) -> anyhow::Result<()> {
    let addresses = stage.addresses()?;
    let dropped = stage.rig.dropped_for_their_source()?;
    let pods = || stage.places.iter().flat_map(|place| &place.pods);

    for pod in pods() {
        let mut prober = Prober::new(pod.pod.netns())?;
        for other in &addresses {
            let seen = prober.ask(*other, PATIENCE).with_context(|| format!("from {}", pod.address))?;
            ensure!(seen == pod.address, "{other} was asked by {} and saw {seen}", pod.address);
            summary.asked += 1;
        }
    }
    report.held(&format!(
        "every pod reaches every other: {} questions, {} answers, own address seen by all",
        summary.asked, summary.asked
    ));

    for place in &stage.places {
        let home = place.node.address()?;
        let mut prober = Prober::new(&place.node.netns()?)?;
        for pod in &place.pods {
            prober.ask(pod.address, PATIENCE).with_context(|| format!("from node {home}"))?;
            let seen = ask_internet(pod.pod.netns(), stage.rig.internet(), PATIENCE)
                .with_context(|| format!("from {}", pod.address))?;
            ensure!(seen == home, "the internet saw {seen} instead of {home}");
            summary.asked += 2;
        }
        report.held(&format!(
            "{}: reaches its pods; the internet host {} saw them all as {home}",
            place.node.name(),
            stage.rig.internet().ip(),
        ));
    }

    for (place, other) in stage.places.iter().zip(stage.places.iter().rev()) {
        let target = other.pods.first().context("each node has pods")?.address;
        leave_by_their_eni(report, stage, place, target, summary)?;
    }
    let now = stage.rig.dropped_for_their_source()?;
    ensure!(now == dropped, "the router dropped {} packets that left by a wrong ENI", now - dropped);
    report.held("the router, which checks sources as EC2 does, dropped nothing");
    Ok(())
}

/// One pod of each ENI talks to another node; the packets are counted on the ENIs' links.
fn leave_by_their_eni(
    report: &mut Report,
    stage: &Stage,
    place: &Place,
    target: Ipv4Addr,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let mut devices: BTreeMap<u32, Ipv4Addr> = BTreeMap::new();
    let netns = place.node.netns()?;
    for eni in stage.rig.admin().enis_of(place.node.instance())? {
        let device = eni.attachment.as_ref().context("an attached ENI has an attachment")?.device_index;
        let Some(pod) = place.pods.iter().find(|pod| eni.secondary_ips().any(|ip| ip == pod.address)) else {
            continue;
        };
        devices.insert(device, pod.address);
        let before = sent_by_link(&netns)?;
        let mut prober = Prober::new(pod.pod.netns())?;
        for _ in 0..QUESTIONS {
            prober.ask(target, PATIENCE)?;
            summary.asked += 1;
        }
        let after = sent_by_link(&netns)?;
        let link = format!("ens{}", 5 + device);
        let sent =
            |link: &str| after.get(link).copied().unwrap_or(0) - before.get(link).copied().unwrap_or(0);
        ensure!(
            sent(&link) >= QUESTIONS,
            "{QUESTIONS} packets of {} should have left by {link}; {} did",
            pod.address,
            sent(&link)
        );
    }
    ensure!(devices.len() >= 2, "the pods of {} share one ENI", place.node.name());
    let ways: Vec<String> =
        devices.iter().map(|(device, pod)| format!("{pod} by ens{}", 5 + device)).collect();
    report.held(&format!("{}: packets leave by their source's ENI: {}", place.node.name(), ways.join(", ")));
    Ok(())
}
