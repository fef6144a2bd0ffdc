//! Routes.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{
    DecodeError, Emitable, NLM_F_REQUEST, NlaBuffer, Parseable, ParseableParametrized,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteLwEnCapType, RouteMessage, RouteMetric,
    RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::libc::{
    RTA_DST, RTA_GATEWAY, RTA_METRICS, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY, RTA_TABLE, RTM_NEWROUTE,
};
use rtnetlink::RouteMessageBuilder;

use super::address::{family, prefix};
use super::error::NetlinkError;
use super::message::{attributes, may_name};
use super::socket::{Outgoing, Socket};

/// The attributes that are read. Of others there are that nobody's kernel or library need agree on: encapsulations.
const READ: [u16; 6] = [RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_TABLE];

/// Of a route's metrics: the MTU.
const RTAX_MTU: u16 = 2;

/// What the kernel gives an IPv6 route that was asked for with none (`IP6_RT_PRIO_USER`).
const IPV6_METRIC: u32 = 1024;

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
    /// Among equal destinations the lowest wins; none is what the kernel takes then.
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
        let all = everywhere(gateway.is_ipv6());
        Self { via: Some(gateway), scope: RouteScope::Universe, ..Self::on_link(table, all, link) }
    }

    /// The same, with a protocol number.
    pub fn by(self, protocol: u8) -> Self {
        Self { protocol, ..self }
    }

    pub(super) fn message(&self) -> RouteMessage {
        let mut builder = RouteMessageBuilder::<IpAddr>::new()
            .table_id(self.table)
            .protocol(self.protocol.into())
            .scope(self.scope)
            .kind(self.kind);
        if self.onlink {
            builder = builder.onlink();
        }
        if let Some(link) = self.link {
            builder = builder.output_interface(link);
        }
        if let Some(metric) = self.metric {
            builder = builder.priority(metric);
        }
        let mut message = builder.build();
        message.header.address_family = family(self.to.addr());
        message.header.destination_prefix_length = self.to.prefix_len();
        // Here and not by the builder, which refuses other families than the destination's: the kernel judges that, and
        // says so in words.
        let further = [
            (self.to.prefix_len() != 0).then(|| RouteAttribute::Destination(self.to.addr().into())),
            self.via.map(|via| RouteAttribute::Gateway(via.into())),
            self.source.map(|source| RouteAttribute::PrefSource(source.into())),
            self.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])),
        ];
        message.attributes.extend(further.into_iter().flatten());
        message
    }

    /// IPv6 lists cached entries beside the routes that they came from: those are none.
    fn decode(kind: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        if kind != RTM_NEWROUTE || RouteHeader::parse(payload)?.flags.contains(RouteFlags::Cloned) {
            return Ok(None);
        }
        Self::decode_lookup(kind, payload)
    }

    /// The answer to a look-up, which is such an entry by its nature.
    fn decode_lookup(kind: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        if kind != RTM_NEWROUTE {
            return Ok(None);
        }
        let header = RouteHeader::parse(payload)?;
        let family = header.address_family;
        if !matches!(family, AddressFamily::Inet | AddressFamily::Inet6) {
            return Ok(None);
        }
        let mut route = Self {
            table: u32::from(header.table),
            to: everywhere(family == AddressFamily::Inet6),
            via: None,
            link: None,
            scope: header.scope,
            protocol: header.protocol.into(),
            kind: header.kind,
            source: None,
            onlink: header.flags.contains(RouteFlags::Onlink),
            metric: None,
            mtu: None,
        };
        for told in attributes(payload, header.buffer_len()) {
            let told = told?;
            if told.kind() == RTA_METRICS {
                route.mtu = mtu_of(&told)?;
            }
            if !READ.contains(&told.kind()) {
                continue;
            }
            match RouteAttribute::parse_with_param(&told, (family, header.kind, RouteLwEnCapType::None))? {
                RouteAttribute::Destination(to) => {
                    let to = ip(&to).ok_or("a route to something that is no address")?;
                    route.to = prefix(to, header.destination_prefix_length)?;
                }
                RouteAttribute::Oif(link) => route.link = Some(link),
                RouteAttribute::Gateway(via) => route.via = ip(&via),
                RouteAttribute::Priority(metric) => {
                    route.metric =
                        Some(metric).filter(|metric| family == AddressFamily::Inet || *metric != IPV6_METRIC);
                }
                RouteAttribute::PrefSource(source) => route.source = ip(&source),
                RouteAttribute::Table(table) => route.table = table,
                _ => {}
            }
        }
        Ok(Some(route))
    }
}

/// Out of a route's metrics.
fn mtu_of(metrics: &NlaBuffer<&[u8]>) -> Result<Option<u32>, DecodeError> {
    for metric in attributes(metrics.value(), 0) {
        let metric = metric?;
        if metric.kind() == RTAX_MTU
            && let RouteMetric::Mtu(mtu) = RouteMetric::parse(&metric)?
        {
            return Ok(Some(mtu));
        }
    }
    Ok(None)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn everywhere(ipv6: bool) -> IpNet {
    if ipv6 { Ipv6Net::default().into() } else { Ipv4Net::default().into() }
}

impl Route {
    /// In words, with its link called so.
    pub fn words(&self, link: Option<&str>) -> String {
        let via = self.via.map_or(String::new(), |via| format!(" via {via}"));
        let link = link.map_or(String::new(), |link| format!(" dev {link}"));
        format!("route to {}{via}{link} table {}", self.to, self.table)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words(self.link.map(|index| format!("#{index}")).as_deref()))
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
        // IPv6 names the table unasked, and refuses to be asked.
        if to.is_ipv4() {
            message.header.flags = RouteFlags::LookupTable;
        }
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
        self.listed_routes(family, filter, Route::decode)
    }

    /// Of those, the ones that name an address, and perhaps others.
    pub fn routes_about(&mut self, address: IpAddr, filter: RouteFilter) -> Result<Vec<Route>, NetlinkError> {
        let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        self.listed_routes(family, filter, |kind, payload| {
            if may_name(payload, address) { Route::decode(kind, payload) } else { Ok(None) }
        })
    }

    fn listed_routes(
        &mut self,
        family: AddressFamily,
        filter: RouteFilter,
        decode: impl Fn(u16, &[u8]) -> Result<Option<Route>, DecodeError>,
    ) -> Result<Vec<Route>, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        if let Some(protocol) = filter.protocol {
            message.header.protocol = protocol.into();
        }
        if let Some(table) = filter.table {
            message.header.table = u8::try_from(table).unwrap_or(0);
            message.attributes.push(RouteAttribute::Table(table));
        }
        let request = RouteNetlinkMessage::GetRoute(message);
        let mut routes = match self.dump("list routes", request, decode) {
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
