//! The box: its router and its EC2 are changed once it stands.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::rig;
use holdfast_datapath::netlink::{AddressFamily, Change, RouteFilter, RouteType};
use holdfast_datapath::netns;
use holdfast_sim::vpc::request::CreateNetworkInterface;
use serde::Deserialize;

use crate::Place;
use crate::aside::{self, Real};

/// What the box says about itself.
#[derive(Debug, Deserialize)]
struct Description {
    admin: PathBuf,
    router: PathBuf,
    nodes: Vec<serde_json::Value>,
}

pub(crate) fn run(place: &Place, called: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let of = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).with_context(|| format!("the box is given no {name}"))
    };
    let description = Path::new(of("--run-dir")?).join(of("--name")?).join("box.json");
    let (how, description) = (place.how()?, description.display().to_string());
    Err(aside::become_real(place, called, &["vpcsim", &how, &description], arguments, &[]))
}

pub(crate) fn aside(place: &Place, real: Real, arguments: &[String]) -> anyhow::Result<()> {
    let [how, file] = arguments else { anyhow::bail!("how, and where is the box?") };
    let description: Description = loop {
        // Appears whole, as the last thing.
        if let Ok(text) = std::fs::read_to_string(file) {
            break serde_json::from_str(&text)?;
        }
        ensure!(real.lives(), "the box never stood");
    };
    match how.as_str() {
        "checks-no-source" => {
            let rules = "flush chain inet vpcsim sources\n\
                         add rule inet vpcsim sources fib saddr . iif oif missing counter\n";
            let router: OwnedFd = netns::open(&description.router)?;
            let script = place.file("rules.nft");
            std::fs::write(&script, rules)?;
            let status = netns::run_in(&router, || Command::new("nft").arg("-f").arg(&script).status())??;
            ensure!(status.success(), "nft ended with {status}");
            place.hit("router")
        }
        "stale-owner" => deliver_to_the_primary(place, real, &description),
        "leaks-an-eni" => {
            let admin = rig::admin_at(&description.admin);
            let subnet = admin.state()?.subnets.first().context("a VPC has a subnet")?.subnet_id;
            admin
                .foreign(CreateNetworkInterface { subnet_id: subnet, ..CreateNetworkInterface::default() })?;
            place.hit("ENI")
        }
        other => anyhow::bail!("{other} is nothing to do with a box"),
    }
}

/// Whatever belongs to an ENI that came later is delivered to one that was there from the start.
fn deliver_to_the_primary(place: &Place, real: Real, description: &Description) -> anyhow::Result<()> {
    let router: OwnedFd = netns::open(&description.router)?;
    let mut socket = netns::socket_in(&router)?;
    let main = RouteFilter { table: Some(254), protocol: None };
    let mut of_primaries = Vec::new();
    while real.lives() {
        for route in socket.routes(AddressFamily::Inet, main)? {
            let Some(link) = route.link.filter(|_| route.kind == RouteType::Unicast) else { continue };
            if !matches!(route.to.addr(), IpAddr::V4(_)) || route.to.prefix_len() != 32 {
                continue;
            }
            if of_primaries.len() < description.nodes.len() && !of_primaries.contains(&link) {
                of_primaries.push(link);
            }
            if !of_primaries.contains(&link) {
                let stale = holdfast_datapath::netlink::Route { link: Some(of_primaries[0]), ..route };
                socket.apply(&Change::PutRoute(stale))?;
                place.hit("route")?;
            }
        }
    }
    Ok(())
}
