//! Pods that get their addresses out of prefixes: what that costs, where there are none, and the mode switched under pods.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_engine::Status;
use holdfast_model::config::{AddressMode, Config, Setting, WarmTargets};
use holdfast_model::ledger::Ledger;
use holdfast_model::settings::ClusterSettings;
use holdfast_sim::vpc::{Action, Caller, ReservationKind, SimVpc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::box_of::{one_node, warm};
use crate::node::{Life, Node};
use crate::steps::Steps;

/// Calls that change something.
const WRITES: [Action; 6] = [
    Action::AssignPrivateIpAddresses,
    Action::UnassignPrivateIpAddresses,
    Action::CreateNetworkInterface,
    Action::AttachNetworkInterface,
    Action::DetachNetworkInterface,
    Action::DeleteNetworkInterface,
];

fn in_mode(mode: AddressMode, warm: Config) -> Config {
    Config { mode: Setting::default_of(mode), ..warm }
}

fn prefixes() -> Config {
    in_mode(AddressMode::Prefix, warm(1, 0, 0))
}

pub(crate) async fn add_all(life: &Life, numbers: std::ops::Range<usize>) -> Vec<IpAddr> {
    let mut adds = JoinSet::new();
    for number in numbers {
        let life = life.clone();
        adds.spawn(async move { life.add(&format!("web-{number}"), &format!("c{number}")).await });
    }
    adds.join_all().await.into_iter().map(|lease| lease.unwrap().faces[0].address).collect()
}

pub(crate) fn writes(node: &Node) -> usize {
    node.shared.now(|vpc| WRITES.iter().map(|action| vpc.log().count(*action)).sum())
}

fn addresses(node: &Node) -> BTreeMap<String, IpAddr> {
    let pods = node.pods().into_iter();
    pods.filter_map(|(container, pod)| Some((container, pod.address?))).collect()
}

fn subnet_of(vpc: &SimVpc) -> holdfast_sim::vpc::SubnetId {
    vpc.authoritative().subnets()[0].subnet_id
}

/// Single addresses and prefixes that the ledger has.
pub(crate) fn held(ledger: &Ledger) -> (usize, usize) {
    let held = || ledger.blocks.values().filter(|block| block.occupies());
    (held().filter(|block| block.is_host()).count(), held().filter(|block| !block.is_host()).count())
}

#[test]
fn a_fresh_node_is_at_110_pods_with_two_writes() {
    let node = one_node("m5.4xlarge", prefixes(), 31);
    node.live(&Steps::default(), async |life| {
        let begun = Instant::now();
        add_all(&life, 0..110).await;
        let took = begun.elapsed();
        assert!(writes(&node) <= 2, "{}", writes(&node));
        assert!(took < Duration::from_secs(5), "{took:?}");
        let ledger = life.quiet().await;
        assert_eq!((held(&ledger), node.faults(&ledger)), ((0, 8), Vec::new()));
    })
    .unwrap();
}

/// For an hour, whichever pods: no call is made.
#[test]
fn pods_that_are_replaced_cost_no_call() {
    let node = one_node("m5.4xlarge", prefixes(), 32);
    node.live(&Steps::default(), async |life| {
        add_all(&life, 0..60).await;
        life.quiet().await;
        let before = writes(&node);
        for number in 60..240 {
            life.del(&format!("c{}", number - 60)).await;
            life.add("next", &format!("c{number}")).await.unwrap();
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        assert_eq!(writes(&node), before);
        let ledger = life.quiet().await;
        assert_eq!((held(&ledger).1, node.faults(&ledger)), (5, Vec::new()));
    })
    .unwrap();
}

#[test]
fn in_a_fragmented_subnet_pods_get_single_addresses_until_there_are_prefixes() {
    let node = one_node("m5.large", prefixes(), 33);
    node.shared.now(|vpc| vpc.fragment(&subnet_of(vpc))).unwrap();
    node.live(&Steps::default(), async |life| {
        let begun = Instant::now();
        add_all(&life, 0..5).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let ledger = life.quiet().await;
        assert_eq!((held(&ledger), node.faults(&ledger)), ((5, 0), Vec::new()));
        let Ok(Status::Impaired(cause)) = life.engine.status().await else {
            panic!("{:?}", life.engine.status().await)
        };
        assert!(cause.contains("no free block of 16 addresses"), "{cause}");

        node.shared.now(|vpc| vpc.vacate(&subnet_of(vpc))).unwrap();
        tokio::time::sleep(Duration::from_secs(3700)).await;
        assert_eq!(life.engine.status().await, Ok(Status::Ready));
        for number in 0..5 {
            life.del(&format!("c{number}")).await;
            life.add("next", &format!("c{}", number + 5)).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(200)).await;
        let ledger = life.quiet().await;
        assert_eq!(held(&ledger).0, 0, "{:?}", ledger.blocks.keys());
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

/// EC2 takes prefixes from where they are reserved, and chooses no single address there.
#[test]
fn a_reservation_keeps_prefixes_apart_from_single_addresses() {
    let node = one_node("m5.large", prefixes(), 34);
    let reserved: ipnet::IpNet = "10.0.8.0/26".parse().unwrap();
    node.shared.now(|vpc| vpc.reserve(&subnet_of(vpc), reserved, ReservationKind::Prefix)).unwrap();
    node.shared.now(|vpc| vpc.fragment(&subnet_of(vpc))).unwrap();
    node.live(&Steps::default(), async |life| {
        let given = add_all(&life, 0..3).await;
        // The reservation is as fragmented as the rest.
        assert!(given.iter().all(|ip| !reserved.contains(ip)), "{given:?}");
        node.shared.now(|vpc| vpc.vacate(&subnet_of(vpc))).unwrap();
        tokio::time::sleep(Duration::from_secs(3700)).await;
        let given = add_all(&life, 3..40).await;
        assert!(given.iter().all(|ip| reserved.contains(ip)), "{given:?}");
    })
    .unwrap();
}

/// Thirty pods keep their addresses and are reached at every instant; when they have been replaced, all is of the new mode.
#[test]
fn the_mode_is_switched_under_thirty_pods_both_ways() {
    let targets = WarmTargets { warm_enis: 0, ..WarmTargets::default() };
    let warm = Config { warm: Setting::default_of(targets), ..warm(1, 0, 0) };
    for (from, to) in
        [(AddressMode::Secondary, AddressMode::Prefix), (AddressMode::Prefix, AddressMode::Secondary)]
    {
        let node = one_node("m5.4xlarge", in_mode(from, warm.clone()), 35);
        node.live(&Steps::default(), async |life| {
            add_all(&life, 0..30).await;
            life.quiet().await;
            let before = addresses(&node);
            let config = Arc::new(in_mode(to, warm.clone()));
            life.engine.configure(config, ClusterSettings::default()).await.unwrap();
            for _ in 0..60 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                assert_eq!(node.broken_promises(), Vec::<String>::new());
            }
            assert_eq!(addresses(&node), before);
            let calls = node.shared.now(|vpc| vpc.log().by(&Caller::instance(&node.instance)).count());
            assert!(calls <= 20, "{calls}");
            for number in 0..30 {
                life.del(&format!("c{number}")).await;
                life.add("next", &format!("c{}", number + 30)).await.unwrap();
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            tokio::time::sleep(Duration::from_secs(300)).await;
            let ledger = life.quiet().await;
            let (singles, prefixes) = held(&ledger);
            let left = if to == AddressMode::Prefix { singles } else { prefixes };
            assert_eq!((left, node.faults(&ledger)), (0, Vec::new()), "{from:?} to {to:?}");
        })
        .unwrap();
    }
}
