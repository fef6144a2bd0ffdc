//! Comparing a pod's wiring with what the kernel holds: read-back after wiring, and CHECK.

use holdfast_model::host::{HostObserved, Look, MAIN_TABLE, PROTOCOL, PodDifference, PodWiring, Rule};
use holdfast_model::ids::MacAddr;
use holdfast_ports::host::HostFault;
use holdfast_ports::netns::Netns;
use ipnet::IpNet;

use super::pool::Worker;
use super::translate::{link_seen, route_seen};
use super::{observe, refused, translate, ways};
use crate::netlink::{Link, LinkRef, NeighbourState, NetlinkError, RouteFilter, RouteType, Socket};

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
    let pod = pod.as_mut().map(|inside| &mut inside.socket);
    Ok(compare(&mut worker.socket, pod, wiring).map_err(refused)?.differences)
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
    let link = host.link(&LinkRef::Name(name.clone()))?;
    let ours = RouteFilter { table: Some(MAIN_TABLE), protocol: Some(PROTOCOL) };
    let observed = HostObserved {
        links: link.iter().cloned().map(link_seen).collect(),
        rules: observe::rules_about(host, wiring.address)?,
        routes: host.routes_about(wiring.address, ours)?.into_iter().filter_map(route_seen).collect(),
        ..HostObserved::default()
    };
    let look = Look::over(&observed);
    for difference in wiring.differences(&look).into_iter().chain(wiring.strays(&look)) {
        findings.differences.push(match (&difference, &link) {
            (PodDifference::LinkMissing, Some(link)) => {
                format!("host link {name} bears the alias {:?}", link.alias.as_deref().unwrap_or_default())
            }
            _ => wiring.words(&difference),
        });
        if let PodDifference::RuleStray(rule) = difference {
            findings.stray.push(rule);
        }
    }
    if let Some(link) = link {
        findings.differs(both && !link.carrier, || format!("host link {name} has no carrier"));
        findings.differences.extend(ways::through_the_host(host, &link, wiring)?);
        findings.host = Some(link);
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
    let family = translate::family(wiring.family());
    let addresses = pod.addresses_of(link.index, family)?;
    let own = addresses.iter().find(|seen| seen.net == IpNet::from(wiring.address));
    findings.differs(own.is_none(), || format!("{name} lacks the address {}", wiring.address));
    findings.differs(own.is_some_and(|own| own.unusable), || {
        format!("{} cannot be used yet on {name}, or somebody on that link has it too", wiring.address)
    });
    let of_its_own = RouteFilter { table: Some(wiring.sandbox_table()), ..RouteFilter::default() };
    let routes = pod.routes(family, of_its_own)?;
    let routes: Vec<_> =
        routes.into_iter().filter(|route| route.kind == RouteType::Unicast).filter_map(route_seen).collect();
    for wanted in wiring.sandbox_routes(link.index) {
        findings.differs(!routes.contains(&wanted), || format!("{wanted} is missing in the sandbox"));
    }
    if let Some(wanted) = wiring.sandbox_rule() {
        // Whose number it bears is no matter in there.
        let is_it = |seen: &crate::netlink::Rule| {
            (seen.priority, seen.from, seen.to, seen.table)
                == (wanted.priority, wanted.from, None, wanted.table)
        };
        let there = pod.rules(family)?.iter().any(is_it);
        findings.differs(!there, || format!("{wanted} is missing in the sandbox"));
    }
    let gateway = wiring.gateway();
    let answered = pod.neighbours(family)?.into_iter().any(|seen| {
        seen.link == link.index
            && seen.address == gateway
            && seen.mac == Some(wiring.host_mac)
            && seen.state == NeighbourState::Permanent
    });
    findings
        .differs(!answered, || format!("the neighbour entry {gateway} -> {} is missing", wiring.host_mac));
    findings.differences.extend(ways::in_the_sandbox(pod, link.index, wiring)?);
    Ok(())
}
