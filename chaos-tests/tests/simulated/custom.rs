//! Custom networking and subnet discovery: switched and changed under pods, subnets that are full, ENIConfigs that are missing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_model::config::{AddressMode, Config, Setting, WarmTargets};
use holdfast_model::eni_config::{AppliedEniConfig, EniConfig};
use holdfast_model::ids::{SecurityGroupId, SubnetId};
use holdfast_model::settings::ClusterSettings;
use holdfast_sim::vpc::{Action, Caller, SimVpc};
use ipnet::Ipv4Net;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::box_of::{Other, in_box, warm};
use crate::node::{Life, Node};
use crate::steps::Steps;

/// The node's own subnet.
pub(crate) const OWN: &str = "10.0.0.0/20";
/// Subnets for pods, by ENIConfigs.
pub(crate) const PODS: &str = "10.0.64.0/20";
pub(crate) const OTHERS: &str = "10.0.80.0/20";
/// One that is tagged.
const TAGGED: &str = "10.0.96.0/20";

pub(crate) fn node(instance_type: &str, config: Config, seed: u64) -> Node {
    let others = [
        Other { block: PODS, tags: &[] },
        Other { block: OTHERS, tags: &[] },
        Other { block: TAGGED, tags: &[("kubernetes.io/role/cni", "1")] },
    ];
    in_box(1, instance_type, config, seed, &others).remove(0)
}

pub(crate) fn subnet_id(vpc: &SimVpc, block: &str) -> holdfast_sim::vpc::SubnetId {
    let block: Ipv4Net = block.parse().unwrap();
    let found = vpc.authoritative().subnets().into_iter().find(|subnet| subnet.cidr_block == Some(block));
    found.unwrap().subnet_id
}

fn model_id(node: &Node, block: &str) -> SubnetId {
    SubnetId::new(node.shared.now(|vpc| subnet_id(vpc, block)).to_string())
}

/// Others take all but so many of a subnet's addresses.
pub(crate) fn fill(node: &Node, block: &str, leave: u32) {
    node.shared.now(|vpc| vpc.occupy_all_but(&subnet_id(vpc, block), leave)).unwrap();
}

pub(crate) fn vacate(node: &Node, block: &str) {
    node.shared.now(|vpc| vpc.vacate(&subnet_id(vpc, block))).unwrap();
}

/// These settings with an ENIConfig that names this subnet, and no group: the primary's are what ENIs are to have.
pub(crate) fn applied(node: &Node, config: Config, block: &str) -> Config {
    with_groups(node, config, block, [].into())
}

fn with_groups(
    node: &Node,
    config: Config,
    block: &str,
    security_groups: BTreeSet<SecurityGroupId>,
) -> Config {
    let said = AppliedEniConfig::Is(EniConfig {
        name: "us-west-2a".to_owned(),
        subnet: model_id(node, block),
        security_groups,
    });
    Config { eni_config: Setting::default_of(Some(said)), ..config }
}

/// The group of pods, which is not the nodes'.
fn group_of_pods(node: &Node) -> SecurityGroupId {
    let groups = node.shared.now(|vpc| vpc.authoritative().security_groups());
    let pods = groups.iter().find(|group| group.group_name == "pods").unwrap();
    SecurityGroupId::new(pods.group_id.to_string())
}

fn few() -> Config {
    let targets = WarmTargets { warm_enis: 0, ..WarmTargets::default() };
    Config { warm: Setting::default_of(targets), ..warm(1, 0, 0) }
}

async fn add_all(life: &Life, numbers: std::ops::Range<usize>) -> Vec<IpAddr> {
    let mut adds = JoinSet::new();
    for number in numbers {
        let life = life.clone();
        adds.spawn(async move { life.add(&format!("web-{number}"), &format!("c{number}")).await });
    }
    adds.join_all().await.into_iter().map(|lease| lease.unwrap().faces[0].address).collect()
}

async fn configure(life: &Life, config: &Config) {
    life.engine.configure(Arc::new(config.clone()), ClusterSettings::default()).await.unwrap();
}

fn addresses(node: &Node) -> BTreeMap<String, IpAddr> {
    let pods = node.pods().into_iter();
    pods.filter_map(|(container, pod)| Some((container, pod.address?))).collect()
}

/// How many pods have an address of each of these.
fn pods_in(node: &Node, blocks: &[&str]) -> Vec<usize> {
    let addresses = addresses(node);
    let within = |block: &&str| {
        let block: Ipv4Net = block.parse().unwrap();
        let inside = |ip: &&IpAddr| matches!(ip, IpAddr::V4(ip) if block.contains(ip));
        addresses.values().filter(inside).count()
    };
    blocks.iter().map(within).collect()
}

/// ENIs in EC2 in each of these.
fn enis_in(node: &Node, blocks: &[&str]) -> Vec<usize> {
    let enis = node.shared.now(|vpc| vpc.authoritative().network_interfaces());
    let within = |block: &&str| {
        let id = node.shared.now(|vpc| subnet_id(vpc, block));
        enis.iter().filter(|eni| eni.subnet_id == id).count()
    };
    blocks.iter().map(within).collect()
}

/// Thirty pods keep their addresses and are reached at every instant, with a bounded number of calls; when they have been
/// replaced, all are where they are to be.
fn under_thirty_pods(node: &Node, to: &Config, all_in: &str, none_in: &[&str]) {
    node.live(&Steps::default(), async |life| {
        add_all(&life, 0..30).await;
        life.quiet().await;
        let before = addresses(node);
        let calls = || node.shared.now(|vpc| vpc.log().by(&Caller::instance(&node.instance)).count());
        let asked = calls();
        configure(&life, to).await;
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(node.broken_promises(), Vec::<String>::new());
        }
        assert_eq!(addresses(node), before, "no pod loses its address");
        assert!(calls() - asked <= 20, "{}", calls() - asked);
        for number in 0..30 {
            life.del(&format!("c{number}")).await;
            life.add("next", &format!("c{}", number + 30)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        tokio::time::sleep(Duration::from_secs(400)).await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
        assert_eq!(pods_in(node, &[all_in]), [30], "{:?}", addresses(node));
        assert_eq!(enis_in(node, none_in), vec![0; none_in.len()]);
        let asked = calls();
        tokio::time::sleep(Duration::from_secs(1800)).await;
        assert!(calls() - asked <= 2, "at rest");
    })
    .unwrap();
}

#[test]
fn custom_networking_is_switched_on_under_thirty_pods() {
    for mode in [AddressMode::Secondary, AddressMode::Prefix] {
        // With discovery pods would stay in the subnet that is tagged for them.
        let off = Setting::default_of(false);
        let config = Config { mode: Setting::default_of(mode), subnet_discovery: off, ..few() };
        let node = node("m5.4xlarge", config.clone(), 41);
        let to = applied(&node, config, PODS);
        under_thirty_pods(&node, &to, PODS, &[OTHERS, TAGGED]);
        assert_eq!(enis_in(&node, &[OWN]), [1], "the primary alone is left there");
    }
}

#[test]
fn custom_networking_is_switched_off_under_thirty_pods() {
    for discovery in [true, false] {
        let config = Config { subnet_discovery: Setting::default_of(discovery), ..few() };
        let mut node = node("m5.4xlarge", config.clone(), 42);
        // Where discovery is on, the own subnet is the one with most addresses.
        fill(&node, TAGGED, 100);
        node.config = applied(&node, config.clone(), PODS);
        under_thirty_pods(&node, &config, OWN, &[PODS, OTHERS, TAGGED]);
    }
}

#[test]
fn another_eni_config_applies_under_thirty_pods() {
    let mut node = node("m5.4xlarge", few(), 43);
    node.config = applied(&node, few(), PODS);
    let to = applied(&node, few(), OTHERS);
    under_thirty_pods(&node, &to, OTHERS, &[PODS, TAGGED]);
}

#[test]
fn discovery_is_switched_off_and_on_under_thirty_pods() {
    let mut node = node("m5.4xlarge", few(), 44);
    // Thirty pods need more than the primary's own.
    fill(&node, OWN, 10);
    let off = Config { subnet_discovery: Setting::default_of(false), ..few() };
    node.live(&Steps::default(), async |life| {
        add_all(&life, 0..30).await;
        life.quiet().await;
        assert!(pods_in(&node, &[TAGGED])[0] >= 15, "{:?}", addresses(&node));
        let before = addresses(&node);
        vacate(&node, OWN);
        // That it was full is remembered for a quarter of an hour.
        tokio::time::sleep(Duration::from_secs(1000)).await;
        configure(&life, &off).await;
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(node.broken_promises(), Vec::<String>::new());
        }
        assert_eq!(addresses(&node), before);
        for number in 0..30 {
            life.del(&format!("c{number}")).await;
            life.add("next", &format!("c{}", number + 30)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        tokio::time::sleep(Duration::from_secs(400)).await;
        let ledger = life.quiet().await;
        assert_eq!((pods_in(&node, &[OWN, TAGGED]), node.faults(&ledger)), (vec![30, 0], Vec::new()));
        assert_eq!(enis_in(&node, &[TAGGED]), [0]);
        configure(&life, &few()).await;
        let ledger = life.quiet().await;
        assert_eq!((pods_in(&node, &[OWN]), node.faults(&ledger)), (vec![30], Vec::new()));
    })
    .unwrap();
    node.config = few();
}

/// The cause names the ENIConfig, within the time that an ADD waits; when it is there, pods are served without a restart. A
/// daemon that starts anew goes by what it was told last.
#[test]
pub(crate) fn cni_884_an_eni_config_that_is_missing_is_the_cause_and_service_resumes() {
    let mut node = node("m5.large", few(), 45);
    let missing = AppliedEniConfig::Missing { name: "us-west-2a".to_owned() };
    node.config.eni_config = Setting::default_of(Some(missing));
    let groups = BTreeSet::from([group_of_pods(&node)]);
    let there = with_groups(&node, few(), PODS, groups.clone());
    node.live(&Steps::default(), async |life| {
        let begun = Instant::now();
        let refused = life.add("web", "c0").await.unwrap_err().to_string();
        assert!(refused.contains("ENIConfig us-west-2a") && refused.contains("does not exist"), "{refused}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        configure(&life, &there).await;
        let begun = Instant::now();
        let lease = life.add_again("c0").await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert_eq!(pods_in(&node, &[PODS]), [1], "{lease:?}");
        let ledger = life.quiet().await;
        let of_pods = ledger.enis.values().find(|eni| !eni.is_primary()).unwrap();
        assert_eq!(of_pods.source.security_groups, Some(groups));
        // The judge knows of no groups but the primary's.
        let other = |fault: &String| !fault.contains("has the groups");
        assert_eq!(node.faults(&ledger).into_iter().filter(other).collect::<Vec<_>>(), Vec::<String>::new());
    })
    .unwrap();
}

/// A full subnet of pods, with and without another one that is tagged.
#[test]
fn a_full_subnet_of_pods_is_the_cause_or_left_at_once() {
    for discovery in [false, true] {
        let config = Config { subnet_discovery: Setting::default_of(discovery), ..few() };
        let mut node = node("m5.xlarge", config.clone(), 46);
        node.config = applied(&node, config, PODS);
        fill(&node, PODS, 4);
        let subnet = model_id(&node, PODS);
        node.live(&Steps::default(), async |life| {
            let begun = Instant::now();
            if discovery {
                add_all(&life, 0..20).await;
                assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
                assert!(pods_in(&node, &[TAGGED])[0] >= 16, "{:?}", addresses(&node));
                assert_eq!(pods_in(&node, &[OWN]), [0]);
                return;
            }
            let mut refused = Vec::new();
            for number in 0..8 {
                let answer = life.add(&format!("web-{number}"), &format!("c{number}")).await;
                refused.extend(answer.err().map(|error| (number, error.to_string())));
            }
            let cause = format!("subnet {subnet} has no free addresses");
            assert!(refused.len() >= 4 && refused.iter().all(|(_, why)| why.contains(&cause)), "{refused:?}");
            vacate(&node, PODS);
            tokio::time::sleep(Duration::from_secs(125)).await;
            for (number, _) in &refused {
                life.add_again(&format!("c{number}")).await.unwrap();
            }
            let ledger = life.quiet().await;
            assert_eq!((pods_in(&node, &[PODS]), node.faults(&ledger)), (vec![8], Vec::new()));
        })
        .unwrap();
    }
}

/// With discovery one more read at the start, and none for a pod that is replaced.
#[test]
fn discovery_costs_one_read() {
    let node = node("m5.large", few(), 47);
    node.live(&Steps::default(), async |life| {
        add_all(&life, 0..5).await;
        life.quiet().await;
        let read = || node.shared.now(|vpc| vpc.log().count(Action::DescribeSubnets));
        assert_eq!(read(), 1);
        for number in 5..40 {
            life.del(&format!("c{}", number - 5)).await;
            life.add("next", &format!("c{number}")).await.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(read(), 1);
    })
    .unwrap();
}
