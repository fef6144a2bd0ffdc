//! A pod as every CNI of the VPC wires it: an address of an ENI behind a veth pair of its node.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use holdfast_datapath::netlink::{
    Address, Change, LinkRef, LinkSettings, MacAddr, Neighbour, Route, Veth, VethEnd,
};
use holdfast_datapath::netns;
use holdfast_sim::fabric::Namespace;
use ipnet::Ipv4Net;

/// The main table.
const MAIN: u32 = 254;

/// What the pod sends everything to: its node's end.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

const NODE_END: MacAddr = MacAddr([2, 0, 0, 0, 0xee, 1]);

/// A pod's namespace.
pub(crate) struct Pod(Arc<OwnedFd>);

impl Pod {
    /// A pod with this address on a node.
    pub(crate) fn on(node: &Namespace, address: Ipv4Addr) -> Self {
        let pod = netns::create().unwrap();
        let near = VethEnd { name: "pod0".to_owned(), mac: Some(NODE_END), netns: None };
        let far = VethEnd { name: "eth0".to_owned(), mac: None, netns: Some(Arc::clone(&pod)) };
        let up = |name: &str| Change::SetLink(LinkRef::Name(name.to_owned()), LinkSettings::up());
        let own = Ipv4Net::from(address).into();
        let mut inside = netns::socket_in(&pod).unwrap();
        let mut outside = node.socket().unwrap();
        outside.apply(&Change::CreateVeth(Veth { near, far, mtu: None, group: 0 })).unwrap();
        let eth0 = inside.link(&LinkRef::Name("eth0".to_owned())).unwrap().unwrap().index;
        let pod0 = outside.link(&LinkRef::Name("pod0".to_owned())).unwrap().unwrap().index;
        inside
            .apply_all(&[
                up("lo"),
                up("eth0"),
                Change::AddAddress(Address::new(eth0, own)),
                Change::PutNeighbour(Neighbour::permanent(eth0, GATEWAY.into(), NODE_END)),
                Change::AddRoute(Route { onlink: true, ..Route::default_via(MAIN, GATEWAY.into(), eth0) }),
            ])
            .unwrap();
        outside.apply_all(&[up("pod0"), Change::AddRoute(Route::on_link(MAIN, own, pod0))]).unwrap();
        Self(pod)
    }

    /// Runs a closure inside.
    pub(crate) fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        netns::run_in(&self.0, inside).unwrap()
    }
}
