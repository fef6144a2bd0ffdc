//! Routes of ours in tables that are not ours alone.

use holdfast_model::host::PROTOCOL;
use holdfast_ports::host::HostFault;

use super::refused;
use crate::netlink::{AddressFamily, Change, Route, RouteFilter, Socket};

/// Puts a route, in the place of an earlier one of ours; never in that of somebody else's.
pub(crate) fn put_own(host: &mut Socket, route: &Route) -> Result<(), HostFault> {
    match host.apply(&Change::AddRoute(route.clone())) {
        Err(error) if error.is_present() => {}
        other => return other.map_err(refused),
    }
    let in_table = RouteFilter { table: Some(route.table), ..RouteFilter::default() };
    let family = if route.to.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let there = host.routes(family, in_table).map_err(refused)?;
    let foreign = there
        .iter()
        .find(|seen| seen.to == route.to && seen.metric.unwrap_or(0) == 0 && seen.protocol != PROTOCOL);
    match foreign {
        Some(foreign) => {
            Err(HostFault::Foreign { what: format!("{foreign} (protocol {})", foreign.protocol) })
        }
        None => host.apply(&Change::PutRoute(route.clone())).map_err(refused),
    }
}
