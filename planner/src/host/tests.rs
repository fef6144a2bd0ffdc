use holdfast_model::eni::EniSlot;
use holdfast_model::host::{
    HostAction, HostObserved, LinkSeen, MAIN_TABLE, NatSeen, NatWanted, PRIMARY_MARK, RouteSeen, Rule,
    priority,
};
use holdfast_model::ids::MacAddr;
use holdfast_model::ledger::Change;
use holdfast_model::uses::Suspicion;
use ipnet::{IpNet, Ipv4Net};

use super::*;
use crate::toy::{Toy, by_eni};

/// Four pods: three on the primary ENI, one on a secondary.
fn toy() -> Toy {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(4);
    toy.run_to_rest();
    toy
}

fn rule(priority: u32, from: Option<IpAddr>, to: Option<IpAddr>, table: u32) -> Rule {
    Rule { priority, from: from.map(IpNet::from), to: to.map(IpNet::from), mark: None, table }
}

fn marked() -> Rule {
    let mark = Some((PRIMARY_MARK, PRIMARY_MARK));
    Rule { priority: priority::MARKED, from: None, to: None, mark, table: MAIN_TABLE }
}

/// The kernel as it should be, written down by hand from reference 6.1 to 6.4.
fn kernel(desired: &HostDesired) -> HostObserved {
    let mut seen = HostObserved {
        nat: NatSeen::AsWritten,
        rules: vec![marked()],
        forwarding: Some(true),
        ..HostObserved::default()
    };
    for (at, eni) in desired.enis.iter().enumerate() {
        let index = u32::try_from(at).unwrap() + 1;
        let secondary = eni.slot != EniSlot::PRIMARY;
        seen.links.push(LinkSeen {
            index,
            name: format!("ens{index}"),
            mac: Some(eni.mac),
            mtu: 9001,
            up: true,
            strict: false,
            alias: None,
            addresses: vec![Ipv4Net::new(eni.primary_ipv4, 18).unwrap()],
            // The primary's is the host's own way into its subnet.
            connected: if secondary { Vec::new() } else { vec![eni.primary_ipv4] },
        });
        if secondary {
            let table = u32::from(eni.slot.device) + 1;
            let gateway: IpAddr = "10.0.0.1".parse().unwrap();
            seen.rules.push(rule(32765, Some(IpAddr::V4(eni.primary_ipv4)), None, table));
            seen.routes.push(RouteSeen { table, to: IpNet::from(gateway), via: None, link_index: index });
            let everywhere = "0.0.0.0/0".parse().unwrap();
            seen.routes.push(RouteSeen { table, to: everywhere, via: Some(gateway), link_index: index });
        }
    }
    for (at, pod) in desired.pods.iter().enumerate() {
        let index = u32::try_from(at).unwrap() + 100;
        seen.links.push(LinkSeen {
            index,
            name: pod.host_veth.clone(),
            mac: Some(pod.host_mac),
            mtu: 9001,
            up: true,
            strict: false,
            alias: Some(pod.alias.clone()),
            addresses: Vec::new(),
            connected: Vec::new(),
        });
        seen.rules.push(rule(512, None, Some(pod.address), 254));
        if pod.table != 254 {
            seen.rules.push(rule(1536, Some(pod.address), None, pod.table));
        }
        let to = IpNet::from(pod.address);
        seen.routes.push(RouteSeen { table: 254, to, via: None, link_index: index });
    }
    seen
}

#[test]
fn a_kernel_as_the_reference_wants_it_needs_nothing() {
    let toy = toy();
    let desired = desired_host(&toy.ledger, &toy.config);
    assert_eq!((desired.pods.len(), desired.enis.len()), (4, 3));
    assert_eq!(desired.pods.iter().filter(|pod| pod.table == 2).count(), 1);
    assert_eq!(host_diff(&desired, &kernel(&desired), &spared(&toy.ledger)), []);
}

#[test]
fn each_missing_piece_is_put_back_and_nothing_else_is_touched() {
    let toy = toy();
    let desired = desired_host(&toy.ledger, &toy.config);
    let whole = kernel(&desired);
    let spared = spared(&toy.ledger);
    for at in 0..whole.rules.len() {
        let mut seen = whole.clone();
        let lost = seen.rules.remove(at);
        let actions = host_diff(&desired, &seen, &spared);
        match &actions[..] {
            [HostAction::EnsureRule(rule)] => assert_eq!(*rule, lost),
            [HostAction::EnsureEni(eni)] => {
                assert_eq!(lost.from.unwrap().addr(), IpAddr::V4(eni.primary_ipv4));
            }
            other => panic!("{lost:?} gives {other:?}"),
        }
    }
    for at in 0..whole.routes.len() {
        let mut seen = whole.clone();
        let lost = seen.routes.remove(at);
        let actions = host_diff(&desired, &seen, &spared);
        match &actions[..] {
            [HostAction::EnsureRoute(route)] => assert_eq!((route.table, route.to), (lost.table, lost.to)),
            [HostAction::EnsureEni(eni)] => assert_eq!(eni.slot.route_table(), lost.table),
            other => panic!("{lost:?} gives {other:?}"),
        }
    }
    for (at, change) in [(0, 1500), (1, 1500)] {
        let mut seen = whole.clone();
        seen.links[at].mtu = change;
        assert!(matches!(host_diff(&desired, &seen, &spared)[..], [HostAction::EnsureEni(_)]));
    }
    for at in [0, 1] {
        let mut seen = whole.clone();
        seen.links[at].strict = true;
        assert!(matches!(host_diff(&desired, &seen, &spared)[..], [HostAction::EnsureEni(_)]));
    }
    let mut seen = whole.clone();
    seen.links[1].connected.push(desired.enis[1].primary_ipv4);
    assert!(matches!(host_diff(&desired, &seen, &spared)[..], [HostAction::EnsureEni(_)]));
    let seen = HostObserved { forwarding: Some(false), ..whole.clone() };
    assert_eq!(host_diff(&desired, &seen, &spared), [HostAction::EnableForwarding]);
    let mut seen = whole.clone();
    seen.links[1].addresses.push("10.0.7.7/18".parse().unwrap());
    assert!(
        matches!(host_diff(&desired, &seen, &spared)[..], [HostAction::EnsureEni(_)]),
        "cni#2264: a host script put a pod's address on the link"
    );
    let mut seen = whole;
    seen.nat = NatSeen::Differs;
    assert!(matches!(host_diff(&desired, &seen, &spared)[..], [HostAction::ReplaceNat(_)]));
}

/// The kernel takes a link's routes away as the link is set down, and none back before it is up.
#[test]
fn a_pods_link_that_is_down_is_set_up_before_its_route_is_put() {
    let toy = toy();
    let desired = desired_host(&toy.ledger, &toy.config);
    let mut seen = kernel(&desired);
    let pod = &desired.pods[0];
    let link = seen.links.iter_mut().find(|link| link.alias.as_ref() == Some(&pod.alias)).unwrap();
    link.up = false;
    let index = link.index;
    seen.routes.retain(|route| route.link_index != index);
    match &host_diff(&desired, &seen, &spared(&toy.ledger))[..] {
        [HostAction::RaiseLink(alias), HostAction::EnsureRoute(route)] => {
            assert_eq!((alias, route.to), (&pod.alias, IpNet::from(pod.address)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_left_of_dead_sandboxes_goes() {
    let mut toy = toy();
    let whole = kernel(&desired_host(&toy.ledger, &toy.config));
    let secondary =
        toy.ledger.leases.values().find(|lease| lease.faces[0].place.route_table() == 2).unwrap().clone();
    let at = toy.ledger.leases.keys().position(|key| *key == secondary.sandbox).unwrap();
    toy.delete_pod(at);
    let desired = desired_host(&toy.ledger, &toy.config);
    let actions = host_diff(&desired, &whole, &spared(&toy.ledger));
    // Its link goes with its sandbox, not by us.
    assert_eq!(actions.len(), 3, "{actions:?}");
    let to = rule(512, None, Some(secondary.faces[0].address), 254);
    assert!(actions.contains(&HostAction::RemoveRule(to)));
    let from = rule(1536, Some(secondary.faces[0].address), None, 2);
    assert!(actions.contains(&HostAction::RemoveRule(from)));
    assert!(actions.iter().any(|action| matches!(action, HostAction::RemoveRoute(_))));
}

#[test]
fn what_is_being_wired_or_unwired_is_left_alone() {
    let mut toy = toy();
    let whole = kernel(&desired_host(&toy.ledger, &toy.config));
    let key = toy.ledger.leases.keys().next().unwrap().clone();
    toy.commit(&crate::begin_release(&toy.ledger, &crate::Ended::asked(&toy.ledger.leases[&key]), &toy.now));
    let desired = desired_host(&toy.ledger, &toy.config);
    assert_eq!(desired.pods.len(), 3);
    assert_eq!(host_diff(&desired, &whole, &spared(&toy.ledger)), [], "neither missing nor orphans");
    let mut half = whole;
    half.rules.retain(|rule| rule.to != Some(IpNet::from(toy.ledger.leases[&key].faces[0].address)));
    assert_eq!(host_diff(&desired, &half, &spared(&toy.ledger)), []);
}

#[test]
fn suspects_and_lost_ledgers_keep_their_wiring() {
    let mut toy = toy();
    let whole = kernel(&desired_host(&toy.ledger, &toy.config));
    // The leases are lost; the sandboxes live.
    let leases: Vec<Lease> = toy.ledger.leases.values().cloned().collect();
    for lease in &leases {
        toy.ledger.apply(&Change::DropLease(lease.sandbox.clone()));
        toy.ledger.apply(&Change::PutUse(lease.faces[0].address, Use::Suspect(Suspicion::MaybeInUse)));
    }
    let desired = desired_host(&toy.ledger, &toy.config);
    assert!(desired.pods.is_empty());
    assert_eq!(host_diff(&desired, &whole, &spared(&toy.ledger)), []);
    for lease in &leases {
        toy.ledger.apply(&Change::DropUse(lease.faces[0].address));
    }
    let blind = Spared { all_orphans: true, ..spared(&toy.ledger) };
    assert_eq!(host_diff(&desired, &whole, &blind), []);
    assert!(!host_diff(&desired, &whole, &spared(&toy.ledger)).is_empty());
}

#[test]
fn a_pod_without_link_gets_nothing_back() {
    let toy = toy();
    let desired = desired_host(&toy.ledger, &toy.config);
    let mut seen = kernel(&desired);
    let gone = desired.pods[0].clone();
    let index = seen.links.iter().find(|link| link.alias.as_ref() == Some(&gone.alias)).unwrap().index;
    seen.links.retain(|link| link.index != index);
    seen.routes.retain(|route| route.link_index != index);
    assert_eq!(host_diff(&desired, &seen, &spared(&toy.ledger)), []);
    // Nor may the link of a newer sandbox with the same name take its place.
    seen.links.push(LinkSeen {
        index: 900,
        name: gone.host_veth,
        mac: Some(MacAddr([2, 5, 5, 5, 5, 5])),
        mtu: 9001,
        up: true,
        strict: false,
        alias: None,
        addresses: Vec::new(),
        connected: Vec::new(),
    });
    assert_eq!(host_diff(&desired, &seen, &spared(&toy.ledger)), []);
}

/// A pod or an ENI that is set up while the host is being read: its later pieces are seen, its link is not.
#[test]
fn what_was_set_up_between_two_reads_is_not_taken_away() {
    let toy = toy();
    let desired = desired_host(&toy.ledger, &toy.config);
    let whole = kernel(&desired);
    let without = |lost: &dyn Fn(&LinkSeen) -> bool| {
        let mut seen = whole.clone();
        seen.links.retain(|link| !lost(link));
        seen
    };
    for pod in &desired.pods {
        let seen = without(&|link| link.alias.as_ref() == Some(&pod.alias));
        assert_eq!(host_diff(&desired, &seen, &spared(&toy.ledger)), [], "{pod:?}");
    }
    for eni in &desired.enis {
        let seen = without(&|link| link.mac == Some(eni.mac));
        assert_eq!(host_diff(&desired, &seen, &spared(&toy.ledger)), [], "{eni:?}");
    }
    // What neither explains goes all the same.
    let mut seen = without(&|_| true);
    let stale = [(254, "10.0.77.1/32"), (3, "10.0.77.1/32"), (9, "10.0.0.1/32")];
    let stale =
        stale.map(|(table, to)| RouteSeen { table, to: to.parse().unwrap(), via: None, link_index: 7 });
    assert!(desired.enis.iter().any(|eni| eni.slot.route_table() == 3));
    seen.routes.extend(stale.clone());
    let removed = [stale[0].clone(), stale[2].clone()].map(HostAction::RemoveRoute);
    assert_eq!(host_diff(&desired, &seen, &spared(&toy.ledger)), removed);
}

/// Reference 6.1 and 6.5: marks and their rule are there for NodePorts or for source NAT, each without the other too.
#[test]
fn table_and_mark_rule_go_when_neither_node_ports_nor_source_nat_need_them() {
    let mut toy = toy();
    let before = desired_host(&toy.ledger, &toy.config);
    let mut wants = |external_snat, node_ports| {
        toy.config.external_snat.value = external_snat;
        toy.config.node_ports.value = node_ports;
        desired_host(&toy.ledger, &toy.config)
    };
    for (external_snat, node_ports) in [(false, true), (false, false), (true, true)] {
        let desired = wants(external_snat, node_ports);
        let NatWanted::Table(nat) = &desired.nat else { panic!("{desired:?}") };
        assert_eq!((nat.node_ports, nat.source_nat.is_none()), (node_ports, external_snat));
        let cidrs = nat.source_nat.as_ref().map(|nat| nat.vpc_cidrs.clone());
        assert_eq!(cidrs.unwrap_or_default().len(), usize::from(!external_snat));
        assert_eq!(host_diff(&desired, &kernel(&before), &Spared::default()), []);
        let old = HostObserved { nat: NatSeen::Differs, ..kernel(&before) };
        let actions = host_diff(&desired, &old, &Spared::default());
        assert_eq!(actions, [HostAction::ReplaceNat(nat.clone())], "the rule stays");
    }
    let desired = wants(true, false);
    assert_eq!(desired.nat, NatWanted::Absent);
    let actions = host_diff(&desired, &kernel(&before), &Spared::default());
    assert_eq!(actions, [HostAction::RemoveRule(marked())], "there is no table any more, as read");
    let left = HostObserved { nat: NatSeen::Differs, ..kernel(&before) };
    let actions = host_diff(&desired, &left, &Spared::default());
    assert_eq!(actions, [HostAction::RemoveRule(marked()), HostAction::RemoveNat]);
}

/// A ledger that was lost says nothing about the table under running pods, until the node is known again.
#[test]
fn a_table_stays_while_the_node_is_not_known() {
    let mut toy = toy();
    let spared = spared(&toy.ledger);
    toy.ledger.node = None;
    for external_snat in [false, true] {
        toy.config.external_snat.value = external_snat;
        toy.config.node_ports.value = !external_snat;
        let desired = desired_host(&toy.ledger, &toy.config);
        let seen = HostObserved { nat: NatSeen::Differs, ..HostObserved::default() };
        let actions = host_diff(&desired, &seen, &spared);
        let touched =
            |action: &HostAction| matches!(action, HostAction::ReplaceNat(_) | HostAction::RemoveNat);
        assert!(!actions.iter().any(touched), "{actions:?}");
    }
}
