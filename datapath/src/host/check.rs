//! Comparing a pod's wiring with what the kernel holds: read-back after wiring, and CHECK.

use std::net::IpAddr;

use holdfast_model::host::{MAIN_TABLE, POD_GATEWAY, PROTOCOL, PodWiring, priority};
use holdfast_model::ids::MacAddr;
use holdfast_ports::host::{HostFault, Netns};
use ipnet::IpNet;

use super::pool::Worker;
use super::refused;
use crate::netlink::{
    AddressFamily, Link, LinkRef, Lookup, NeighbourState, NetlinkError, Route, RouteFilter, Rule, Socket,
};

/// What was found: the differences in words, and what a caller of wiring is told.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) differences: Vec<String>,
    pub(crate) host: Option<Link>,
    pub(crate) pod_mac: Option<MacAddr>,
    /// Rules of ours for this address that should not be.
    pub(crate) stray: Vec<Rule>,
}

impl Findings {
    fn differs(&mut self, is_so: bool, words: impl FnOnce() -> String) {
        if is_so {
            self.differences.push(words());
        }
    }
}

/// Both sides when the namespace is given, else the host's.
pub(crate) fn check(
    worker: &mut Worker,
    wiring: &PodWiring,
    netns: Option<&Netns>,
) -> Result<Vec<String>, HostFault> {
    let mut pod = netns.map(|netns| worker.socket_in(netns)).transpose()?;
    Ok(compare(&mut worker.socket, pod.as_mut(), wiring).map_err(refused)?.differences)
}

pub(crate) fn compare(
    host: &mut Socket,
    pod: Option<&mut Socket>,
    wiring: &PodWiring,
) -> Result<Findings, NetlinkError> {
    let mut findings = Findings::default();
    host_side(host, wiring, pod.is_some(), &mut findings)?;
    if let Some(pod) = pod {
        pod_side(pod, wiring, &mut findings)?;
    }
    Ok(findings)
}

fn host_side(
    host: &mut Socket,
    wiring: &PodWiring,
    both: bool,
    findings: &mut Findings,
) -> Result<(), NetlinkError> {
    let name = &wiring.host_veth;
    match host.link(&LinkRef::Name(name.clone()))? {
        None => findings.differences.push(format!("host link {name} is missing")),
        Some(link) => {
            findings.differs(link.alias.as_deref() != Some(wiring.alias.as_str()), || {
                format!("host link {name} bears the alias {:?}", link.alias.as_deref().unwrap_or_default())
            });
            findings.differs(!link.up, || format!("host link {name} is down"));
            findings.differs(both && !link.carrier, || format!("host link {name} has no carrier"));
            findings.differs(link.mac != Some(wiring.host_mac), || {
                format!("host link {name} has another MAC than {}", wiring.host_mac)
            });
            findings.differs(link.mtu != wiring.mtu, || {
                format!("host link {name} has MTU {} instead of {}", link.mtu, wiring.mtu)
            });
            let way = host.route_to(wiring.address, &Lookup::default())?;
            let right = way.as_ref().is_some_and(|way| {
                way.link == Some(link.index) && way.table == MAIN_TABLE && way.via.is_none()
            });
            findings.differs(!right, || match way {
                Some(way) => format!("packets to {} do not go to {name} but: {way}", wiring.address),
                None => format!("packets to {} go nowhere", wiring.address),
            });
            findings.host = Some(link);
        }
    }
    let rules = host.rules(AddressFamily::Inet)?;
    let wanted = rules_of(wiring);
    for rule in &wanted {
        let there = rules.iter().any(|seen| Rule { protocol: PROTOCOL, ..seen.clone() } == *rule);
        findings.differs(!there, || format!("{rule} is missing"));
    }
    let own = Some(IpNet::from(wiring.address));
    let about_this = |rule: &&Rule| {
        rule.protocol == PROTOCOL
            && ((rule.priority == priority::TO_POD && rule.to == own)
                || (rule.priority == priority::FROM_POD && rule.from == own))
    };
    for rule in rules.iter().filter(about_this).filter(|rule| !wanted.contains(rule)) {
        findings.differences.push(format!("{rule} is in the way"));
        findings.stray.push(rule.clone());
    }
    Ok(())
}

fn pod_side(pod: &mut Socket, wiring: &PodWiring, findings: &mut Findings) -> Result<(), NetlinkError> {
    let name = &wiring.ifname;
    let Some(link) = pod.link(&LinkRef::Name(name.clone()))? else {
        findings.differences.push(format!("{name} is missing in the sandbox"));
        return Ok(());
    };
    findings.pod_mac = link.mac;
    findings.differs(!link.up, || format!("{name} is down in the sandbox"));
    findings.differs(link.mtu != wiring.mtu, || {
        format!("{name} has MTU {} instead of {} in the sandbox", link.mtu, wiring.mtu)
    });
    if let Some(host) = &findings.host {
        let joined = host.peer_index == Some(link.index) && link.peer_index == Some(host.index);
        findings.differs(!joined, || format!("{name} is not the other end of {}", wiring.host_veth));
    }
    let addresses = pod.addresses_of(link.index, AddressFamily::Inet)?;
    findings.differs(!addresses.iter().any(|seen| seen.net == IpNet::from(wiring.address)), || {
        format!("{name} lacks the address {}", wiring.address)
    });
    let routes =
        pod.routes(AddressFamily::Inet, RouteFilter { table: Some(MAIN_TABLE), ..RouteFilter::default() })?;
    for wanted in pod_routes(link.index) {
        let there = routes.iter().any(|seen| {
            (seen.to, seen.via, seen.link, seen.kind) == (wanted.to, wanted.via, wanted.link, wanted.kind)
        });
        findings.differs(!there, || format!("{wanted} is missing in the sandbox"));
    }
    let gateway = IpAddr::V4(POD_GATEWAY);
    let answered = pod.neighbours(AddressFamily::Inet)?.into_iter().any(|seen| {
        seen.link == link.index
            && seen.address == gateway
            && seen.mac == Some(wiring.host_mac)
            && seen.state == NeighbourState::Permanent
    });
    findings
        .differs(!answered, || format!("the neighbour entry {gateway} -> {} is missing", wiring.host_mac));
    Ok(())
}

/// The host's rules for a pod, in the order of their priority.
pub(crate) fn rules_of(wiring: &PodWiring) -> Vec<Rule> {
    let own = Some(IpNet::from(wiring.address));
    let mut rules = vec![Rule { to: own, protocol: PROTOCOL, ..Rule::new(priority::TO_POD, MAIN_TABLE) }];
    if wiring.table != MAIN_TABLE {
        rules.push(Rule { from: own, protocol: PROTOCOL, ..Rule::new(priority::FROM_POD, wiring.table) });
    }
    rules
}

/// The routes inside a sandbox: to the gateway, and through it to everywhere.
pub(crate) fn pod_routes(link: u32) -> [Route; 2] {
    let gateway = IpAddr::V4(POD_GATEWAY);
    [Route::on_link(MAIN_TABLE, IpNet::from(gateway), link), Route::default_via(MAIN_TABLE, gateway, link)]
}
