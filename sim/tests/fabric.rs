//! The fabric on the real kernel: what EC2 shows decides which packets arrive. Needs root, if only of a user namespace;
//! makes namespaces of its own and touches no other.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use holdfast_datapath::netlink::{
    Address, AddressFamily, Change, LinkRef, LinkSettings, Lookup, Route, RouteFilter, Rule, Socket, Veth,
    VethEnd,
};
use holdfast_sim::fabric::{ECHO_PORT, Fabric, MTU, Namespace, Node};
use holdfast_sim::scenario::Scenario;
use holdfast_sim::server::{ClockMode, SharedVpc};
use holdfast_sim::vpc::request::{
    AssignPrivateIpAddresses, AttachNetworkInterface, CreateNetworkInterface, DetachNetworkInterface,
    ModifyNetworkInterfaceAttribute, UnassignPrivateIpAddresses,
};
use holdfast_sim::vpc::{Caller, EniId, SubnetId};
use ipnet::Ipv4Net;

const SCENARIO: &str = r#"
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

const SECONDARY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
/// Longer than any delivery takes, also on a busy machine; only packets that must not arrive cost it.
const PATIENCE: Duration = Duration::from_millis(400);
const SETTLED: Duration = Duration::from_secs(10);

/// A box with its network. The clock stands still, so that what is delayed comes when the test says so.
struct Site {
    shared: SharedVpc,
    fabric: Fabric,
}

impl Site {
    fn up() -> Self {
        let built = Scenario::parse(SCENARIO).unwrap().build().unwrap();
        let spec = built.fabric();
        let shared = SharedVpc::new(built.vpc, ClockMode::Manual, SystemTime::now());
        let fabric = Fabric::up(&shared, &spec).expect("the fabric needs root, if only of a user namespace");
        Self { shared, fabric }
    }

    fn node(&self, name: &str) -> &Node {
        self.fabric.node(name).unwrap()
    }

    fn namespace(&self, name: &str) -> &Namespace {
        self.node(name).namespace()
    }

    fn subnet(&self, cidr: &str) -> SubnetId {
        let cidr: Ipv4Net = cidr.parse().unwrap();
        self.shared.with(|vpc| {
            let subnets = vpc.authoritative().subnets();
            subnets.into_iter().find(|subnet| subnet.cidr_block == Some(cidr)).unwrap().subnet_id
        })
    }

    fn primary(&self, node: &str) -> EniId {
        let instance = self.node(node).instance();
        self.shared
            .with(|vpc| vpc.authoritative().network_interfaces_of(instance)[0].network_interface_id.clone())
    }

    fn settle(&self) {
        self.fabric.settle(SETTLED).unwrap();
        assert_eq!(self.fabric.problems(), Vec::<String>::new());
    }

    fn pass(&self, time: Duration) {
        self.shared.advance(time).unwrap();
        self.settle();
    }

    fn operator<C: holdfast_sim::vpc::request::Call>(&self, operation: C) -> C::Output {
        self.shared.with(|vpc| vpc.call(&Caller::named("operator"), operation)).unwrap()
    }

    fn assign(&self, eni: &EniId, address: Ipv4Addr) {
        self.operator(AssignPrivateIpAddresses {
            network_interface_id: eni.clone(),
            private_ip_addresses: vec![address],
            allow_reassignment: true,
            ..AssignPrivateIpAddresses::default()
        });
    }

    fn unassign(&self, eni: &EniId, address: Ipv4Addr) {
        self.operator(UnassignPrivateIpAddresses {
            network_interface_id: eni.clone(),
            private_ip_addresses: vec![address],
            ..UnassignPrivateIpAddresses::default()
        });
    }

    /// Creates an ENI in the first subnet and attaches it to a node at device 1.
    fn attach(&self, node: &str, address: Ipv4Addr) -> EniId {
        let subnet_id = self.subnet("10.0.0.0/20");
        let created = self.operator(CreateNetworkInterface {
            subnet_id,
            private_ip_address: Some(address),
            ..CreateNetworkInterface::default()
        });
        let eni = created.network_interface.network_interface_id;
        self.operator(AttachNetworkInterface {
            network_interface_id: eni.clone(),
            instance_id: self.node(node).instance().clone(),
            device_index: 1,
            network_card_index: None,
        });
        eni
    }

    fn mac(&self, eni: &EniId) -> String {
        self.shared.with(|vpc| vpc.authoritative().network_interface(eni).unwrap().mac_address.to_string())
    }
}

/// Gives a namespace an address on its loopback, as if a pod had it.
fn hold(namespace: &Namespace, address: Ipv4Addr) {
    let mut socket = namespace.socket().unwrap();
    let lo = socket.link(&LinkRef::Name("lo".into())).unwrap().unwrap().index;
    socket.apply(&Change::PutAddress(Address::new(lo, Ipv4Net::from(address).into()))).unwrap();
}

/// Whether a datagram from one address arrives at the other, and its answer comes back, with both sources intact.
fn exchange(from: (&Namespace, Ipv4Addr), to: (&Namespace, Ipv4Addr)) -> bool {
    reaches(from, to) && reaches(to, from)
}

/// Whether a datagram arrives: for those that should, and may be late on a busy machine.
fn reaches(from: (&Namespace, Ipv4Addr), to: (&Namespace, Ipv4Addr)) -> bool {
    arrives_within(SETTLED, from, to)
}

/// Whether a datagram arrives: for those that should not.
fn one_way(from: (&Namespace, Ipv4Addr), to: (&Namespace, Ipv4Addr)) -> bool {
    arrives_within(PATIENCE, from, to)
}

fn arrives_within(limit: Duration, from: (&Namespace, Ipv4Addr), to: (&Namespace, Ipv4Addr)) -> bool {
    let at = |(namespace, address): (&Namespace, Ipv4Addr)| {
        namespace.run(|| UdpSocket::bind(SocketAddrV4::new(address, 0))).unwrap().unwrap()
    };
    let (sender, receiver) = (at(from), at(to));
    receiver.set_read_timeout(Some(limit)).unwrap();
    if sender.send_to(b"hello", receiver.local_addr().unwrap()).is_err() {
        return false;
    }
    let mut buffer = [0; 16];
    match receiver.recv_from(&mut buffer) {
        Ok((_, source)) => {
            assert_eq!(source.ip(), IpAddr::V4(from.1), "nothing on the way rewrites a source");
            true
        }
        Err(_) => false,
    }
}

fn http(namespace: &Namespace, address: &str, request: &str) -> String {
    let mut stream = namespace.run(|| TcpStream::connect(address)).unwrap().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 16, 10);
const THREE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);

#[test]
fn primary_addresses_reach_each_other_inside_a_subnet_and_between_subnets() {
    let site = Site::up();
    let (one, two, three) = (site.namespace("one"), site.namespace("two"), site.namespace("three"));
    assert!(exchange((one, ONE), (three, THREE)), "same subnet: ARP for the address itself");
    assert!(exchange((one, ONE), (two, TWO)), "another subnet: by the gateway");
    assert!(exchange((two, TWO), (three, THREE)));
}

#[test]
fn an_address_works_exactly_while_ec2_shows_it() {
    let site = Site::up();
    let (one, two) = (site.namespace("one"), site.namespace("two"));
    let eni = site.primary("one");
    hold(one, SECONDARY);
    assert!(!one_way((two, TWO), (one, SECONDARY)), "not delivered before");
    assert!(!one_way((one, SECONDARY), (two, TWO)), "and no source before");

    site.assign(&eni, SECONDARY);
    site.settle();
    assert!(exchange((two, TWO), (one, SECONDARY)));
    assert!(exchange((one, SECONDARY), (site.namespace("three"), THREE)));

    site.unassign(&eni, SECONDARY);
    site.settle();
    assert!(!one_way((two, TWO), (one, SECONDARY)), "not delivered after");
    assert!(!one_way((one, SECONDARY), (two, TWO)), "and no source after");
    assert!(exchange((two, TWO), (one, ONE)), "its neighbour is untouched");
}

#[test]
fn a_reassigned_address_moves() {
    let site = Site::up();
    let (one, two, three) = (site.namespace("one"), site.namespace("two"), site.namespace("three"));
    hold(one, SECONDARY);
    hold(three, SECONDARY);
    site.assign(&site.primary("one"), SECONDARY);
    site.assign(&site.primary("three"), SECONDARY);
    site.settle();
    assert!(exchange((two, TWO), (three, SECONDARY)));
    assert!(!one_way((one, SECONDARY), (two, TWO)));
    assert!(!one_way((two, TWO), (one, SECONDARY)));
}

#[test]
fn a_prefix_is_delivered_whole() {
    let site = Site::up();
    let (one, two) = (site.namespace("one"), site.namespace("two"));
    let eni = site.primary("one");
    site.operator(AssignPrivateIpAddresses {
        network_interface_id: eni.clone(),
        ipv4_prefixes: vec!["10.0.0.64/28".parse().unwrap()],
        ..AssignPrivateIpAddresses::default()
    });
    site.settle();
    for (last, inside) in [(64, true), (79, true), (80, false)] {
        let address = Ipv4Addr::new(10, 0, 0, last);
        hold(one, address);
        let limit = if inside { SETTLED } else { PATIENCE };
        assert_eq!(arrives_within(limit, (two, TWO), (one, address)), inside, "{address}");
        assert_eq!(arrives_within(limit, (one, address), (two, TWO)), inside, "{address} as source");
    }
}

#[test]
fn an_attached_eni_appears_down_and_bare_after_the_delay_and_leaves_when_detached() {
    let site = Site::up();
    let mut socket = site.namespace("one").socket().unwrap();
    let ens6 = LinkRef::Name("ens6".into());
    let eni = site.attach("one", Ipv4Addr::new(10, 0, 0, 50));
    site.pass(Duration::from_millis(299));
    assert_eq!(socket.link(&ens6).unwrap(), None, "a link takes its time");

    site.pass(Duration::from_millis(1));
    let link = socket.link(&ens6).unwrap().expect("it is there");
    assert_eq!(link.mac.unwrap().to_string(), site.mac(&eni));
    assert_eq!((link.mtu, link.up), (MTU, false));
    let addresses = socket.addresses(AddressFamily::Inet).unwrap();
    assert!(addresses.iter().all(|address| address.link != link.index), "{addresses:?}");

    let attachment = site
        .shared
        .with(|vpc| vpc.authoritative().network_interface(&eni).unwrap().attachment.unwrap().attachment_id);
    site.operator(DetachNetworkInterface { attachment_id: attachment, force: false });
    site.pass(Duration::from_secs(1));
    assert_eq!(socket.link(&ens6).unwrap(), None, "detached");
    let routes = site.fabric.router().socket().unwrap();
    assert!(!router_has(routes, "10.0.0.50/32"));
}

fn router_has(mut router: Socket, net: &str) -> bool {
    let routes = router.routes(AddressFamily::Inet, RouteFilter::default()).unwrap();
    routes.iter().any(|route| route.to.to_string() == net)
}

/// Brings a second interface up with its own address and routing table, as a node daemon does.
fn configure_second(namespace: &Namespace, address: Ipv4Addr) {
    let mut socket = namespace.socket().unwrap();
    let index = socket.link(&LinkRef::Name("ens6".into())).unwrap().unwrap().index;
    let gateway: IpAddr = Ipv4Addr::new(10, 0, 0, 1).into();
    let net = Ipv4Net::new(address, 20).unwrap().into();
    socket
        .apply_all(&[
            Change::SetLink(LinkRef::Index(index), LinkSettings::up()),
            Change::AddAddress(Address { no_prefix_route: true, ..Address::new(index, net) }),
            Change::AddRoute(Route::on_link(2, "10.0.0.1/32".parse().unwrap(), index)),
            Change::AddRoute(Route::default_via(2, gateway, index)),
            Change::AddRule(Rule { from: Some(Ipv4Net::from(address).into()), ..Rule::new(1000, 2) }),
        ])
        .unwrap();
}

#[test]
fn each_eni_carries_its_own_addresses_and_no_others() {
    let site = Site::up();
    let (one, two) = (site.namespace("one"), site.namespace("two"));
    let second = Ipv4Addr::new(10, 0, 0, 50);
    let eni = site.attach("one", second);
    site.pass(Duration::from_millis(300));
    configure_second(one, second);
    assert!(exchange((two, TWO), (one, second)), "by the second ENI");

    // The same address out of the other ENI.
    let mut socket = one.socket().unwrap();
    let rule = Rule { from: Some(Ipv4Net::from(second).into()), ..Rule::new(1000, 2) };
    socket.apply(&Change::DeleteRule(rule.clone())).unwrap();
    assert!(!one_way((one, second), (two, TWO)), "dropped: it is not an address of the first ENI");
    assert!(reaches((two, TWO), (one, second)), "delivery does not depend on it");

    // A source that no ENI has passes only where the check is off.
    let foreign = Ipv4Addr::new(10, 0, 9, 9);
    hold(one, foreign);
    let out_of_second = Rule { from: Some(Ipv4Net::from(foreign).into()), ..rule };
    socket.apply(&Change::AddRule(out_of_second)).unwrap();
    assert!(!one_way((one, foreign), (two, TWO)));
    for (check, arrives) in [(false, true), (true, false)] {
        site.operator(ModifyNetworkInterfaceAttribute {
            network_interface_id: eni.clone(),
            source_dest_check: Some(check),
            ..ModifyNetworkInterfaceAttribute::default()
        });
        site.settle();
        let limit = if arrives { SETTLED } else { PATIENCE };
        assert_eq!(arrives_within(limit, (one, foreign), (two, TWO)), arrives, "check {check}");
    }
}

#[test]
fn only_the_first_address_of_the_first_eni_is_on_the_internet() {
    let site = Site::up();
    let (one, internet) = (site.namespace("one"), site.fabric.internet());
    let echo = SocketAddr::from((site.fabric.internet_address(), ECHO_PORT));
    let mut tcp = one.run(|| TcpStream::connect_timeout(&echo, Duration::from_secs(5))).unwrap().unwrap();
    let mut line = String::new();
    tcp.read_to_string(&mut line).unwrap();
    assert_eq!(line, format!("{ONE} {}\n", tcp.local_addr().unwrap().port()));
    assert_eq!(ask_internet(one, ONE, echo), Some(ONE));
    assert!(reaches((internet, site.fabric.internet_address()), (one, ONE)), "and reached from there");

    hold(one, SECONDARY);
    site.assign(&site.primary("one"), SECONDARY);
    site.settle();
    assert!(reaches((one, SECONDARY), (site.namespace("two"), TWO)), "known in the VPC");
    assert_eq!(ask_internet(one, SECONDARY, echo), None, "unknown outside");
    assert!(!one_way((one, SECONDARY), (internet, site.fabric.internet_address())), "not even one way");
    assert!(!one_way((internet, site.fabric.internet_address()), (one, SECONDARY)));
}

/// As the kubelet asks its pods: out of a host end without an address of its own, so the kernel chooses the source.
#[test]
fn a_node_speaks_to_its_pods_with_its_own_address() {
    let site = Site::up();
    let one = site.namespace("one");
    let mut socket = one.socket().unwrap();
    let end = |name: &str| VethEnd { name: name.to_owned(), mac: None, netns: None };
    let pair = Veth { near: end("host"), far: end("pod"), mtu: None, group: 0 };
    let up = |name: &str| Change::SetLink(LinkRef::Name(name.into()), LinkSettings::up());
    socket.apply_all(&[Change::CreateVeth(pair), up("host"), up("pod")]).unwrap();
    let host = socket.link(&LinkRef::Name("host".into())).unwrap().unwrap().index;
    let pod = Ipv4Net::from(SECONDARY);
    socket.apply(&Change::AddRoute(Route::on_link(254, pod.into(), host))).unwrap();
    let source = one.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect((SECONDARY, 9)).unwrap();
        socket.local_addr().unwrap().ip()
    });
    assert_eq!(source.unwrap(), IpAddr::V4(ONE), "not the metadata service's");
}

#[test]
fn an_address_of_the_vpc_that_nobody_has_is_nowhere() {
    let site = Site::up();
    // Not even the internet is asked for it, although a public source would be let out.
    let nobody = Ipv4Addr::new(10, 0, 9, 9);
    hold(site.fabric.internet(), nobody);
    assert!(!one_way((site.namespace("one"), ONE), (site.fabric.internet(), nobody)));
    let mut router = site.fabric.router().socket().unwrap();
    assert_eq!(router.route_to(nobody.into(), &Lookup::default()).unwrap(), None);
}

#[test]
fn large_packets_pass_inside_and_are_cut_on_the_way_out() {
    let site = Site::up();
    let one = site.namespace("one");
    let large = [7; 8900];
    let arrives = |to: &Namespace, address: Ipv4Addr| {
        let receiver = to.run(|| UdpSocket::bind((address, 0))).unwrap().unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let sender = one.run(|| UdpSocket::bind((ONE, 0))).unwrap().unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 9000];
        // Connected: what the network says about an earlier packet is told at the next one.
        (0..2).map(|_| sender.send(&large).is_ok() && receiver.recv(&mut buffer).is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(arrives(site.namespace("two"), TWO), [true, true]);
    let outside = arrives(site.fabric.internet(), site.fabric.internet_address());
    assert!(!outside[0], "the first is too large, and the router says so: {outside:?}");
    assert_eq!(
        arrives(site.fabric.internet(), site.fabric.internet_address()),
        [true, true],
        "cut from then on"
    );
}

/// Which source the internet host says that it saw; `None` without an answer.
fn ask_internet(namespace: &Namespace, from: Ipv4Addr, echo: SocketAddr) -> Option<Ipv4Addr> {
    let socket = namespace.run(|| UdpSocket::bind((from, 0))).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"who am I", echo).unwrap();
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    let line = std::str::from_utf8(&buffer[..length]).unwrap();
    Some(line.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn imds_and_ec2_answer_inside_each_node_as_that_node() {
    let site = Site::up();
    for name in ["one", "two"] {
        let node = site.node(name);
        let token = http(
            node.namespace(),
            "169.254.169.254:80",
            "PUT /latest/api/token HTTP/1.1\r\nHost: imds\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n",
        );
        let token = token.rsplit("\r\n\r\n").next().unwrap().trim();
        let answer = http(
            node.namespace(),
            "169.254.169.254:80",
            &format!(
                "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: imds\r\nX-aws-ec2-metadata-token: {token}\r\n\
                 Connection: close\r\n\r\n"
            ),
        );
        assert!(answer.ends_with(node.instance().as_str()), "{answer}");
    }
    let node = site.node("one");
    let endpoint = node.environment()["AWS_ENDPOINT_URL_EC2"].strip_prefix("http://").unwrap();
    let body = "Action=DescribeSubnets&Version=2016-11-15";
    let answer = http(
        node.namespace(),
        &format!("{endpoint}:80"),
        &format!(
            "POST / HTTP/1.1\r\nHost: ec2\r\nContent-Type: application/x-www-form-urlencoded\r\nAuthorization: \
             AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-west-2/ec2/aws4_request, SignedHeaders=host, \
             Signature=00\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let callers = site.shared.with(|vpc| vpc.log().records().map(|r| r.caller.clone()).collect::<Vec<_>>());
    assert_eq!(callers, [Caller::instance(node.instance())]);
}

#[test]
fn a_change_reaches_the_router_within_milliseconds_and_unasked() {
    let site = Site::up();
    let eni = site.primary("one");
    let mut times: Vec<Duration> = (100..120)
        .map(|last| {
            let begun = Instant::now();
            site.assign(&eni, Ipv4Addr::new(10, 0, 0, 100));
            site.unassign(&eni, Ipv4Addr::new(10, 0, 0, 100));
            site.assign(&eni, Ipv4Addr::new(10, 0, 1, last));
            while !router_has(site.fabric.router().socket().unwrap(), &format!("10.0.1.{last}/32")) {
                assert!(begun.elapsed() < SETTLED, "10.0.1.{last} never came");
            }
            let took = begun.elapsed();
            site.unassign(&eni, Ipv4Addr::new(10, 0, 1, last));
            took
        })
        .collect();
    times.sort();
    println!("three changes to route: median {:?}, slowest {:?}", times[10], times[19]);
    assert!(times[10] < Duration::from_millis(50), "{times:?}");
}

#[test]
fn a_terminated_instance_loses_its_links_and_nothing_outlives_the_fabric() {
    let site = Site::up();
    let (one, two) = (site.namespace("one").clone(), site.namespace("two").clone());
    let links = |namespace: &Namespace| {
        let links = namespace.socket().unwrap().links().unwrap();
        links.into_iter().filter(|link| !link.loopback).map(|link| link.name).collect::<Vec<_>>()
    };
    assert_eq!(links(&one), ["ens5"]);
    let instance = site.node("one").instance().clone();
    site.shared.with(|vpc| vpc.terminate_instance(&instance)).unwrap();
    site.pass(Duration::from_secs(1));
    assert_eq!(links(&one), Vec::<String>::new());
    assert_eq!(links(&two), ["ens5"]);
    drop(site);
    assert_eq!(links(&two), Vec::<String>::new(), "a namespace that somebody still holds is left bare");
}

#[test]
fn a_node_that_removes_its_own_link_disturbs_nobody() {
    let site = Site::up();
    let eni = site.attach("one", Ipv4Addr::new(10, 0, 0, 50));
    site.pass(Duration::from_millis(300));
    let mut socket = site.namespace("one").socket().unwrap();
    socket.apply(&Change::DeleteLink(LinkRef::Name("ens6".into()))).unwrap();
    let attachment = site
        .shared
        .with(|vpc| vpc.authoritative().network_interface(&eni).unwrap().attachment.unwrap().attachment_id);
    site.operator(DetachNetworkInterface { attachment_id: attachment, force: false });
    site.pass(Duration::from_secs(1));
    assert!(exchange((site.namespace("one"), ONE), (site.namespace("two"), TWO)));
}

#[test]
fn two_fabrics_with_equal_addresses_do_not_meet() {
    let (first, second) = (Site::up(), Site::up());
    assert!(exchange((first.namespace("one"), ONE), (first.namespace("two"), TWO)));
    assert!(exchange((second.namespace("one"), ONE), (second.namespace("two"), TWO)));
    assert!(!one_way((first.namespace("one"), ONE), (second.namespace("two"), TWO)));
}
