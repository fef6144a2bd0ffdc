//! Routes, as the kernel sends them (linux/rtnetlink.h).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nix::sys::socket::AddressFamily;

use super::rtnetlink::{FAMILIES, HEADER, attributes, dump, ip, net, number, steady};
use crate::oracle::picture::{Route, Way};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_F_CLONED: u32 = 0x200;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_PREF: u16 = 20;
const RTA_PAD: u16 = 24;

/// A next hop's header: its length, flags, weight less one, and link.
const HOP_HEADER: usize = 8;

/// Of all tables, of IPv4 and of IPv6, in the calling thread's namespace.
pub(super) fn all() -> anyhow::Result<[Vec<Route>; 2]> {
    let [v4, v6] = FAMILIES;
    steady(|| Ok([once(v4)?, once(v6)?]))
}

fn once(family: AddressFamily) -> anyhow::Result<Vec<Route>> {
    let listed = dump(family, RTM_GETROUTE, RTM_NEWROUTE, route)?;
    Ok(listed.into_iter().filter_map(|(route, remembered)| (!remembered).then_some(route)).collect())
}

/// And whether it is no route, but what the kernel remembers of one. Other flags tell of the link's state.
fn route(message: &[u8]) -> Option<(Route, bool)> {
    let header = message.get(..HEADER)?;
    let (to_len, from_len, tos) = (header[1], header[2], header[3]);
    let remembered = number(header.get(8..)?)? & RTM_F_CLONED != 0;
    let any: IpAddr = if header[0] == AddressFamily::Inet6 as u8 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let mut route = Route {
        table: u32::from(header[4]),
        to: IpNet::new(any, to_len).ok()?,
        via: None,
        link: None,
        way: way(header[7]),
        metric: 0,
        source: None,
        others: Vec::new(),
    };
    if tos != 0 {
        route.others.push(format!("tos {tos:#x}"));
    }
    for (kind, value) in attributes(&message[HEADER..])? {
        match kind {
            RTA_DST => route.to = net(value, to_len)?,
            RTA_OIF => route.link = number(value),
            RTA_GATEWAY => route.via = Some(ip(value)?),
            RTA_PRIORITY => route.metric = number(value)?,
            RTA_PREFSRC => route.source = Some(ip(value)?),
            RTA_TABLE => route.table = number(value)?,
            RTA_METRICS => {
                let metrics = attributes(value)?;
                route.others.extend(metrics.into_iter().map(|(kind, value)| metric(kind, value)));
            }
            RTA_MULTIPATH => route.others.extend(hops(value)?),
            // How old it is; and IPv6's preference among routers, which each has.
            RTA_CACHEINFO | RTA_PREF | RTA_PAD => {}
            RTA_SRC => route.others.push(format!("from {}", net(value, from_len)?)),
            _ => route.others.push(other(kind, value)),
        }
    }
    Some((route, remembered))
}

/// A metric: what the route says of sizes and times. One more number would hide in a sum of them.
fn metric(kind: u16, value: &[u8]) -> String {
    let name = match kind {
        1 => "lock",
        2 => "mtu",
        3 => "window",
        4 => "rtt",
        6 => "ssthresh",
        7 => "cwnd",
        8 => "advmss",
        10 => "hoplimit",
        11 => "initcwnd",
        13 => "rto_min",
        14 => "initrwnd",
        15 => "quickack",
        16 => return format!("congctl {}", String::from_utf8_lossy(value).trim_end_matches('\0')),
        _ => return format!("metric {kind} {value:?}"),
    };
    number(value).map_or_else(|| format!("{name} {value:?}"), |number| format!("{name} {number}"))
}

/// Each of several next hops.
fn hops(mut rest: &[u8]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let (weight, link) = (u32::from(*rest.get(3)?) + 1, number(rest.get(4..HOP_HEADER)?)?);
        let mut words = vec!["nexthop".to_owned()];
        for (kind, value) in attributes(rest.get(HOP_HEADER..length)?)? {
            words.push(match kind {
                RTA_GATEWAY => format!("via {}", ip(value)?),
                _ => other(kind, value),
            });
        }
        words.push(format!("link {link} weight {weight}"));
        found.push(words.join(" "));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(found)
}

/// What the oracle does not know of.
fn other(kind: u16, value: &[u8]) -> String {
    let name = match kind {
        11 => "realm",
        18 => "via another family",
        21 => "encapsulation",
        22 => "encapsulated",
        23 => "expires",
        30 => "nexthop object",
        _ => return format!("attribute {kind} {value:?}"),
    };
    format!("{name} {value:?}")
}

/// By the number of what a route does (`rtm_type`).
fn way(kind: u8) -> Way {
    match kind {
        1 => Way::Forward,
        2 => Way::Local,
        3..=5 => Way::Broadcast,
        9 => Way::Throw,
        // What cannot be told apart from a fault is one.
        _ => Way::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::super::rtnetlink::written;
    use super::*;

    /// `10.0.1.77 dev #9` in the main table, with what is given beside.
    fn to_pod(tos: u8, flags: u32, beside: &[(u16, &[u8])]) -> (Route, bool) {
        let mut message = vec![AddressFamily::Inet as u8, 32, 0, tos, 254, 72, 253, 1];
        message.extend(flags.to_ne_bytes());
        let (link, table) = (9_u32.to_ne_bytes(), 254_u32.to_ne_bytes());
        let always: [(u16, &[u8]); 3] = [(RTA_TABLE, &table), (RTA_DST, &[10, 0, 1, 77]), (RTA_OIF, &link)];
        message.extend(written(&[&always, beside].concat()));
        route(&message).unwrap()
    }

    #[test]
    fn a_route_that_says_more_is_another() {
        let plain = to_pod(0, 0, &[]).0;
        assert_eq!(plain, Route::on_link(254, "10.0.1.77/32".parse().unwrap(), 9));
        let mtu = written(&[(2, &1400_u32.to_ne_bytes()), (8, &1360_u32.to_ne_bytes())]);
        let hop = |link: u8, gateway: [u8; 4]| {
            let mut hop = vec![16, 0, 0, 1, link, 0, 0, 0];
            hop.extend(written(&[(RTA_GATEWAY, &gateway)]));
            hop
        };
        let two = [hop(3, [10, 0, 0, 1]), hop(4, [10, 0, 0, 2])].concat();
        let more: [((Route, bool), &[&str]); 5] = [
            (to_pod(0, 0, &[(RTA_METRICS, &mtu)]), &["mtu 1400", "advmss 1360"]),
            (
                to_pod(0, 0, &[(RTA_MULTIPATH, &two)]),
                &["nexthop via 10.0.0.1 link 3 weight 2", "nexthop via 10.0.0.2 link 4 weight 2"],
            ),
            (to_pod(8, 0, &[]), &["tos 0x8"]),
            (to_pod(0, 0, &[(30, &[7, 0, 0, 0])]), &["nexthop object [7, 0, 0, 0]"]),
            (to_pod(0, 0, &[(99, &[1])]), &["attribute 99 [1]"]),
        ];
        for (route, words) in more {
            let others = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(route, (Route { others, ..plain.clone() }, false));
        }
        let source = to_pod(0, 0, &[(RTA_PREFSRC, &[10, 0, 0, 5])]);
        let address = Some(Ipv4Addr::new(10, 0, 0, 5).into());
        assert_eq!(source, (Route { source: address, ..plain.clone() }, false));
        assert_eq!(to_pod(0, RTM_F_CLONED, &[]), (plain, true), "what the kernel remembers is no route");
    }
}
