//! Pods that have IPv6 addresses: what that costs, what stands in the way, and a ledger that is lost.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::config::{AddressMode, Config, Setting};
use holdfast_model::pool::Family;
use holdfast_sim::vpc::request::{AssignIpv6Addresses, UnassignIpv6Addresses};
use holdfast_sim::vpc::{Action, Caller, SimVpc};
use tokio::task::JoinSet;

use crate::box_of::{one_node, warm};
use crate::disk::Disk;
use crate::node::{Life, Node};
use crate::steps::Steps;

fn ipv6() -> Config {
    Config {
        family: Setting::default_of(Family::V6),
        mode: Setting::default_of(AddressMode::Prefix),
        ..warm(1, 0, 0)
    }
}

async fn add_all(life: &Life, numbers: std::ops::Range<usize>) -> BTreeSet<IpAddr> {
    let mut adds = JoinSet::new();
    for number in numbers {
        let life = life.clone();
        adds.spawn(async move { life.add(&format!("web-{number}"), &format!("c{number}")).await });
    }
    adds.join_all().await.into_iter().map(|lease| lease.unwrap().faces[0].address).collect()
}

/// Calls of the node's that change something, but for the tags of the primary, which come first in a cluster with a name.
fn writes(node: &Node) -> usize {
    let reads = [
        Action::CreateTags,
        Action::DescribeNetworkInterfaces,
        Action::DescribeSubnets,
        Action::DescribeInstanceTypes,
    ];
    node.shared.now(|vpc: &mut SimVpc| {
        let own = Caller::instance(&node.instance);
        vpc.log().by(&own).filter(|call| !reads.contains(&call.action)).count()
    })
}

#[test]
fn whatever_pods_come_and_go_it_costs_one_write() {
    let node = one_node("m5.4xlarge", ipv6(), 61);
    node.live(&Steps::default(), async |life| {
        assert_eq!(add_all(&life, 0..250).await.len(), 250);
        for number in 250..400 {
            life.del(&format!("c{}", number - 250)).await;
            life.add("next", &format!("c{number}")).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(writes(&node), 1);
        let ledger = life.quiet().await;
        assert_eq!((ledger.blocks.keys().count(), node.faults(&ledger)), (1, Vec::new()));
    })
    .unwrap();
}

/// The daemon's memory is gone: sandboxes that live keep their addresses, and nobody else gets one of these.
#[test]
fn a_lost_ledger_is_read_back_and_nothing_is_given_twice() {
    let mut node = one_node("m5.large", ipv6(), 62);
    let mut given = BTreeSet::new();
    node.live(&Steps::default(), async |life| {
        given = add_all(&life, 0..20).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .unwrap();
    node.disk = Disk::default();
    node.live(&Steps::default(), async |life| {
        let next = add_all(&life, 20..60).await;
        assert!(next.is_disjoint(&given), "{:?}", next.intersection(&given));
        let ledger = life.quiet().await;
        assert_eq!((ledger.leases.keys().count(), node.faults(&ledger)), (60, Vec::new()));
        assert_eq!(ledger.blocks.keys().count(), 1, "the prefix that is there is used on");
    })
    .unwrap();
}

/// The same right after the prefix was given, while views do not show it: another one serves, and what it gave is found again.
#[test]
fn a_ledger_that_is_lost_while_views_are_late_gives_nothing_twice_either() {
    let mut node = one_node("m5.large", ipv6(), 62);
    let mut given = BTreeSet::new();
    node.live(&Steps::default(), async |life| given = add_all(&life, 0..20).await).unwrap();
    node.disk = Disk::default();
    node.live(&Steps::default(), async |life| {
        let next = add_all(&life, 20..60).await;
        assert!(next.is_disjoint(&given), "{:?}", next.intersection(&given));
        tokio::time::sleep(Duration::from_secs(600)).await;
        let ledger = life.quiet().await;
        assert_eq!((ledger.leases.keys().count(), node.faults(&ledger)), (60, Vec::new()));
    })
    .unwrap();
}

/// Others give the ENI another prefix, or take away the one that there is.
#[test]
fn what_others_do_to_the_prefix_is_found_and_made_up_for() {
    let node = one_node("m5.large", ipv6(), 63);
    node.live(&Steps::default(), async |life| {
        add_all(&life, 0..3).await;
        let ledger = life.quiet().await;
        let (net, eni) = ledger.blocks.values().map(|block| (block.net, block.eni.clone())).next().unwrap();
        let ipnet::IpNet::V6(net) = net else { panic!("{net}") };
        let id = holdfast_sim::vpc::EniId::new(eni.as_str());
        let more = AssignIpv6Addresses {
            network_interface_id: id,
            ipv6_prefix_count: Some(1),
            ..AssignIpv6Addresses::default()
        };
        node.shared.now(|vpc| vpc.foreign(more)).unwrap();
        tokio::time::sleep(Duration::from_secs(1200)).await;
        let ledger = life.quiet().await;
        assert_eq!((ledger.blocks.keys().count(), node.faults(&ledger)), (2, Vec::new()));
        for number in 0..3 {
            life.del(&format!("c{number}")).await;
        }
        let gone = UnassignIpv6Addresses {
            network_interface_id: id,
            ipv6_prefixes: vec![net],
            ..UnassignIpv6Addresses::default()
        };
        node.shared.now(|vpc| vpc.foreign(gone)).unwrap();
        tokio::time::sleep(Duration::from_secs(1200)).await;
        assert!(add_all(&life, 10..20).await.iter().all(|ip| !net.contains(&match ip {
            IpAddr::V6(ip) => *ip,
            IpAddr::V4(ip) => panic!("{ip}"),
        })));
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}
