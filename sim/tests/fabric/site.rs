//! A box with its network, and what is asked of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use holdfast_datapath::netlink::{
    Address, AddressFamily, Change, LinkRef, LinkSettings, Route, RouteFilter, Rule, Socket,
};
use holdfast_sim::fabric::{Fabric, Namespace, Node};
use holdfast_sim::scenario::Scenario;
use holdfast_sim::server::{ClockMode, SharedVpc};
use holdfast_sim::vpc::request::{
    AssignPrivateIpAddresses, AttachNetworkInterface, CreateNetworkInterface, UnassignPrivateIpAddresses,
};
use holdfast_sim::vpc::{Caller, EniId, SubnetId};
use ipnet::Ipv4Net;

pub(crate) const SCENARIO: &str = r#"
    timing = { link_appears = 300 }
    vpc.cidrs = ["10.0.0.0/16"]
    [[subnet]]
    name = "a"
    zone = "us-west-2a"
    cidr = "10.0.0.0/20"
    [[subnet]]
    name = "b"
    zone = "us-west-2b"
    cidr = "10.0.16.0/20"
    [[node]]
    name = "one"
    type = "m5.large"
    subnet = "a"
    address = "10.0.0.10"
    [[node]]
    name = "two"
    type = "m5.large"
    subnet = "b"
    address = "10.0.16.10"
    [[node]]
    name = "three"
    type = "m5.large"
    subnet = "a"
    address = "10.0.0.11"
"#;

pub(crate) const SECONDARY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
/// Longer than any delivery takes, also on a busy machine; only packets that must not arrive cost it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(400);
pub(crate) const SETTLED: Duration = Duration::from_secs(10);

/// A box with its network. The clock stands still, so that what is delayed comes when the test says so.
pub(crate) struct Site {
    pub(crate) shared: SharedVpc,
    pub(crate) fabric: Fabric,
}

impl Site {
    pub(crate) fn up() -> Self {
        Self::of(SCENARIO)
    }

    pub(crate) fn of(scenario: &str) -> Self {
        let built = Scenario::parse(scenario).unwrap().build().unwrap();
        let spec = built.fabric();
        let shared = SharedVpc::new(built.vpc, ClockMode::Manual, SystemTime::now());
        let fabric = Fabric::up(&shared, &spec).expect("the fabric needs root, if only of a user namespace");
        Self { shared, fabric }
    }

    pub(crate) fn node(&self, name: &str) -> &Node {
        self.fabric.node(name).unwrap()
    }

    pub(crate) fn namespace(&self, name: &str) -> Namespace {
        self.node(name).namespace()
    }

    pub(crate) fn subnet(&self, cidr: &str) -> SubnetId {
        let cidr: Ipv4Net = cidr.parse().unwrap();
        self.shared.with(|vpc| {
            let subnets = vpc.authoritative().subnets();
            subnets.into_iter().find(|subnet| subnet.cidr_block == Some(cidr)).unwrap().subnet_id
        })
    }

    pub(crate) fn primary(&self, node: &str) -> EniId {
        let instance = self.node(node).instance();
        self.shared.with(|vpc| vpc.authoritative().network_interfaces_of(instance)[0].network_interface_id)
    }

    pub(crate) fn settle(&self) {
        self.fabric.settle(SETTLED).unwrap();
        assert_eq!(self.fabric.problems(), Vec::<String>::new());
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.shared.advance(time).unwrap();
        self.settle();
    }

    /// Boots a node anew, and waits until its links are there.
    pub(crate) fn reboot(&self, node: &str) {
        let instance = self.node(node).instance();
        self.shared.with(|vpc| vpc.reboot_instance(instance)).unwrap();
        self.pass(Duration::from_secs(1));
    }

    pub(crate) fn operator<C: holdfast_sim::vpc::request::Call>(&self, operation: C) -> C::Output {
        self.shared.with(|vpc| vpc.call(&Caller::named("operator"), operation)).unwrap()
    }

    pub(crate) fn assign(&self, eni: &EniId, address: Ipv4Addr) {
        self.operator(AssignPrivateIpAddresses {
            network_interface_id: *eni,
            private_ip_addresses: vec![address],
            allow_reassignment: true,
            ..AssignPrivateIpAddresses::default()
        });
    }

    pub(crate) fn unassign(&self, eni: &EniId, address: Ipv4Addr) {
        self.operator(UnassignPrivateIpAddresses {
            network_interface_id: *eni,
            private_ip_addresses: vec![address],
            ..UnassignPrivateIpAddresses::default()
        });
    }

    /// Creates an ENI in the first subnet and attaches it to a node at device 1.
    pub(crate) fn attach(&self, node: &str, address: Ipv4Addr) -> EniId {
        let subnet_id = self.subnet("10.0.0.0/20");
        let created = self.operator(CreateNetworkInterface {
            subnet_id,
            private_ip_address: Some(address),
            ..CreateNetworkInterface::default()
        });
        let eni = created.network_interface.network_interface_id;
        self.operator(AttachNetworkInterface {
            network_interface_id: eni,
            instance_id: *self.node(node).instance(),
            device_index: 1,
            network_card_index: None,
        });
        eni
    }

    pub(crate) fn mac(&self, eni: &EniId) -> String {
        self.shared.with(|vpc| vpc.authoritative().network_interface(eni).unwrap().mac_address.to_string())
    }
}

/// An address of one of both families.
pub(crate) trait Whose: Into<IpAddr> + Copy + Send + Sync {}

impl<A: Into<IpAddr> + Copy + Send + Sync> Whose for A {}

/// Gives a namespace an address on its loopback, as if a pod had it.
pub(crate) fn hold(namespace: &Namespace, address: impl Whose) {
    let mut socket = namespace.socket().unwrap();
    let lo = socket.link(&LinkRef::Name("lo".into())).unwrap().unwrap().index;
    let address = address.into();
    socket.apply(&Change::PutAddress(Address::new(lo, address.into()))).unwrap();
    // IPv6 takes a moment.
    let begun = Instant::now();
    while namespace.run(|| UdpSocket::bind((address, 0)).is_err()).unwrap() {
        assert!(begun.elapsed() < SETTLED, "{address} is not to be had");
    }
}

/// Whether a datagram from one address arrives at the other, and its answer comes back, with both sources intact.
pub(crate) fn exchange<A: Whose>(from: (&Namespace, A), to: (&Namespace, A)) -> bool {
    reaches(from, to) && reaches(to, from)
}

/// Whether a datagram arrives: for those that should, and may be late on a busy machine.
pub(crate) fn reaches<A: Whose>(from: (&Namespace, A), to: (&Namespace, A)) -> bool {
    arrives_within(SETTLED, from, to)
}

/// Whether a datagram arrives: for those that should not.
pub(crate) fn one_way<A: Whose>(from: (&Namespace, A), to: (&Namespace, A)) -> bool {
    arrives_within(PATIENCE, from, to)
}

pub(crate) fn arrives_within<A: Whose>(limit: Duration, from: (&Namespace, A), to: (&Namespace, A)) -> bool {
    let at = |(namespace, address): (&Namespace, A)| {
        namespace.run(|| UdpSocket::bind(SocketAddr::new(address.into(), 0))).unwrap().unwrap()
    };
    let (sender, receiver) = (at(from), at(to));
    receiver.set_read_timeout(Some(limit)).unwrap();
    if sender.send_to(b"hello", receiver.local_addr().unwrap()).is_err() {
        return false;
    }
    let mut buffer = [0; 16];
    match receiver.recv_from(&mut buffer) {
        Ok((_, source)) => {
            assert_eq!(source.ip(), from.1.into(), "nothing on the way rewrites a source");
            true
        }
        Err(_) => false,
    }
}

pub(crate) const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
pub(crate) const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 16, 10);
pub(crate) const THREE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);

pub(crate) fn router_has(mut router: Socket, net: &str) -> bool {
    let routes = router.routes(AddressFamily::Inet, RouteFilter::default()).unwrap();
    routes.iter().any(|route| route.to.to_string() == net)
}

/// Brings a second interface up with its own address and routing table, as a node daemon does.
pub(crate) fn configure_second(namespace: &Namespace, address: Ipv4Addr) {
    let mut socket = namespace.socket().unwrap();
    let index = socket.link(&LinkRef::Name("ens6".into())).unwrap().unwrap().index;
    let net = Ipv4Net::new(address, 20).unwrap();
    let gateway = net.hosts().next().unwrap();
    socket
        .apply_all(&[
            Change::SetLink(LinkRef::Index(index), LinkSettings::up()),
            Change::AddAddress(Address { no_prefix_route: true, ..Address::new(index, net.into()) }),
            Change::AddRoute(Route::on_link(2, Ipv4Net::from(gateway).into(), index)),
            Change::AddRoute(Route::default_via(2, gateway.into(), index)),
            Change::AddRule(Rule { from: Some(Ipv4Net::from(address).into()), ..Rule::new(1000, 2) }),
        ])
        .unwrap();
}

/// Which source the internet host says that it saw; `None` without an answer.
pub(crate) fn ask_internet(namespace: &Namespace, from: impl Whose, echo: SocketAddr) -> Option<IpAddr> {
    let socket = namespace.run(|| UdpSocket::bind(SocketAddr::new(from.into(), 0))).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"who am I", echo).unwrap();
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    let line = std::str::from_utf8(&buffer[..length]).unwrap();
    Some(line.split(' ').next().unwrap().parse().unwrap())
}

/// The link-layer address that a node remembers for another's address.
pub(crate) fn remembered(namespace: &Namespace, address: impl Whose) -> Option<String> {
    let address = address.into();
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let entries = namespace.socket().unwrap().neighbours(family).unwrap();
    entries.into_iter().find(|entry| entry.address == address)?.mac.map(|mac| mac.to_string())
}

/// Has a node forget it.
pub(crate) fn forget(namespace: &Namespace, address: impl Whose) {
    let address = address.into();
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut socket = namespace.socket().unwrap();
    for entry in socket.neighbours(family).unwrap().into_iter().filter(|entry| entry.address == address) {
        socket.apply(&Change::DeleteNeighbour(entry)).unwrap();
    }
}
