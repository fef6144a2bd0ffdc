//! A pod with an interface on each of two network cards, on the real kernel: what is sent from one's address leaves by its card's
//! ENI and no other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::IpAddr;
use std::sync::Arc;

use holdfast_datapath::netlink::{
    Address, AddressFamily, Change, LinkRef, LinkSettings, Neighbour, Route, Rule,
};
use holdfast_datapath::{Host, HostOptions, Step};
use holdfast_model::eni::EniSlot;
use holdfast_model::host::{EniWiring, HostAction, LinkAlias, MAIN_TABLE, PodWiring, Way};
use holdfast_model::ids::MacAddr;
use holdfast_ports::host::{HostFault, HostNet, Liveness};
use support::vpc::{INTERNET, PRIMARY, SECOND, Vpc, first_eni, marked, nat_table, second_eni, vpc};
use support::{Netns, dump, exchange, index, namespace, runtime, socket, udp, wiring};

const FIRST: &str = "10.0.0.101";
const FURTHER: &str = "10.0.1.102";

/// The second ENI sits on another card: its table has that one's number.
fn on_card_one() -> EniWiring {
    EniWiring { slot: EniSlot { card: 1, device: 1 }, ..second_eni() }
}

/// The pod's interfaces: one on the primary ENI, one on the other card's.
fn faces() -> [PodWiring; 2] {
    let ways = |by| {
        let inside = Way { to: "10.0.0.2".parse().unwrap(), marked: false, place: 1, by: Some(by) };
        let outside = Way { to: INTERNET.parse().unwrap(), marked: true, place: 0, by: Some(PRIMARY) };
        vec![inside, outside]
    };
    let first = PodWiring { ways: ways(PRIMARY), ..wiring(1, FIRST, MAIN_TABLE) };
    let further = PodWiring {
        alias: LinkAlias::parse("holdfast:sandbox1:mNicIf1:aws-cni").unwrap(),
        ifname: "mNicIf1".into(),
        number: 1,
        ways: ways(SECOND),
        ..wiring(2, FURTHER, 10_101)
    };
    [first, further]
}

/// The router delivers each address to the ENI that has it.
fn delivered(vpc: &Vpc) {
    for (at, link, eni) in [(FIRST, "r0", "10.0.0.10"), (FURTHER, "r1", "10.0.1.20")] {
        let by = Route::default_via(MAIN_TABLE, eni.parse().unwrap(), index(&vpc.router, link));
        let to = Route { to: format!("{at}/32").parse().unwrap(), ..by };
        socket(&vpc.router).apply(&Change::AddRoute(to)).unwrap();
    }
}

fn multi_homed() -> (Vpc, Netns) {
    let (vpc, pod) = (vpc(), namespace());
    vpc.apply(vec![
        HostAction::EnsureEni(first_eni()),
        HostAction::EnsureEni(on_card_one()),
        HostAction::EnsureRule(marked()),
        HostAction::ReplaceNat(nat_table()),
    ]);
    for face in faces() {
        runtime().block_on(vpc.host.wire_pod(face, pod.clone().into())).unwrap();
    }
    delivered(&vpc);
    (vpc, pod)
}

fn check(host: &Host, face: &PodWiring, pod: &Netns) -> Vec<String> {
    runtime().block_on(host.check_pod(face.clone(), Some(pod.clone().into()))).unwrap()
}

/// The router takes a packet from nobody but the link that its source belongs to.
#[test]
fn what_is_sent_from_an_address_leaves_by_its_cards_eni() {
    let (vpc, pod) = multi_homed();
    let server = udp(&vpc.router, "10.0.0.1:53");
    for at in [FIRST, FURTHER] {
        let client = udp(&pod, &format!("{at}:0"));
        let seen = exchange(&client, &server, "10.0.0.1:53");
        assert_eq!(seen, Ok(at.parse::<IpAddr>().unwrap()), "bound to {at}");
    }
    // What is bound to nothing is the first one's.
    let unbound = udp(&pod, "0.0.0.0:0");
    assert_eq!(exchange(&unbound, &server, "10.0.0.1:53"), Ok(FIRST.parse().unwrap()));
    // Out of the VPC all of it leaves as the node, by the primary ENI.
    let outside = udp(&vpc.router, &format!("{INTERNET}:53"));
    for at in [FIRST, FURTHER] {
        let client = udp(&pod, &format!("{at}:0"));
        assert_eq!(exchange(&client, &outside, &format!("{INTERNET}:53")), Ok(vpc_node()), "bound to {at}");
    }
    // From outside each address is reached.
    for at in [FIRST, FURTHER] {
        let in_pod = udp(&pod, &format!("{at}:80"));
        let peer = udp(&vpc.router, "10.0.0.1:0");
        assert_eq!(exchange(&peer, &in_pod, &format!("{at}:80")), Ok("10.0.0.1".parse().unwrap()));
    }
}

fn vpc_node() -> IpAddr {
    "10.0.0.10".parse().unwrap()
}

#[test]
fn each_part_of_a_further_interface_is_read_back() {
    let (vpc, pod) = multi_homed();
    let [first, further] = faces();
    for face in [&first, &further] {
        assert_eq!(check(&vpc.host, face, &pod), Vec::<String>::new());
    }
    let inside = index(&pod, "mNicIf1");
    let gateway: IpAddr = "169.254.1.2".parse().unwrap();
    let rule = Rule { from: Some(format!("{FURTHER}/32").parse().unwrap()), ..Rule::new(1, 1) };
    let default = Route::default_via(1, gateway, inside);
    let neighbour = Neighbour::permanent(inside, gateway, MacAddr([2, 0, 0, 0, 9, 9]));
    let down = LinkSettings { up: Some(false), ..LinkSettings::default() };
    let damages: [(Change, &str); 5] = [
        (Change::DeleteRule(rule), "rule 1 from 10.0.1.102/32 lookup 1 is missing in the sandbox"),
        (Change::DeleteRoute(default), "169.254.1.2"),
        (Change::PutNeighbour(neighbour), "the neighbour entry 169.254.1.2"),
        (
            Change::DeleteAddress(Address::new(inside, format!("{FURTHER}/32").parse().unwrap())),
            "lacks the address",
        ),
        (Change::SetLink(LinkRef::Index(inside), down), "mNicIf1 is down"),
    ];
    for (damage, words) in damages {
        let (vpc, pod) = multi_homed();
        // Indexes in a fresh sandbox are the same.
        assert_eq!(index(&pod, "mNicIf1"), inside);
        socket(&pod).apply(&damage).unwrap();
        let found = check(&vpc.host, &further, &pod);
        assert!(found.iter().any(|found| found.contains(words)), "{damage}: {found:?}");
        assert_eq!(check(&vpc.host, &first, &pod), Vec::<String>::new(), "the first is as it was");
    }
}

/// Somebody's rule in the sandbox goes before ours: the packets leave by another interface.
#[test]
fn a_further_interface_is_asked_for_its_own_way() {
    let (vpc, pod) = multi_homed();
    let [_, further] = faces();
    socket(&pod).apply(&Change::AddRule(Rule::new(0, MAIN_TABLE))).unwrap();
    let found = check(&vpc.host, &further, &pod);
    assert!(found.iter().any(|found| found.contains("do not go through 169.254.1.2")), "{found:?}");
}

#[test]
fn a_failing_step_of_a_further_interface_leaves_nothing_of_it() {
    for at in [Step::Create, Step::Prepare, Step::HostSide, Step::PodSide, Step::ReadBack] {
        let (node, pod) = (namespace(), namespace());
        let [first, further] = faces().map(|face| PodWiring { ways: Vec::new(), ..face });
        let rt = runtime();
        let whole = Host::new(HostOptions { netns: Some(node.clone()), ..HostOptions::default() }).unwrap();
        rt.block_on(whole.wire_pod(first.clone(), pod.clone().into())).unwrap();
        let before = (dump(&node), dump(&pod));
        let interrupt = move |step| if step == at { Err("no".to_owned()) } else { Ok(()) };
        let options = HostOptions {
            netns: Some(node.clone()),
            interrupt: Some(Arc::new(interrupt)),
            ..HostOptions::default()
        };
        let broken = Host::new(options).unwrap();
        let fault = rt.block_on(broken.wire_pod(further.clone(), pod.clone().into())).unwrap_err();
        assert!(matches!(fault, HostFault::Refused { .. }), "{fault:?}");
        assert_eq!((dump(&node), dump(&pod)), before, "after {at:?}");
        assert_eq!(check(&whole, &first, &pod), Vec::<String>::new());
    }
}

/// The rule outlives the link; the same wiring puts the rest back.
#[test]
fn a_further_interface_that_lost_its_link_is_wired_anew_beside_the_first() {
    let (vpc, pod) = multi_homed();
    let [first, further] = faces();
    let rt = runtime();
    let own = index(&pod, "eth0");
    socket(&vpc.node).apply(&Change::DeleteLink(LinkRef::Name(further.host_veth.clone()))).unwrap();
    assert!(socket(&pod).rules(AddressFamily::Inet).unwrap().iter().any(|rule| rule.priority == 1));
    let netns = holdfast_model::sandbox::NetnsRef { path: "/nowhere".into(), inode: 1 };
    assert_eq!(rt.block_on(vpc.host.liveness(netns, first.clone())), Liveness::Joined);
    rt.block_on(vpc.host.wire_pod(further.clone(), pod.clone().into())).unwrap();
    for face in [&first, &further] {
        assert_eq!(check(&vpc.host, face, &pod), Vec::<String>::new());
    }
    assert_eq!(index(&pod, "eth0"), own, "it was not touched");
    let rules = socket(&pod).rules(AddressFamily::Inet).unwrap();
    assert_eq!(rules.iter().filter(|rule| rule.priority == 1).count(), 1, "{rules:?}");
}

/// An ADD was cut off when its interfaces stood; the next one of that sandbox has other addresses.
#[test]
fn the_rule_of_an_add_that_was_cut_off_does_not_stay() {
    let (vpc, pod) = multi_homed();
    let [_, further] = faces();
    let rt = runtime();
    rt.block_on(vpc.host.unwire_pod(further.clone())).unwrap();
    socket(&vpc.node).apply(&Change::DeleteLink(LinkRef::Name(further.host_veth.clone()))).unwrap();
    let next = PodWiring { address: "10.0.1.99".parse().unwrap(), ways: Vec::new(), ..further };
    rt.block_on(vpc.host.wire_pod(next, pod.clone().into())).unwrap();
    let rules = socket(&pod).rules(AddressFamily::Inet).unwrap();
    let from: Vec<_> = rules.iter().filter(|rule| rule.priority == 1).map(|rule| rule.from).collect();
    assert_eq!(from, [Some("10.0.1.99/32".parse().unwrap())], "{rules:?}");
}

#[test]
fn all_interfaces_go_and_leave_nothing_on_the_host() {
    let (vpc, pod) = multi_homed();
    let rt = runtime();
    for face in faces() {
        rt.block_on(vpc.host.unwire_pod(face)).unwrap();
    }
    for result in rt.block_on(vpc.host.remove_links(faces().into())) {
        result.unwrap();
    }
    for face in faces() {
        assert!(socket(&vpc.node).link(&LinkRef::Name(face.host_veth.clone())).unwrap().is_none());
        let own = Some(face.address.into());
        let rules = socket(&vpc.node).rules(AddressFamily::Inet).unwrap();
        assert!(!rules.iter().any(|rule| rule.from == own || rule.to == own), "{rules:?}");
    }
    for name in ["eth0", "mNicIf1"] {
        assert!(socket(&pod).link(&LinkRef::Name(name.into())).unwrap().is_none(), "{name} is there");
    }
}
