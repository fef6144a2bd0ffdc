//! Services whose destination another program translates, as kube-proxy does, on the real kernel.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{IpAddr, UdpSocket};
use std::process::Command;

use holdfast_datapath::netns;
use holdfast_model::host::MAIN_TABLE;
use support::vpc::{INTERNET, Vpc, vpc};
use support::{Netns, exchange, nft, udp};

/// One service behind which is an address out of the VPC, one behind which is one inside.
const OUTSIDE: &str = "172.20.0.10";
const INSIDE: &str = "172.20.0.11";

/// How kube-proxy has destinations translated.
#[derive(Clone, Copy, Debug)]
enum Proxy {
    Nftables,
    Iptables(&'static str),
}

const PROXIES: [Proxy; 3] =
    [Proxy::Nftables, Proxy::Iptables("iptables-nft"), Proxy::Iptables("iptables-legacy")];

impl Proxy {
    fn translate(self, node: &Netns, service: &str, endpoint: &str) {
        match self {
            Self::Nftables => {
                nft(node, "add table ip kube-proxy");
                let chain = "add chain ip kube-proxy nat-prerouting \
                             { type nat hook prerouting priority dstnat; policy accept; }";
                nft(node, chain);
                nft(
                    node,
                    &format!(
                        "add rule ip kube-proxy nat-prerouting ip daddr {service} udp dport 53 dnat to {endpoint}"
                    ),
                );
            }
            Self::Iptables(program) => {
                let rule = format!(
                    "-t nat -A PREROUTING -d {service}/32 -p udp -m udp --dport 53 -j DNAT --to-destination {endpoint}"
                );
                let run = || Command::new(program).args(rule.split_whitespace()).output();
                let output = netns::run_in(node, run).unwrap().expect("iptables runs");
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }

    /// Whether the translation is written before our table or after it.
    fn serve(self, vpc: &Vpc, before: bool) {
        if !before {
            vpc.serve();
        }
        self.translate(&vpc.node, OUTSIDE, &format!("{INTERNET}:53"));
        self.translate(&vpc.node, INSIDE, "10.0.0.1:53");
        if before {
            vpc.serve();
        }
    }
}

/// From which address the server saw an exchange come by a service; its answers come from the service. Twice, since
/// later packets of a connection take another way through the tables.
fn by_service(pod: &UdpSocket, server: &UdpSocket, service: &str) -> Result<IpAddr, String> {
    pod.connect((service, 53)).unwrap();
    let first = exchange_connected(pod, server)?;
    let second = exchange_connected(pod, server)?;
    assert_eq!(first, second);
    Ok(first)
}

fn exchange_connected(pod: &UdpSocket, server: &UdpSocket) -> Result<IpAddr, String> {
    let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    pod.send(b"there").map_err(failed("send"))?;
    let mut buffer = [0; 16];
    let (_, from) = server.recv_from(&mut buffer).map_err(failed("the server received nothing"))?;
    server.send_to(b"back", from).map_err(failed("answer"))?;
    pod.recv(&mut buffer).map_err(failed("no answer came back"))?;
    Ok(from.ip())
}

/// The router takes a packet only by the link that its source address belongs to: by the primary ENI what bears the
/// node's address, by the second what bears that pod's.
#[test]
fn a_service_with_an_endpoint_out_of_the_vpc_is_reached_from_every_eni() {
    for proxy in PROXIES {
        for before in [true, false] {
            let vpc = vpc();
            proxy.serve(&vpc, before);
            let internet = udp(&vpc.router, &format!("{INTERNET}:53"));
            let in_vpc = udp(&vpc.router, "10.0.0.1:53");
            for (number, own, table) in [(1, "10.0.0.101", MAIN_TABLE), (2, "10.0.1.102", 2)] {
                let (_, pod) = vpc.pod(number, own, table);
                let fresh = || udp(&pod, &format!("{own}:0"));
                let told =
                    |error: String| panic!("{own}, {proxy:?}, translated before us: {before}: {error}");
                let seen = by_service(&fresh(), &internet, OUTSIDE).unwrap_or_else(told);
                assert_eq!(seen.to_string(), "10.0.0.10", "{own}, {proxy:?}: outside it is the node");
                let seen = by_service(&fresh(), &in_vpc, INSIDE).unwrap_or_else(told);
                assert_eq!(seen.to_string(), own, "{proxy:?}: inside a pod keeps its address");
                // Untranslated, beside it.
                let seen = exchange(&fresh(), &internet, &format!("{INTERNET}:53")).unwrap_or_else(told);
                assert_eq!(seen.to_string(), "10.0.0.10", "{own}, {proxy:?}");
            }
        }
    }
}

/// What comes to a pod from out of the VPC is answered as it came: by the pod's own ENI, as the pod.
#[test]
fn a_pods_answers_are_not_taken_for_connections_of_its_own() {
    let vpc = vpc();
    vpc.serve();
    let (_, pod) = vpc.pod(2, "10.0.1.102", 2);
    let in_pod = udp(&pod, "10.0.1.102:7000");
    let peer = udp(&vpc.router, &format!("{INTERNET}:7000"));
    for _ in 0..2 {
        assert_eq!(exchange(&peer, &in_pod, "10.0.1.102:7000").unwrap().to_string(), INTERNET);
    }
}
