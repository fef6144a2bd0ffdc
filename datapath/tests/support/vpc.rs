//! A VPC in small: a router namespace that refuses packets which come in by another link than the one that their source
//! address belongs to (strict reverse path check), as the VPC does, and a node with two ENIs on it.

use super::{Netns, address, host, index, namespace, nft, runtime, socket, sysctl, wiring};
use holdfast_datapath::Host;
use holdfast_datapath::netlink::{AddressFamily, Change, LinkRef, LinkSettings, Route, Veth, VethEnd};
use holdfast_model::eni::EniSlot;
use holdfast_model::host::{
    EniWiring, HostAction, MAIN_TABLE, NatTable, PodWiring, Rule as ModelRule, SourceNat,
};
use holdfast_model::ids::{EniId, MacAddr};
use holdfast_ports::host::HostNet;

pub const V4: AddressFamily = AddressFamily::Inet;
pub const PRIMARY: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x10]);
pub const SECOND: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x20]);
pub const INTERNET: &str = "203.0.113.1";

/// A node with two ENIs on a router that has the internet on its loopback.
pub struct Vpc {
    pub node: Netns,
    pub router: Netns,
    pub host: Host,
}

pub fn cable(node: &Netns, router: &Netns, name: &str, mac: MacAddr, far: &str) {
    let near = VethEnd { name: name.into(), mac: Some(mac), netns: None };
    let far_end = VethEnd { name: far.into(), mac: None, netns: Some(router.clone()) };
    let veth = Veth { near, far: far_end, mtu: Some(9001), group: 0 };
    socket(node).apply(&Change::CreateVeth(veth)).unwrap();
    up(router, far);
}

pub fn up(netns: &Netns, link: &str) {
    socket(netns).apply(&Change::SetLink(LinkRef::Name(link.into()), LinkSettings::up())).unwrap();
}

pub fn second_eni() -> EniWiring {
    EniWiring {
        eni: EniId::new("eni-2"),
        mac: SECOND,
        slot: EniSlot { card: 0, device: 1 },
        primary_ipv4: "10.0.1.20".parse().unwrap(),
        subnet_cidr: "10.0.1.0/24".parse().unwrap(),
        mtu: 9001,
        routes_ipv6: false,
    }
}

pub fn first_eni() -> EniWiring {
    EniWiring {
        eni: EniId::new("eni-1"),
        mac: PRIMARY,
        slot: EniSlot::PRIMARY,
        primary_ipv4: "10.0.0.10".parse().unwrap(),
        subnet_cidr: "10.0.0.0/24".parse().unwrap(),
        mtu: 9001,
        routes_ipv6: false,
    }
}

pub fn nat_table() -> NatTable {
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

pub fn marked() -> ModelRule {
    ModelRule { priority: 1024, from: None, to: None, mark: Some((0x80, 0x80)), table: MAIN_TABLE }
}

pub fn vpc() -> Vpc {
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
    pub fn pod(&self, number: u8, at: &str, table: u32) -> (PodWiring, Netns) {
        self.pod_of(wiring(number, at, table))
    }

    pub fn pod_of(&self, wiring: PodWiring) -> (PodWiring, Netns) {
        let (netns, at, table) = (namespace(), wiring.address, wiring.table);
        runtime().block_on(self.host.wire_pod(wiring.clone(), netns.clone().into())).unwrap();
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
    pub fn serve(&self) {
        self.apply(vec![
            HostAction::EnsureEni(first_eni()),
            HostAction::EnsureEni(second_eni()),
            HostAction::EnsureRule(marked()),
            HostAction::ReplaceNat(nat_table()),
        ]);
    }

    pub fn apply(&self, actions: Vec<HostAction>) {
        runtime().block_on(self.host.apply(actions)).unwrap();
    }
}

/// As kube-proxy does it for externalTrafficPolicy Local: no masquerading.
pub fn node_port(node: &Netns, to: &str) {
    nft(
        node,
        "add table ip kube-proxy; add chain ip kube-proxy nat { type nat hook prerouting priority -100; }",
    );
    nft(node, &format!("add rule ip kube-proxy nat udp dport 30000 dnat to {to}"));
}
