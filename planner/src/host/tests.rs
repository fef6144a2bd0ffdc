use holdfast_model::block::{Block, BlockState};
use holdfast_model::eni::{EniPhase, EniSlot};
use holdfast_model::host::{
    HostAction, HostObserved, LinkSeen, MAIN_TABLE, NatSeen, NatWanted, PRIMARY_MARK, Route, Rule, priority,
};
use holdfast_model::ids::MacAddr;
use holdfast_model::ledger::Change;
use holdfast_model::sandbox::{SandboxKey, SandboxNames};
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

/// The route to its subnet that an address brings when it is added in the ordinary way.
fn connected(eni: &EniWiring, index: u32) -> Route {
    let source = Some(IpAddr::V4(eni.primary_ipv4));
    Route { source, ..Route::on_link(254, "10.0.0.0/18".parse().unwrap(), index) }
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
            alias: None,
            addresses: vec![Ipv4Net::new(eni.primary_ipv4, 18).unwrap()],
            // The primary's is the host's own way into its subnet.
            connected: if secondary { Vec::new() } else { vec![connected(eni, index)] },
            ..LinkSeen::default()
        });
        if secondary {
            let table = u32::from(eni.slot.device) + 1;
            let gateway: IpAddr = "10.0.0.1".parse().unwrap();
            seen.rules.push(rule(32765, Some(IpAddr::V4(eni.primary_ipv4)), None, table));
            seen.routes.push(Route::on_link(table, IpNet::from(gateway), index));
            seen.routes.push(Route::default_via(table, gateway, index));
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
            rp_filter: Some(1),
            alias: Some(pod.alias.clone()),
            ..LinkSeen::default()
        });
        seen.rules.push(rule(512, None, Some(pod.address), 254));
        if pod.table != 254 {
            seen.rules.push(rule(1536, Some(pod.address), None, pod.table));
        }
        let to = IpNet::from(pod.address);
        seen.routes.push(Route::on_link(254, to, index));
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
            [HostAction::EnsureRule(rule)] => assert_eq!((rule, &lost), (&marked(), &marked())),
            [HostAction::EnsurePod(pod)] => {
                assert!([lost.from, lost.to].contains(&Some(IpNet::from(pod.address))));
            }
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
            [HostAction::EnsurePod(pod)] => {
                assert_eq!((254, IpNet::from(pod.address)), (lost.table, lost.to));
            }
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
        seen.links[at].rp_filter = Some(1);
        assert!(matches!(host_diff(&desired, &seen, &spared)[..], [HostAction::EnsureEni(_)]));
    }
    let mut seen = whole.clone();
    let index = seen.links[1].index;
    seen.links[1].connected.push(connected(&desired.enis[1], index));
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

/// Each of a pod's link's settings is the pod's, whoever changed it, and so is each attribute of its route.
#[test]
fn what_was_changed_about_a_pods_link_or_route_is_put_back() {
    let toy = toy();
    let desired = desired_host(&toy.ledger, &toy.config);
    let whole = kernel(&desired);
    let pod = &desired.pods[0];
    let at = whole.links.iter().position(|link| link.alias.as_ref() == Some(&pod.alias)).unwrap();
    let changes: [fn(&mut LinkSeen); 4] = [
        |link| link.up = false,
        |link| link.mac = Some(MacAddr([2, 5, 5, 5, 5, 5])),
        |link| link.mtu = 1500,
        |link| link.rp_filter = Some(0),
    ];
    for change in changes {
        let mut seen = whole.clone();
        change(&mut seen.links[at]);
        let actions = host_diff(&desired, &seen, &spared(&toy.ledger));
        assert_eq!(actions, [HostAction::EnsurePod(pod.clone())], "{:?}", seen.links[at]);
    }
    let changes: [fn(&mut Route); 4] = [
        |route| route.source = Some("10.0.0.77".parse().unwrap()),
        |route| route.metric = Some(7),
        |route| route.mtu = Some(1400),
        |route| route.via = Some("10.0.0.1".parse().unwrap()),
    ];
    for change in changes {
        let mut seen = whole.clone();
        let route = seen.routes.iter_mut().find(|route| route.to == IpNet::from(pod.address)).unwrap();
        change(route);
        let changed = route.clone();
        let actions = host_diff(&desired, &seen, &spared(&toy.ledger));
        assert_eq!(actions, [HostAction::RemoveRoute(changed), HostAction::EnsurePod(pod.clone())]);
    }
}

/// Which of two links is meant cannot be told. Whoever is told to set the ENI up says so; its routes stay.
#[test]
fn nothing_of_an_eni_is_removed_while_two_links_bear_its_mac() {
    let toy = toy();
    let desired = desired_host(&toy.ledger, &toy.config);
    let mut seen = kernel(&desired);
    let copy = LinkSeen { index: 800, name: "copy".into(), ..seen.links[1].clone() };
    seen.links.insert(0, copy);
    let actions = host_diff(&desired, &seen, &spared(&toy.ledger));
    assert_eq!(actions, [HostAction::EnsureEni(desired.enis[1].clone())]);
    // A bridge that took the ENI's MAC is not meant, however old it is.
    seen.links[0].kind = Some("bridge".into());
    assert_eq!(host_diff(&desired, &seen, &spared(&toy.ledger)), []);
}

/// Somebody's own way of talking to a neighbour.
#[test]
fn a_link_local_address_on_an_eni_is_left_alone() {
    let toy = toy();
    let desired = desired_host(&toy.ledger, &toy.config);
    let mut seen = kernel(&desired);
    seen.links[1].addresses.push("169.254.7.7/16".parse().unwrap());
    assert_eq!(host_diff(&desired, &seen, &spared(&toy.ledger)), []);
}

#[test]
fn the_ways_that_the_kernel_is_asked_for_are_in_each_range_of_the_vpc_and_out_of_it() {
    let mut toy = toy();
    let ways = |toy: &Toy| desired_host(&toy.ledger, &toy.config).pods[0].ways.clone();
    let mut node = toy.ledger.node.clone().unwrap();
    node.identity.vpc_cidrs = ["10.0.0.0/16", "203.0.113.0/24"].map(|range| range.parse().unwrap()).into();
    toy.ledger.apply(&Change::PutNode(node));
    let lease = toy.ledger.leases.values().next().unwrap();
    let own = Some(toy.ledger.enis[&lease.faces[0].eni].mac);
    let primary = Some(toy.ledger.node.as_ref().unwrap().identity.primary_mac);
    let way = |place, to: &str| Way { to: to.parse().unwrap(), marked: false, place, by: own };
    let inside = [
        ["10.0.0.2", "10.0.128.1", "10.0.255.254"].map(|to| way(1, to)),
        ["203.0.113.2", "203.0.113.129", "203.0.113.254"].map(|to| way(2, to)),
    ]
    .concat();
    let outside = |marked, by| ["1.1.1.1", "9.9.9.9"].map(|to| Way { marked, by, ..way(0, to) }).to_vec();
    assert_eq!(ways(&toy), [inside.clone(), outside(true, primary)].concat());
    toy.config.external_snat.value = true;
    assert_eq!(ways(&toy), [inside.clone(), outside(false, own)].concat());
    toy.config.snat_exclusions.value = vec!["0.0.0.0/0".parse().unwrap()];
    assert_eq!(ways(&toy), inside, "nothing is outside");
    toy.ledger.node = None;
    assert_eq!(ways(&toy), []);
}

/// What is being set up as the look begins is seen half made.
#[test]
fn what_is_younger_than_the_look_is_left_alone() {
    let toy = toy();
    let desired = desired_host(&toy.ledger, &toy.config);
    let mut seen = kernel(&desired);
    let (pod, eni) = (&desired.pods[0], &desired.enis[1]);
    seen.rules.retain(|rule| rule.to != Some(IpNet::from(pod.address)) && *rule != eni.rule());
    assert_eq!(host_diff(&desired, &seen, &spared(&toy.ledger)).len(), 2);
    let mut spared = spared(&toy.ledger);
    spared.links.insert(pod.alias.clone());
    spared.enis.insert(eni.eni.clone());
    assert_eq!(host_diff(&desired, &seen, &spared), []);
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
        alias: None,
        ..LinkSeen::default()
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
    let stale = stale.map(|(table, to)| Route::on_link(table, to.parse().unwrap(), 7));
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

/// Each way in which a pod that was answered for is lost, and no other pod is blamed.
#[test]
fn who_is_unreached_and_why() {
    let mut toy = toy();
    let seen = kernel(&desired_host(&toy.ledger, &toy.config));
    assert!(unreached(&toy.ledger, &seen).is_empty());
    let lease = toy.ledger.leases.values().find(|lease| lease.faces[0].place.route_table() == 2).unwrap();
    let (sandbox, face) = (lease.sandbox.clone(), lease.faces[0].clone());
    let only = |ledger: &Ledger, seen: &HostObserved| {
        let found = unreached(ledger, seen);
        assert_eq!(found.len(), 1, "{found:?}");
        found[&sandbox].clone()
    };
    let eni = toy.ledger.enis[&face.eni].clone();

    let mut without = seen.clone();
    without.links.retain(|link| link.name != face.host_veth);
    assert_eq!(only(&toy.ledger, &without), UnreachedBy::LinkGone(face.host_veth.clone()));
    let mut without = seen.clone();
    without.links.retain(|link| link.mac != Some(eni.mac));
    assert_eq!(only(&toy.ledger, &without), UnreachedBy::EniLinkGone(eni.id.clone()));
    let of_others = |link: &str, change: &dyn Fn(&mut LinkSeen)| {
        let mut changed = seen.clone();
        let bridge =
            LinkSeen { index: 99, name: "br0".into(), kind: Some("bridge".into()), ..LinkSeen::default() };
        change(changed.links.iter_mut().find(|seen| seen.name == link).unwrap());
        changed.links.push(bridge);
        changed
    };
    let eni_link = seen.links.iter().find(|link| link.mac == Some(eni.mac)).unwrap().name.clone();
    let renamed = of_others(&face.host_veth, &|link| link.name = "foo0".into());
    let is = UnreachedBy::LinkRenamed { was: face.host_veth.clone(), is: "foo0".into() };
    assert_eq!(only(&toy.ledger, &renamed), is);
    for link in [&face.host_veth, &eni_link] {
        let part = of_others(link, &|link| link.part_of = Some(99));
        assert_eq!(only(&toy.ledger, &part), UnreachedBy::PartOf { link: link.clone(), of: "br0".into() });
        let silent = of_others(link, &|link| link.no_arp = true);
        assert_eq!(only(&toy.ledger, &silent), UnreachedBy::NoArp(link.clone()));
    }
    let mut bonded = of_others(&eni_link, &|link| link.part_of = Some(99));
    bonded.links.last_mut().unwrap().kind = Some("bond".into());
    assert!(unreached(&toy.ledger, &bonded).is_empty(), "a bond is made of ENIs on purpose");
    let mut borne = seen.clone();
    let IpAddr::V4(address) = face.address else { panic!("IPv4") };
    borne.links[0].addresses.push(Ipv4Net::from(address));
    let link = borne.links[0].name.clone();
    assert_eq!(only(&toy.ledger, &borne), UnreachedBy::BorneByHost { address: face.address, link });

    let block = toy.ledger.block_of(face.address).unwrap().clone();
    let withdrawn = Block { state: BlockState::Withdrawn, ..block.clone() };
    toy.ledger.apply(&Change::PutBlock(withdrawn));
    assert_eq!(only(&toy.ledger, &seen), UnreachedBy::AddressTaken(face.address));
    toy.ledger.apply(&Change::PutBlock(block));
    toy.ledger.apply(&Change::PutEni(EniRecord { phase: EniPhase::Detached, ..eni }));
    assert_eq!(only(&toy.ledger, &seen), UnreachedBy::EniGone(face.eni));
}

/// A second interface of a pod has an alias of its own.
#[test]
fn each_face_of_a_lease_is_told_by_its_own_interface() {
    let mut toy = toy();
    let mut lease = toy.ledger.leases.values().next().unwrap().clone();
    let first = lease.faces[0].clone();
    let second = Face { ifname: "eth1".into(), host_veth: "eniother".into(), ..first.clone() };
    lease.faces.push(second.clone());
    let aliases: Vec<_> =
        wirings_of(&toy.ledger, &toy.config, &lease).into_iter().map(|wiring| wiring.alias).collect();
    let of = |ifname: &str| {
        LinkAlias::of(&SandboxKey::from(SandboxNames { ifname: ifname.into(), ..(*lease.sandbox).clone() }))
    };
    assert_eq!(aliases, [of("eth0"), of("eth1")]);

    let mut seen = kernel(&desired_host(&toy.ledger, &toy.config));
    toy.ledger.apply(&Change::PutLease(lease.clone()));
    assert_eq!(
        unreached(&toy.ledger, &seen)[&lease.sandbox],
        UnreachedBy::LinkGone(second.host_veth.clone())
    );
    let link = seen.links.iter().find(|link| link.alias == Some(of("eth0"))).unwrap().clone();
    seen.links.push(LinkSeen { index: 77, name: second.host_veth, alias: Some(of("eth1")), ..link });
    assert!(!unreached(&toy.ledger, &seen).contains_key(&lease.sandbox));
}

/// An ENI that takes no new pods is kept up for those that live on it, while it is there and can carry them.
#[test]
fn an_eni_is_set_up_for_who_is_served_by_it() {
    use holdfast_model::eni::Management;
    let toy = toy();
    let eni = toy.ledger.enis.values().find(|eni| !eni.is_primary()).unwrap().clone();
    assert!(toy.ledger.leases_on(&eni.id).next().is_some());
    let mut deserted = toy.ledger.clone();
    let keys: Vec<_> = deserted.leases.keys().cloned().collect();
    deserted.apply_all(keys.into_iter().map(Change::DropLease).collect::<Vec<_>>().iter());
    let wanted = |change: &dyn Fn(&mut EniRecord)| {
        let mut eni = eni.clone();
        change(&mut eni);
        (wants_set_up(&toy.ledger, &eni), wants_set_up(&deserted, &eni))
    };
    assert_eq!(wanted(&|_| ()), (true, true));
    assert_eq!(wanted(&|eni| eni.management = Management::Excluded), (true, false));
    assert_eq!(wanted(&|eni| eni.phase = EniPhase::Detached), (false, false));
    let trunk = |eni: &mut EniRecord| eni.kind = EniKind::Trunk;
    assert_eq!(wanted(&trunk), (false, false));
}

/// What stands need not be set up again at a start: the same measure that a set-up has, of the same look.
#[test]
fn enis_that_stand_are_told_from_those_that_do_not() {
    let toy = toy();
    let desired = desired_host(&toy.ledger, &toy.config);
    let all: Vec<_> = toy.ledger.enis.keys().cloned().collect();
    let seen = kernel(&desired);
    let already = |seen: &HostObserved| set_up_already(&toy.ledger, &toy.config, seen, &BTreeSet::new());
    assert_eq!(already(&seen), all);
    let known = all.iter().cloned().collect();
    assert_eq!(set_up_already(&toy.ledger, &toy.config, &seen, &known), [], "those that are known");
    let secondary = desired.enis.iter().find(|eni| eni.slot != EniSlot::PRIMARY).unwrap();
    let others: Vec<_> = all.iter().filter(|id| **id != secondary.eni).cloned().collect();
    let broken: [fn(&mut HostObserved, &EniWiring); 4] = [
        |seen, eni| seen.links.retain(|link| link.mac != Some(eni.mac)),
        |seen, eni| seen.routes.retain(|route| route.table != eni.slot.route_table()),
        |seen, eni| seen.rules.retain(|rule| rule.from != Some(IpAddr::V4(eni.primary_ipv4).into())),
        |seen, eni| {
            let link = seen.links.iter_mut().find(|link| link.mac == Some(eni.mac)).unwrap();
            link.mtu = 1500;
        },
    ];
    for breaks in broken {
        let mut seen = kernel(&desired);
        breaks(&mut seen, secondary);
        assert_eq!(already(&seen), others);
    }
}
