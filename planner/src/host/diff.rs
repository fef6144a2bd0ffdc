//! The difference between two states of the host's network namespace.

use std::collections::BTreeSet;
use std::net::IpAddr;

use holdfast_model::config::Config;
use holdfast_model::eni::EniSlot;
use holdfast_model::host::{
    EniLink, EniWiring, HostAction, HostDesired, HostObserved, Look, MAIN_TABLE, NatSeen, NatWanted,
    PodDifference, PodWiring, Route, Rule, SetOf,
};
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;

use crate::host::{Spared, eni_wiring, marked, wants_set_up};

/// What turns `observed` into `desired`. Only what carries our mark is removed.
///
/// Removals of rules and routes come first, so that a stale route never takes the place of its successor with
/// it; then what is missing. A pod whose link is gone gets nothing back: its wiring cannot be mended from here, and
/// whoever looks for its sandbox decides. Links are never removed: one that no lease explains has a sandbox that the ledger
/// lost, and goes with it.
///
/// `observed` is several reads, and pods and ENIs are set up between them. Nothing is removed for want of a link
/// that was not seen: if the link is truly gone, the kernel has taken its routes along.
pub fn host_diff(desired: &HostDesired, observed: &HostObserved, spared: &Spared) -> Vec<HostAction> {
    let look = Look::over(observed);
    let wanted = Wanted::of(desired, &look);
    let mut actions = Vec::new();
    if observed.forwarding == Some(false) {
        actions.push(HostAction::EnableForwarding);
    }
    if !spared.all_orphans {
        for rule in &observed.rules {
            if !wanted.rules.contains(rule) && !names_spared(rule, spared) {
                actions.push(HostAction::RemoveRule(rule.clone()));
            }
        }
        for route in &observed.routes {
            let kept = wanted.routes.contains(route) || wanted.may_be_right(route);
            if !kept && !is_spared(route, spared) {
                actions.push(HostAction::RemoveRoute(route.clone()));
            }
        }
    }
    for pod in desired.pods.iter().filter(|pod| !spared.links.contains(&pod.alias)) {
        if can_be_mended(pod, &look) {
            actions.push(HostAction::EnsurePod(pod.clone()));
        }
    }
    if matches!(desired.nat, NatWanted::Table(_)) && !look.has_rule(&marked()) {
        actions.push(HostAction::EnsureRule(marked()));
    }
    for eni in desired.enis.iter().filter(|eni| !spared.enis.contains(&eni.eni)) {
        if is_to_be_set_up(eni, &look) {
            actions.push(HostAction::EnsureEni(eni.clone()));
        }
    }
    if observed.nat == NatSeen::Differs {
        actions.extend(match &desired.nat {
            NatWanted::Undecided => None,
            NatWanted::Absent => Some(HostAction::RemoveNat),
            NatWanted::Table(nat) => Some(HostAction::ReplaceNat(nat.clone())),
        });
    }
    actions
}

/// Of ENIs that are to be set up, those that are: a set-up would find nothing to do, since it looks at the same and by the same
/// measure. At a start that spares a look at everything for each ENI.
pub fn set_up_already(
    ledger: &Ledger,
    config: &Config,
    observed: &HostObserved,
    known: &BTreeSet<EniId>,
) -> Vec<EniId> {
    let look = Look::over(observed);
    let wanted = ledger.enis.values().filter(|eni| !known.contains(&eni.id) && wants_set_up(ledger, eni));
    let wirings = wanted.filter_map(|eni| eni_wiring(ledger, eni, config));
    let stands = |eni: &EniWiring| match look.eni_link(eni.mac) {
        EniLink::One(link) => eni.changes(link, &look).is_empty(),
        EniLink::Missing | EniLink::Several(_) => false,
    };
    wirings.filter(stands).map(|eni| eni.eni).collect()
}

/// Whether something of the host's side is not as it should be, and the link is there to mend it.
fn can_be_mended(pod: &PodWiring, look: &Look<'_>) -> bool {
    let differences = pod.differences(look);
    !differences.is_empty() && !differences.contains(&PodDifference::LinkMissing)
}

fn is_to_be_set_up(eni: &EniWiring, look: &Look<'_>) -> bool {
    match look.eni_link(eni.mac) {
        // It is set up when it comes.
        EniLink::Missing => false,
        EniLink::One(link) => !eni.changes(link, look).is_empty(),
        // Whoever is told to do it says why it cannot be done.
        EniLink::Several(_) => true,
    }
}

/// What should be there, given the links that are.
#[derive(Default)]
struct Wanted {
    rules: SetOf<Rule>,
    routes: SetOf<Route>,
    /// Addresses of pods whose link was not seen.
    pods_unseen: BTreeSet<IpAddr>,
    /// Tables of secondary ENIs whose link was not seen.
    tables_unseen: BTreeSet<u32>,
}

impl Wanted {
    fn of(desired: &HostDesired, look: &Look<'_>) -> Self {
        let mut wanted = Self::default();
        if matches!(desired.nat, NatWanted::Table(_)) {
            wanted.rules.insert(marked());
        }
        for pod in &desired.pods {
            // Of one without a link neither put back, nor taken away from under whoever is being looked into.
            wanted.rules.extend(pod.rules());
            match look.pod_link(pod) {
                Some(link) => drop(wanted.routes.insert(pod.route(link.index))),
                None => drop(wanted.pods_unseen.insert(pod.address)),
            }
        }
        for eni in desired.enis.iter().filter(|eni| eni.slot != EniSlot::PRIMARY) {
            wanted.rules.insert(eni.rule());
            match look.eni_link(eni.mac).found() {
                Some(link) => wanted.routes.extend(eni.routes(link.index)),
                None => drop(wanted.tables_unseen.insert(eni.slot.route_table())),
            }
        }
        wanted
    }

    /// Whether a route is of a pod or an ENI that should be there and whose link was not seen.
    fn may_be_right(&self, route: &Route) -> bool {
        self.tables_unseen.contains(&route.table)
            || (route.table == MAIN_TABLE && self.pods_unseen.contains(&route.to.addr()))
    }
}

fn names_spared(rule: &Rule, spared: &Spared) -> bool {
    [rule.from, rule.to].into_iter().flatten().any(|net| spared.addresses.contains(&net.addr()))
}

fn is_spared(route: &Route, spared: &Spared) -> bool {
    spared.addresses.contains(&route.to.addr())
}
