//! Wiring a pod, and undoing it.
//!
//! ```text
//!   host namespace                                  sandbox
//!   eni1a2b… (alias, group) ───────── veth ──────── eth0  address/32
//!     route  podIP/32 dev eni1a2b…                    route  169.254.1.1/32 dev eth0
//!     rule   512   to podIP   lookup main             route  default via 169.254.1.1
//!     rule   1536  from podIP lookup ENI's table      neigh  169.254.1.1 -> host end's MAC, permanent
//! ```
//!
//! A pod with an IPv6 address has the same of that family: its gateway is fe80::1, and the host knows its MAC beforehand too, since
//! the first question for it would wait until the host end's own address can be used.
//!
//! A further interface of the sandbox has a gateway of its own, 169.254.1.2 and so on, its routes in a table of its own, and a
//! rule that sends what comes from its address there.
//!
//! In two halves: [`prepare`] makes all that there can be while the links are down, [`finish`] lets packets through. In
//! between there is the place for what must be in force before the first packet.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use holdfast_model::host::{MAIN_TABLE, PROTOCOL, PodWired, PodWiring, priority};
use holdfast_model::pool::Family;
use holdfast_ports::host::HostFault;
use holdfast_ports::netns::Netns;
use ipnet::IpNet;

use super::check::compare;
use super::links::{is_ours, remove_indexes};
use super::pool::{Inside, Worker};
use super::{Interrupt, LINK_GROUP, Step, refused, routes, translate};
use crate::netlink::{
    Address, AddressFamily, Change, Link, LinkRef, LinkSettings, Neighbour, NetlinkError, Route, Rule,
    Socket, Veth, VethEnd,
};
use crate::sysctl::Sysctl;

mod ipv6;

/// Made by whoever set the namespace up (`RTPROT_BOOT`).
const BOOT: u8 = 3;

/// How often one selector's rules are removed before we believe that somebody adds them as fast.
const DUPLICATE_ROUNDS: usize = 64;

/// Makes the whole path and reads it back. On failure nothing of it is left.
pub(crate) fn wire(
    worker: &mut Worker,
    removals: &AtomicU32,
    wiring: &PodWiring,
    netns: &Netns,
    interrupt: Option<&Interrupt>,
) -> Result<PodWired, HostFault> {
    let mut prepared = prepare(worker, removals, wiring, netns, interrupt)?;
    let finished = finish(worker, &mut prepared, wiring, interrupt);
    finished.inspect_err(|_fault| {
        undo(&mut worker.socket, removals, wiring, &prepared.link);
        undo_rule(&mut prepared.pod.socket, wiring);
    })
}

/// A pair that is there, named and ruled, and down.
struct Prepared<'n> {
    /// The host end.
    link: Link,
    /// In the sandbox.
    pod: Inside<'n>,
}

/// No packet passes yet. On failure nothing of it is left.
fn prepare<'n>(
    worker: &mut Worker,
    removals: &AtomicU32,
    wiring: &PodWiring,
    netns: &'n Netns,
    interrupt: Option<&Interrupt>,
) -> Result<Prepared<'n>, HostFault> {
    step(interrupt, Step::Enter)?;
    let mut pod = worker.socket_in(netns)?;
    step(interrupt, Step::Create)?;
    let link = create(&mut worker.socket, &mut pod.socket, removals, wiring, netns)?;
    let name = |worker: &mut Worker| {
        step(interrupt, Step::Prepare)?;
        ipv6_settings(&worker.sysctl, &link, wiring.family())?;
        let settings = LinkSettings {
            alias: Some(wiring.alias.as_str().to_owned()),
            rp_filter: Some(u32::from(PodWiring::RP_FILTER)),
            ..LinkSettings::default()
        };
        let mut changes = vec![Change::SetLink(LinkRef::Index(link.index), settings)];
        changes.extend(wiring.rules().iter().map(translate::rule).map(Change::AddRule));
        put(&mut worker.socket, &changes)
    };
    match name(worker) {
        Ok(()) => Ok(Prepared { link, pod }),
        Err(fault) => {
            undo(&mut worker.socket, removals, wiring, &link);
            Err(fault)
        }
    }
}

/// Up, and read back.
fn finish(
    worker: &mut Worker,
    prepared: &mut Prepared<'_>,
    wiring: &PodWiring,
    interrupt: Option<&Interrupt>,
) -> Result<PodWired, HostFault> {
    let Prepared { link, pod } = prepared;
    let pod = &mut pod.socket;
    step(interrupt, Step::HostSide)?;
    let route = translate::route(&wiring.route(link.index));
    let up = Change::SetLink(LinkRef::Index(link.index), LinkSettings::up());
    put(&mut worker.socket, &[up, Change::AddRoute(route)])?;
    if wiring.family() == Family::V6 {
        // Before what a read-back asks for: whoever dies in between has not wired it.
        let end = pod.link(&LinkRef::Name(wiring.ifname.clone())).map_err(refused)?;
        if let Some(mac) = end.and_then(|end| end.mac) {
            let known = Neighbour::permanent(link.index, wiring.address, mac);
            put(&mut worker.socket, &[Change::PutNeighbour(known)])?;
        }
    }
    step(interrupt, Step::PodSide)?;
    pod_side(pod, wiring, link)?;
    if wiring.family() == Family::V6 {
        ipv6::settle(pod, wiring, link)?;
    }
    step(interrupt, Step::ReadBack)?;
    read_back(&mut worker.socket, pod, wiring)
}

/// Puts the host's side of a wired pod right: whatever of its link, its route and its rules was changed or taken away.
/// Fine when its link is gone: so is the sandbox, or whoever looks for it sees to it.
pub(crate) fn mend(worker: &mut Worker, wiring: &PodWiring) -> Result<(), HostFault> {
    let host = &mut worker.socket;
    let link = host.link(&LinkRef::Name(wiring.host_veth.clone())).map_err(refused)?;
    let Some(link) = link.filter(|link| link.alias.as_deref() == Some(wiring.alias.as_str())) else {
        return Ok(());
    };
    if wiring.family() == Family::V6 {
        ipv6_settings(&worker.sysctl, &link, Family::V6)?;
    }
    let rp_filter = u32::from(PodWiring::RP_FILTER);
    let settings = LinkSettings {
        up: (!link.up).then_some(true),
        mac: (link.mac != Some(wiring.host_mac)).then_some(wiring.host_mac),
        mtu: (link.mtu != wiring.mtu).then_some(wiring.mtu),
        rp_filter: (link.rp_filter.map(u32::from) != Some(rp_filter)).then_some(rp_filter),
        ..LinkSettings::default()
    };
    let mut changes = vec![
        Change::SetLink(LinkRef::Index(link.index), settings),
        Change::AddRoute(translate::route(&wiring.route(link.index))),
    ];
    changes.extend(wiring.rules().iter().map(translate::rule).map(Change::AddRule));
    put(host, &changes)
}

/// Makes changes, each of which may have been made before.
fn put(host: &mut Socket, changes: &[Change]) -> Result<(), HostFault> {
    let results = host.apply_each(changes).map_err(refused)?;
    for (failure, change) in results.into_iter().zip(changes) {
        match (failure, change) {
            // A rule that is there is one that equals ours in all, its protocol number included.
            (Some(error), Change::AddRule(_)) if error.is_present() => {}
            // Left by an earlier owner of the address, or somebody else's.
            (Some(error), Change::AddRoute(route)) if error.is_present() => routes::put_own(host, route)?,
            (Some(error), _) => return Err(refused(error)),
            (None, _) => {}
        }
    }
    Ok(())
}

fn step(interrupt: Option<&Interrupt>, step: Step) -> Result<(), HostFault> {
    let refused = |cause| HostFault::Refused { step: format!("{step:?}"), cause };
    interrupt.map_or(Ok(()), |interrupt| interrupt(step).map_err(refused))
}

/// Makes the pair, each end where it belongs. What bears the host end's name and is ours is of a sandbox that is over:
/// the caller knows. What else bears it, or the other end's name in the sandbox, is not ours to remove.
fn create(
    host: &mut Socket,
    pod: &mut Socket,
    removals: &AtomicU32,
    wiring: &PodWiring,
    netns: &Netns,
) -> Result<Link, HostFault> {
    let name = LinkRef::Name(wiring.host_veth.clone());
    let change = Change::CreateVeth(Veth {
        near: VethEnd { name: wiring.host_veth.clone(), mac: Some(wiring.host_mac), netns: None },
        far: VethEnd { name: wiring.ifname.clone(), mac: None, netns: Some(Arc::clone(netns.handle())) },
        mtu: Some(wiring.mtu),
        group: LINK_GROUP,
    });
    // Twice is enough unless somebody makes links of that name all the time.
    for _ in 0..3 {
        let looked = host
            .apply_and_look(std::slice::from_ref(&change), std::slice::from_ref(&name))
            .map_err(refused)?;
        let link = looked.links.into_iter().next().flatten();
        match (looked.failures.into_iter().next().flatten(), link) {
            (None, Some(link)) => return Ok(link),
            (None, None) => return Err(HostFault::ReadBack(format!("{name} vanished as it was made"))),
            (Some(error), Some(stale)) if error.is_present() => {
                if !is_ours(&stale) {
                    let kind = stale.kind.as_deref().unwrap_or("device");
                    return Err(HostFault::Foreign { what: format!("the host's link {name} ({kind})") });
                }
                tracing::info!(link = %name, alias = stale.alias.as_deref(), "removes a link left by an earlier sandbox");
                remove_indexes(host, removals, &[stale.index])?;
            }
            (Some(error), None) if error.is_present() => {
                return Err(match pod.link(&LinkRef::Name(wiring.ifname.clone())) {
                    Ok(Some(_)) => HostFault::Occupied { what: format!("interface {}", wiring.ifname) },
                    _ => refused(error),
                });
            }
            (Some(error), _) => return Err(refused(error)),
        }
    }
    Err(HostFault::Refused {
        step: format!("create veth {name}"),
        cause: "a link of that name comes back each time".to_owned(),
    })
}

/// Before the link is up: it must never take a router advertisement from a pod.
///
/// Written only where the kernel told otherwise as the link was made: looking at each file costs more than a route,
/// and writing `forwarding` spins for the rtnl lock, which while many pods start costs ten times the rest.
///
/// A pod with an IPv6 address needs IPv6 on its link, whatever new links begin with.
fn ipv6_settings(sysctl: &Sysctl, link: &Link, family: Family) -> Result<(), HostFault> {
    let Some(now) = link.ipv6.filter(|now| now.disable_ipv6 == 0 || family == Family::V6) else {
        return Ok(());
    };
    if now.disable_ipv6 != 0 {
        sysctl.set(&format!("ipv6/conf/{}/disable_ipv6", link.name), "0")?;
    }
    let settings = [
        ("accept_ra", now.accept_ra, 0),
        ("accept_redirects", now.accept_redirects, 1),
        ("forwarding", now.forwarding, 0),
    ];
    for (setting, is, shall) in settings {
        if is != shall {
            sysctl.set(&format!("ipv6/conf/{}/{setting}", link.name), &shall.to_string())?;
        }
    }
    Ok(())
}

fn pod_side(pod: &mut Socket, wiring: &PodWiring, link: &Link) -> Result<(), HostFault> {
    let index = link.peer_index.ok_or_else(|| {
        HostFault::ReadBack(format!("the kernel does not name the other end of {}", wiring.host_veth))
    })?;
    // Nobody else is on the link, so nobody is asked whether he has it.
    let no_dad = wiring.family() == Family::V6;
    let address = Address { no_dad, ..Address::new(index, IpNet::from(wiring.address)) };
    // No protocol number of ours: what is in a sandbox is the pod's.
    let [to_gateway, default] = wiring.sandbox_routes(index).map(|route| translate::route(&route).by(BOOT));
    let changes = [
        Change::SetLink(LinkRef::Index(index), LinkSettings::up()),
        Change::AddAddress(address),
        Change::AddRoute(to_gateway),
        Change::AddRoute(default),
        Change::PutNeighbour(Neighbour::permanent(index, wiring.gateway(), wiring.host_mac)),
    ];
    let made =
        pod.apply_all(&changes).and_then(|()| in_sandbox(wiring).map_or(Ok(()), |rule| put_rule(pod, rule)));
    made.map_err(|error| match error {
        // Not `Occupied`, which says that nothing was made: by now the host's side stands.
        NetlinkError::Refused { what, .. } if error.is_present() => {
            HostFault::Refused { step: what, cause: "there is one already in the sandbox".to_owned() }
        }
        other => refused(other),
    })
}

/// The rule of a further interface.
fn in_sandbox(wiring: &PodWiring) -> Option<Rule> {
    Some(Rule { protocol: BOOT, ..translate::rule(&wiring.sandbox_rule()?) })
}

/// Puts the rule of a further interface, the only one that leads to that interface's table: a rule does not go with its link, so
/// that of an ADD that was cut off, whose address was another one, is there still.
fn put_rule(pod: &mut Socket, rule: Rule) -> Result<(), NetlinkError> {
    let family = if rule.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    for other in pod.rules(family)? {
        if (other.priority, other.table) == (rule.priority, rule.table) && other.from != rule.from {
            pod.apply(&Change::DeleteRule(other))?;
        }
    }
    pod.apply(&Change::AddRule(rule)).or_else(|error| if error.is_present() { Ok(()) } else { Err(error) })
}

/// A rule does not go with its link.
fn undo_rule(pod: &mut Socket, wiring: &PodWiring) {
    let Some(rule) = in_sandbox(wiring) else { return };
    if let Err(error) = pod.apply(&Change::DeleteRule(rule))
        && !error.is_absent()
    {
        tracing::warn!(%error, address = %wiring.address, "a failed wiring is not wholly undone");
    }
}

fn read_back(host: &mut Socket, pod: &mut Socket, wiring: &PodWiring) -> Result<PodWired, HostFault> {
    let mut findings = compare(host, Some(pod), wiring).map_err(refused)?;
    if !findings.stray.is_empty() {
        // Of an earlier owner of the address: they would send this pod's packets elsewhere.
        for rule in &findings.stray {
            remove_rule(host, &translate::rule(rule)).map_err(refused)?;
        }
        findings = compare(host, Some(pod), wiring).map_err(refused)?;
    }
    match (findings.host, findings.pod_mac) {
        (Some(link), Some(pod_mac)) if findings.differences.is_empty() => {
            Ok(PodWired { host_ifindex: link.index, pod_mac })
        }
        _ => Err(HostFault::ReadBack(findings.differences.join("; "))),
    }
}

/// Takes back what was made. Failures are told and do not stop it: the caller returns the first cause.
fn undo(host: &mut Socket, removals: &AtomicU32, wiring: &PodWiring, link: &Link) {
    if let Err(fault) = unwire(host, wiring) {
        tracing::warn!(%fault, address = %wiring.address, "a failed wiring is not wholly undone");
    }
    if let Err(fault) = remove_indexes(host, removals, &[link.index]) {
        tracing::warn!(%fault, link = %wiring.host_veth, "a failed wiring is not wholly undone");
    }
}

/// Removes a pod's rules, each as often as it is there and whatever table it leads to, and its route. Does not wait
/// for links.
pub(crate) fn unwire(host: &mut Socket, wiring: &PodWiring) -> Result<(), HostFault> {
    let own = Some(IpNet::from(wiring.address));
    let ipv6 = wiring.family() == Family::V6;
    let rules = [
        Rule { ipv6, to: own, protocol: PROTOCOL, ..Rule::new(priority::TO_POD, ANY_TABLE) },
        Rule { ipv6, from: own, protocol: PROTOCOL, ..Rule::new(priority::FROM_POD, ANY_TABLE) },
    ];
    let route = Route { link: None, ..Route::on_link(MAIN_TABLE, IpNet::from(wiring.address), 0) };
    let route = Change::DeleteRoute(route.by(PROTOCOL));
    // Ordinarily there is one of each: the second attempt at each says so in the same system call.
    let mut changes = vec![route];
    for rule in &rules {
        changes.extend([Change::DeleteRule(rule.clone()), Change::DeleteRule(rule.clone())]);
    }
    let results = host.apply_each(&changes).map_err(refused)?;
    let another_is_left = [2, 4].map(|second| results[second].is_none());
    if let Some(error) = results.into_iter().flatten().find(|error| !error.is_absent()) {
        return Err(refused(error));
    }
    for (rule, _) in rules.iter().zip(another_is_left).filter(|(_, left)| *left) {
        remove_rule(host, rule).map_err(refused)?;
    }
    Ok(())
}

/// In a deletion: a rule that leads to whichever table.
const ANY_TABLE: u32 = 0;

/// Removes a rule as often as it is there.
pub(crate) fn remove_rule(host: &mut Socket, rule: &Rule) -> Result<(), NetlinkError> {
    for _ in 0..DUPLICATE_ROUNDS {
        match host.apply(&Change::DeleteRule(rule.clone())) {
            Ok(()) => {}
            Err(error) if error.is_absent() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Err(NetlinkError::Unsettled { what: format!("delete {rule}"), attempts: 64 })
}
