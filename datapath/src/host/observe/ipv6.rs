//! The same of IPv6. A kernel that has none is asked nothing: it would answer for other families.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use holdfast_model::host::{Ipv6Seen, MAIN_TABLE, PROTOCOL, Route as ModelRoute, Rule};

use super::rules;
use crate::host::translate::route_seen;
use crate::netlink::{AddressFamily, NetlinkError, RouteFilter, RouteType, Socket};
use crate::sysctl::Sysctl;

/// Of the whole namespace.
pub(crate) const FORWARDING: &str = "ipv6/conf/all/forwarding";

const V6: AddressFamily = AddressFamily::Inet6;

/// What of a look is IPv6's.
#[derive(Default)]
pub(super) struct Ipv6Read {
    pub(super) seen: Ipv6Seen,
    pub(super) rules: Vec<Rule>,
    pub(super) routes: Vec<ModelRoute>,
    pub(super) addresses: HashMap<u32, Vec<Ipv6Addr>>,
}

pub(super) fn read(host: &mut Socket, sysctl: &Sysctl) -> Result<Ipv6Read, NetlinkError> {
    let Some(forwarding) = sysctl.read(FORWARDING) else { return Ok(Ipv6Read::default()) };
    let ours = host.routes(V6, RouteFilter { protocol: Some(PROTOCOL), ..RouteFilter::default() })?;
    let main = host.routes(V6, RouteFilter { table: Some(MAIN_TABLE), ..RouteFilter::default() })?;
    let leads_out =
        |route: &crate::netlink::Route| route.to.prefix_len() == 0 && route.kind == RouteType::Unicast;
    let mut addresses: HashMap<u32, Vec<Ipv6Addr>> = HashMap::new();
    for address in host.addresses(V6)? {
        // Each link has one of its own to talk to its neighbours.
        if let IpAddr::V6(ip) = address.net.addr()
            && !ip.is_unicast_link_local()
            && !ip.is_loopback()
        {
            addresses.entry(address.link).or_default().push(ip);
        }
    }
    let seen = Ipv6Seen {
        forwarding: Some(forwarding == "1"),
        off: sysctl.read("ipv6/conf/all/disable_ipv6").map(|value| value == "1"),
        way_out: Some(main.iter().any(leads_out)),
    };
    let routes = ours.into_iter().filter_map(route_seen).collect();
    Ok(Ipv6Read { seen, rules: rules(host, V6)?, routes, addresses })
}
