//! The daemon: started with other settings, later, or with something done to its node meanwhile or afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, ensure};
use holdfast_datapath::netlink::{
    AddressFamily, Change, LinkRef, LinkSettings, Route, RouteFilter, RouteScope, RouteType, Rule, Socket,
    Veth, VethEnd,
};
use holdfast_model::host::LinkAlias;
use holdfast_wire::ids::{ContainerId, IfName, NetworkName, SandboxKey};
use holdfast_wire::spool::Spool;
use holdfast_wire::tombstone::Tombstone;
use ipnet::IpNet;

use crate::Place;
use crate::aside::{self, Real};

/// Where upstream's rule from a pod is.
const FROM_POD: u32 = 1536;

/// How long after the start something is done: the daemon serves by then.
const MEANWHILE: Duration = Duration::from_millis(300);

pub(crate) fn run(place: &Place, called: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let how = place.how()?;
    let again = arguments.first().is_some_and(|verb| verb == "run") && !first_on_this_node(place);
    let environment: &[(&str, &str)] = match how.as_str() {
        "no-nat" => &[("AWS_VPC_K8S_CNI_EXTERNALSNAT", "true")],
        "no-node-ports" => &[("AWS_VPC_CNI_NODE_PORT_SUPPORT", "false")],
        "no-rest" => &[("IP_COOLDOWN_PERIOD", "0")],
        "no-cluster" => &[("CLUSTER_NAME", "")],
        "no-extra-tags" => &[("ADDITIONAL_ENI_TAGS", "{}")],
        "many-calls" => &[("WARM_IP_TARGET", "1"), ("MINIMUM_IP_TARGET", "1")],
        _ => &[],
    };
    if !environment.is_empty() {
        place.hit("start")?;
    }
    if again {
        match how.as_str() {
            "slow-restart" => {
                place.hit("start")?;
                std::thread::sleep(Duration::from_secs(5));
            }
            "loses-a-lease" => lose_a_lease(place)?,
            "forgets-all" => {
                let ledger = std::env::var("HOLDFAST_LEDGER").context("a daemon has a ledger")?;
                if fs::remove_file(ledger).is_ok() {
                    place.hit("start")?;
                }
            }
            _ => {}
        }
    }
    Err(aside::become_real(place, called, &["daemon", &how], arguments, environment))
}

fn first_on_this_node(place: &Place) -> bool {
    let node = std::env::var("HOLDFAST_SOCKET").unwrap_or_default().replace('/', "-");
    place.is_first(&format!("started{node}"))
}

/// A DEL that nobody asked for, of one sandbox that lives.
fn lose_a_lease(place: &Place) -> anyhow::Result<()> {
    let links = Socket::open()?.links()?;
    let sandbox = links.iter().find_map(|link| LinkAlias::parse(link.alias.as_deref()?)?.sandbox());
    let Some(sandbox) = sandbox else { return Ok(()) };
    let tombstone = Tombstone {
        sandbox: SandboxKey {
            network: NetworkName::new(&sandbox.network)?,
            container_id: ContainerId::new(&sandbox.container_id)?,
            ifname: IfName::new(&sandbox.ifname)?,
        },
        pod: None,
        netns_path: None,
        recorded_at_ms: 0,
        reason: "sabotage".to_owned(),
    };
    let spool = std::env::var("HOLDFAST_SPOOL").context("a daemon has a spool")?;
    Spool::new(spool).put(&tombstone, std::process::id())?;
    place.hit("start")
}

/// Beside the daemon, in its node's namespace.
pub(crate) fn aside(place: &Place, real: Real, arguments: &[String]) -> anyhow::Result<()> {
    let how = arguments.first().map(String::as_str).unwrap_or_default();
    let mut socket = Socket::open()?;
    match how {
        "leaves-a-setting" => {
            std::thread::sleep(MEANWHILE);
            fs::write("/proc/sys/net/ipv4/conf/all/arp_announce", "2")?;
            place.hit("setting")
        }
        "sends-by-the-primary" => send_by_the_primary(place, real, &mut socket),
        "leaves-a-veth" => leave_veths(place, real, &mut socket),
        "sources-of-routes" => give_sources(place, real, &mut socket),
        "strict-primary" => check_strictly(place, real, "ens5"),
        "strict-secondary" => check_strictly(place, real, "ens6"),
        "narrows-rules" => narrow_rules(place, real, &mut socket),
        "leaves-a-rule"
        | "leaves-a-dropping-rule"
        | "leaves-a-blackhole"
        | "leaves-a-route-v6"
        | "leaves-a-neighbour"
        | "leaves-a-neighbour-v6"
        | "leaves-a-table" => {
            while real.lives() {}
            leave(how, &mut socket)?;
            place.hit("end")
        }
        _ => Ok(()),
    }
}

fn leave(how: &str, socket: &mut Socket) -> anyhow::Result<()> {
    let nowhere: IpNet = "10.99.0.0/16".parse()?;
    match how {
        "leaves-a-rule" => {
            tolerate(socket, &Change::AddRule(Rule { to: Some(nowhere), ..Rule::new(700, 77) }))
        }
        "leaves-a-dropping-rule" => {
            run_program(&["ip", "rule", "add", "priority", "90", "to", "10.98.0.0/16", "blackhole"])
        }
        "leaves-a-blackhole" => {
            let route = Route {
                link: None,
                kind: RouteType::BlackHole,
                scope: RouteScope::Universe,
                ..Route::on_link(254, nowhere, 0)
            };
            tolerate(socket, &Change::AddRoute(route))
        }
        "leaves-a-route-v6" => run_program(&["ip", "-6", "route", "add", "2001:db8:99::/48", "dev", "lo"]),
        "leaves-a-neighbour" => {
            let entry = ["10.99.0.1", "lladdr", "02:de:ad:be:ef:01", "dev", "ens5", "nud", "noarp"];
            run_program(&[&["ip", "neigh", "replace"][..], &entry].concat())
        }
        "leaves-a-neighbour-v6" => {
            let entry = ["2001:db8:99::1", "lladdr", "02:de:ad:be:ef:01", "dev", "ens5", "nud", "permanent"];
            run_program(&[&["ip", "neigh", "replace"][..], &entry].concat())
        }
        _ => run_program(&["nft", "add", "table", "ip", "leftover"]),
    }
}

fn run_program(line: &[&str]) -> anyhow::Result<()> {
    let status = status_of(line)?;
    // A second time it may be there already.
    ensure!(status.code().is_some(), "{line:?} ended with {status}");
    Ok(())
}

fn status_of(line: &[&str]) -> anyhow::Result<ExitStatus> {
    Ok(Command::new(line[0]).args(&line[1..]).status()?)
}

/// A second time it is there already.
fn tolerate(socket: &mut Socket, change: &Change) -> anyhow::Result<()> {
    match socket.apply(change) {
        Err(error) if !error.is_present() => Err(error.into()),
        _ => Ok(()),
    }
}

fn send_by_the_primary(place: &Place, real: Real, socket: &mut Socket) -> anyhow::Result<()> {
    let mut done = BTreeSet::new();
    while real.lives() {
        for rule in socket.rules(AddressFamily::Inet)? {
            if rule.priority == FROM_POD && done.insert(rule.from) {
                tolerate(
                    socket,
                    &Change::AddRule(Rule { from: rule.from, ..Rule::new(FROM_POD - 36, 254) }),
                )?;
                place.hit("rule")?;
            }
        }
    }
    Ok(())
}

/// Each such rule makes room for one that differs in what the daemon does not look at.
fn narrow_rules(place: &Place, real: Real, socket: &mut Socket) -> anyhow::Result<()> {
    let mut done = BTreeSet::new();
    while real.lives() {
        for rule in socket.rules(AddressFamily::Inet)? {
            let Some(from) = rule.from.filter(|_| rule.priority == FROM_POD) else { continue };
            if !done.insert(from) {
                continue;
            }
            let (from, table, protocol) =
                (from.to_string(), rule.table.to_string(), rule.protocol.to_string());
            let priority = FROM_POD.to_string();
            let rule = ["priority", &priority, "from", &from, "protocol", &protocol, "lookup", &table];
            let udp = [&["ip", "rule", "add"][..], &rule, &["ipproto", "udp"]].concat();
            // An earlier daemon's may be narrow already. Of two alike the older goes.
            if status_of(&udp)?.success() {
                run_program(&[&["ip", "rule", "del"][..], &rule].concat())?;
                place.hit("rule")?;
            }
        }
    }
    Ok(())
}

/// Each route to a pod gets a source, which the daemon does not look at.
fn give_sources(place: &Place, real: Real, socket: &mut Socket) -> anyhow::Result<()> {
    let to_pods = RouteFilter { table: Some(254), protocol: None };
    while real.lives() {
        let links = socket.links()?;
        let node = links.iter().find(|link| link.name == "ens5").map(|link| link.index);
        let node = socket.addresses(AddressFamily::Inet)?.into_iter().find(|at| Some(at.link) == node);
        let Some(node) = node else { continue };
        for route in socket.routes(AddressFamily::Inet, to_pods)? {
            let of_pod =
                links.iter().any(|link| Some(link.index) == route.link && link.name.starts_with("eni"));
            if of_pod && route.source.is_none() {
                let spoilt = Route { source: Some(node.net.addr()), ..route };
                // The pod may go meanwhile.
                if socket.apply(&Change::PutRoute(spoilt)).is_ok() {
                    place.hit("route")?;
                }
            }
        }
    }
    Ok(())
}

/// Again as often as the daemon loosens it.
fn check_strictly(place: &Place, real: Real, link: &str) -> anyhow::Result<()> {
    let setting = format!("/proc/sys/net/ipv4/conf/{link}/rp_filter");
    while real.lives() {
        // An ENI may be still to come.
        let Ok(is) = fs::read_to_string(&setting) else { continue };
        if is.trim() != "1" {
            fs::write(&setting, "1")?;
            place.hit("setting")?;
        }
    }
    Ok(())
}

fn leave_veths(place: &Place, real: Real, socket: &mut Socket) -> anyhow::Result<()> {
    let mut most = 0;
    while real.lives() {
        let veths = socket.links()?.iter().filter(|link| link.kind.as_deref() == Some("veth")).count();
        if veths < most {
            let [near, far] = ["eni0123456789a", "left-behind"].map(str::to_owned);
            let end = |name| VethEnd { name, ..VethEnd::default() };
            let pair = Veth { near: end(near.clone()), far: end(far), mtu: None, group: 0 };
            tolerate(socket, &Change::CreateVeth(pair))?;
            tolerate(socket, &Change::SetLink(LinkRef::Name(near), LinkSettings::up()))?;
            return place.hit("veth");
        }
        most = veths;
    }
    Ok(())
}
