//! Asking the kernel where it would send packets of a pod's and packets to it, and finding what makes it send them
//! elsewhere.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holdfast_model::host::{MAIN_TABLE, PROTOCOL, PodWiring, Way, places};
use holdfast_model::ids::MacAddr;
use nix::errno::Errno;

use crate::netlink::{
    AddressFamily, Link, LinkRef, Listed, Lookup, NetlinkError, Route, RouteFilter, RouteType, Rule, Socket,
};

/// The table of the host's own addresses, which all packets are looked up in first.
const LOCAL_TABLE: u32 = 255;

/// Made by the kernel itself (`RTPROT_KERNEL`).
const KERNEL: u8 = 2;

/// A packet of the pod's, or one to it, as it comes in by a link of the host's.
struct Packet {
    from: IpAddr,
    to: IpAddr,
    iif: Option<u32>,
    mark: Option<u32>,
}

/// What the kernel would do with it.
enum Answer {
    Goes(Route),
    Nowhere,
}

/// What a packet meets first, by what can be read of rules and routes.
struct Cause {
    words: String,
    end: End,
}

/// Where that leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Out of this link, by a route of this table.
    Leaves { link: u32, table: u32 },
    /// To the host itself, or nowhere.
    Stays,
    /// A rule jumps, and it is not followed.
    Jumps,
}

/// What the kernel says goes before what can be read: it knows of conditions that are not looked at.
const UNTOLD: &str = "by a rule, a route or a setting of the link's whose conditions are not looked at here";

impl Packet {
    fn ask(&self, host: &mut Socket) -> Result<Answer, NetlinkError> {
        // Without a link it came in by it is the host's own.
        let from = self.iif.map(|_| self.from);
        match host.route_to(self.to, &Lookup { from, iif: self.iif, mark: self.mark }) {
            Ok(Some(route)) => Ok(Answer::Goes(route)),
            Ok(None) => Ok(Answer::Nowhere),
            // Its source may not come in by that link. Not every kernel says that of it.
            Err(error) if error.errno() == Some(Errno::EXDEV) => Ok(Answer::Nowhere),
            Err(error) => Err(error),
        }
    }

    fn matches(&self, rule: &Rule, iif: Option<&str>) -> bool {
        let contains =
            |net: Option<ipnet::IpNet>, address: IpAddr| net.is_none_or(|net| net.contains(&address));
        contains(rule.from, self.from)
            && contains(rule.to, self.to)
            && rule.mark.is_none_or(|(mark, mask)| self.mark.unwrap_or(0) & mask == mark & mask)
            && rule.iif.as_deref().is_none_or(|name| Some(name) == iif)
    }

    /// The name of the link that it came in by.
    fn came_by(&self, host: &mut Socket) -> Result<Option<String>, NetlinkError> {
        let link = self.iif.map(|index| host.link(&LinkRef::Index(index))).transpose()?;
        Ok(link.flatten().map(|link| link.name))
    }

    /// What makes the kernel answer so, in words: the first rule whose table has something for the packet.
    fn cause(&self, host: &mut Socket) -> Result<Cause, NetlinkError> {
        let family = if self.to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let rules = host.deciding_rules(family)?;
        let iif = self.came_by(host)?;
        let matches = |listed: &&Listed| {
            let Listed { rule, inverted, narrowed, instead, .. } = listed;
            // Nothing is asked of one protocol or port.
            let meets = !narrowed && self.matches(rule, iif.as_deref());
            (instead.is_some() || rule.table != LOCAL_TABLE) && meets != *inverted
        };
        for listed in rules.iter().filter(matches) {
            let rule = &listed.rule;
            let whose = match rule.protocol {
                PROTOCOL => "our",
                KERNEL => "the kernel's own",
                _ => "a foreign",
            };
            if let Some(instead) = listed.instead {
                let end = if instead == "goto" { End::Jumps } else { End::Stays };
                return Ok(Cause { words: format!("{whose} {listed}"), end });
            }
            let in_table = RouteFilter { table: Some(rule.table), ..RouteFilter::default() };
            let routes = host.routes(family, in_table)?;
            let best = routes
                .iter()
                .filter(|route| route.to.contains(&self.to))
                .max_by_key(|route| (route.to.prefix_len(), std::cmp::Reverse(route.metric.unwrap_or(0))));
            // Only what leads on is suppressed.
            let counts = |route: &&Route| match route.kind {
                RouteType::Throw => false,
                RouteType::Unicast => {
                    listed.suppressed.is_none_or(|longest| u32::from(route.to.prefix_len()) > longest)
                }
                _ => true,
            };
            if let Some(route) = best.filter(counts) {
                let words = format!("{whose} {listed}, whose table has {}", described(route, host)?);
                let leaves = route.link.filter(|_| route.kind == RouteType::Unicast);
                let end = leaves.map_or(End::Stays, |link| End::Leaves { link, table: route.table });
                return Ok(Cause { words, end });
            }
        }
        Ok(Cause { words: "no rule leads to a table that has a way".to_owned(), end: End::Stays })
    }

    /// Where it goes, and why, in words.
    fn fate(&self, answer: &Answer, host: &mut Socket) -> Result<String, NetlinkError> {
        let cause = self.cause(host)?;
        match answer {
            Answer::Goes(route) => {
                let explains = match cause.end {
                    End::Leaves { link, table } => route.link == Some(link) && route.table == table,
                    End::Stays => route.kind != RouteType::Unicast,
                    End::Jumps => false,
                };
                let words = if explains { &cause.words } else { UNTOLD };
                Ok(format!("by {}: {words}", described(route, host)?))
            }
            Answer::Nowhere => match (cause.end, self.came_by(host)?) {
                (End::Stays, _) => Ok(format!("nowhere: {}", cause.words)),
                // There is a way on, so the kernel may not believe its source: answers would come in where it leaves.
                (End::Leaves { link, .. }, Some(name)) => {
                    let back = Self { from: self.to, to: self.from, iif: Some(link), mark: None };
                    let back = back.cause(host)?;
                    let elsewhere = !matches!(back.end, End::Leaves { link, .. } if Some(link) == self.iif)
                        && back.end != End::Jumps;
                    Ok(if elsewhere {
                        let words = back.words;
                        format!(
                            "nowhere: they are not taken in by {name}, since answers to them go elsewhere: {words}"
                        )
                    } else {
                        format!("nowhere, {UNTOLD}")
                    })
                }
                (End::Leaves { .. } | End::Jumps, _) => Ok(format!("nowhere, {UNTOLD}")),
            },
        }
    }
}

fn described(route: &Route, asked: &mut Socket) -> Result<String, NetlinkError> {
    let link = route.link.map(|index| asked.link(&LinkRef::Index(index))).transpose()?.flatten();
    let words = route.words(link.as_ref().map(|link| link.name.as_str()));
    Ok(match route.kind {
        RouteType::Unicast => words,
        kind => format!("{} {words}", format!("{kind:?}").to_lowercase()),
    })
}

/// A packet that goes elsewhere than it should.
pub(super) struct Astray {
    packet: Packet,
    answer: Answer,
    should: Should,
}

enum Should {
    /// Leave by this table, on one of the pod's ways.
    Leave { way: Way, table: u32 },
    /// Leave by the link of the ENI with this MAC.
    LeaveBy { way: Way, mac: MacAddr },
    /// Reach the pod.
    Reach,
}

impl Astray {
    /// Where it goes and what takes it there, in words. This reads all rules, and tables.
    pub(super) fn words(&self, link: &Link, host: &mut Socket) -> Result<String, NetlinkError> {
        let Packet { from, to, .. } = self.packet;
        if let (Should::Reach, Answer::Goes(route)) = (&self.should, &self.answer)
            && route.table == LOCAL_TABLE
        {
            return Ok(format!("the host itself bears {to}: take it off there"));
        }
        let fate = self.packet.fate(&self.answer, host)?;
        Ok(match self.should {
            Should::Leave { way, table } => {
                format!("packets from {from} to {way} do not go by table {table} but {fate}")
            }
            Should::LeaveBy { way, mac } => {
                format!("packets from {from} to {way} do not leave by the ENI with MAC {mac} but {fate}")
            }
            Should::Reach => {
                let whose = match self.packet.iif {
                    Some(_) => format!("packets from {from}"),
                    None => "packets of the host's".to_owned(),
                };
                format!("{whose} to {to} do not go to {} but {fate}", link.name)
            }
        })
    }
}

/// What is wrong with the ways between the pod and each of its destinations, in words. By which link of several the host sends what
/// leaves is its own affair here: an ADD is not refused for it.
pub(super) fn through_the_host(
    host: &mut Socket,
    link: &Link,
    wiring: &PodWiring,
) -> Result<Vec<String>, NetlinkError> {
    astray(host, link, wiring, None)?.iter().map(|astray| astray.words(link, host)).collect()
}

/// The MACs of links that packets leave by, each asked for once.
#[derive(Default)]
pub(super) struct Uplinks(HashMap<u32, Option<MacAddr>>);

impl Uplinks {
    /// The MAC that its hardware came with, where it tells: a bond gives its members its own.
    fn mac_of(&mut self, index: u32, host: &mut Socket) -> Result<Option<MacAddr>, NetlinkError> {
        if let Some(known) = self.0.get(&index) {
            return Ok(*known);
        }
        let mac = host.link(&LinkRef::Index(index))?.and_then(|link| link.permanent_mac.or(link.mac));
        self.0.insert(index, mac);
        Ok(mac)
    }
}

/// Asks for packets of the pod's and to it, on the host's side. With `uplinks` also whether they leave by the right one.
pub(super) fn astray(
    host: &mut Socket,
    link: &Link,
    wiring: &PodWiring,
    mut uplinks: Option<&mut Uplinks>,
) -> Result<Vec<Astray>, NetlinkError> {
    let nobody = match wiring.address {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let own = Packet { from: nobody, to: wiring.address, iif: None, mark: None };
    if let Some(astray) = does_not_reach(own, link, host)? {
        // Nor would the kernel take packets of the pod's then, and what it said of them would be no help.
        return Ok(vec![astray]);
    }
    let mut found = Vec::new();
    for place in places(&wiring.ways) {
        let mut first = None;
        for &way in place {
            match on_the_way(way, host, link, wiring, uplinks.as_deref_mut())? {
                None => {
                    // One that is reached is enough.
                    first = None;
                    break;
                }
                astray => first = first.or(astray),
            }
        }
        found.extend(first);
    }
    Ok(found)
}

fn on_the_way(
    way: Way,
    host: &mut Socket,
    link: &Link,
    wiring: &PodWiring,
    uplinks: Option<&mut Uplinks>,
) -> Result<Option<Astray>, NetlinkError> {
    let packet = Packet { from: wiring.address, to: way.to, iif: Some(link.index), mark: way.mark() };
    let answer = packet.ask(host)?;
    let table = way.table(wiring.table);
    let out = match &answer {
        Answer::Goes(route) if route.table == table => route.link,
        _ => return Ok(Some(Astray { packet, answer, should: Should::Leave { way, table } })),
    };
    if let (Some(uplinks), Some(out), Some(mac)) = (uplinks, out, way.by)
        && uplinks.mac_of(out, host)?.is_some_and(|found| found != mac)
    {
        return Ok(Some(Astray { packet, answer, should: Should::LeaveBy { way, mac } }));
    }
    // What is marked leaves as the node, and answers to it are not addressed to the pod.
    let Some(out) = out.filter(|out| !way.marked && *out != link.index) else { return Ok(None) };
    let to_pod = Packet { from: way.to, to: wiring.address, iif: Some(out), mark: None };
    does_not_reach(to_pod, link, host)
}

fn does_not_reach(packet: Packet, link: &Link, host: &mut Socket) -> Result<Option<Astray>, NetlinkError> {
    let answer = packet.ask(host)?;
    let reaches = matches!(&answer, Answer::Goes(route) if leads_to(route, link));
    Ok((!reaches).then_some(Astray { packet, answer, should: Should::Reach }))
}

/// Inside the sandbox everything leaves by the pod's gateway; by that of a further interface what comes from its address.
pub(super) fn in_the_sandbox(
    pod: &mut Socket,
    link_index: u32,
    wiring: &PodWiring,
) -> Result<Vec<String>, NetlinkError> {
    let (mut wrong, gateway) = (Vec::new(), wiring.gateway());
    for place in places(&wiring.ways) {
        let mut first = None;
        for way in place {
            let from = (wiring.number > 0).then_some(wiring.address);
            let answer = pod.route_to(way.to, &Lookup { from, ..Lookup::default() })?;
            let right = answer
                .as_ref()
                .is_some_and(|route| route.link == Some(link_index) && route.via == Some(gateway));
            if right {
                first = None;
                break;
            }
            let goes = match answer {
                Some(route) => format!("by {}", described(&route, pod)?),
                None => "nowhere".to_owned(),
            };
            let to = way.to;
            first = first
                .or(Some(format!("in the sandbox packets to {to} do not go through {gateway} but {goes}")));
        }
        wrong.extend(first);
    }
    Ok(wrong)
}

fn leads_to(route: &Route, link: &Link) -> bool {
    route.link == Some(link.index) && route.table == MAIN_TABLE && route.via.is_none()
}
