//! Real packets: everybody to everybody, to the internet, and home by the right ENI.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use holdfast_chaos_tests::packets::{Prober, ask_internet_at, send_as, sent_by_link, udp_of};
use holdfast_chaos_tests::report::Report;
use holdfast_datapath::netns;

use crate::mode::Mode;
use crate::stage::{Place, Stage};
use crate::summary::Summary;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where one pod listens for what others send.
const EARS: u16 = 4711;

/// Questions for counting which way they go.
const QUESTIONS: u64 = 20;

pub(super) fn flow(
    report: &mut Report,
    stage: &Stage,
    mode: Mode,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let addresses = stage.addresses()?;
    let dropped = stage.rig.dropped_for_their_source()?;
    let pods = || stage.places.iter().flat_map(|place| &place.pods);

    for pod in pods() {
        let mut prober = Prober::new(pod.pod.netns())?;
        for other in &addresses {
            let seen = prober.ask_ip(*other, PATIENCE).with_context(|| format!("from {}", pod.address))?;
            ensure!(seen == pod.address, "{other} was asked by {} and saw {seen}", pod.address);
            summary.asked += 1;
        }
    }
    report.held(&format!(
        "every pod reaches every other: {} questions, {} answers, own address seen by all",
        summary.asked, summary.asked
    ));

    for place in &stage.places {
        let home: IpAddr = place.node.address()?.into();
        let internet = match mode {
            Mode::Ipv6 => stage.rig.internet_ipv6()?,
            Mode::Secondary | Mode::Prefix | Mode::Custom => stage.rig.internet().into(),
        };
        let mut prober = Prober::new(&place.node.netns()?)?;
        for pod in &place.pods {
            prober.ask_ip(pod.address, PATIENCE).with_context(|| format!("from node {home}"))?;
            let seen = ask_internet_at(pod.pod.netns(), internet, PATIENCE)
                .with_context(|| format!("from {}", pod.address))?;
            // Of IPv6 nothing is translated.
            let as_whom = if mode == Mode::Ipv6 { pod.address } else { home };
            ensure!(seen == as_whom, "the internet saw {seen} instead of {as_whom}");
            summary.asked += 2;
        }
        report.held(&format!(
            "{}: reaches its pods; the internet host {} saw them all as {}",
            place.node.name(),
            internet.ip(),
            if mode == Mode::Ipv6 { "themselves".to_owned() } else { home.to_string() },
        ));
    }

    for (place, other) in stage.places.iter().zip(stage.places.iter().rev()) {
        let target = other.pods.first().context("each node has pods")?.address;
        leave_by_their_eni(report, stage, place, target, mode.enis(), summary)?;
    }
    let now = stage.rig.dropped_for_their_source()?;
    ensure!(now == dropped, "the router dropped {} packets that left by a wrong ENI", now - dropped);
    report.held("the router, which checks sources as EC2 does, dropped nothing");
    Ok(())
}

/// What a node sends as a pod of another must not arrive: if it did, the packets above would prove nothing. From the
/// node itself, since its kernel lets no pod send as another.
pub(super) fn spoof(report: &mut Report, stage: &Stage) -> anyhow::Result<()> {
    for (place, other) in stage.places.iter().zip(stage.places.iter().rev()) {
        let netns = place.node.netns()?;
        let (victim, target) = (&other.pods[0], other.pods.last().context("each node has pods")?);
        let home = match target.address {
            IpAddr::V4(_) => IpAddr::from(place.node.address()?),
            IpAddr::V6(_) => IpAddr::from(place.node.ipv6()?),
        };
        let ears = udp_of(target.pod.netns(), target.address, EARS)?;
        ears.set_read_timeout(Some(PATIENCE))?;
        let to = SocketAddr::new(target.address, EARS);
        let mut heard = [0; 64];
        send_as(&netns, home, to, "as myself")?;
        let (_, as_whom) =
            ears.recv_from(&mut heard).context("a packet with its own source did not arrive")?;
        ensure!(as_whom.ip() == home, "{home} sent as itself, and {as_whom} was heard");

        let dropped = stage.rig.dropped_for_their_source()?;
        send_as(&netns, victim.address, to, "as another")?;
        let began = Instant::now();
        while stage.rig.dropped_for_their_source()? == dropped && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let counted = stage.rig.dropped_for_their_source()? - dropped;
        // Whatever came through is there by the time at which the router has counted it.
        ears.set_nonblocking(true)?;
        if let Ok((_, as_whom)) = ears.recv_from(&mut heard) {
            bail!("a packet that {home} sent as {} came through the router", as_whom.ip());
        }
        ensure!(counted > 0, "a packet that {home} sent as {} was not dropped by the router", victim.address);
    }
    report.held("what a node sends with a foreign pod's address is dropped by the router");
    Ok(())
}

/// One pod of each ENI talks to another node; the packets are counted on the ENIs' links.
fn leave_by_their_eni(
    report: &mut Report,
    stage: &Stage,
    place: &Place,
    target: IpAddr,
    enis: usize,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let mut devices: BTreeMap<String, IpAddr> = BTreeMap::new();
    let netns = place.node.netns()?;
    let links = netns::socket_in(&netns)?.links()?;
    for eni in stage.rig.admin().enis_of(place.node.instance())? {
        let carries = |address: IpAddr| match address {
            IpAddr::V4(address) => eni.carries(address),
            IpAddr::V6(address) => eni.ipv6_prefixes.iter().any(|net| net.contains(&address)),
        };
        let Some(pod) = place.pods.iter().find(|pod| carries(pod.address)) else {
            continue;
        };
        let link = links.iter().find(|link| link.mac.is_some_and(|mac| mac.0 == eni.mac_address.0));
        let link = &link.with_context(|| format!("{} has no link", eni.network_interface_id))?.name;
        devices.insert(link.clone(), pod.address);
        let before = sent_by_link(&netns)?;
        let mut prober = Prober::new(pod.pod.netns())?;
        for _ in 0..QUESTIONS {
            prober.ask_ip(target, PATIENCE)?;
            summary.asked += 1;
        }
        let after = sent_by_link(&netns)?;
        let sent = |link: &str| after.get(link).unwrap_or(&0).saturating_sub(*before.get(link).unwrap_or(&0));
        ensure!(
            sent(link) >= QUESTIONS,
            "{QUESTIONS} packets of {} should have left by {link}; {} did",
            pod.address,
            sent(link)
        );
    }
    ensure!(
        devices.len() >= enis,
        "the pods of {} are on {} of {enis} ENIs",
        place.node.name(),
        devices.len()
    );
    let ways: Vec<String> = devices.iter().map(|(link, pod)| format!("{pod} by {link}")).collect();
    report.held(&format!("{}: packets leave by their source's ENI: {}", place.node.name(), ways.join(", ")));
    Ok(())
}
