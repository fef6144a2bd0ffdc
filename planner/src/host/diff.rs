//! The difference between two states of the host's network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use holdfast_model::eni::EniSlot;
use holdfast_model::host::{
    EniWiring, HostAction, HostDesired, HostObserved, LinkAlias, LinkName, LinkSeen, MAIN_TABLE, NatSeen,
    NatWanted, PRIMARY_MARK, PodWiring, Route, RouteSeen, Rule, priority,
};
use holdfast_model::ids::MacAddr;
use ipnet::{IpNet, Ipv4Net};

use crate::host::Spared;

/// What turns `observed` into `desired`. Only what carries our mark is removed.
///
/// Removals of rules and routes come first, so that a stale route never takes the place of its successor with
/// it; then what is missing. A pod whose link is gone gets nothing back: its wiring cannot be mended from here, and
/// reaping decides about its lease. Links are never removed: one that no lease explains has a sandbox that the ledger
/// lost, and goes with it.
///
/// `observed` is several reads, and pods and ENIs are set up between them. Nothing is removed for want of a link
/// that was not seen: if the link is truly gone, the kernel has taken its routes along.
pub fn host_diff(desired: &HostDesired, observed: &HostObserved, spared: &Spared) -> Vec<HostAction> {
    let seen = Seen::of(observed);
    let wanted = Wanted::of(desired, &seen);
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
            let kept = wanted.routes_seen.contains(route) || wanted.may_be_right(route);
            if !kept && !spared.addresses.contains(&route.to.addr()) {
                actions.push(HostAction::RemoveRoute(route.clone()));
            }
        }
    }
    actions.extend(wanted.raised.into_iter().map(HostAction::RaiseLink));
    for (route, as_seen) in wanted.routes {
        if !seen.routes.contains(&as_seen) {
            actions.push(HostAction::EnsureRoute(route));
        }
    }
    for rule in wanted.pod_rules {
        if !seen.rules.contains(&rule) {
            actions.push(HostAction::EnsureRule(rule));
        }
    }
    for eni in &desired.enis {
        if seen.link_of(eni).is_some_and(|link| !eni_is_set_up(eni, link, &seen)) {
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

/// What was seen, found by what it is looked for by: a node has hundreds of pods, and each is looked for.
struct Seen<'o> {
    /// ENIs' own links: a pod's may have been given the same MAC by accident, but carries an alias. Of two, the first.
    enis: BTreeMap<MacAddr, &'o LinkSeen>,
    /// Pods' links, by name.
    pods: BTreeMap<&'o str, &'o LinkSeen>,
    rules: BTreeSet<&'o Rule>,
    routes: BTreeSet<&'o RouteSeen>,
}

impl<'o> Seen<'o> {
    fn of(observed: &'o HostObserved) -> Self {
        let mut enis = BTreeMap::new();
        for link in observed.links.iter().filter(|link| link.alias.is_none()) {
            if let Some(mac) = link.mac {
                enis.entry(mac).or_insert(link);
            }
        }
        let pods = observed.links.iter().filter(|link| link.alias.is_some());
        Self {
            enis,
            pods: pods.map(|link| (link.name.as_str(), link)).collect(),
            rules: observed.rules.iter().collect(),
            routes: observed.routes.iter().collect(),
        }
    }

    fn link_of(&self, eni: &EniWiring) -> Option<&'o LinkSeen> {
        self.enis.get(&eni.mac).copied()
    }

    fn link_of_pod(&self, pod: &PodWiring) -> Option<&'o LinkSeen> {
        self.pods.get(pod.host_veth.as_str()).copied().filter(|link| link.alias.as_ref() == Some(&pod.alias))
    }
}

/// What should be there, given the links that are.
struct Wanted {
    /// All rules.
    rules: BTreeSet<Rule>,
    /// Those that are put back one by one; an ENI's comes with its set-up.
    pod_rules: Vec<Rule>,
    /// Pods' links that are down.
    raised: Vec<LinkAlias>,
    /// Pods' routes, and how they would be seen.
    routes: Vec<(Route, RouteSeen)>,
    /// All routes, as they would be seen.
    routes_seen: BTreeSet<RouteSeen>,
    /// Addresses of pods whose link was not seen.
    pods_unseen: BTreeSet<IpAddr>,
    /// Tables of secondary ENIs whose link was not seen.
    tables_unseen: BTreeSet<u32>,
}

impl Wanted {
    fn of(desired: &HostDesired, seen: &Seen<'_>) -> Self {
        let mut wanted = Self {
            rules: BTreeSet::new(),
            pod_rules: Vec::new(),
            raised: Vec::new(),
            routes: Vec::new(),
            routes_seen: BTreeSet::new(),
            pods_unseen: BTreeSet::new(),
            tables_unseen: BTreeSet::new(),
        };
        if matches!(desired.nat, NatWanted::Table(_)) {
            wanted.pod_rules.push(marked());
        }
        for pod in &desired.pods {
            let Some(link) = seen.link_of_pod(pod) else {
                // Not put back, and not taken away from under whoever is being looked into.
                wanted.rules.extend(pod_rules(pod));
                wanted.pods_unseen.insert(pod.address);
                continue;
            };
            wanted.pod_rules.extend(pod_rules(pod));
            if !link.up {
                wanted.raised.push(pod.alias.clone());
            }
            let (table, to) = (MAIN_TABLE, IpNet::from(pod.address));
            let as_seen = RouteSeen { table, to, via: None, link_index: link.index };
            wanted.routes_seen.insert(as_seen.clone());
            let route = Route { table, to, via: None, link: LinkName::Name(pod.host_veth.clone()) };
            wanted.routes.push((route, as_seen));
        }
        wanted.rules.extend(wanted.pod_rules.iter().cloned());
        for eni in desired.enis.iter().filter(|eni| eni.slot != EniSlot::PRIMARY) {
            wanted.rules.insert(eni_rule(eni));
            if let Some(link) = seen.link_of(eni) {
                wanted.routes_seen.extend(eni_routes(eni, link.index));
            } else {
                wanted.tables_unseen.insert(eni.slot.route_table());
            }
        }
        wanted
    }

    /// Whether a route is of a pod or an ENI that should be there and whose link was not seen.
    fn may_be_right(&self, route: &RouteSeen) -> bool {
        self.tables_unseen.contains(&route.table)
            || (route.table == MAIN_TABLE && self.pods_unseen.contains(&route.to.addr()))
    }
}

/// To the pod by the main table; from a pod on a secondary ENI by that ENI's.
fn pod_rules(pod: &PodWiring) -> Vec<Rule> {
    let address = Some(IpNet::from(pod.address));
    let mut rules =
        vec![Rule { priority: priority::TO_POD, from: None, to: address, mark: None, table: MAIN_TABLE }];
    if pod.table != MAIN_TABLE {
        rules.push(Rule {
            priority: priority::FROM_POD,
            from: address,
            to: None,
            mark: None,
            table: pod.table,
        });
    }
    rules
}

/// What is marked leaves by the primary ENI.
fn marked() -> Rule {
    Rule {
        priority: priority::MARKED,
        from: None,
        to: None,
        mark: Some((PRIMARY_MARK, PRIMARY_MARK)),
        table: MAIN_TABLE,
    }
}

fn eni_rule(eni: &EniWiring) -> Rule {
    Rule {
        priority: priority::FROM_ENI,
        from: Some(IpNet::from(IpAddr::V4(eni.primary_ipv4))),
        to: None,
        mark: None,
        table: eni.slot.route_table(),
    }
}

/// The gateway on the link, and everything else through it.
fn eni_routes(eni: &EniWiring, link_index: u32) -> [RouteSeen; 2] {
    let gateway = IpAddr::V4(eni.gateway());
    let table = eni.slot.route_table();
    let everywhere = IpNet::V4(Ipv4Net::default());
    [
        RouteSeen { table, to: IpNet::from(gateway), via: None, link_index },
        RouteSeen { table, to: everywhere, via: Some(gateway), link_index },
    ]
}

fn eni_is_set_up(eni: &EniWiring, link: &LinkSeen, seen: &Seen<'_>) -> bool {
    if link.mtu != eni.mtu || link.strict {
        return false;
    }
    // Of the primary no more is ours; the rest is the host's.
    if eni.slot == EniSlot::PRIMARY {
        return true;
    }
    let own: Vec<_> = link.addresses.iter().filter(|net| !net.addr().is_link_local()).collect();
    link.up
        && !link.connected.contains(&eni.primary_ipv4)
        && own.len() == 1
        && own[0].addr() == eni.primary_ipv4
        && own[0].prefix_len() == eni.subnet_cidr.prefix_len()
        && seen.rules.contains(&eni_rule(eni))
        && eni_routes(eni, link.index).iter().all(|route| seen.routes.contains(route))
}

fn names_spared(rule: &Rule, spared: &Spared) -> bool {
    [rule.from, rule.to].into_iter().flatten().any(|net| spared.addresses.contains(&net.addr()))
}
