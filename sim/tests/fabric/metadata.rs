//! Metadata and EC2 are outside the node, and reached through its interfaces.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use holdfast_datapath::netlink::{AddressFamily, Change, LinkRef, LinkSettings, RouteFilter, Rule};
use holdfast_sim::fabric::{IMDS_ADDRESS, Namespace};
use holdfast_sim::server::static_key_id;
use holdfast_sim::vpc::Caller;
use holdfast_sim::vpc::request::ModifyNetworkInterfaceAttribute;
use ipnet::Ipv4Net;
use tokio::net::TcpSocket;

use crate::pod::Pod;
use crate::site::{ONE, PATIENCE, SCENARIO, SECONDARY, SETTLED, Site, TWO, configure_second};

const IMDS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(IMDS_ADDRESS, 80));

/// Connects from where the thread is, from an address of its own choice or the kernel's, and asks once.
fn ask(from: Option<Ipv4Addr>, to: SocketAddr, within: Duration, request: &str) -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stream = runtime.block_on(async {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = from {
            socket.bind((from, 0).into())?;
        }
        tokio::time::timeout(within, socket.connect(to)).await?
    })?;
    let mut stream: TcpStream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.rsplit_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned());
    body.ok_or(io::ErrorKind::UnexpectedEof.into())
}

/// The instance that metadata says one is, asked from this address.
fn who_am_i(from: impl Into<Option<Ipv4Addr>>, within: Duration) -> io::Result<String> {
    asked_who(from.into(), IMDS, within)
}

/// The same, asked at another address of metadata.
pub(crate) fn who_am_i_at(imds: IpAddr, within: Duration) -> io::Result<String> {
    asked_who(None, SocketAddr::new(imds, 80), within)
}

fn asked_who(from: Option<Ipv4Addr>, imds: SocketAddr, within: Duration) -> io::Result<String> {
    let token = ask(
        from,
        imds,
        within,
        "PUT /latest/api/token HTTP/1.1\r\nHost: imds\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n",
    )?;
    let request = format!(
        "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: imds\r\nX-aws-ec2-metadata-token: {token}\r\n\
         Connection: close\r\n\r\n"
    );
    ask(from, imds, within, &request)
}

pub(crate) fn who(namespace: &Namespace, from: Ipv4Addr) -> io::Result<String> {
    namespace.run(|| who_am_i(from, SETTLED)).unwrap()
}

/// The same where no answer is expected.
pub(crate) fn nobody(namespace: &Namespace, from: Ipv4Addr) {
    let answer = namespace.run(|| who_am_i(from, PATIENCE)).unwrap();
    assert!(answer.is_err(), "{answer:?}");
}

pub(crate) const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

#[test]
fn every_node_gets_its_own_metadata_and_its_port_80_is_free() {
    let site = Site::up();
    for name in ["one", "two", "three"] {
        let node = site.node(name);
        assert_eq!(who(&node.namespace(), ANY).unwrap(), node.instance().as_str());
        let free = node.namespace().run(|| TcpListener::bind((ANY, 80)).map(drop)).unwrap();
        free.expect("nothing of the box listens in a node");
        let addresses = node.namespace().socket().unwrap().addresses(AddressFamily::Inet).unwrap();
        assert_eq!(addresses.len(), 2, "the loopback's and the primary one: {addresses:?}");
    }
}

#[test]
fn a_node_that_cuts_itself_off_loses_metadata_and_ec2() {
    let site = Site::up();
    let one = &site.namespace("one");
    let ec2 = SocketAddr::from((site.fabric.ec2_address(), 80));
    let reaches_ec2 = || one.run(|| TcpStream::connect_timeout(&ec2, PATIENCE)).unwrap().is_ok();
    let mut socket = one.socket().unwrap();
    let ens5 = LinkRef::Name("ens5".into());
    assert!(who(one, ANY).is_ok() && reaches_ec2());

    let routes =
        socket.routes(AddressFamily::Inet, RouteFilter { table: Some(254), ..Default::default() }).unwrap();
    let default = routes.into_iter().find(|route| route.to.prefix_len() == 0).unwrap();
    socket.apply(&Change::DeleteRoute(default.clone())).unwrap();
    nobody(one, ANY);
    assert!(!reaches_ec2());
    socket.apply(&Change::AddRoute(default.clone())).unwrap();
    assert!(who(one, ANY).is_ok() && reaches_ec2(), "back with its route");

    socket.apply(&Change::SetLink(ens5.clone(), LinkSettings::down())).unwrap();
    nobody(one, ANY);
    assert!(!reaches_ec2());
    socket.apply_all(&[Change::SetLink(ens5, LinkSettings::up()), Change::AddRoute(default)]).unwrap();
    assert!(who(one, ANY).is_ok() && reaches_ec2(), "back with its link");
}

#[test]
fn metadata_is_reached_by_the_second_eni_and_is_the_same_nodes() {
    let site = Site::up();
    let second = Ipv4Addr::new(10, 0, 0, 50);
    site.attach("one", second);
    site.pass(Duration::from_millis(300));
    let one = site.node("one");
    configure_second(&one.namespace(), second);
    assert_eq!(who(&one.namespace(), second).unwrap(), one.instance().as_str());
}

#[test]
fn nobody_gets_the_metadata_of_another() {
    let site = Site::up();
    let two = &site.namespace("two");
    crate::site::hold(two, ONE);
    nobody(two, ONE);
    // Not even where the source is not checked: the answer goes to whom it is for.
    site.operator(ModifyNetworkInterfaceAttribute {
        network_interface_id: site.primary("two"),
        source_dest_check: Some(false),
        ..ModifyNetworkInterfaceAttribute::default()
    });
    site.settle();
    nobody(two, ONE);
    assert_eq!(who(two, TWO).unwrap(), site.node("two").instance().as_str());
}

#[test]
fn pods_get_their_nodes_metadata_translated_or_not_as_far_as_the_hop_limit_goes() {
    for (limit, arrives) in [(2, true), (1, false)] {
        let limited = SCENARIO.replacen("subnet = \"a\"", &format!("subnet = \"a\"\nhop_limit = {limit}"), 1);
        let site = Site::of(&limited);
        let one = site.node("one");
        site.assign(&site.primary("one"), SECONDARY);
        site.settle();
        let pod = Pod::on(&one.namespace(), SECONDARY);
        let asked = || pod.run(|| who_am_i(SECONDARY, if arrives { SETTLED } else { PATIENCE }));
        let expected = arrives.then(|| one.instance().as_str().to_owned());
        assert_eq!(asked().ok(), expected, "with its own address, hop limit {limit}");
        assert_eq!(
            who(&one.namespace(), ANY).unwrap(),
            one.instance().as_str(),
            "the node itself is one hop away"
        );

        masquerade(&one.namespace());
        assert_eq!(asked().ok(), expected, "translated, hop limit {limit}");
    }
}

/// Pods leave the VPC with their node's address.
fn masquerade(node: &Namespace) {
    let rules = "table ip nat {
        chain post {
            type nat hook postrouting priority srcnat
            oifname \"ens5\" ip daddr != 10.0.0.0/16 snat to 10.0.0.10
        }
    }";
    let done = node.run(|| Command::new("nft").arg(rules).status()).unwrap().unwrap();
    assert!(done.success());
}

#[test]
fn a_pod_of_the_second_eni_gets_metadata_by_that_eni() {
    let site = Site::up();
    let (second, pods) = (Ipv4Addr::new(10, 0, 0, 50), Ipv4Addr::new(10, 0, 0, 51));
    let eni = site.attach("one", second);
    site.assign(&eni, pods);
    site.pass(Duration::from_millis(300));
    let one = site.node("one");
    configure_second(&one.namespace(), second);
    let pod = Pod::on(&one.namespace(), pods);
    let asked = |within| pod.run(|| who_am_i(pods, within)).ok();
    assert_eq!(asked(PATIENCE), None, "by the first ENI, whose address it is not");
    let from_pod = Rule { from: Some(Ipv4Net::from(pods).into()), ..Rule::new(1536, 2) };
    one.namespace().socket().unwrap().apply(&Change::AddRule(from_pod)).unwrap();
    assert_eq!(asked(SETTLED).as_deref(), Some(one.instance().as_str()));
}

#[test]
fn ec2_knows_its_callers_by_their_access_keys() {
    let site = Site::up();
    let node = site.node("one");
    let ec2 = SocketAddr::from((site.fabric.ec2_address(), 80));
    assert_eq!(node.environment()["AWS_ENDPOINT_URL_EC2"], format!("http://{}", site.fabric.ec2_address()));
    let body = "Action=DescribeSubnets&Version=2016-11-15";
    // Through one and the same node: whose packets they are says nothing.
    let date = Command::new("date").args(["-u", "+%Y%m%dT%H%M%SZ"]).output().unwrap().stdout;
    let date = String::from_utf8(date).unwrap();
    let (date, day) = (date.trim(), &date[..8]);
    for key in [static_key_id(site.node("two").instance()), "AKIAEXAMPLE000000000".to_owned()] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: ec2\r\nContent-Type: application/x-www-form-urlencoded\r\nAuthorization: \
             AWS4-HMAC-SHA256 Credential={key}/{day}/us-west-2/ec2/aws4_request, SignedHeaders=host, \
             Signature=00\r\nX-Amz-Date: {date}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = node.namespace().run(|| ask(None, ec2, SETTLED, &request)).unwrap().unwrap();
        assert!(answer.contains("DescribeSubnetsResponse"), "{answer}");
    }
    let callers = site.shared.with(|vpc| vpc.log().records().map(|r| r.caller.clone()).collect::<Vec<_>>());
    assert_eq!(
        callers,
        [Caller::instance(site.node("two").instance()), Caller::named("AKIAEXAMPLE000000000")]
    );
}
