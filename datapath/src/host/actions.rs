//! Carrying the planner's actions out.

use holdfast_model::host::{
    HostAction, LinkName, NatTable, PROTOCOL, Route as ModelRoute, RouteSeen, Rule as ModelRule,
};
use holdfast_ports::host::HostFault;

use super::eni::by_mac;
use super::pool::Worker;
use super::wire::remove_rule;
use super::{eni, links, refused, routes};
use crate::nat::{Nat, NatError};
use crate::netlink::{Change, LinkRef, Route, RouteScope, Rule, Socket};

/// Of the whole namespace: it is also what new links begin with, and writing it sets it on those that are there.
pub(crate) const FORWARDING: &str = "ipv4/ip_forward";

/// In order, each whatever became of those before it. Gives the first failure; further ones are told. Each may be
/// repeated.
pub(crate) fn apply(worker: &mut Worker, nat: &Nat, actions: Vec<HostAction>) -> Result<(), HostFault> {
    let mut first = Ok(());
    for action in actions {
        let outcome = carry_out(worker, nat, action);
        match (&first, outcome) {
            (_, Ok(())) => {}
            (Ok(()), failed) => first = failed,
            (Err(_), Err(fault)) => {
                tracing::error!(%fault, "putting the host's network right failed here too");
            }
        }
    }
    first
}

fn carry_out(worker: &mut Worker, nat: &Nat, action: HostAction) -> Result<(), HostFault> {
    match action {
        HostAction::EnableForwarding => enable_forwarding(worker),
        HostAction::EnsureEni(wiring) => eni::set_up(worker, &wiring),
        HostAction::EnsureRule(rule) => ensure_rule(&mut worker.socket, &rule),
        HostAction::RaiseLink(alias) => links::raise(&mut worker.socket, &alias),
        HostAction::EnsureRoute(route) => ensure_route(&mut worker.socket, &route),
        HostAction::RemoveRule(rule) => remove_rule(&mut worker.socket, &ours(&rule)).map_err(refused),
        HostAction::RemoveRoute(route) => remove_route(&mut worker.socket, &route),
        HostAction::ReplaceNat(table) => replace_nat(&mut worker.socket, nat, &table),
        HostAction::RemoveNat => nat.remove().map_err(|error| nat_refused("remove", &error)),
    }
}

pub(crate) fn enable_forwarding(worker: &Worker) -> Result<(), HostFault> {
    worker.sysctl.set(FORWARDING, "1")
}

fn ours(rule: &ModelRule) -> Rule {
    Rule {
        ipv6: [rule.from, rule.to].into_iter().flatten().any(|net| net.addr().is_ipv6()),
        from: rule.from,
        to: rule.to,
        mark: rule.mark,
        protocol: PROTOCOL,
        ..Rule::new(rule.priority, rule.table)
    }
}

fn ensure_rule(host: &mut Socket, rule: &ModelRule) -> Result<(), HostFault> {
    match host.apply(&Change::AddRule(ours(rule))) {
        Err(error) if error.is_present() => Ok(()),
        other => other.map_err(refused),
    }
}

fn ensure_route(host: &mut Socket, route: &ModelRoute) -> Result<(), HostFault> {
    let link = match &route.link {
        LinkName::Name(name) => {
            let found = host.link(&LinkRef::Name(name.clone())).map_err(refused)?;
            found.ok_or_else(|| HostFault::Refused {
                step: format!("put route to {}", route.to),
                cause: format!("there is no link {name}"),
            })?
        }
        LinkName::Mac(mac) => {
            let links = host.links().map_err(refused)?;
            by_mac(&links, *mac).cloned().ok_or_else(|| HostFault::LinkMissing { mac: mac.to_string() })?
        }
    };
    let scope = if route.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    let change = Route { via: route.via, scope, ..Route::on_link(route.table, route.to, link.index) };
    routes::put_own(host, &change.by(PROTOCOL))
}

fn remove_route(host: &mut Socket, route: &RouteSeen) -> Result<(), HostFault> {
    let scope = if route.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    let change = Route { via: route.via, scope, ..Route::on_link(route.table, route.to, route.link_index) };
    match host.apply(&Change::DeleteRoute(change.by(PROTOCOL))) {
        Err(error) if error.is_absent() => Ok(()),
        other => other.map_err(refused),
    }
}

fn replace_nat(host: &mut Socket, nat: &Nat, table: &NatTable) -> Result<(), HostFault> {
    let links = host.links().map_err(refused)?;
    let primary = by_mac(&links, table.primary_mac)
        .ok_or_else(|| HostFault::LinkMissing { mac: table.primary_mac.to_string() })?;
    nat.replace(table, &primary.name).map_err(|error| nat_refused("replace", &error))
}

fn nat_refused(what: &str, error: &NatError) -> HostFault {
    HostFault::Refused { step: format!("{what} the NAT table"), cause: error.to_string() }
}
