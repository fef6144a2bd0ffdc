//! ENIs, policy routing, NAT and drift on the real kernel. The VPC is a router namespace that refuses packets which come
//! in by another link than the one that their source address belongs to (strict reverse path check), as the VPC does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use holdfast_datapath::Host;
use holdfast_datapath::netlink::{
    Address, AddressFamily, Change, LinkRef, LinkSettings, Lookup, Route, RouteFilter, Rule, Veth, VethEnd,
};
use holdfast_datapath::netns;
use holdfast_model::eni::EniSlot;
use holdfast_model::host::{
    EniWiring, HostAction, HostDesired, LinkName, MAIN_TABLE, NatSeen, NatTable, NatWanted, POD_GATEWAY,
    PROTOCOL, PodWiring, Route as ModelRoute, RouteSeen, Rule as ModelRule, SourceNat,
};
use holdfast_model::ids::{EniId, MacAddr};
use holdfast_model::sandbox::NetnsRef;
use holdfast_planner::Spared;
use holdfast_ports::host::{HostFault, HostNet, Liveness};
use support::{
    Netns, address, dump, exchange, host, index, namespace, nft, runtime, socket, sysctl, udp, wiring,
};

const V4: AddressFamily = AddressFamily::Inet;
const PRIMARY: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x10]);
const SECOND: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x20]);
const INTERNET: &str = "203.0.113.1";

/// A node with two ENIs on a router that has the internet on its loopback.
struct Vpc {
    node: Netns,
    router: Netns,
    host: Host,
}

fn cable(node: &Netns, router: &Netns, name: &str, mac: MacAddr, far: &str) {
    let near = VethEnd { name: name.into(), mac: Some(mac), netns: None };
    let far_end = VethEnd { name: far.into(), mac: None, netns: Some(router.clone()) };
    let veth = Veth { near, far: far_end, mtu: Some(9001), group: 0 };
    socket(node).apply(&Change::CreateVeth(veth)).unwrap();
    up(router, far);
}

fn up(netns: &Netns, link: &str) {
    socket(netns).apply(&Change::SetLink(LinkRef::Name(link.into()), LinkSettings::up())).unwrap();
}

fn second_eni() -> EniWiring {
    EniWiring {
        eni: EniId::new("eni-2"),
        mac: SECOND,
        slot: EniSlot { card: 0, device: 1 },
        primary_ipv4: "10.0.1.20".parse().unwrap(),
        subnet_cidr: "10.0.1.0/24".parse().unwrap(),
        mtu: 9001,
    }
}

fn first_eni() -> EniWiring {
    EniWiring {
        eni: EniId::new("eni-1"),
        mac: PRIMARY,
        slot: EniSlot::PRIMARY,
        primary_ipv4: "10.0.0.10".parse().unwrap(),
        subnet_cidr: "10.0.0.0/24".parse().unwrap(),
        mtu: 9001,
    }
}

fn nat_table() -> NatTable {
    NatTable {
        node_ports: true,
        source_nat: Some(SourceNat {
            vpc_cidrs: vec!["10.0.0.0/16".parse().unwrap()],
            node_ipv4: "10.0.0.10".parse().unwrap(),
        }),
        primary_mac: PRIMARY,
        veth_prefix: "eni".into(),
    }
}

fn marked() -> ModelRule {
    ModelRule { priority: 1024, from: None, to: None, mark: Some((0x80, 0x80)), table: MAIN_TABLE }
}

fn vpc() -> Vpc {
    let (node, router) = (namespace(), namespace());
    cable(&node, &router, "eth0", PRIMARY, "r0");
    cable(&node, &router, "eth1", SECOND, "r1");
    up(&node, "eth0");
    address(&node, "eth0", "10.0.0.10/24");
    address(&router, "r0", "10.0.0.1/24");
    address(&router, "r1", "10.0.1.1/24");
    address(&router, "lo", "203.0.113.1/32");
    let default = Route::default_via(MAIN_TABLE, "10.0.0.1".parse().unwrap(), index(&node, "eth0"));
    socket(&node).apply(&Change::AddRoute(default)).unwrap();
    sysctl(&router, "ipv4/ip_forward", "1");
    for link in ["all", "r0", "r1"] {
        sysctl(&router, &format!("ipv4/conf/{link}/rp_filter"), "1");
    }
    // A hardened image: strict on the node too.
    for link in ["all", "eth0", "eth1"] {
        sysctl(&node, &format!("ipv4/conf/{link}/rp_filter"), "1");
    }
    let host = host(&node);
    runtime().block_on(host.ensure_forwarding()).unwrap();
    Vpc { node, router, host }
}

impl Vpc {
    /// Wires a pod; the router delivers its address to the ENI that owns it.
    fn pod(&self, number: u8, at: &str, table: u32) -> (PodWiring, Netns) {
        self.pod_of(wiring(number, at, table))
    }

    fn pod_of(&self, wiring: PodWiring) -> (PodWiring, Netns) {
        let (netns, at, table) = (namespace(), wiring.address, wiring.table);
        runtime().block_on(self.host.wire_pod(wiring.clone(), netns.clone())).unwrap();
        let (link, eni) = if table == MAIN_TABLE { ("r0", "10.0.0.10") } else { ("r1", "10.0.1.20") };
        let to = Route {
            via: Some(eni.parse().unwrap()),
            ..Route::default_via(MAIN_TABLE, eni.parse().unwrap(), index(&self.router, link))
        };
        let to = Route { to: format!("{at}/32").parse().unwrap(), ..to };
        socket(&self.router).apply(&Change::AddRoute(to)).unwrap();
        (wiring, netns)
    }

    /// All that pods need, as the engine orders it at start.
    fn serve(&self) {
        self.apply(vec![
            HostAction::EnsureEni(first_eni()),
            HostAction::EnsureEni(second_eni()),
            HostAction::EnsureRule(marked()),
            HostAction::ReplaceNat(nat_table()),
        ]);
    }

    fn apply(&self, actions: Vec<HostAction>) {
        runtime().block_on(self.host.apply(actions)).unwrap();
    }
}

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
    netns::run_in(&vpc.node, holdfast_datapath::nat::remove).unwrap().unwrap();
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

/// As kube-proxy does it for externalTrafficPolicy Local: no masquerading.
fn node_port(node: &Netns, to: &str) {
    nft(
        node,
        "add table ip kube-proxy; add chain ip kube-proxy nat { type nat hook prerouting priority -100; }",
    );
    nft(node, &format!("add rule ip kube-proxy nat udp dport 30000 dnat to {to}"));
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
    let seen: Vec<_> = seen.iter().flat_map(|link| &link.connected).collect();
    assert_eq!(seen, [&first_eni().primary_ipv4]);

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

#[test]
fn observe_shows_what_is_ours_and_actions_put_it_back() {
    let vpc = vpc();
    let rt = runtime();
    let (wiring, _pod) = vpc.pod(2, "10.0.1.102", 2);
    vpc.apply(vec![
        HostAction::EnsureEni(second_eni()),
        HostAction::EnsureRule(marked()),
        HostAction::ReplaceNat(nat_table()),
    ]);
    socket(&vpc.node).apply(&Change::AddRule(Rule::new(900, 77))).unwrap();
    let whole = rt.block_on(vpc.host.observe(&NatWanted::Table(nat_table()))).unwrap();
    assert_eq!(whole.nat, NatSeen::AsWritten);
    assert_eq!(whole.rules.iter().map(|rule| rule.priority).collect::<Vec<_>>(), [512, 1024, 1536, 32765]);
    let veth = whole.links.iter().find(|link| link.name == wiring.host_veth).unwrap();
    assert_eq!(veth.alias.as_ref(), Some(&wiring.alias));
    let eth1 = whole.links.iter().find(|link| link.name == "eth1").unwrap();
    assert_eq!((eth1.mac, eth1.mtu, eth1.up), (Some(SECOND), 9001, true));
    assert_eq!(eth1.addresses, ["10.0.1.20/24".parse().unwrap()]);
    let to_pod = RouteSeen {
        table: MAIN_TABLE,
        to: "10.0.1.102/32".parse().unwrap(),
        via: None,
        link_index: veth.index,
    };
    assert!(whole.routes.contains(&to_pod));
    assert_eq!(whole.routes.len(), 3);

    // All of it removed, each twice, then put back, each twice.
    let gateway: std::net::IpAddr = "10.0.1.1".parse().unwrap();
    let mut remove: Vec<_> = whole.rules.iter().cloned().map(HostAction::RemoveRule).collect();
    remove.extend(whole.routes.iter().cloned().map(HostAction::RemoveRoute));
    vpc.apply(remove.clone());
    vpc.apply(remove);
    nft(&vpc.node, "delete table ip holdfast");
    let bare = rt.block_on(vpc.host.observe(&NatWanted::Table(nat_table()))).unwrap();
    assert_eq!((bare.rules.len(), bare.routes.len(), bare.nat), (0, 0, NatSeen::Differs));
    let route = |to: &str, via, table, link| {
        HostAction::EnsureRoute(ModelRoute { table, to: to.parse().unwrap(), via, link })
    };
    let mut put: Vec<_> = whole.rules.iter().cloned().map(HostAction::EnsureRule).collect();
    put.extend([
        route("10.0.1.102/32", None, MAIN_TABLE, LinkName::Name(wiring.host_veth.clone())),
        route("10.0.1.1/32", None, 2, LinkName::Mac(SECOND)),
        route("0.0.0.0/0", Some(gateway), 2, LinkName::Mac(SECOND)),
        HostAction::ReplaceNat(nat_table()),
    ]);
    vpc.apply(put.clone());
    vpc.apply(put);
    let mut again = rt.block_on(vpc.host.observe(&NatWanted::Table(nat_table()))).unwrap();
    let mut whole = whole;
    for observed in [&mut again, &mut whole] {
        observed.rules.sort();
        observed.routes.sort();
    }
    assert_eq!(again, whole);

    // A failing action is named and keeps nothing else from being done.
    let gone = route("10.0.5.5/32", None, MAIN_TABLE, LinkName::Name("nosuch".into()));
    let missing = HostAction::EnsureEni(EniWiring { mac: MacAddr([2; 6]), ..second_eni() });
    let actions = vec![gone, missing, HostAction::RemoveRule(marked())];
    let fault = rt.block_on(vpc.host.apply(actions)).unwrap_err();
    assert_eq!(fault.to_string(), "put route to 10.0.5.5/32: there is no link nosuch");
    let after = rt.block_on(vpc.host.observe(&NatWanted::Undecided)).unwrap();
    assert!(!after.rules.contains(&marked()));
}

/// One pod's link that somebody sets down: the plan mends it, and first of all the pod answers again.
#[test]
fn a_link_that_was_set_down_is_mended_together_with_its_route() {
    let vpc = vpc();
    let rt = runtime();
    vpc.serve();
    let (wiring, pod) = vpc.pod(2, "10.0.1.102", 2);
    let (in_pod, on_node) = (udp(&pod, "10.0.1.102:7000"), udp(&vpc.node, "10.0.0.10:7000"));
    let desired = HostDesired {
        enis: vec![first_eni(), second_eni()],
        pods: vec![wiring.clone()],
        nat: NatWanted::Table(nat_table()),
    };
    let diff = || {
        let seen = rt.block_on(vpc.host.observe(&desired.nat)).unwrap();
        holdfast_planner::host_diff(&desired, &seen, &Spared::default())
    };
    assert_eq!(diff(), []);
    let link = LinkRef::Name(wiring.host_veth.clone());
    socket(&vpc.node).apply(&Change::SetLink(link, LinkSettings::down())).unwrap();
    on_node.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(exchange(&in_pod, &on_node, "10.0.0.10:7000").is_err());
    let actions = diff();
    assert_eq!(actions[0], HostAction::RaiseLink(wiring.alias.clone()));
    vpc.apply(actions.clone());
    assert_eq!(diff(), []);
    exchange(&in_pod, &on_node, "10.0.0.10:7000").unwrap();
    // Again, and of a pod that is gone: nothing to do.
    vpc.apply(actions);
    vpc.apply(vec![HostAction::RaiseLink(support::wiring(9, "10.0.1.109", 2).alias)]);
}

#[test]
fn changes_by_others_are_told_and_our_own_are_not() {
    let vpc = vpc();
    let rt = runtime();
    let told = |within: u64| {
        rt.block_on(async {
            tokio::time::timeout(Duration::from_millis(within), vpc.host.drifted()).await.is_ok()
        })
    };
    while told(100) {}
    let (wiring, pod) = {
        let (wiring, netns) = (wiring(2, "10.0.1.102", 2), namespace());
        rt.block_on(vpc.host.wire_pod(wiring.clone(), netns.clone())).unwrap();
        rt.block_on(vpc.host.set_up_eni(second_eni())).unwrap();
        (wiring, netns)
    };
    // The kernel itself says, up to a second later, that the ENI has a carrier: who did that is not known.
    while told(1500) {}
    rt.block_on(vpc.host.unwire_pod(wiring.clone())).unwrap();
    rt.block_on(vpc.host.wire_pod(wiring.clone(), pod.clone())).unwrap();
    rt.block_on(vpc.host.apply(vec![HostAction::EnsureRule(marked())])).unwrap();
    assert!(!told(200), "what we did ourselves is no drift");
    vpc.apply(vec![HostAction::ReplaceNat(nat_table())]);
    while told(100) {}

    let own = "10.0.1.102/32".parse().unwrap();
    let link = index(&vpc.node, &wiring.host_veth);
    let changes = [
        Change::DeleteRule(Rule { from: Some(own), ..Rule::new(1536, 2) }),
        Change::DeleteRoute(Route::on_link(MAIN_TABLE, own, link).by(PROTOCOL)),
        Change::SetLink(
            LinkRef::Name("eth1".into()),
            LinkSettings { mtu: Some(1400), ..LinkSettings::default() },
        ),
        Change::SetLink(LinkRef::Index(link), LinkSettings::down()),
        Change::DeleteLink(LinkRef::Index(link)),
    ];
    for change in changes {
        socket(&vpc.node).apply(&change).unwrap();
        assert!(told(1000), "{change} was not told");
        while told(50) {}
    }
    while told(1500) {}
    nft(&vpc.node, "add table ip somebody-elses");
    assert!(!told(200), "tables of others are none of our business");
    nft(&vpc.node, "flush chain ip holdfast snat-mark");
    assert!(told(1000));
}

/// What `sysctl --system` does on a node whose files say so.
#[test]
fn settings_that_cut_pods_off_are_told_seen_and_put_back() {
    let vpc = vpc();
    let rt = runtime();
    vpc.serve();
    let (wiring, pod) = vpc.pod(2, "10.0.1.102", 2);
    let desired = HostDesired {
        enis: vec![first_eni(), second_eni()],
        pods: vec![wiring],
        nat: NatWanted::Table(nat_table()),
    };
    let diff = || {
        let seen = rt.block_on(vpc.host.observe(&desired.nat)).unwrap();
        holdfast_planner::host_diff(&desired, &seen, &Spared::default())
    };
    let told = |within: u64| {
        rt.block_on(async {
            tokio::time::timeout(Duration::from_millis(within), vpc.host.drifted()).await.is_ok()
        })
    };
    assert_eq!(diff(), []);
    let (eth0, eth1) = (HostAction::EnsureEni(first_eni()), HostAction::EnsureEni(second_eni()));
    node_port(&vpc.node, "10.0.1.102:7000");
    let server = udp(&pod, "10.0.1.102:7000");
    server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // A connection of its own each time.
    let asked = || exchange(&udp(&vpc.router, &format!("{INTERNET}:0")), &server, "10.0.0.10:30000");
    // Quiet: the kernel says late that a link has a carrier.
    while told(1500) {}
    for (setting, value, cut_off, mended) in [
        ("ip_forward", "0", true, HostAction::EnableForwarding),
        ("conf/eth0/rp_filter", "1", true, eth0),
        ("conf/eth1/rp_filter", "1", false, eth1),
    ] {
        asked().unwrap_or_else(|error| panic!("before {setting}: {error}"));
        sysctl(&vpc.node, &format!("ipv4/{setting}"), value);
        assert!(told(1000), "{setting} was not told");
        assert_eq!(asked().is_err(), cut_off, "{setting}");
        let actions = diff();
        assert_eq!(actions, std::slice::from_ref(&mended), "{setting}");
        vpc.apply(actions);
        assert_eq!(diff(), [], "{setting}");
        while told(50) {}
    }
    asked().unwrap();
    // A link that is no pod's and no ENI's is the host's own affair, and so is a check that asks for less.
    sysctl(&vpc.node, "ipv4/conf/all/rp_filter", "2");
    sysctl(&vpc.node, "ipv4/conf/eth1/rp_filter", "1");
    assert_eq!(diff(), [], "the greater of the two decides");
}

#[test]
fn namespaces_are_told_alive_gone_or_rebound() {
    let vpc = vpc();
    let rt = runtime();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("netns").display().to_string();
    let missing = rt.block_on(vpc.host.open_netns(path.clone())).unwrap_err();
    assert_eq!(
        missing.to_string(),
        format!("network namespace {path}: open {path}: No such file or directory")
    );
    let at = |path: &str, inode| NetnsRef { path: path.to_owned(), inode };
    assert_eq!(rt.block_on(vpc.host.liveness(at(&path, 1))), Liveness::Gone);
    std::fs::write(&path, "").unwrap();
    let fault = rt.block_on(vpc.host.open_netns(path.clone())).unwrap_err();
    assert!(fault.to_string().contains("not a network namespace"), "{fault}");
    assert_eq!(
        rt.block_on(vpc.host.liveness(at(&path, 1))),
        Liveness::Gone,
        "the mount is away, the file left"
    );

    let own = "/proc/self/ns/net".to_owned();
    let (_fd, reference) = rt.block_on(vpc.host.open_netns(own.clone())).unwrap();
    assert_eq!(rt.block_on(vpc.host.liveness(reference.clone())), Liveness::Alive);
    let rebound = NetnsRef { inode: reference.inode + 1, ..reference };
    assert_eq!(rt.block_on(vpc.host.liveness(rebound)), Liveness::Gone);
    assert!(POD_GATEWAY.is_link_local());
    assert!(socket(&vpc.node).route_to("10.0.0.1".parse().unwrap(), &Lookup::default()).unwrap().is_some());
}
