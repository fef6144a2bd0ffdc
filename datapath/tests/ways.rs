//! The ways of a pod's packets, asked of the real kernel: what takes them elsewhere is found and named.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::IpAddr;

use holdfast_datapath::netlink::{Change, LinkRef, Route, RouteScope, RouteType, Rule};
use holdfast_model::host::{HostAction, MAIN_TABLE, PROTOCOL, PodWiring, Way};
use holdfast_ports::host::{HostFault, HostNet};
use support::vpc::{INTERNET, Vpc, marked, vpc};
use support::{Netns, address, dump, index, namespace, runtime, socket, sysctl, wiring};

/// One inside the VPC, one outside.
fn with_ways(wiring: PodWiring) -> PodWiring {
    let way = |to: &str, marked| Way { to: to.parse().unwrap(), marked, one_of_several: marked };
    PodWiring { ways: vec![way("10.0.0.2", false), way(INTERNET, true), way("9.9.9.9", true)], ..wiring }
}

fn pods() -> [PodWiring; 2] {
    [(1, "10.0.0.101", MAIN_TABLE), (2, "10.0.1.102", 2)]
        .map(|(number, at, table)| with_ways(wiring(number, at, table)))
}

fn blackhole(table: u32, to: &str) -> Change {
    Change::AddRoute(Route {
        kind: RouteType::BlackHole,
        link: None,
        scope: RouteScope::Universe,
        ..Route::on_link(table, to.parse().unwrap(), 0)
    })
}

fn from(priority: u32, net: &str, table: u32) -> Rule {
    Rule { from: Some(net.parse().unwrap()), ..Rule::new(priority, table) }
}

fn to(priority: u32, net: &str, table: u32) -> Rule {
    Rule { to: Some(net.parse().unwrap()), ..Rule::new(priority, table) }
}

/// What others have done to the way of the pod on the second ENI, and what is to be said of it.
fn damages(vpc: &Vpc) -> Vec<(Vec<Change>, Vec<&'static str>)> {
    let primary = index(&vpc.node, "eth0");
    let by_primary = |table| {
        let gateway: IpAddr = "10.0.0.1".parse().unwrap();
        Change::AddRoute(Route { onlink: true, ..Route::default_via(table, gateway, primary) })
    };
    let of_table = |to: &str, via: Option<&str>| {
        let route = match via {
            Some(via) => Route::default_via(2, via.parse().unwrap(), index(&vpc.node, "eth1")),
            None => Route::on_link(2, to.parse().unwrap(), index(&vpc.node, "eth1")),
        };
        Change::DeleteRoute(route.by(PROTOCOL))
    };
    vec![
        (
            vec![blackhole(99, "0.0.0.0/0"), Change::AddRule(from(700, "10.0.0.0/16", 99))],
            vec![
                "packets from 10.0.1.102 to 10.0.0.2 do not go by table 2 but nowhere",
                "a foreign rule 700 from 10.0.0.0/16 lookup 99, whose table has blackhole route to 0.0.0.0/0",
            ],
        ),
        (
            // Left by another stack, at the place where ours would be.
            vec![by_primary(77), Change::AddRule(from(1536, "10.0.1.102/32", 77))],
            vec!["10.0.0.2 do not go by table 2", "a foreign rule 1536 from 10.0.1.102/32 lookup 77"],
        ),
        (
            vec![blackhole(77, "0.0.0.0/0"), Change::AddRule(to(512, "10.0.1.102/32", 77))],
            vec![
                "packets of the host's to 10.0.1.102 do not go to eni",
                "rule 512 to 10.0.1.102/32 lookup 77",
            ],
        ),
        (
            vec![
                blackhole(98, "0.0.0.0/0"),
                Change::AddRule(Rule { mark: Some((0x80, 0x80)), ..Rule::new(900, 98) }),
            ],
            vec!["203.0.113.1 (marked 0x80) do not go by table 254", "rule 900 fwmark 0x80/0x80 lookup 98"],
        ),
        (
            // Takes answers to the pod elsewhere, so that the kernel does not believe the pod's own packets.
            vec![
                by_primary(77),
                Change::AddRule(Rule {
                    from: Some("10.0.0.2/32".parse().unwrap()),
                    ..to(400, "10.0.1.102/32", 77)
                }),
            ],
            vec![
                "packets from 10.0.1.102 to 10.0.0.2 do not go by table 2 but nowhere: they are not taken in by eni",
                "a foreign rule 400 from 10.0.0.2/32 to 10.0.1.102/32 lookup 77",
            ],
        ),
        (
            vec![blackhole(2, "10.0.0.0/24")],
            vec!["our rule 1536 from 10.0.1.102/32 lookup 2", "blackhole route to 10.0.0.0/24"],
        ),
        (
            vec![of_table("", Some("10.0.1.1")), of_table("10.0.1.1/32", None)],
            vec!["10.0.0.2 do not go by table 2 but by route to", "the kernel's own rule 32766 lookup 254"],
        ),
    ]
}

#[test]
fn a_pod_whose_packets_go_elsewhere_is_not_answered_for_and_what_takes_them_is_named() {
    let count = damages(&vpc()).len();
    for which in 0..count {
        let (vpc, rt) = (vpc(), runtime());
        vpc.serve();
        let [_, second] = pods();
        // One that is there before, and one that comes.
        let standing = vpc.pod_of(with_ways(wiring(3, "10.0.1.103", 2)));
        let (changes, words) = damages(&vpc).swap_remove(which);
        socket(&vpc.node).apply_all(&changes).unwrap();
        let before = dump(&vpc.node);
        let fault = rt.block_on(vpc.host.wire_pod(second.clone(), namespace().into())).unwrap_err();
        let HostFault::ReadBack(told) = &fault else { panic!("{which}: {fault:?}") };
        for words in &words {
            assert!(told.contains(words), "{which}: {words}: {told}");
        }
        assert_eq!(dump(&vpc.node), before, "{which}: nothing is left of it");
        let (wiring, netns) = standing;
        let found = rt.block_on(vpc.host.check_pod(wiring, Some(netns.into()))).unwrap();
        let of_one = words.iter().any(|words| words.contains("10.0.1.102"));
        assert!(of_one || !found.is_empty(), "{which}: CHECK says nothing");
    }
}

/// A damage to one pod's way is told by CHECK of that pod, too.
#[test]
fn check_says_what_took_a_pods_way() {
    let (vpc, rt) = (vpc(), runtime());
    vpc.serve();
    let [_, second] = pods();
    let (wiring, netns) = vpc.pod_of(second);
    let check = || rt.block_on(vpc.host.check_pod(wiring.clone(), Some(netns.clone().into()))).unwrap();
    assert_eq!(check(), Vec::<String>::new());
    let foreign = from(1000, "10.0.1.102/32", 99);
    socket(&vpc.node).apply_all(&[blackhole(99, "0.0.0.0/0"), Change::AddRule(foreign.clone())]).unwrap();
    let found = check().join("\n");
    assert!(found.contains("a foreign rule 1000 from 10.0.1.102/32 lookup 99"), "{found}");
    socket(&vpc.node).apply(&Change::DeleteRule(foreign)).unwrap();
    assert_eq!(check(), Vec::<String>::new());
    // A rule of somebody's that takes none of the pod's packets is nobody's affair.
    socket(&vpc.node).apply(&Change::AddRule(from(1000, "10.0.1.77/32", 99))).unwrap();
    assert_eq!(check(), Vec::<String>::new());
    vpc.apply(vec![HostAction::RemoveRule(marked())]);
    let found = check().join("\n");
    assert!(found.contains("(marked 0x80) do not go by table 254 but by route to"), "{found}");
}

fn ip(vpc: &Vpc, words: &str) {
    let run = || std::process::Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(holdfast_datapath::netns::run_in(&vpc.node, run).unwrap().success(), "{words}");
}

/// Whatever it does with them.
#[test]
fn rules_that_drop_and_rules_that_are_turned_round_are_named_too() {
    let (vpc, rt) = (vpc(), runtime());
    vpc.serve();
    let [_, second] = pods();
    let (wiring, _sandbox) = vpc.pod_of(second);
    let primary = Route::default_via(97, "10.0.0.1".parse().unwrap(), index(&vpc.node, "eth0"));
    let by_primary = Change::AddRoute(Route { onlink: true, ..primary });
    socket(&vpc.node).apply_all(&[blackhole(99, "0.0.0.0/0"), by_primary]).unwrap();
    // What the packets that are asked for do not meet takes none of them, though it comes first.
    for innocent in [
        "ipproto tcp blackhole",
        "dport 53 lookup 99",
        "sport 53 lookup 99",
        "tos 0x10 blackhole",
        "oif eth0 lookup 99",
        "uidrange 1000-2000 blackhole",
        "lookup 97 suppress_prefixlength 0",
    ] {
        ip(&vpc, &format!("rule add priority 300 {innocent}"));
    }
    for (rule, words) in [
        ("from 10.0.1.102 blackhole", "nowhere: a foreign rule 400 from 10.0.1.102/32 blackhole"),
        ("from 10.0.0.0/16 prohibit", "nowhere: a foreign rule 400 from 10.0.0.0/16 prohibit"),
        ("to 10.0.0.0/30 unreachable", "nowhere: a foreign rule 400 to 10.0.0.0/30 unreachable"),
        (
            "not from 10.9.0.0/16 lookup 99",
            "a foreign rule 400 not from 10.9.0.0/16 lookup 99, whose table has blackhole",
        ),
        (
            "to 10.0.1.102 iif eth1 lookup 97",
            "a foreign rule 400 to 10.0.1.102/32 iif eth1 lookup 97, whose table has route to 0.0.0.0/0 via 10.0.0.1 dev eth0",
        ),
    ] {
        ip(&vpc, &format!("rule add priority 400 {rule}"));
        let found = rt.block_on(vpc.host.diverted(vec![wiring.clone()])).unwrap();
        assert!(found.len() == 1 && found[0].1.contains(words), "{rule}: {found:?}");
        ip(&vpc, &format!("rule del priority 400 {rule}"));
    }
    assert_eq!(rt.block_on(vpc.host.diverted(vec![wiring])).unwrap(), Vec::new());
}

/// A pod goes while the kernel is asked about it, and the others are told of all the same.
#[test]
fn a_pod_that_goes_meanwhile_hides_no_other() {
    let (vpc, rt) = (vpc(), runtime());
    vpc.serve();
    let [first, second] = pods();
    let (diverted, _sandbox) = vpc.pod_of(second);
    let takes = from(700, "10.0.1.102/32", 99);
    socket(&vpc.node).apply_all(&[blackhole(99, "0.0.0.0/0"), Change::AddRule(takes)]).unwrap();
    // So often that it goes in the midst of every question there is.
    for round in 0..40 {
        let (going, its_sandbox) = (first.clone(), namespace());
        rt.block_on(vpc.host.wire_pod(going.clone(), its_sandbox.clone().into())).unwrap();
        let asked = std::iter::repeat_n(&going, 400).chain([&diverted]).cloned().collect();
        let link = index(&vpc.node, &going.host_veth);
        let node = vpc.node.clone();
        let goes = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_micros(1000 + 97 * round));
            socket(&node).apply(&Change::DeleteLink(LinkRef::Index(link))).unwrap();
        });
        let found = rt.block_on(vpc.host.diverted(asked)).unwrap();
        goes.join().unwrap();
        assert!(found.iter().any(|(alias, _)| *alias == diverted.alias), "{round}: {} found", found.len());
    }
}

/// Ranges that are nobody's are often sent nowhere, and pods miss nothing.
#[test]
fn what_takes_one_destination_outside_and_not_all_cuts_nobody_off() {
    let (vpc, rt) = (vpc(), runtime());
    vpc.serve();
    let range = blackhole(MAIN_TABLE, "203.0.113.0/24");
    socket(&vpc.node).apply(&range).unwrap();
    let pods = pods().map(|wiring| vpc.pod_of(wiring));
    let asked: Vec<_> = pods.iter().map(|(wiring, _)| wiring.clone()).collect();
    assert_eq!(rt.block_on(vpc.host.diverted(asked.clone())).unwrap(), Vec::new());
    socket(&vpc.node).apply(&blackhole(MAIN_TABLE, "9.0.0.0/8")).unwrap();
    let found = rt.block_on(vpc.host.diverted(asked)).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].1.starts_with("packets from 10.0.0.101 to 203.0.113.1 (marked 0x80) do not go by"),
        "{found:?}"
    );
}

/// Of pods that run it is asked without being asked for by a runtime: each whose packets go elsewhere, and no other.
#[test]
fn of_running_pods_those_are_named_whose_packets_others_send_elsewhere() {
    let (vpc, rt) = (vpc(), runtime());
    vpc.serve();
    let (running, _sandboxes): (Vec<_>, Vec<_>) = (0..13_u8)
        .map(|number| {
            let address = format!("10.0.1.{}", 110 + number);
            vpc.pod_of(with_ways(wiring(10 + number, &address, 2)))
        })
        .unzip();
    let absent = with_ways(wiring(40, "10.0.1.140", 2));
    let asked: Vec<_> = running.iter().cloned().chain([absent]).collect();
    let diverted = || rt.block_on(vpc.host.diverted(asked.clone())).unwrap();
    assert_eq!(diverted(), Vec::new());
    let one = from(1000, "10.0.1.111/32", 99);
    socket(&vpc.node).apply_all(&[blackhole(99, "0.0.0.0/0"), Change::AddRule(one.clone())]).unwrap();
    let found = diverted();
    assert_eq!(found.iter().map(|(alias, _)| alias).collect::<Vec<_>>(), [&running[1].alias]);
    assert!(found[0].1.contains("a foreign rule 1000 from 10.0.1.111/32 lookup 99"), "{found:?}");
    let all = from(900, "10.0.1.0/24", 99);
    socket(&vpc.node).apply(&Change::AddRule(all.clone())).unwrap();
    let found = diverted();
    assert_eq!(found.len(), running.len(), "{found:?}");
    assert!(found[9].1.contains("a foreign rule 900 from 10.0.1.0/24 lookup 99"), "{found:?}");
    assert_eq!(found[12].1, "packets from or to 10.0.1.122 go elsewhere, like those of 10.0.1.110");
    socket(&vpc.node).apply_all(&[Change::DeleteRule(one), Change::DeleteRule(all)]).unwrap();
    assert_eq!(diverted(), Vec::new());
}

#[test]
fn what_diverts_packets_inside_the_sandbox_is_told() {
    let (vpc, rt) = (vpc(), runtime());
    vpc.serve();
    let [first, _] = pods();
    let (wiring, netns) = vpc.pod_of(first);
    let check = || rt.block_on(vpc.host.check_pod(wiring.clone(), Some(netns.clone().into()))).unwrap();
    assert_eq!(check(), Vec::<String>::new());
    let aside = Route::on_link(MAIN_TABLE, "10.0.0.0/16".parse().unwrap(), index(&netns, "lo"));
    socket(&netns).apply(&Change::AddRoute(aside)).unwrap();
    let found = check();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("in the sandbox packets to 10.0.0.2 do not go through 169.254.1.1 but by route")
    );
}

/// With the strictest source check that a node may have, on either ENI.
#[test]
fn what_is_as_it_should_be_passes_whatever_the_node_checks() {
    for strictness in ["0", "1", "2"] {
        let (vpc, rt) = (vpc(), runtime());
        for link in ["all", "default"] {
            sysctl(&vpc.node, &format!("ipv4/conf/{link}/rp_filter"), strictness);
        }
        vpc.serve();
        for wiring in pods() {
            let netns: Netns = namespace();
            rt.block_on(vpc.host.wire_pod(wiring.clone(), netns.clone().into())).unwrap();
            assert_eq!(
                rt.block_on(vpc.host.check_pod(wiring, Some(netns.into()))).unwrap(),
                Vec::<String>::new()
            );
        }
    }
}

#[test]
fn a_pods_address_that_the_host_itself_bears_is_told_as_that() {
    let (vpc, rt) = (vpc(), runtime());
    vpc.serve();
    let [_, second] = pods();
    address(&vpc.node, "lo", "10.0.1.102/32");
    let before = dump(&vpc.node);
    let fault = rt.block_on(vpc.host.wire_pod(second, namespace().into())).unwrap_err();
    assert_eq!(fault, HostFault::ReadBack("the host itself bears 10.0.1.102: take it off there".to_owned()));
    assert_eq!(dump(&vpc.node), before);
}
