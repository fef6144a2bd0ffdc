//! Each setting that can change on a live node, flipped under thirty pods and back. Those that change what addresses are made of
//! have tests of their own: `prefixes`, `custom`, `ipv6`, `cards`, `metadata_only`, `braked`. Of
//! NodePorts the judge knows the default only, and of names of links and of MTUs what pods were made with.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::config::{Config, WarmTargets};
use holdfast_sim::vpc::Caller;

use crate::box_of::{one_node, warm};
use crate::node::{Life, Node};
use crate::steps::Steps;

/// A variable, and what it is changed to.
struct Flip(&'static str, fn(&mut Config));

const FLIPS: [Flip; 15] = [
    Flip("WARM_ENI_TARGET", |config| {
        config.warm.value = WarmTargets { warm_enis: 2, ..WarmTargets::default() }
    }),
    Flip("WARM_IP_TARGET", |config| config.warm.value.warm_ips = 12),
    Flip("MINIMUM_IP_TARGET", |config| config.warm.value.minimum_ips = 70),
    Flip("WARM_PREFIX_TARGET", |config| config.warm.value.warm_prefixes = 3),
    Flip("MAX_ENI", |config| config.max_enis.value = Some(1)),
    Flip("HOLDFAST_MAX_PODS", |config| config.max_pods.value = Some(25)),
    Flip("IP_COOLDOWN_PERIOD", |config| config.cooldown.value = Duration::from_secs(120)),
    Flip("HOLDFAST_ADD_HOLD", |config| config.add_hold.value = Duration::from_secs(5)),
    Flip("HOLDFAST_EC2_READ_INTERVAL", |config| config.ec2_read_interval.value = Duration::from_secs(3600)),
    Flip("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", |config| {
        config.snat_exclusions.value = vec!["198.51.100.0/24".parse().expect("a block")];
    }),
    Flip("MANAGE_UNTAGGED_ENI", |config| config.manage_untagged.value = false),
    Flip("DISABLE_LEAKED_ENI_CLEANUP", |config| config.leaks_left.value = true),
    Flip("AWS_MANAGE_ENIS_NON_SCHEDULABLE", |config| config.manage_cordoned.value = true),
    Flip("ENABLE_SUBNET_DISCOVERY", |config| config.subnet_discovery.value = false),
    Flip("ENABLE_MULTI_NIC", |config| config.multi_nic.value = true),
];

/// Any change of a pool is over by then, a rest among it.
const CONVERGES: Duration = Duration::from_secs(900);

fn addresses(node: &Node) -> BTreeMap<String, Option<IpAddr>> {
    let pods = node.pods().into_iter().filter(|(name, _)| name.starts_with("stays"));
    pods.map(|(name, pod)| (name, pod.address)).collect()
}

async fn replace_five(life: &Life, round: usize) {
    for number in 0..5 {
        let container = format!("goes-{number}");
        life.del(&format!("{container}-{round}")).await;
        // Refused where the new setting says so.
        let next = format!("{container}-{}", round + 1);
        if life.add("goes", &next).await.is_err() {
            life.del(&next).await;
        }
    }
}

fn flipped(flip: &Flip, seed: u64) {
    let Flip(name, change) = flip;
    let base = warm(0, 2, 0);
    let mut other = base.clone();
    change(&mut other);
    assert_ne!(base, other, "{name}");
    let node = one_node("m5.4xlarge", base.clone(), seed);
    node.live(&Steps::default(), async |life| {
        for number in 0..30 {
            life.add(&format!("web-{number}"), &format!("stays-{number}")).await.unwrap();
        }
        replace_five(&life, 0).await;
        life.quiet().await;
        let had = addresses(&node);
        assert_eq!(had.len(), 30, "{name}");
        let calls = || node.shared.now(|vpc| vpc.log().by(&Caller::instance(&node.instance)).count());
        for (round, config) in [(1, &other), (2, &base)] {
            life.set(config).await;
            for _ in 0..60 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                assert_eq!(node.broken_promises(), Vec::<String>::new(), "{name}, {round}");
            }
            replace_five(&life, round).await;
            tokio::time::sleep(CONVERGES).await;
            let ledger = life.quiet().await;
            assert_eq!(node.faults(&ledger), Vec::<String>::new(), "{name}, {round}");
            assert_eq!(addresses(&node), had, "{name}, {round}");
            let asked = calls();
            tokio::time::sleep(Duration::from_secs(1800)).await;
            assert!(calls() - asked <= 2, "{name}, {round}: {} calls at rest", calls() - asked);
        }
        life.add("late", "late").await.unwrap();
    })
    .unwrap();
}

#[test]
fn every_setting_is_flipped_under_thirty_pods_and_back() {
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for (number, flip) in FLIPS.iter().enumerate().skip(half).step_by(2) {
                    flipped(flip, 400 + number as u64);
                }
            });
        }
    });
}
