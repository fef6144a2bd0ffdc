//! Wiring one more pod on a node that has as many as any instance type can have.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use holdfast_datapath::Host;
use holdfast_model::host::{LinkAlias, PodWiring};
use holdfast_model::ids::MacAddr;
use holdfast_model::sandbox::{SandboxKey, SandboxNames};
use holdfast_ports::host::HostNet;
use support::{Netns, host, namespace, runtime};

/// 24 ENIs of 63 addresses, less those that come and go here.
const CROWD: u16 = 24 * 63 - PROBES;

const FEW: u16 = 10;

const PROBES: u16 = 16;

/// Pods on all ENIs, one after the other.
fn wiring(number: u16) -> PodWiring {
    let sandbox = SandboxKey::from(SandboxNames {
        container_id: format!("sandbox{number}"),
        ifname: "eth0".into(),
        network: "aws-cni".into(),
    });
    let [high, low] = number.to_be_bytes();
    PodWiring {
        alias: LinkAlias::of(&sandbox),
        host_veth: format!("eni{number:011x}"),
        host_mac: MacAddr([2, 0, 0, 1, high, low]),
        ifname: "eth0".into(),
        address: Ipv4Addr::new(10, 1, high, low).into(),
        mtu: 9001,
        table: 2 + u32::from(number % 24),
        ways: Vec::new(),
    }
}

async fn wired(host: &Host, number: u16) -> (Netns, Duration) {
    let (netns, wiring) = (namespace(), wiring(number));
    let began = Instant::now();
    host.wire_pod(wiring, netns.clone().into()).await.unwrap();
    (netns, began.elapsed())
}

/// The median of some that come and go, one by one.
async fn one_more(host: &Host) -> Duration {
    let mut times = Vec::new();
    for number in CROWD..CROWD + PROBES {
        let (_netns, took) = wired(host, number).await;
        times.push(took);
        host.unwire_pod(wiring(number)).await.unwrap();
        assert!(host.remove_links(vec![wiring(number)]).await.iter().all(Result::is_ok));
    }
    times.sort();
    times[times.len() / 2]
}

/// A wide bound: what is read back of one pod is not read of all. The figures are for the benchmark.
#[test]
fn a_pod_is_wired_beside_hundreds_hardly_later_than_beside_ten() {
    let host_ns = namespace();
    let host = host(&host_ns);
    runtime().block_on(async {
        host.ensure_forwarding().await.unwrap();
        let mut crowd = Vec::new();
        for number in 0..FEW {
            crowd.push(wired(&host, number).await);
        }
        let beside_few = one_more(&host).await;
        for number in FEW..CROWD {
            crowd.push(wired(&host, number).await);
        }
        let beside_many = one_more(&host).await;
        println!("beside {FEW}: {beside_few:?}, beside {CROWD}: {beside_many:?}");
        assert!(
            beside_many < beside_few * 5,
            "beside {FEW}: {beside_few:?}, beside {CROWD}: {beside_many:?}"
        );
    });
}
