//! Custom networking: for each node an ENIConfig, in a file since there is no API server, that names the pods' subnet of its zone.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::report::Report;
use holdfast_sim::vpc::response::SubnetDescription;
use ipnet::{IpNet, Ipv4Net};
use serde_json::json;

use crate::stage::{LivePod, Place, Stage};

/// The block that the pods' subnets are in.
const OF_PODS: &str = "100.64.";

/// Writes them, and has the daemons read them.
pub(super) fn write(report: &mut Report, stage: &mut Stage) -> anyhow::Result<()> {
    let subnets = stage.rig.admin().state()?.subnets;
    for place in &mut stage.places {
        let (subnet, block) = of_pods(place, &subnets)?;
        let config = json!({
            "apiVersion": "crd.k8s.amazonaws.com/v1alpha1", "kind": "ENIConfig",
            "metadata": { "name": subnet.availability_zone }, "spec": { "subnet": subnet.subnet_id.to_string() },
        });
        let file = stage.rig.dir().join(format!("{}-eni-config.json", place.node.name()));
        std::fs::write(&file, config.to_string()).with_context(|| format!("writing {}", file.display()))?;
        place.node.set("HOLDFAST_ENI_CONFIG_FILE", &file.display().to_string());
        report.note(&format!("{}: its ENIConfig names {}, {block}", place.node.name(), subnet.subnet_id));
    }
    Ok(())
}

/// Every pod has its address of that subnet, and the primary ENI has none of any.
pub(super) fn hold(report: &mut Report, stage: &Stage) -> anyhow::Result<()> {
    let subnets = stage.rig.admin().state()?.subnets;
    for place in &stage.places {
        let (name, (subnet, block)) = (place.node.name(), of_pods(place, &subnets)?);
        for pod in &place.pods {
            ensure!(IpNet::V4(block).contains(&pod.address), "{name}: {} is not of {block}", pod.address);
        }
        for eni in stage.rig.admin().enis_of(place.node.instance())? {
            let primary = eni.attachment.as_ref().is_some_and(|at| at.device_index == 0);
            let carries = |pod: &&LivePod| matches!(pod.address, IpAddr::V4(ip) if eni.carries(ip));
            let carried = place.pods.iter().filter(carries).count();
            ensure!(!primary || carried == 0, "{name}: the primary ENI carries {carried} pods");
            ensure!(
                primary || eni.subnet_id == subnet.subnet_id,
                "{name}: {} is in {}",
                eni.network_interface_id,
                eni.subnet_id
            );
        }
        report.held(&format!(
            "{name}: all {} pods are in {block}, and none on the primary ENI",
            place.pods.len()
        ));
    }
    Ok(())
}

/// The pods' subnet of a node's zone.
fn of_pods(place: &Place, subnets: &[SubnetDescription]) -> anyhow::Result<(SubnetDescription, Ipv4Net)> {
    let home: Ipv4Addr = place.node.address()?;
    let block = |subnet: &&SubnetDescription| subnet.cidr_block;
    let own = subnets.iter().find(|subnet| block(subnet).is_some_and(|block| block.contains(&home)));
    let zone = &own.context("a node's address is of a subnet")?.availability_zone;
    let found = subnets.iter().find(|subnet| {
        subnet.availability_zone == *zone
            && block(subnet).is_some_and(|block| block.to_string().starts_with(OF_PODS))
    });
    let found = found.with_context(|| format!("no subnet for pods in {zone}"))?;
    Ok((found.clone(), found.cidr_block.context("it has a block")?))
}
