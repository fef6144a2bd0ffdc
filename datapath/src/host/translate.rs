//! Between the kernel's words and the model's.

use holdfast_model::host::{Ipv6Link, LinkAlias, LinkSeen, PROTOCOL, Route as ModelRoute, Rule as ModelRule};
use holdfast_model::pool::Family;
use ipnet::Ipv4Net;

use crate::netlink::{AddressFamily, Link, Route, RouteScope, Rule};

/// A family.
pub(crate) fn family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// A rule of ours.
pub(crate) fn rule(rule: &ModelRule) -> Rule {
    Rule {
        ipv6: [rule.from, rule.to].into_iter().flatten().any(|net| net.addr().is_ipv6()),
        from: rule.from,
        to: rule.to,
        mark: rule.mark,
        protocol: PROTOCOL,
        ..Rule::new(rule.priority, rule.table)
    }
}

/// A rule as the model has it, if it is ours: we make none that asks by which link a packet came in.
pub(crate) fn our_rule(rule: Rule) -> Option<ModelRule> {
    (rule.protocol == PROTOCOL && rule.iif.is_none()).then_some(ModelRule {
        priority: rule.priority,
        from: rule.from,
        to: rule.to,
        mark: rule.mark,
        table: rule.table,
    })
}

/// A route of ours.
pub(crate) fn route(route: &ModelRoute) -> Route {
    let scope = if route.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    Route {
        via: route.via,
        scope,
        source: route.source,
        metric: route.metric,
        mtu: route.mtu,
        ..Route::on_link(route.table, route.to, route.link_index)
    }
    .by(PROTOCOL)
}

/// A route as the model has it; `None` for one over no link or several.
pub(crate) fn route_seen(route: Route) -> Option<ModelRoute> {
    Some(ModelRoute {
        table: route.table,
        to: route.to,
        via: route.via,
        link_index: route.link?,
        source: route.source,
        metric: route.metric,
        mtu: route.mtu,
    })
}

/// A link, without what belongs to it elsewhere.
pub(crate) fn link_seen(link: Link) -> LinkSeen {
    LinkSeen {
        index: link.index,
        alias: link.alias.as_deref().and_then(LinkAlias::parse),
        name: link.name,
        mac: link.mac,
        permanent_mac: link.permanent_mac,
        kind: link.kind,
        joined_elsewhere: link.peer_elsewhere,
        part_of: link.master,
        no_arp: link.no_arp,
        mtu: link.mtu,
        up: link.up,
        rp_filter: link.rp_filter,
        ipv6: link.ipv6.map(|now| Ipv6Link { accept_ra: now.accept_ra, off: now.disable_ipv6 != 0 }),
        ipv6_addresses: Vec::new(),
        addresses: Vec::<Ipv4Net>::new(),
        connected: Vec::new(),
    }
}
