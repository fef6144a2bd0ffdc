//! Routes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::address::family;
use super::attributes::{Attributes, u32_at};
use super::error::NetlinkError;
use super::socket::{Outgoing, Socket};

const HEADER: usize = 12;
const RTM_NEWROUTE: u16 = 24;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_TABLE: u16 = 15;
const RTAX_MTU: u16 = 2;

/// A route with at most one next hop. Of a multipath route, `via` and `link` are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// In which table.
    pub table: u32,
    /// To where; `0.0.0.0/0` or `::/0` for a default route.
    pub to: IpNet,
    /// Through whom.
    pub via: Option<IpAddr>,
    /// Out of which link, by index.
    pub link: Option<u32>,
    /// How far away the destination is. [`RouteScope::Link`] for neighbours.
    pub scope: RouteScope,
    /// Who made it (`rtm_protocol`).
    pub protocol: u8,
    /// What it does with a packet.
    pub kind: RouteType,
    /// The source address that locally made packets take.
    pub source: Option<IpAddr>,
    /// The gateway is taken to be on the link although no route says so.
    pub onlink: bool,
    /// Among equal destinations the lowest wins.
    pub metric: Option<u32>,
    /// The MTU that packets over it are held to, if it has one of its own.
    pub mtu: Option<u32>,
}

impl Route {
    /// A route to neighbours on a link.
    pub fn on_link(table: u32, to: IpNet, link: u32) -> Self {
        Self {
            table,
            to,
            via: None,
            link: Some(link),
            scope: RouteScope::Link,
            protocol: u8::from(RouteProtocol::Boot),
            kind: RouteType::Unicast,
            source: None,
            onlink: false,
            metric: None,
            mtu: None,
        }
    }

    /// The default route through a gateway.
    pub fn default_via(table: u32, gateway: IpAddr, link: u32) -> Self {
        let all: IpAddr =
            if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        Self { via: Some(gateway), scope: RouteScope::Universe, ..Self::on_link(table, prefix(all, 0), link) }
    }

    /// The same, with a protocol number.
    pub fn by(self, protocol: u8) -> Self {
        Self { protocol, ..self }
    }

    pub(super) fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.to.addr());
        message.header.destination_prefix_length = self.to.prefix_len();
        message.header.table = u8::try_from(self.table).unwrap_or(0);
        message.header.protocol = self.protocol.into();
        message.header.scope = self.scope;
        message.header.kind = self.kind;
        if self.onlink {
            message.header.flags = RouteFlags::Onlink;
        }
        let attributes = [
            Some(RouteAttribute::Table(self.table)),
            (self.to.prefix_len() != 0).then(|| RouteAttribute::Destination(self.to.addr().into())),
            self.via.map(|via| RouteAttribute::Gateway(RouteAddress::from(via))),
            self.link.map(RouteAttribute::Oif),
            self.source.map(|source| RouteAttribute::PrefSource(source.into())),
            self.metric.map(RouteAttribute::Priority),
            self.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])),
        ];
        message.attributes.extend(attributes.into_iter().flatten());
        message
    }

    fn decode(kind: u16, payload: &[u8]) -> Option<Self> {
        if kind != RTM_NEWROUTE {
            return None;
        }
        let flags = RouteFlags::from_bits_retain(u32_at(payload, 8)?);
        if flags.contains(RouteFlags::Cloned) {
            // IPv6 lists cached entries beside the routes that they came from.
            return None;
        }
        let any: IpAddr = match AddressFamily::from(*payload.first()?) {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let mut to = any;
        let mut route = Self {
            table: u32::from(*payload.get(4)?),
            to: prefix(any, 0),
            via: None,
            link: None,
            scope: (*payload.get(6)?).into(),
            protocol: *payload.get(5)?,
            kind: (*payload.get(7)?).into(),
            source: None,
            onlink: flags.contains(RouteFlags::Onlink),
            metric: None,
            mtu: None,
        };
        for (kind, value) in Attributes(payload.get(HEADER..)?) {
            match kind {
                RTA_DST => to = value.ip()?,
                RTA_OIF => route.link = value.u32(),
                RTA_GATEWAY => route.via = value.ip(),
                RTA_PRIORITY => route.metric = value.u32(),
                RTA_PREFSRC => route.source = value.ip(),
                RTA_TABLE => route.table = value.u32()?,
                RTA_METRICS => {
                    let mtu = value.nested().find(|(kind, _)| *kind == RTAX_MTU);
                    route.mtu = mtu.and_then(|(_, value)| value.u32());
                }
                _ => {}
            }
        }
        route.to = IpNet::new(to, *payload.get(1)?).ok()?;
        Some(route)
    }

    /// The answer to a look-up: flagged as cloned by its nature.
    fn decode_lookup(kind: u16, payload: &[u8]) -> Option<Self> {
        let mut plain = payload.to_vec();
        plain.get_mut(8..12)?.fill(0);
        Self::decode(kind, &plain)
    }
}

fn prefix(address: IpAddr, length: u8) -> IpNet {
    IpNet::new(address, length).expect("callers pass lengths that fit the family")
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route to {}", self.to)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(link) = self.link {
            write!(f, " dev #{link}")?;
        }
        write!(f, " table {}", self.table)
    }
}

/// Which routes to list. The kernel filters (since 4.20), so a node's foreign routes cost nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// Only of this table.
    pub table: Option<u32>,
    /// Only with this protocol number.
    pub protocol: Option<u8>,
}

/// A question to the kernel: where would a packet go?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// From which source address; none: a packet of the host itself.
    pub from: Option<IpAddr>,
    /// Having come in by which link (index): the question for a forwarded packet. Needs `from`.
    pub iif: Option<u32>,
    /// With which mark.
    pub mark: Option<u32>,
}

impl Lookup {
    pub(super) fn request(&self, to: IpAddr) -> Outgoing {
        let full = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        let mut message = RouteMessage::default();
        message.header.address_family = family(to);
        message.header.destination_prefix_length = full(to);
        message.header.source_prefix_length = self.from.map_or(0, full);
        message.header.flags = RouteFlags::LookupTable;
        let attributes = [
            Some(RouteAttribute::Destination(to.into())),
            self.from.map(|from| RouteAttribute::Source(from.into())),
            self.iif.map(RouteAttribute::Iif),
            self.mark.map(RouteAttribute::Mark),
        ];
        message.attributes.extend(attributes.into_iter().flatten());
        Outgoing { message: RouteNetlinkMessage::GetRoute(message), flags: NLM_F_REQUEST }
    }
}

impl Socket {
    /// The routes of one family that pass the filter.
    pub fn routes(&mut self, family: AddressFamily, filter: RouteFilter) -> Result<Vec<Route>, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        if let Some(protocol) = filter.protocol {
            message.header.protocol = protocol.into();
        }
        if let Some(table) = filter.table {
            message.header.table = u8::try_from(table).unwrap_or(0);
            message.attributes.push(RouteAttribute::Table(table));
        }
        let request =
            Outgoing { message: RouteNetlinkMessage::GetRoute(message), flags: NLM_F_REQUEST | NLM_F_DUMP };
        let mut routes = match self.dump("list routes", request, Route::decode) {
            // A table that never held a route does not exist.
            Err(error) if filter.table.is_some() && error.errno() == Some(Errno::ENOENT) => Vec::new(),
            other => other?,
        };
        // Older kernels do not filter.
        routes.retain(|route| {
            filter.table.is_none_or(|table| route.table == table)
                && filter.protocol.is_none_or(|protocol| route.protocol == protocol)
        });
        Ok(routes)
    }

    /// Where a packet to an address would go: table, gateway and link of the route that was chosen. `None` when
    /// the kernel says that there is no way.
    pub fn route_to(&mut self, to: IpAddr, lookup: &Lookup) -> Result<Option<Route>, NetlinkError> {
        match self.query(&format!("look up the route to {to}"), lookup.request(to), Route::decode_lookup) {
            // The last two: a `prohibit` and a `blackhole` route. A request that the kernel finds malformed is EINVAL
            // as well, but comes with an explanation.
            Err(NetlinkError::Refused {
                errno: Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL,
                message,
                ..
            }) if message.is_empty() => Ok(None),
            other => other,
        }
    }
}
