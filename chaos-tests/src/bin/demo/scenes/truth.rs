//! Comparing what is believed with what is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::ensure;
use holdfast_chaos_tests::report::Report;
use holdfast_datapath::netlink::Socket;

use crate::stage::Stage;

/// What the daemons believe is what the runtime was promised; EC2 and kernel are as both must be.
pub(super) fn agree(report: &mut Report, stage: &Stage) -> anyhow::Result<()> {
    for place in &stage.places {
        let name = place.node.name();
        let promised: BTreeSet<(&str, Vec<IpAddr>)> =
            place.pods.iter().map(|pod| (pod.pod.container_id.as_str(), pod.addresses.clone())).collect();
        let ledger = place.node.state()?;
        let leased: BTreeSet<(&str, Vec<IpAddr>)> = ledger
            .leases
            .values()
            .map(|lease| (lease.sandbox.container_id.as_str(), lease.addresses().collect()))
            .collect();
        ensure!(leased == promised, "{name} was promised {promised:?}, and its daemon knows of {leased:?}");
        report.held(&format!(
            "{name}: `holdfast dump` shows the {} leases that were answered, and no broken invariant",
            ledger.leases.len()
        ));
    }
    stage.wait_sound()?;
    report.held("the kernels have each pod's and each ENI's pieces, both ways, and none of nobody");
    let broken = stage.rig.admin().broken_rules()?;
    ensure!(broken.is_empty(), "the simulated EC2 broke its own rules: {broken:?}");
    report.held("EC2 shows every address on its ENI, and no ENI that belongs to nobody");
    Ok(())
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
