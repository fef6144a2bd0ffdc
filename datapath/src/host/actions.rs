//! Carrying the planner's actions out.

use holdfast_model::host::{HostAction, HostObserved, NatTable, Route, Rule};
use holdfast_ports::host::HostFault;

use super::observe::eni_link;
use super::pool::Worker;
use super::wire::remove_rule;
use super::{eni, refused, translate, wire};
use crate::nat::{Nat, NatError};
use crate::netlink::{Change, Socket};

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
        HostAction::EnsurePod(wiring) => wire::mend(worker, &wiring),
        HostAction::EnsureRule(rule) => ensure_rule(&mut worker.socket, &rule),
        HostAction::RemoveRule(rule) => {
            remove_rule(&mut worker.socket, &translate::rule(&rule)).map_err(refused)
        }
        HostAction::RemoveRoute(route) => remove_route(&mut worker.socket, &route),
        HostAction::ReplaceNat(table) => replace_nat(&mut worker.socket, nat, &table),
        HostAction::RemoveNat => nat.remove().map_err(|error| nat_refused("remove", &error)),
    }
}

pub(crate) fn enable_forwarding(worker: &Worker) -> Result<(), HostFault> {
    worker.sysctl.set(FORWARDING, "1")
}

fn ensure_rule(host: &mut Socket, rule: &Rule) -> Result<(), HostFault> {
    match host.apply(&Change::AddRule(translate::rule(rule))) {
        Err(error) if error.is_present() => Ok(()),
        other => other.map_err(refused),
    }
}

fn remove_route(host: &mut Socket, route: &Route) -> Result<(), HostFault> {
    match host.apply(&Change::DeleteRoute(translate::route(route))) {
        Err(error) if error.is_absent() => Ok(()),
        other => other.map_err(refused),
    }
}

fn replace_nat(host: &mut Socket, nat: &Nat, table: &NatTable) -> Result<(), HostFault> {
    let links = host.links().map_err(refused)?.into_iter().map(translate::link_seen).collect();
    let observed = HostObserved { links, ..HostObserved::default() };
    let primary = eni_link(&observed, table.primary_mac)?;
    nat.replace(table, &primary.name).map_err(|error| nat_refused("replace", &error))
}

fn nat_refused(what: &str, error: &NatError) -> HostFault {
    HostFault::Refused { step: format!("{what} the NAT table"), cause: error.to_string() }
}
