//! Comparing what is believed with what is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::orphans::PodPieces;
use holdfast_chaos_tests::report::Report;
use holdfast_chaos_tests::rig::NodeUnderTest;
use holdfast_datapath::netlink::{AddressFamily, RouteFilter, Socket};
use holdfast_datapath::netns;

use crate::stage::Stage;

/// Links of removed pods go in the kernel's own time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Dump, EC2 and kernel of all nodes.
pub(super) fn agree(report: &mut Report, stage: &Stage) -> anyhow::Result<()> {
    for place in &stage.places {
        let name = place.node.name();
        let ledger = place.node.state()?;
        report.held(&format!(
            "{name}: `holdfast dump` shows {} leases and no broken invariant",
            ledger.leases.len()
        ));
        let enis = stage.rig.admin().enis_of(place.node.instance())?;
        for lease in ledger.leases.values() {
            let eni = enis.iter().find(|eni| eni.network_interface_id.to_string() == lease.eni.to_string());
            let eni = eni.with_context(|| format!("EC2 does not show {} on {name}", lease.eni))?;
            let shown = eni.secondary_ips().any(|ip| IpAddr::V4(ip) == lease.address);
            ensure!(shown, "EC2 does not show {} on {}", lease.address, lease.eni);
        }
        let began = Instant::now();
        loop {
            let differences = PodPieces::observe(&place.node.netns()?)?.differences(&place.node.state()?);
            if differences.is_empty() {
                break;
            }
            ensure!(began.elapsed() < PATIENCE, "the kernel of {name}: {}", differences.join("; "));
            std::thread::sleep(Duration::from_millis(10));
        }
        report.held(&format!("{name}: the kernel has each pod's link, rules and route, and none of nobody"));
    }
    let orphans: Vec<_> = stage
        .rig
        .admin()
        .state()?
        .network_interfaces
        .into_iter()
        .filter(|eni| eni.attachment.is_none())
        .map(|eni| eni.network_interface_id.to_string())
        .collect();
    ensure!(orphans.is_empty(), "EC2 has ENIs of nobody: {orphans:?}");
    let broken = stage.rig.admin().broken_rules()?;
    ensure!(broken.is_empty(), "the simulated EC2 broke its own rules: {broken:?}");
    report.held("EC2 shows every leased address on its ENI, and no ENI that belongs to nobody");
    Ok(())
}

/// A node's network, line by line.
#[derive(Debug)]
pub(super) struct Picture(BTreeSet<String>);

impl Picture {
    pub(super) fn of(node: &NodeUnderTest) -> anyhow::Result<Self> {
        let mut socket = netns::socket_in(&node.netns()?)?;
        let mut lines = BTreeSet::new();
        for link in socket.links()? {
            lines.insert(format!("link {}", link.name));
        }
        for rule in socket.rules(AddressFamily::Inet)? {
            lines.insert(format!("rule {rule}"));
        }
        for route in socket.routes(AddressFamily::Inet, RouteFilter::default())? {
            lines.insert(format!("route {route}"));
        }
        Ok(Self(lines))
    }

    /// What was not there before.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self(self.0.difference(&before.0).cloned().collect())
    }

    /// How many links.
    pub(super) fn links(&self) -> usize {
        self.0.iter().filter(|line| line.starts_with("link ")).count()
    }
}

/// Of all nodes.
pub(super) fn pictures(stage: &Stage) -> anyhow::Result<Vec<Picture>> {
    stage.places.iter().map(|place| Picture::of(&place.node)).collect()
}

/// No process but ours, no interface but the loopback, no namespace but ours.
pub(super) fn nobody_left() -> anyhow::Result<()> {
    let links: Vec<String> =
        Socket::open()?.links()?.into_iter().filter(|link| !link.loopback).map(|link| link.name).collect();
    ensure!(links.is_empty(), "links are left: {links:?}");
    let ours = std::process::id().to_string();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_process = name.bytes().all(|byte| byte.is_ascii_digit());
        if is_process && name != ours {
            // One that ended and that nobody waits for has no command line.
            let command = std::fs::read(format!("/proc/{name}/cmdline")).unwrap_or_default();
            ensure!(command.is_empty(), "process {name} is left: {}", String::from_utf8_lossy(&command));
        }
    }
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo")?;
    let held: Vec<&str> = mounts.lines().filter(|line| line.contains(" - nsfs ")).collect();
    ensure!(held.is_empty(), "namespaces are still bound to files: {held:?}");
    Ok(())
}
