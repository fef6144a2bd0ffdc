//! What the tests of the real kernel share: namespaces of their own.
#![allow(dead_code, unreachable_pub, reason = "compiled into each test binary, of which none uses all")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod vpc;

use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use holdfast_datapath::netlink::{
    Address, AddressFamily, Change, LinkRef, LinkSettings, RouteFilter, Socket,
};
use holdfast_datapath::{Host, HostOptions, netns};
use holdfast_model::host::{LinkAlias, PodWiring};
use holdfast_model::ids::MacAddr;
use holdfast_model::sandbox::{SandboxKey, SandboxNames};

pub type Netns = Arc<OwnedFd>;

/// A fresh namespace with its loopback up. It goes with the last descriptor, also when the test panics.
pub fn namespace() -> Netns {
    assert!(
        nix::unistd::geteuid().is_root(),
        "the kernel tests need root (or `unshare -Ur`): they make namespaces"
    );
    let netns = netns::create().expect("make a network namespace");
    let mut socket = socket(&netns);
    socket.apply(&Change::SetLink(LinkRef::Name("lo".into()), LinkSettings::up())).unwrap();
    netns
}

pub fn socket(netns: &Netns) -> Socket {
    netns::socket_in(netns).expect("open a netlink socket in the namespace")
}

/// Runs `nft` in a namespace, as a person would.
pub fn nft(netns: &Netns, command: &str) -> String {
    let run = || {
        std::process::Command::new("/usr/sbin/nft")
            .args(command.split(' ').filter(|word| !word.is_empty()))
            .output()
    };
    let output = netns::run_in(netns, run).unwrap().expect("nft runs (Debian's package: nftables)");
    assert!(output.status.success(), "nft {command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A link with an address, as an image or a person would set it up.
pub fn address(netns: &Netns, link: &str, net: &str) {
    let mut socket = socket(netns);
    let index = index(netns, link);
    let address = Address::new(index, net.parse().unwrap());
    socket.apply(&Change::AddAddress(address)).unwrap();
}

pub fn index(netns: &Netns, link: &str) -> u32 {
    socket(netns).link(&LinkRef::Name(link.into())).unwrap().unwrap_or_else(|| panic!("no link {link}")).index
}

pub fn sysctl(netns: &Netns, name: &str, value: &str) {
    let path = format!("/proc/sys/net/{name}");
    netns::run_in(netns, || std::fs::write(&path, value))
        .unwrap()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// A UDP socket in a namespace; it gives up waiting after two seconds.
pub fn udp(netns: &Netns, at: &str) -> UdpSocket {
    let socket =
        netns::run_in(netns, || UdpSocket::bind(at)).unwrap().unwrap_or_else(|error| panic!("{at}: {error}"));
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket
}

/// Sends a datagram and its answer; gives the source address that the server saw.
pub fn exchange(client: &UdpSocket, server: &UdpSocket, to: &str) -> Result<IpAddr, String> {
    let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    client.send_to(b"there", to).map_err(failed("send"))?;
    let mut buffer = [0; 16];
    let (_, from) = server.recv_from(&mut buffer).map_err(failed("the server received nothing"))?;
    server.send_to(b"back", from).map_err(failed("answer"))?;
    let (length, _) = client.recv_from(&mut buffer).map_err(failed("no answer came back"))?;
    assert_eq!(&buffer[..length], b"back");
    Ok(from.ip())
}

/// All of a namespace that a test may not find changed: links, addresses, rules, routes, neighbours, nf_tables.
pub fn dump(netns: &Netns) -> String {
    let mut socket = socket(netns);
    let mut text = String::new();
    let mut put = |title: &str, mut lines: Vec<String>| {
        lines.sort();
        text += [title, "\n  ", &lines.join("\n  "), "\n"].concat().as_str();
    };
    put("links", socket.links().unwrap().iter().map(|x| format!("{x:?}")).collect());
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        put("addresses", socket.addresses(family).unwrap().iter().map(|x| format!("{x:?}")).collect());
        put("rules", socket.rules(family).unwrap().iter().map(|x| format!("{x:?}")).collect());
        let routes = socket.routes(family, RouteFilter::default()).unwrap();
        put("routes", routes.iter().map(|x| format!("{x:?}")).collect());
    }
    text + &nft(netns, "-a list ruleset")
}

/// A wiring for tests: everything follows from the number.
pub fn wiring(number: u8, address: &str, table: u32) -> PodWiring {
    let sandbox = SandboxKey::from(SandboxNames {
        container_id: format!("sandbox{number}"),
        ifname: "eth0".into(),
        network: "aws-cni".into(),
    });
    PodWiring {
        alias: LinkAlias::of(&sandbox),
        host_veth: format!("eni{number:011x}"),
        host_mac: MacAddr([2, 0, 0, 0, 1, number]),
        ifname: "eth0".into(),
        number: 0,
        address: address.parse().unwrap(),
        mtu: 9001,
        table,
        ways: Vec::new(),
    }
}

pub fn host(netns: &Netns) -> Host {
    Host::new(HostOptions { netns: Some(netns.clone()), ..HostOptions::default() }).unwrap()
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
