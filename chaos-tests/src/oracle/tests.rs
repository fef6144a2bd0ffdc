//! A sound node written down by hand, and for each law a change that breaks it.

mod broken;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use holdfast_model::ids::MacAddr;
use ipnet::{IpNet, Ipv4Net};
use serde_json::json;

use super::picture::{Address, Cloud, Eni, Fate, Kernel, Link, Neighbour, Pod, Route, Rule, Way};
use super::*;
use broken::BROKEN;

const WEB: &str = "10.0.1.10";
const SECOND: &str = "10.0.1.77";

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn host_net(text: &str) -> IpNet {
    IpNet::from(IpAddr::V4(ip(text)))
}

fn link(index: u32, name: &str, veth: bool, peer: Option<u32>) -> Link {
    let mac = Some(MacAddr([2, 0, 0, 0, 0, index as u8]));
    Link { index, name: name.to_owned(), mac, mtu: 9001, up: true, veth, peer, group: 0 }
}

fn loopback() -> Link {
    Link { mac: None, mtu: 65_536, ..link(1, "lo", false, None) }
}

fn defaults() -> Vec<Rule> {
    vec![Rule::new(0, 255), Rule::new(32_766, 254), Rule::new(32_767, 253)]
}

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A node as its image leaves it: loopback and primary ENI.
fn bare() -> Kernel {
    let subnet = "10.0.0.0/20".parse().unwrap();
    Kernel {
        links: vec![loopback(), link(2, "ens5", false, None)],
        addresses: vec![
            Address { link: 1, net: "127.0.0.1/8".parse().unwrap() },
            Address { link: 2, net: "10.0.0.5/20".parse().unwrap() },
        ],
        addresses_v6: vec![Address { link: 2, net: "2001:db8::5/64".parse().unwrap() }],
        rules: defaults(),
        routes_v6: vec![Route::on_link(254, "2001:db8::/64".parse().unwrap(), 2)],
        routes: vec![
            Route {
                way: Way::Local,
                source: Some(ip("10.0.0.5").into()),
                ..Route::on_link(255, host_net("10.0.0.5"), 2)
            },
            Route::on_link(254, subnet, 2),
            Route { metric: 512, ..Route::default_via(254, ip("10.0.0.1"), 2) },
        ],
        tables: BTreeMap::from([("inet others".to_owned(), vec!["table".to_owned()])]),
        sysctls: settings(&[
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "2"),
            ("ipv4/conf/ens5/rp_filter", "2"),
            ("ipv4/tcp_sack", "1"),
        ]),
        ..Kernel::default()
    }
}

fn inside(address: &str, host_end: &Link) -> Kernel {
    Kernel {
        links: vec![loopback(), link(2, "eth0", true, Some(host_end.index))],
        addresses: vec![
            Address { link: 1, net: "127.0.0.1/8".parse().unwrap() },
            Address { link: 2, net: host_net(address) },
        ],
        rules: defaults(),
        routes: vec![
            Route { way: Way::Local, ..Route::on_link(255, host_net(address), 2) },
            Route::default_via(254, ip("169.254.1.1"), 2),
            Route::on_link(254, host_net("169.254.1.1"), 2),
        ],
        neighbours: vec![Neighbour { link: 2, address: ip("169.254.1.1").into(), mac: host_end.mac }],
        sysctls: settings(&[("ipv4/conf/default/arp_ignore", "0"), ("ipv4/conf/eth0/arp_ignore", "0")]),
        ..Kernel::default()
    }
}

fn pod(name: &str, address: &str, host_end: &Link, dummy: &str, table: u32, device: u32) -> Pod {
    let netns = format!("/netns/{name}");
    Pod {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        namesake: false,
        address_v6: None,
        address: Some(ip(address)),
        ifname: "eth0".to_owned(),
        netns: netns.clone(),
        result: Some(json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                { "name": host_end.name },
                { "name": "eth0", "mac": table.to_string(), "sandbox": netns },
                { "name": dummy, "mac": "0", "sandbox": device.to_string() },
            ],
            "ips": [{ "interface": 1, "address": format!("{address}/32") }],
        })),
        inside: Some(inside(address, host_end)),
        host_link: Some(host_end.name.clone()),
        further: Vec::new(),
    }
}

/// A pod on the primary ENI and one on the second, as 6.1 to 6.5 want it. The names are SHA-1's, by another program.
fn sound() -> Picture {
    let second = format!("eni{SECOND_DIGITS}");
    let ends = [link(10, "enicc21c2d7785", true, Some(2)), link(11, &second, true, Some(2))];
    let pods = vec![
        pod("sample-pod", WEB, &ends[0], "dummycc21c2d7785", 254, 0),
        pod("second", SECOND, &ends[1], &format!("dummy{SECOND_DIGITS}"), 2, 1),
    ];
    let secondary_link = link(3, "ens6", false, None);
    let mut host = bare();
    host.links.extend([secondary_link, ends[0].clone(), ends[1].clone()]);
    host.addresses.push(Address { link: 3, net: "10.0.1.70/20".parse().unwrap() });
    host.rules.extend([
        Rule { to: Some(host_net(WEB)), ..Rule::new(512, 254) },
        Rule { to: Some(host_net(SECOND)), ..Rule::new(512, 254) },
        Rule { mark: Some((0x80, 0x80)), ..Rule::new(1024, 254) },
        Rule { from: Some(host_net(SECOND)), ..Rule::new(1536, 2) },
        Rule { from: Some(host_net("10.0.1.70")), ..Rule::new(32_765, 2) },
    ]);
    host.routes.extend([
        Route::on_link(254, host_net(WEB), 10),
        Route::on_link(254, host_net(SECOND), 11),
        Route::on_link(2, host_net("10.0.0.1"), 3),
        Route::default_via(2, ip("10.0.0.1"), 3),
        Route { way: Way::Local, ..Route::on_link(255, host_net("10.0.1.70"), 3) },
        Route { way: Way::Broadcast, ..Route::on_link(255, host_net("10.0.15.255"), 3) },
    ]);
    host.tables.insert("ip holdfast".to_owned(), vec!["table".to_owned()]);
    let hooks = ["prerouting", "postrouting"].map(str::to_owned);
    host.hooks.insert("ip holdfast".to_owned(), BTreeSet::from(hooks));
    host.sysctls.extend(settings(&[
        ("ipv4/conf/ens6/rp_filter", "2"),
        ("ipv6/conf/enicc21c2d7785/accept_ra", "0"),
        ("ipv6/conf/enicc21c2d7785/accept_redirects", "1"),
        ("ipv6/conf/enicc21c2d7785/forwarding", "0"),
    ]));
    let eni = |id: &str, index: u8, device, primary: &str, secondary: &[&str]| Eni {
        id: id.to_owned(),
        mac: MacAddr([2, 0, 0, 0, 0, index]),
        card: 0,
        device,
        subnet: "10.0.0.0/20".parse().unwrap(),
        primary: ip(primary),
        secondary: secondary.iter().map(|text| ip(text)).collect::<BTreeSet<_>>(),
        ipv6_prefixes: Vec::new(),
        groups: BTreeSet::from(["sg-1".to_owned()]),
        ends_with_node: true,
        description: if device == 0 { String::new() } else { "aws-K8S-i-1".to_owned() },
        tags: settings(&[("cluster", "prod")]),
    };
    let cloud = Cloud {
        vpc: vec!["10.0.0.0/16".parse::<Ipv4Net>().unwrap(), "100.64.0.0/16".parse().unwrap()],
        enis: vec![
            eni("eni-1", 2, 0, "10.0.0.5", &[WEB, "10.0.1.11"]),
            eni("eni-2", 3, 1, "10.0.1.70", &[SECOND, "10.0.1.78"]),
        ],
        loose: Vec::new(),
    };
    let (node, tags) = ("node-a".to_owned(), settings(&[("cluster", "prod")]));
    let mut picture = Picture { node, mtu: 9001, ipv6: false, tags, cloud, before: bare(), host, pods };
    look_at_packets(&mut picture);
    picture
}

/// Of `default.second`.
const SECOND_DIGITS: &str = "68a5c7b2ad6";

/// What a right packet filter does: see the table in `nat`.
fn look_at_packets(picture: &mut Picture) {
    picture.host.fates.clear();
    for flow in flows(picture) {
        let from_pod = flow.link.starts_with("eni");
        let mut fate = Fate { connection: flow.connection.unwrap_or(0), ..Fate::default() };
        if flow.to == OUTSIDE && from_pod {
            fate.mark = 0x80;
            fate.connection = 0x80;
            if flow.connection.is_none() {
                fate.source = Some(ip("10.0.0.5"));
            }
        }
        if flow.to == ip("10.0.0.5") {
            fate.connection = 0x80;
        }
        picture.host.fates.insert(flow, Ok(fate));
    }
}

fn laws(picture: &Picture) -> BTreeSet<Law> {
    judge(picture).into_iter().map(|fault| fault.law).collect()
}

#[test]
fn a_sound_node_has_no_fault() {
    assert_eq!(judge(&sound()), []);
    let mut empty = sound();
    empty.pods.clear();
    let before = bare();
    empty.host.routes.retain(|route| route.table != 254 || before.routes.contains(route));
    empty.host.rules.retain(|rule| !matches!(rule.priority, 512 | 1536));
    empty.host.links.retain(|link| !link.veth);
    look_at_packets(&mut empty);
    assert_eq!(judge(&empty), []);
}

#[test]
fn each_law_can_be_broken() {
    for (law, how, change) in BROKEN {
        let mut picture = sound();
        change(&mut picture);
        let broken = laws(&picture);
        assert!(broken.contains(law), "{law:?}, {how}: {broken:?}");
    }
}

/// A law that no picture breaks is none.
#[test]
fn every_law_is_broken_by_some_picture() {
    let broken: BTreeSet<Law> = BROKEN.iter().map(|(law, ..)| *law).collect();
    for number in 0..=Law::Unseen as u8 {
        assert!(broken.iter().any(|law| *law as u8 == number), "nothing breaks law {number} of {broken:?}");
    }
}

/// A filter that was loosened, a new link with the default's settings, and the mark of another agent are no faults.
#[test]
fn what_may_differ_is_no_fault() {
    let mut picture = sound();
    picture.before.sysctls.insert("ipv4/conf/ens5/rp_filter".to_owned(), "1".to_owned());
    assert_eq!(judge(&picture), []);
    picture.before.sysctls.insert("ipv4/ip_forward".to_owned(), "0".to_owned());
    assert_eq!(judge(&picture), []);
}

#[test]
fn an_address_on_two_nodes_is_a_fault_of_both() {
    let (first, mut second) = (sound(), sound());
    "node-b".clone_into(&mut second.node);
    let faults = judge_all(&[first, second]);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.law == Law::AddressOnce && fault.text.contains("node-b")));
}

/// What a user attached for itself, and tagged so, has other tags and groups and outlives the node; its link is bare.
#[test]
fn an_eni_that_is_kept_from_the_node_and_left_alone_is_no_fault() {
    let mut picture = sound();
    let mut kept = picture.cloud.enis[1].clone();
    (kept.id, kept.mac, kept.device) = ("eni-3".to_owned(), MacAddr([2, 0, 0, 0, 0, 4]), 2);
    (kept.primary, kept.ends_with_node) = (ip("10.0.1.90"), false);
    kept.secondary = BTreeSet::from([ip("10.0.1.91")]);
    kept.groups.clear();
    kept.tags = settings(&[("node.k8s.amazonaws.com/no_manage", "true")]);
    picture.cloud.enis.push(kept);
    picture.host.links.push(Link { up: false, mtu: 1500, ..link(4, "ens7", false, None) });
    assert_eq!(judge(&picture), []);
    picture.cloud.enis[2].tags.insert("node.k8s.amazonaws.com/no_manage".to_owned(), "no".to_owned());
    assert!(laws(&picture).contains(&Law::EniTable), "another word keeps nobody from it");
}

/// The newer of two sandboxes of one name has a host link of its own.
#[test]
fn two_sandboxes_of_one_name_have_two_host_links() {
    let mut picture = sound();
    "sample-pod".clone_into(&mut picture.pods[1].name);
    picture.pods[1].result.as_mut().unwrap()["interfaces"][2]["name"] = json!("dummycc21c2d7785");
    assert_eq!(laws(&picture), BTreeSet::from([Law::HostLink]));
    picture.pods[1].namesake = true;
    assert_eq!(judge(&picture), []);
}
