//! ENIs, policy routing and NAT on the real kernel.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use holdfast_datapath::netlink::{
    Address, Change, LinkRef, LinkSettings, Route, RouteFilter, Rule, Veth, VethEnd,
};
use holdfast_datapath::netns;
use holdfast_model::host::{
    EniWiring, HostAction, HostDesired, MAIN_TABLE, NatSeen, NatTable, NatWanted, PROTOCOL, PodWiring,
};
use holdfast_model::ids::MacAddr;
use holdfast_planner::Spared;
use holdfast_ports::host::{HostFault, HostNet};
use support::vpc::{INTERNET, V4, first_eni, marked, nat_table, node_port, second_eni, up, vpc};
use support::{Netns, address, dump, exchange, index, nft, runtime, socket, udp, wiring};

#[test]
fn packets_of_pods_on_a_second_eni_leave_by_it_and_off_the_vpc_by_the_first_as_the_node() {
    let vpc = vpc();
    vpc.serve();
    let (_, first) = vpc.pod(1, "10.0.0.101", MAIN_TABLE);
    let (_, second) = vpc.pod(2, "10.0.1.102", 2);
    let in_first = udp(&first, "10.0.0.101:7000");
    let in_second = udp(&second, "10.0.1.102:7000");
    let in_vpc = udp(&vpc.router, "10.0.0.1:7000");
    let on_node = udp(&vpc.node, "10.0.0.10:7000");
    let internet = udp(&vpc.router, &format!("{INTERNET}:7000"));

    for (pod, own) in [(&in_first, "10.0.0.101"), (&in_second, "10.0.1.102")] {
        let to = format!("{own}:7000");
        let own = own.parse::<std::net::IpAddr>().unwrap();
        let seen = exchange(pod, &in_vpc, "10.0.0.1:7000")
            .unwrap_or_else(|error| panic!("{own} to the VPC: {error}"));
        assert_eq!(seen, own, "inside the VPC a pod keeps its address");
        exchange(&in_vpc, pod, &to).unwrap_or_else(|error| panic!("the VPC to {own}: {error}"));
        let seen = exchange(pod, &on_node, "10.0.0.10:7000")
            .unwrap_or_else(|error| panic!("{own} to its node: {error}"));
        assert_eq!(seen, own);
        exchange(&on_node, pod, &to).unwrap_or_else(|error| panic!("the node to {own}: {error}"));
        let seen = exchange(pod, &internet, &format!("{INTERNET}:7000"))
            .unwrap_or_else(|error| panic!("{own} to the internet: {error}"));
        assert_eq!(seen, "10.0.0.10".parse::<std::net::IpAddr>().unwrap(), "outside it is the node");
        // Later packets of the connection take the same way.
        exchange(pod, &internet, &format!("{INTERNET}:7000")).unwrap();
    }
    exchange(&in_first, &in_second, "10.0.1.102:7000").unwrap();
    exchange(&in_second, &in_first, "10.0.0.101:7000").unwrap();
}

#[test]
fn each_part_of_policy_routing_is_needed_for_what_the_test_above_shows() {
    let vpc = vpc();
    vpc.serve();
    let (wiring, pod) = vpc.pod(2, "10.0.1.102", 2);
    let in_pod = udp(&pod, "10.0.1.102:7000");
    let in_vpc = udp(&vpc.router, "10.0.0.1:7000");
    let internet = udp(&vpc.router, &format!("{INTERNET}:7000"));
    for server in [&in_vpc, &internet] {
        server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    }
    let outside = format!("{INTERNET}:7000");
    exchange(&in_pod, &in_vpc, "10.0.0.1:7000").unwrap();
    exchange(&in_pod, &internet, &outside).unwrap();
    // A fresh port each time: an earlier connection's state must not help.
    vpc.apply(vec![HostAction::RemoveRule(marked())]);
    assert!(exchange(&udp(&pod, "10.0.1.102:0"), &internet, &outside).is_err(), "without the rule for marks");
    vpc.apply(vec![HostAction::EnsureRule(marked())]);
    netns::run_in(&vpc.node, || holdfast_datapath::nat::Nat::default().remove()).unwrap().unwrap();
    assert!(
        exchange(&udp(&pod, "10.0.1.102:0"), &internet, &outside).map_or(true, |seen| seen == wiring.address)
    );
    let from =
        Rule { from: Some("10.0.1.102/32".parse().unwrap()), protocol: PROTOCOL, ..Rule::new(1536, 2) };
    socket(&vpc.node).apply(&Change::DeleteRule(from)).unwrap();
    assert!(
        exchange(&udp(&pod, "10.0.1.102:0"), &in_vpc, "10.0.0.1:7000").is_err(),
        "without the pod's rule"
    );
}

#[test]
fn a_node_port_is_answered_by_the_primary_although_the_pod_is_on_a_second_eni() {
    let outside = INTERNET.parse::<std::net::IpAddr>().unwrap();
    for source_nat in [nat_table().source_nat, None] {
        let vpc = vpc();
        vpc.serve();
        let table = NatTable { source_nat, ..nat_table() };
        vpc.apply(vec![HostAction::ReplaceNat(table.clone())]);
        let (_, pod) = vpc.pod(2, "10.0.1.102", 2);
        node_port(&vpc.node, "10.0.1.102:7000");
        let server = udp(&pod, "10.0.1.102:7000");
        let client = || {
            let client = udp(&vpc.router, &format!("{INTERNET}:0"));
            client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            client
        };
        assert_eq!(exchange(&client(), &server, "10.0.0.10:30000"), Ok(outside), "{table:?}");
        // The rule that marks them is what it takes, and the one for marks.
        vpc.apply(vec![HostAction::RemoveRule(marked())]);
        exchange(&client(), &server, "10.0.0.10:30000").unwrap_err();
        vpc.apply(vec![HostAction::EnsureRule(marked())]);
        exchange(&client(), &server, "10.0.0.10:30000").unwrap();
        let bare = NatTable { node_ports: false, ..table };
        vpc.apply(vec![HostAction::ReplaceNat(bare)]);
        exchange(&client(), &server, "10.0.0.10:30000").unwrap_err();
    }
}

/// Others translate: outside the VPC the pod is seen as itself, and it goes there by its own ENI.
#[test]
fn without_source_nat_a_pod_leaves_the_vpc_as_itself() {
    let vpc = vpc();
    vpc.serve();
    vpc.apply(vec![HostAction::ReplaceNat(NatTable { source_nat: None, ..nat_table() })]);
    for (number, at, table) in [(1, "10.0.0.101", MAIN_TABLE), (2, "10.0.1.102", 2)] {
        let (wiring, pod) = vpc.pod(number, at, table);
        let internet = udp(&vpc.router, &format!("{INTERNET}:700{number}"));
        let client = udp(&pod, &format!("{at}:0"));
        for _ in 0..2 {
            let seen = exchange(&client, &internet, &format!("{INTERNET}:700{number}"));
            assert_eq!(seen, Ok(wiring.address));
        }
    }
}

#[test]
fn a_pods_link_is_told_by_its_group_or_by_the_prefix() {
    let vpc = vpc();
    vpc.serve();
    let internet = udp(&vpc.router, &format!("{INTERNET}:7000"));
    internet.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // Named otherwise by the plugin's configuration; made by another; neither, so not a pod's as far as anybody knows.
    for (number, name, group, known) in [
        (2, "abc00000002", None, true),
        (3, "eni00000003", Some(0), true),
        (4, "abc00000004", Some(0), false),
    ] {
        let at = format!("10.0.1.{}", 100 + number);
        let (pod, netns) = vpc.pod_of(PodWiring { host_veth: name.to_owned(), ..wiring(number, &at, 2) });
        let link = LinkRef::Name(pod.host_veth.clone());
        socket(&vpc.node)
            .apply(&Change::SetLink(link, LinkSettings { group, ..LinkSettings::default() }))
            .unwrap();
        let client = udp(&netns, &format!("{at}:0"));
        client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        for packet in ["first", "later"] {
            let seen = exchange(&client, &internet, &format!("{INTERNET}:7000")).ok();
            let node: std::net::IpAddr = "10.0.0.10".parse().unwrap();
            assert_eq!(seen, known.then_some(node), "{name}, {packet}");
        }
    }
}

#[test]
fn an_eni_is_set_up_once_and_then_left_alone() {
    let vpc = vpc();
    let rt = runtime();
    let eni = second_eni();
    let missing = EniWiring { mac: MacAddr([2; 6]), ..eni.clone() };
    let fault = rt.block_on(vpc.host.set_up_eni(missing)).unwrap_err();
    assert_eq!(fault, HostFault::LinkMissing { mac: "02:02:02:02:02:02".into() });

    rt.block_on(vpc.host.set_up_eni(eni.clone())).unwrap();
    let link = index(&vpc.node, "eth1");
    let seen = socket(&vpc.node).addresses_of(link, V4).unwrap();
    assert_eq!(seen.iter().map(|seen| seen.net.to_string()).collect::<Vec<_>>(), ["10.0.1.20/24"]);
    let mut table = socket(&vpc.node).routes(V4, RouteFilter { table: Some(2), protocol: None }).unwrap();
    table.sort_by_key(|route| route.to);
    let gateway = "10.0.1.1".parse().unwrap();
    assert_eq!(
        table,
        [
            Route::default_via(2, gateway, link).by(PROTOCOL),
            Route::on_link(2, "10.0.1.1/32".parse().unwrap(), link).by(PROTOCOL)
        ]
    );
    let main = socket(&vpc.node).routes(V4, RouteFilter { table: Some(MAIN_TABLE), protocol: None }).unwrap();
    assert!(main.iter().all(|route| route.link != Some(link)), "{main:?}");
    let rule =
        Rule { from: Some("10.0.1.20/32".parse().unwrap()), protocol: PROTOCOL, ..Rule::new(32765, 2) };
    assert!(socket(&vpc.node).rules(V4).unwrap().contains(&rule));
    let filter =
        netns::run_in(&vpc.node, || std::fs::read_to_string("/proc/sys/net/ipv4/conf/eth1/rp_filter"));
    assert_eq!(filter.unwrap().unwrap().trim(), "2");

    let before = dump(&vpc.node);
    let watch = netns::run_in(&vpc.node, || {
        use holdfast_datapath::netlink::{Group, Watch};
        Watch::open(&[Group::Links, Group::Ipv4Addresses, Group::Ipv4Routes, Group::Ipv4Rules]).unwrap()
    })
    .unwrap();
    for _ in 0..3 {
        rt.block_on(vpc.host.set_up_eni(eni.clone())).unwrap();
    }
    // Of links the kernel tells late that they have a carrier; what we might do to one shows in the dump.
    assert!(!watch.drain(|notice| notice.link().is_none()), "nothing was changed the second time");
    assert_eq!(dump(&vpc.node), before);
}

/// The one address of a link.
fn only(netns: &Netns, link: u32) -> Address {
    let [only] = socket(netns).addresses_of(link, V4).unwrap()[..] else { panic!("not one address") };
    only
}

/// As cloud-init, a network manager or the incumbent leave it.
#[test]
fn what_others_did_to_an_eni_is_put_right_without_a_rebuild() {
    let vpc = vpc();
    let rt = runtime();
    let link = index(&vpc.node, "eth1");
    up(&vpc.node, "eth1");
    for net in ["10.0.1.55/24", "10.0.1.20/24", "10.0.1.56/24"] {
        address(&vpc.node, "eth1", net);
    }
    let gateway = "10.0.1.1".parse().unwrap();
    let stale =
        Rule { from: Some("10.0.1.99/32".parse().unwrap()), protocol: PROTOCOL, ..Rule::new(32765, 2) };
    let foreign = Rule { from: Some("10.0.1.99/32".parse().unwrap()), ..Rule::new(32765, 3) };
    socket(&vpc.node)
        .apply_all(&[
            Change::AddRoute(Route::on_link(2, "10.0.1.1/32".parse().unwrap(), link)),
            Change::AddRoute(Route::default_via(2, gateway, link)),
            Change::AddRoute(Route::on_link(2, "10.0.9.1/32".parse().unwrap(), link).by(PROTOCOL)),
            Change::AddRule(stale.clone()),
            Change::AddRule(foreign.clone()),
            Change::SetLink(
                LinkRef::Index(link),
                LinkSettings { mtu: Some(1500), ..LinkSettings::default() },
            ),
        ])
        .unwrap();
    rt.block_on(vpc.host.set_up_eni(second_eni())).unwrap();
    let seen = socket(&vpc.node).addresses_of(link, V4).unwrap();
    assert_eq!(seen.iter().map(|seen| seen.net.to_string()).collect::<Vec<_>>(), ["10.0.1.20/24"]);
    let main = socket(&vpc.node).routes(V4, RouteFilter { table: Some(MAIN_TABLE), protocol: None }).unwrap();
    assert!(main.iter().all(|route| route.link != Some(link)), "{main:?}");
    let table = socket(&vpc.node).routes(V4, RouteFilter { table: Some(2), protocol: None }).unwrap();
    assert_eq!(table.len(), 2);
    assert!(table.iter().all(|route| route.protocol == PROTOCOL));
    let rules = socket(&vpc.node).rules(V4).unwrap();
    assert!(!rules.contains(&stale) && rules.contains(&foreign), "{rules:?}");
    assert_eq!(socket(&vpc.node).link(&LinkRef::Index(link)).unwrap().unwrap().mtu, 9001);

    // With the kernel's route to the subnet, as who adds the address in the ordinary way gets it.
    socket(&vpc.node).apply(&Change::DeleteAddress(only(&vpc.node, link))).unwrap();
    address(&vpc.node, "eth1", "10.0.1.20/24");
    let connected = |netns: &Netns| {
        let main = RouteFilter { table: Some(MAIN_TABLE), protocol: None };
        socket(netns).routes(V4, main).unwrap().iter().filter(|route| route.link == Some(link)).count()
    };
    assert_eq!(connected(&vpc.node), 1);
    let desired =
        HostDesired { enis: vec![first_eni(), second_eni()], pods: Vec::new(), nat: NatWanted::Undecided };
    let diff = || {
        let seen = rt.block_on(vpc.host.observe(&desired.nat)).unwrap();
        holdfast_planner::host_diff(&desired, &seen, &Spared { all_orphans: true, ..Spared::default() })
    };
    rt.block_on(vpc.host.set_up_eni(first_eni())).unwrap();
    assert_eq!(diff(), [HostAction::EnsureEni(second_eni())]);
    rt.block_on(vpc.host.set_up_eni(second_eni())).unwrap();
    assert_eq!(connected(&vpc.node), 0);
    // The primary's own stays.
    assert_eq!(diff(), []);
    let seen = rt.block_on(vpc.host.observe(&desired.nat)).unwrap().links;
    let seen: Vec<_> = seen.iter().flat_map(|link| &link.connected).map(|route| route.source).collect();
    assert_eq!(seen, [Some(first_eni().primary_ipv4.into())]);

    // Of the primary, the MTU only.
    let primary = EniWiring { mtu: 1500, ..first_eni() };
    let before = dump(&vpc.node);
    rt.block_on(vpc.host.set_up_eni(primary)).unwrap();
    assert_eq!(dump(&vpc.node).replace("mtu: 1500", "mtu: 9001"), before);
    assert_eq!(socket(&vpc.node).link(&LinkRef::Name("eth0".into())).unwrap().unwrap().mtu, 1500);
}

/// Source addresses are left alone from now on: the table of before goes, and nobody else's.
#[test]
fn a_table_that_is_not_wanted_any_more_is_seen_and_removed() {
    let vpc = vpc();
    let seen = || runtime().block_on(vpc.host.observe(&NatWanted::Absent)).unwrap().nat;
    assert_eq!(seen(), NatSeen::AsWritten, "none is wanted, none is there");
    nft(&vpc.node, "add table ip others");
    vpc.apply(vec![HostAction::ReplaceNat(nat_table())]);
    assert_eq!(seen(), NatSeen::Differs);
    vpc.apply(vec![HostAction::RemoveNat]);
    assert_eq!(nft(&vpc.node, "list tables").trim(), "table ip others");
    assert_eq!(seen(), NatSeen::AsWritten);
    vpc.apply(vec![HostAction::RemoveNat]);
}

/// As a person's bridge over the ENI does: the set-up of the ENI neither moves there nor is done again and again.
#[test]
fn what_bears_an_enis_mac_beside_it_is_left_alone_and_named_where_it_may_be_the_eni() {
    let (vpc, rt) = (vpc(), runtime());
    vpc.serve();
    let desired = HostDesired {
        enis: vec![first_eni(), second_eni()],
        pods: Vec::new(),
        nat: NatWanted::Table(nat_table()),
    };
    let diff = || {
        let seen = rt.block_on(vpc.host.observe(&desired.nat)).unwrap();
        holdfast_planner::host_diff(&desired, &seen, &Spared::default())
    };
    let mac = |mac| LinkSettings { mac: Some(mac), ..LinkSettings::up() };
    socket(&vpc.node)
        .apply_all(&[
            Change::CreateBridge("br0".into()),
            Change::SetLink(LinkRef::Name("br0".into()), mac(second_eni().mac)),
        ])
        .unwrap();
    assert_eq!(diff(), []);
    let before = dump(&vpc.node);
    rt.block_on(vpc.host.set_up_eni(second_eni())).unwrap();
    assert_eq!(dump(&vpc.node), before);

    let end = |name: &str, mac| VethEnd { name: name.into(), mac, netns: None };
    let pair = Veth { near: end("copy", Some(second_eni().mac)), far: end("x", None), mtu: None, group: 0 };
    socket(&vpc.node).apply(&Change::CreateVeth(pair)).unwrap();
    let before = dump(&vpc.node);
    assert_eq!(diff(), [HostAction::EnsureEni(second_eni())]);
    let fault = rt.block_on(vpc.host.set_up_eni(second_eni())).unwrap_err();
    assert!(matches!(&fault, HostFault::LinkAmbiguous { links, .. } if links == "eth1, copy"), "{fault:?}");
    assert_eq!(dump(&vpc.node), before);
}

#[test]
fn a_link_local_address_on_an_eni_stays() {
    let (vpc, rt) = (vpc(), runtime());
    vpc.serve();
    address(&vpc.node, "eth1", "169.254.7.7/16");
    address(&vpc.node, "eth1", "10.0.1.77/24");
    rt.block_on(vpc.host.set_up_eni(second_eni())).unwrap();
    let seen = socket(&vpc.node).addresses_of(index(&vpc.node, "eth1"), V4).unwrap();
    let mut seen: Vec<_> = seen.iter().map(|seen| seen.net.to_string()).collect();
    seen.sort();
    assert_eq!(seen, ["10.0.1.20/24", "169.254.7.7/16"]);
}
