//! Pods with IPv6 addresses on the real kernel.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use holdfast_datapath::netlink::{
    Address, AddressFamily, Change, LinkRef, LinkSettings, Neighbour, NeighbourState, Route, RouteFilter,
    Rule,
};
use holdfast_datapath::{Host, HostOptions, Step, netns};
use holdfast_model::host::{
    EniWiring, HostAction, HostDesired, Ipv6Link, MAIN_TABLE, NatWanted, PROTOCOL, PodWiring, Way,
};
use holdfast_planner::Spared;
use holdfast_ports::host::{HostFault, HostNet};
use support::vpc::{PRIMARY, cable, first_eni, up};
use support::{Netns, address, dump, exchange, host, index, namespace, runtime, socket, sysctl, udp, wiring};

const V6: AddressFamily = AddressFamily::Inet6;
const ROUTER: &str = "fe80:ec2::1";
const INTERNET: &str = "2001:db8:ffff::1";
/// The prefix of the node, and the node's own.
const PREFIX: &str = "2001:db8:0:1:5::/80";
const OWN: &str = "2001:db8:0:1::a";

/// A node whose router has the internet behind it, as the VPC has it.
struct Vpc {
    node: Netns,
    router: Netns,
    host: Host,
}

fn primary() -> EniWiring {
    EniWiring { routes_ipv6: true, ..first_eni() }
}

fn here(netns: &Netns, link: &str, net: &str) {
    let address = Address { no_dad: true, ..Address::new(index(netns, link), net.parse().unwrap()) };
    socket(netns).apply(&Change::AddAddress(address)).unwrap();
}

fn read(netns: &Netns, name: &str) -> String {
    let path = format!("/proc/sys/net/{name}");
    netns::run_in(netns, || std::fs::read_to_string(&path)).unwrap().unwrap().trim().to_owned()
}

/// With a default route as the kernel makes it of an advertisement: it goes when the node begins to forward and does not
/// hear them any more.
fn vpc() -> Vpc {
    let (node, router) = (namespace(), namespace());
    cable(&node, &router, "eth0", PRIMARY, "r0");
    sysctl(&router, "ipv6/conf/all/forwarding", "1");
    up(&node, "eth0");
    address(&node, "eth0", "10.0.0.10/24");
    here(&node, "eth0", &format!("{OWN}/128"));
    here(&router, "r0", &format!("{ROUTER}/64"));
    here(&router, "lo", &format!("{INTERNET}/128"));
    let gateway = ROUTER.parse().unwrap();
    let mac = socket(&router).link(&LinkRef::Name("r0".into())).unwrap().unwrap().mac.unwrap();
    let (eth0, r0) = (index(&node, "eth0"), index(&router, "r0"));
    socket(&node)
        .apply_all(&[
            Change::PutNeighbour(Neighbour::permanent(eth0, gateway, mac)),
            Change::AddRoute(Route::default_via(MAIN_TABLE, gateway, eth0)),
        ])
        .unwrap();
    // The router delivers what is of the prefix to the ENI, which answers for it.
    let node_at = "fe80::a".parse().unwrap();
    socket(&router)
        .apply_all(&[
            Change::PutNeighbour(Neighbour::permanent(r0, node_at, PRIMARY)),
            Change::AddRoute(Route {
                to: "2001:db8:0:1::/64".parse().unwrap(),
                ..Route::default_via(MAIN_TABLE, node_at, r0)
            }),
        ])
        .unwrap();
    let host = host(&node);
    runtime().block_on(host.set_up_eni(primary())).unwrap();
    Vpc { node, router, host }
}

fn with_ways(wiring: PodWiring) -> PodWiring {
    let way = |to: &str, place| Way { to: to.parse().unwrap(), marked: false, place, by: Some(PRIMARY) };
    PodWiring { ways: vec![way("2001:db8:0:1::2", 1), way(INTERNET, 0)], ..wiring }
}

impl Vpc {
    fn pod(&self, number: u8) -> (PodWiring, Netns) {
        let wiring = with_ways(wiring(number, &format!("2001:db8:0:1:5::{number}"), MAIN_TABLE));
        let pod = namespace();
        runtime().block_on(self.host.wire_pod(wiring.clone(), pod.clone().into())).unwrap();
        (wiring, pod)
    }

    fn check(&self, wiring: &PodWiring, pod: &Netns) -> Vec<String> {
        runtime().block_on(self.host.check_pod(wiring.clone(), Some(pod.clone().into()))).unwrap()
    }

    fn remove(&self, wiring: &PodWiring) {
        let rt = runtime();
        rt.block_on(self.host.unwire_pod(wiring.clone())).unwrap();
        let removed = rt.block_on(self.host.remove_links(vec![wiring.clone()]));
        assert!(removed.iter().all(Result::is_ok), "{removed:?}");
    }

    fn observed(&self) -> holdfast_model::host::HostObserved {
        runtime().block_on(self.host.observe(&NatWanted::Absent)).unwrap()
    }

    /// What is to be done so that there are these pods.
    fn to_do(&self, pods: &[PodWiring]) -> Vec<HostAction> {
        let desired = HostDesired { enis: vec![primary()], pods: pods.into(), nat: NatWanted::Absent };
        holdfast_planner::host_diff(&desired, &self.observed(), &Spared::default())
    }
}

fn rules(netns: &Netns) -> Vec<Rule> {
    socket(netns).rules(V6).unwrap().into_iter().filter(|rule| rule.protocol == PROTOCOL).collect()
}

#[test]
fn a_pod_is_wired_with_its_prefix_gateway_and_neighbours_and_reads_back() {
    let vpc = vpc();
    let (wiring, pod) = vpc.pod(1);
    let own = "2001:db8:0:1:5::1/128".parse().unwrap();
    let near = socket(&vpc.node).link(&LinkRef::Name(wiring.host_veth.clone())).unwrap().unwrap();
    let far = socket(&pod).link(&LinkRef::Name("eth0".into())).unwrap().unwrap();
    assert_eq!((near.mac, near.mtu, near.up), (Some(wiring.host_mac), 9001, true));
    assert_eq!(near.ipv6.map(|now| (now.accept_ra, now.disable_ipv6)), Some((0, 0)));
    let addresses = socket(&pod).addresses_of(far.index, V6).unwrap();
    let has = addresses.iter().find(|address| address.net == own).unwrap();
    assert!(has.no_dad && !has.unusable, "{has:?}");
    let main = RouteFilter { table: Some(MAIN_TABLE), ..RouteFilter::default() };
    let inside = socket(&pod).routes(V6, main).unwrap();
    let gateway = "fe80::1".parse().unwrap();
    for wanted in [("fe80::1/128", None), ("::/0", Some(gateway))] {
        let there = inside.iter().any(|route| {
            (route.to.to_string().as_str(), route.via, route.link, route.metric)
                == (wanted.0, wanted.1, Some(far.index), None)
        });
        assert!(there, "{wanted:?}: {inside:?}");
    }
    assert!(socket(&pod).neighbours(V6).unwrap().contains(&Neighbour::permanent(
        far.index,
        gateway,
        wiring.host_mac
    )));
    let of_pod = Neighbour::permanent(near.index, wiring.address, far.mac.unwrap());
    assert!(socket(&vpc.node).neighbours(V6).unwrap().contains(&of_pod));
    let to = Rule { ipv6: true, to: Some(own), protocol: PROTOCOL, ..Rule::new(512, MAIN_TABLE) };
    assert_eq!(rules(&vpc.node), [to], "by the main table in both directions");
    assert_eq!(vpc.check(&wiring, &pod), Vec::<String>::new());
    let no_ipv4 = socket(&pod).addresses_of(far.index, AddressFamily::Inet).unwrap();
    assert_eq!(no_ipv4, []);
}

/// At once, without a wait for addresses to be proven: from the host, from another pod, from and to what is outside.
/// A process that dies in between leaves what the next one sees is not whole.
#[test]
fn the_host_knows_the_pod_before_anything_else_of_it_is_there() {
    let (node, pod) = (namespace(), namespace());
    let pod_wiring = PodWiring { ways: Vec::new(), ..wiring(1, "2001:db8:0:1:5::1", MAIN_TABLE) };
    let (at, seen) = (node.clone(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&seen);
    let interrupt = move |step| {
        if step == Step::PodSide {
            let known = socket(&at).neighbours(V6).unwrap();
            let known = known.iter().filter(|entry| entry.state == NeighbourState::Permanent).count();
            count.store(known, Ordering::SeqCst);
        }
        Ok(())
    };
    let options =
        HostOptions { netns: Some(node), interrupt: Some(Arc::new(interrupt)), ..HostOptions::default() };
    let host = Host::new(options).unwrap();
    runtime().block_on(host.wire_pod(pod_wiring, pod.into())).unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[test]
fn packets_pass_from_the_first_one_on() {
    let vpc = vpc();
    let (_, first) = vpc.pod(1);
    let in_first = udp(&first, "[2001:db8:0:1:5::1]:7000");
    let on_host = udp(&vpc.node, &format!("[{OWN}]:7000"));
    assert_eq!(exchange(&on_host, &in_first, "[2001:db8:0:1:5::1]:7000").unwrap().to_string(), OWN);
    let (_, second) = vpc.pod(2);
    let in_second = udp(&second, "[2001:db8:0:1:5::2]:7000");
    for (from, server, to, seen) in [
        (&in_second, &in_first, "[2001:db8:0:1:5::1]:7000", "2001:db8:0:1:5::2"),
        (
            &in_first,
            &udp(&vpc.router, &format!("[{INTERNET}]:7000")),
            "[2001:db8:ffff::1]:7000",
            "2001:db8:0:1:5::1",
        ),
        (&udp(&vpc.router, &format!("[{INTERNET}]:7001")), &in_second, "[2001:db8:0:1:5::2]:7000", INTERNET),
        (&in_first, &on_host, &format!("[{OWN}]:7000"), "2001:db8:0:1:5::1"),
    ] {
        assert_eq!(
            exchange(from, server, to).unwrap_or_else(|error| panic!("{to}: {error}")).to_string(),
            seen
        );
    }
}

#[test]
fn check_names_each_difference_and_what_is_the_hosts_is_put_right() {
    let vpc = vpc();
    let (wiring, pod) = vpc.pod(1);
    let near = index(&vpc.node, &wiring.host_veth);
    let far = index(&pod, "eth0");
    let own = "2001:db8:0:1:5::1/128".parse().unwrap();
    let name = &wiring.host_veth;
    let rule = Rule { ipv6: true, to: Some(own), protocol: PROTOCOL, ..Rule::new(512, MAIN_TABLE) };
    let on_host: [(&dyn Fn(), String); 5] = [
        (
            &|| socket(&vpc.node).apply(&Change::DeleteRule(rule.clone())).unwrap(),
            "rule 512 to 2001:db8:0:1:5::1/128 lookup 254 is missing".to_owned(),
        ),
        (
            &|| {
                let route = Route::on_link(MAIN_TABLE, own, near).by(PROTOCOL);
                socket(&vpc.node).apply(&Change::DeleteRoute(route)).unwrap();
            },
            format!("route to 2001:db8:0:1:5::1/128 dev #{near} is missing"),
        ),
        (
            &|| sysctl(&vpc.node, &format!("ipv6/conf/{name}/accept_ra"), "2"),
            format!("host link {name} has accept_ra 2 instead of 0"),
        ),
        (
            &|| sysctl(&vpc.node, &format!("ipv6/conf/{name}/disable_ipv6"), "1"),
            format!("IPv6 is off on host link {name}"),
        ),
        (
            &|| {
                let stray = Rule { table: 77, ..rule.clone() };
                let down = Change::SetLink(LinkRef::Index(near), LinkSettings::down());
                socket(&vpc.node).apply_all(&[Change::AddRule(stray), down]).unwrap();
            },
            "rule 512 to 2001:db8:0:1:5::1/128 lookup 77 is in the way".to_owned(),
        ),
    ];
    for (damage, words) in on_host {
        damage();
        let found = vpc.check(&wiring, &pod);
        assert!(found.contains(&words), "{words}: {found:?}");
        let to_do = vpc.to_do(std::slice::from_ref(&wiring));
        assert!(!to_do.is_empty(), "{words}");
        runtime().block_on(vpc.host.apply(to_do)).unwrap();
        assert_eq!(vpc.to_do(std::slice::from_ref(&wiring)), [], "{words}");
        assert_eq!(vpc.check(&wiring, &pod), Vec::<String>::new(), "after {words}");
    }
    let gateway = Neighbour::permanent(far, "fe80::1".parse().unwrap(), wiring.host_mac);
    let in_pod = [
        (Change::DeleteNeighbour(gateway), "the neighbour entry fe80::1 -> 02:00:00:00:01:01 is missing"),
        (
            Change::AddRoute(Route::on_link(MAIN_TABLE, "2001:db8:ffff::/48".parse().unwrap(), far)),
            "in the sandbox packets to 2001:db8:ffff::1 do not go through fe80::1 but by route to \
             2001:db8:ffff::1/128 dev eth0 table 254",
        ),
        (Change::DeleteAddress(Address::new(far, own)), "eth0 lacks the address 2001:db8:0:1:5::1"),
    ];
    for (change, words) in in_pod {
        socket(&pod).apply(&change).unwrap();
        let found = vpc.check(&wiring, &pod);
        assert!(found.iter().any(|found| found == words), "{words}: {found:?}");
    }
}

#[test]
fn whoever_diverts_packets_is_named() {
    let vpc = vpc();
    let (wiring, pod) = vpc.pod(1);
    let foreign = Rule { ipv6: true, from: Some(PREFIX.parse().unwrap()), ..Rule::new(100, 77) };
    let nowhere = Route {
        kind: holdfast_datapath::netlink::RouteType::BlackHole,
        ..Route::on_link(77, "::/0".parse().unwrap(), index(&vpc.node, "lo"))
    };
    socket(&vpc.node).apply_all(&[Change::AddRoute(nowhere), Change::AddRule(foreign)]).unwrap();
    let found = vpc.check(&wiring, &pod);
    assert!(
        found.iter().any(|found| found.contains("a foreign rule 100 from 2001:db8:0:1:5::/80")),
        "{found:?}"
    );
    let diverted = runtime().block_on(vpc.host.diverted(vec![wiring])).unwrap();
    assert_eq!(diverted.len(), 1, "{diverted:?}");
}

/// Removed twice, wired twice: nothing of ours is left, and nothing of others is touched.
#[test]
fn wire_again_and_unwire_again_are_the_same_as_once() {
    let vpc = vpc();
    let link = index(&vpc.node, "eth0");
    let pod = Some("2001:db8:0:1:5::1/128".parse().unwrap());
    socket(&vpc.node)
        .apply_all(&[
            Change::AddRule(Rule { ipv6: true, to: pod, ..Rule::new(512, 99) }),
            Change::AddRoute(Route::on_link(MAIN_TABLE, "2001:db8:99::/48".parse().unwrap(), link)),
        ])
        .unwrap();
    let before = dump(&vpc.node);
    let (wiring, netns) = vpc.pod(1);
    for _ in 0..2 {
        runtime().block_on(vpc.host.wire_pod(wiring.clone(), netns.clone().into())).unwrap();
        assert_eq!(vpc.check(&wiring, &netns), Vec::<String>::new());
    }
    for _ in 0..2 {
        vpc.remove(&wiring);
        assert_eq!(dump(&vpc.node), before, "what is not ours has changed, or something of ours is left");
    }
}

#[test]
fn the_node_forwards_and_keeps_the_way_out_that_it_has_heard_of() {
    let (node, router) = (namespace(), namespace());
    cable(&node, &router, "eth0", PRIMARY, "r0");
    for (name, value) in [
        ("ipv6/conf/all/disable_ipv6", "1"),
        ("ipv6/conf/all/forwarding", "0"),
        ("ipv6/conf/eth0/accept_ra", "1"),
    ] {
        sysctl(&node, name, value);
    }
    up(&node, "eth0");
    let host = host(&node);
    let rt = runtime();
    rt.block_on(host.ensure_forwarding()).unwrap();
    rt.block_on(host.set_up_eni(first_eni())).unwrap();
    assert_eq!(read(&node, "ipv6/conf/all/disable_ipv6"), "1", "of no concern to a node of IPv4");
    rt.block_on(host.set_up_eni(primary())).unwrap();
    let settings = ["ipv6/conf/all/disable_ipv6", "ipv6/conf/eth0/accept_ra", "ipv6/conf/all/forwarding"];
    assert_eq!(settings.map(|name| read(&node, name)), ["0", "2", "1"]);
    let seen = rt.block_on(host.observe(&NatWanted::Absent)).unwrap();
    assert_eq!(
        (seen.ipv6.forwarding, seen.ipv6.off, seen.ipv6.way_out),
        (Some(true), Some(false), Some(false))
    );
    let eth0 = seen.links.iter().find(|link| link.name == "eth0").unwrap();
    assert_eq!(eth0.ipv6, Some(Ipv6Link { accept_ra: Ipv6Link::ALWAYS_HEARS, off: false }));
    // Others undo it: that is seen, and put right.
    let desired = HostDesired { enis: vec![primary()], pods: Vec::new(), nat: NatWanted::Absent };
    for (name, value) in [("ipv6/conf/all/forwarding", "0"), ("ipv6/conf/eth0/accept_ra", "0")] {
        sysctl(&node, name, value);
        let seen = rt.block_on(host.observe(&NatWanted::Absent)).unwrap();
        let to_do = holdfast_planner::host_diff(&desired, &seen, &Spared::default());
        assert_eq!(to_do, [HostAction::EnsureEni(primary())], "{name}");
        rt.block_on(host.apply(to_do)).unwrap();
        assert_eq!(settings.map(|name| read(&node, name)), ["0", "2", "1"], "{name}");
    }
}

#[test]
fn changes_by_others_are_told() {
    let vpc = vpc();
    let (wiring, _pod) = vpc.pod(1);
    let own = "2001:db8:0:1:5::1/128".parse().unwrap();
    let near = index(&vpc.node, &wiring.host_veth);
    let rule = Rule { ipv6: true, to: Some(own), protocol: PROTOCOL, ..Rule::new(512, MAIN_TABLE) };
    let rt = runtime();
    let told = |limit| rt.block_on(async { tokio::time::timeout(limit, vpc.host.drifted()).await.is_ok() });
    let changes: [&dyn Fn(); 3] = [
        &|| socket(&vpc.node).apply(&Change::DeleteRule(rule.clone())).unwrap(),
        &|| {
            let route = Route::on_link(MAIN_TABLE, own, near).by(PROTOCOL);
            socket(&vpc.node).apply(&Change::DeleteRoute(route)).unwrap();
        },
        &|| sysctl(&vpc.node, "ipv6/conf/all/forwarding", "0"),
    ];
    while told(Duration::from_millis(1500)) {}
    let (other, netns) = vpc.pod(2);
    vpc.remove(&other);
    drop(netns);
    assert!(!told(Duration::from_millis(1500)), "what we did ourselves, and the kernel for it, is no drift");
    for (number, change) in changes.into_iter().enumerate() {
        while told(Duration::from_millis(300)) {}
        change();
        assert!(told(Duration::from_secs(5)), "change {number} was not told");
    }
}

/// What would be a pod without a network is a failure in words, and leaves nothing.
#[test]
fn a_sandbox_in_which_ipv6_is_off_is_a_clear_failure() {
    let vpc = vpc();
    let before = dump(&vpc.node);
    let pod = namespace();
    for scope in ["all", "default"] {
        sysctl(&pod, &format!("ipv6/conf/{scope}/disable_ipv6"), "1");
    }
    let wiring = wiring(1, "2001:db8:0:1:5::1", MAIN_TABLE);
    let fault = runtime().block_on(vpc.host.wire_pod(wiring, pod.into())).unwrap_err();
    assert!(matches!(fault, HostFault::Refused { .. }), "{fault:?}");
    assert!(fault.to_string().contains("2001:db8:0:1:5::1"), "{fault}");
    assert_eq!(dump(&vpc.node), before);
}

/// What is still sent to a pod that is gone does not reach the next one with its address.
#[test]
fn connections_of_a_pod_that_is_gone_are_forgotten() {
    let vpc = vpc();
    // Whoever filters by connection has the kernel follow them.
    support::nft(
        &vpc.node,
        "add table ip6 filter; add chain ip6 filter f { type filter hook forward priority 0; }",
    );
    support::nft(&vpc.node, "add rule ip6 filter f ct state established accept");
    let (wiring, pod) = vpc.pod(1);
    let in_pod = udp(&pod, "[2001:db8:0:1:5::1]:7000");
    let server = udp(&vpc.router, &format!("[{INTERNET}]:7000"));
    exchange(&in_pod, &server, "[2001:db8:ffff::1]:7000").unwrap();
    let connections = || {
        let all = || std::fs::read_to_string("/proc/thread-self/net/nf_conntrack");
        let all = netns::run_in(&vpc.node, all).unwrap().expect("this kernel shows its connections");
        all.lines().filter(|line| line.contains("2001:0db8:0000:0001:0005")).count()
    };
    assert_eq!(connections(), 1);
    vpc.remove(&wiring);
    assert_eq!(connections(), 0);
}
