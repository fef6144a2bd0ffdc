//! Asking the kernel where it would send packets of a pod's and packets to it, and finding what makes it send them
//! elsewhere.

use std::net::{IpAddr, Ipv4Addr};

use holdfast_model::host::{MAIN_TABLE, POD_GATEWAY, PROTOCOL, PodWiring, Way};
use nix::errno::Errno;

use crate::netlink::{
    AddressFamily, Link, Lookup, NetlinkError, Route, RouteFilter, RouteType, Rule, Socket,
};

/// The table of the host's own addresses, which all packets are looked up in first.
const LOCAL_TABLE: u32 = 255;

/// A packet of the pod's, or one to it, as it comes in by a link of the host's.
struct Packet {
    from: IpAddr,
    to: IpAddr,
    iif: Option<(u32, String)>,
    mark: Option<u32>,
}

/// What the kernel would do with it.
enum Answer {
    Goes(Route),
    Nowhere,
    /// Its source may not come in by that link.
    Refused,
}

impl Packet {
    fn ask(&self, host: &mut Socket) -> Result<Answer, NetlinkError> {
        let iif = self.iif.as_ref().map(|(index, _)| *index);
        // Without a link it came in by it is the host's own.
        let from = iif.map(|_| self.from);
        match host.route_to(self.to, &Lookup { from, iif, mark: self.mark }) {
            Ok(Some(route)) => Ok(Answer::Goes(route)),
            Ok(None) => Ok(Answer::Nowhere),
            Err(error) if error.errno() == Some(Errno::EXDEV) => Ok(Answer::Refused),
            Err(error) => Err(error),
        }
    }

    fn matches(&self, rule: &Rule) -> bool {
        let contains =
            |net: Option<ipnet::IpNet>, address: IpAddr| net.is_none_or(|net| net.contains(&address));
        let iif = self.iif.as_ref().map(|(_, name)| name.as_str());
        contains(rule.from, self.from)
            && contains(rule.to, self.to)
            && rule.mark.is_none_or(|(mark, mask)| self.mark.unwrap_or(0) & mask == mark & mask)
            && rule.iif.as_deref().is_none_or(|name| Some(name) == iif)
    }

    /// What makes the kernel answer so, in words: the first rule whose table has something for the packet.
    fn cause(&self, host: &mut Socket) -> Result<String, NetlinkError> {
        let v4 = AddressFamily::Inet;
        let rules = host.rules(v4)?;
        for rule in rules.iter().filter(|rule| rule.table != LOCAL_TABLE && self.matches(rule)) {
            let in_table = RouteFilter { table: Some(rule.table), ..RouteFilter::default() };
            let routes = host.routes(v4, in_table)?;
            let best = routes
                .iter()
                .filter(|route| route.to.contains(&self.to))
                .max_by_key(|route| (route.to.prefix_len(), std::cmp::Reverse(route.metric.unwrap_or(0))));
            if let Some(route) = best.filter(|route| route.kind != RouteType::Throw) {
                let whose = if rule.protocol == PROTOCOL { "our" } else { "a foreign" };
                return Ok(format!("{whose} {rule}, whose table has {}", described(route)));
            }
        }
        Ok("no rule leads to a table that has a way".to_owned())
    }
}

fn described(route: &Route) -> String {
    match route.kind {
        RouteType::Unicast => route.to_string(),
        kind => format!("{} {route}", format!("{kind:?}").to_lowercase()),
    }
}

/// What is wrong with the ways between the pod and each of its destinations, in words.
pub(super) fn through_the_host(
    host: &mut Socket,
    link: &Link,
    wiring: &PodWiring,
) -> Result<Vec<String>, NetlinkError> {
    let own = Packet { from: Ipv4Addr::UNSPECIFIED.into(), to: wiring.address, iif: None, mark: None };
    if let Some(words) = wrong_way_in(&own, link, host)? {
        // Nor would the kernel take packets of the pod's then, and what it said of them would be no help.
        return Ok(vec![words]);
    }
    let mut wrong = Vec::new();
    for &way in &wiring.ways {
        let from_pod = Packet {
            from: wiring.address,
            to: IpAddr::V4(way.to),
            iif: Some((link.index, link.name.clone())),
            mark: way.mark(),
        };
        let answer = from_pod.ask(host)?;
        if let Some(words) = wrong_way_out(&from_pod, &answer, way, wiring, host)? {
            wrong.push(words);
            continue;
        }
        // What is marked leaves as the node, and answers to it are not addressed to the pod.
        let Answer::Goes(Route { link: Some(out), .. }) = answer else { continue };
        if way.marked || out == link.index {
            continue;
        }
        let to_pod = Packet {
            from: IpAddr::V4(way.to),
            to: wiring.address,
            iif: Some((out, name_of(host, out)?)),
            mark: None,
        };
        wrong.extend(wrong_way_in(&to_pod, link, host)?);
    }
    Ok(wrong)
}

/// Inside the sandbox everything leaves by the pod's gateway.
pub(super) fn in_the_sandbox(
    pod: &mut Socket,
    link_index: u32,
    wiring: &PodWiring,
) -> Result<Vec<String>, NetlinkError> {
    let mut wrong = Vec::new();
    for &way in &wiring.ways {
        let answer = pod.route_to(IpAddr::V4(way.to), &Lookup::default())?;
        let right = answer.as_ref().is_some_and(|route| {
            route.link == Some(link_index) && route.via == Some(IpAddr::V4(POD_GATEWAY))
        });
        if !right {
            let goes = answer.map_or("nowhere".to_owned(), |route| format!("by {}", described(&route)));
            wrong.push(format!(
                "in the sandbox packets to {} do not go through {POD_GATEWAY} but {goes}",
                way.to
            ));
        }
    }
    Ok(wrong)
}

fn wrong_way_out(
    packet: &Packet,
    answer: &Answer,
    way: Way,
    wiring: &PodWiring,
    host: &mut Socket,
) -> Result<Option<String>, NetlinkError> {
    let table = way.table(wiring.table);
    let goes = match answer {
        Answer::Goes(route) if route.table == table => return Ok(None),
        Answer::Goes(route) => format!("by {}", described(route)),
        Answer::Nowhere => "nowhere".to_owned(),
        Answer::Refused => return Ok(Some(refused(packet))),
    };
    let cause = packet.cause(host)?;
    Ok(Some(format!("packets from {} to {way} do not go by table {table} but {goes}: {cause}", packet.from)))
}

fn wrong_way_in(packet: &Packet, link: &Link, host: &mut Socket) -> Result<Option<String>, NetlinkError> {
    let goes = match packet.ask(host)? {
        Answer::Goes(route) if leads_to(&route, link) => return Ok(None),
        Answer::Goes(route) if route.table == LOCAL_TABLE => {
            return Ok(Some(format!("the host itself bears {}: take it off there", packet.to)));
        }
        Answer::Goes(route) => format!("by {}", described(&route)),
        Answer::Nowhere => "nowhere".to_owned(),
        Answer::Refused => return Ok(Some(refused(packet))),
    };
    let cause = packet.cause(host)?;
    let whose = match packet.iif {
        Some(_) => format!("packets from {}", packet.from),
        None => "packets of the host's".to_owned(),
    };
    Ok(Some(format!("{whose} to {} do not go to {} but {goes}: {cause}", packet.to, link.name)))
}

fn leads_to(route: &Route, link: &Link) -> bool {
    route.link == Some(link.index) && route.table == MAIN_TABLE && route.via.is_none()
}

fn refused(packet: &Packet) -> String {
    let by = packet.iif.as_ref().map_or("?", |(_, name)| name.as_str());
    format!(
        "packets from {} to {} that come in by {by} are dropped for their source: its way back is another (rp_filter)",
        packet.from, packet.to
    )
}

fn name_of(host: &mut Socket, index: u32) -> Result<String, NetlinkError> {
    let link = host.link(&crate::netlink::LinkRef::Index(index))?;
    Ok(link.map(|link| link.name).unwrap_or_default())
}
