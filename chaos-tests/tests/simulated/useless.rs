//! What EC2 has given and cannot be put in service, for two days: no pod suffers from it, it is told within a minute, and EC2
//! is not asked again and again.

use std::time::Duration;

use holdfast_engine::Status;
use holdfast_model::config::{AddressMode, Config, Setting};
use holdfast_model::ledger::Ledger;
use holdfast_sim::vpc::Caller;
use ipnet::IpNet;

use crate::box_of::{one_node, warm};
use crate::node::{Life, Node};
use crate::steps::Steps;

const TWO_DAYS: Duration = Duration::from_secs(48 * 3600);

fn node(config: Config, seed: u64) -> Node {
    let mut node = one_node("m5.large", config, seed);
    node.longest_life = TWO_DAYS + Duration::from_secs(6 * 3600);
    node
}

fn calls(node: &Node) -> usize {
    node.shared.now(|vpc| vpc.log().by(&Caller::instance(&node.instance)).count())
}

/// Names what is out of service, in its condition and in its dump.
async fn told(life: &Life, what: &str) -> bool {
    let dump = life.engine.dump().await.unwrap();
    let status = life.engine.status().await.unwrap();
    let impaired = matches!(&status, Status::Impaired(cause) if cause.contains(what));
    impaired && dump.out_of_service.iter().any(|told| told.contains(what))
}

/// What EC2 gave and has still.
fn is_there(ledger: &Ledger, what: &str) -> bool {
    let eni = ledger.enis.values().any(|eni| eni.id.as_str() == what && eni.attachment().is_some());
    eni || ledger
        .blocks
        .values()
        .any(|block| block.occupies() && block.net.addr().to_string().starts_with(what))
}

/// Within a minute it is.
async fn is_told_soon(life: &Life, what: &str) {
    for _ in 0..60 {
        if told(life, what).await {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("not a word of {what}: {:?}", life.engine.dump().await.unwrap().out_of_service);
}

/// A pod as kubelet makes it: where its ADD fails there is another sandbox, until one works. How many failed.
async fn pod(life: &Life, number: u32) -> u32 {
    for attempt in 0..5 {
        let container = format!("c{number}-{attempt}");
        if life.add(&format!("web-{number}"), &container).await.is_ok() {
            return attempt;
        }
        life.del(&container).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    panic!("pod {number} does not start");
}

/// The container of a pod's that is there.
fn container_of(node: &Node, number: u32) -> String {
    let own = format!("c{number}-");
    node.pods().into_keys().find(|container| container.starts_with(&own)).unwrap()
}

/// Two days in which every ten minutes the oldest pod is replaced: how many ADDs failed.
///
/// What is out of service is told for as long as it lasts, which is known when so many have.
async fn two_days(node: &Node, life: &Life, pods: std::ops::Range<u32>, what: &str, lasting: u32) -> u32 {
    let (mut oldest, mut next, mut failed) = (pods.start, pods.end, 0);
    for _ in 0..6 * 48 {
        life.del(&container_of(node, oldest)).await;
        // By then the kernel has removed the link, and the lease is over.
        tokio::time::sleep(Duration::from_secs(1)).await;
        failed += pod(life, next).await;
        (oldest, next) = (oldest + 1, next + 1);
        assert_eq!(node.broken_promises(), Vec::<String>::new());
        tokio::time::sleep(Duration::from_secs(600)).await;
        // It may be given back, and have been something else's since.
        let there = is_there(&life.engine.ledger().await.unwrap(), what);
        assert!(
            !there || failed < lasting || told(life, what).await,
            "it is told for as long as it lasts: {:?}",
            life.engine.status().await
        );
    }
    failed
}

/// Its link never comes; or it comes, and the kernel refuses what an ENI needs.
#[test]
fn an_eni_that_cannot_be_set_up_for_two_days_costs_no_pod_anything() {
    for link in [false, true] {
        let node = node(warm(0, 1, 0), 810);
        node.live(&Steps::default(), async |life| {
            pod(&life, 0).await;
            if link {
                node.kernel.refuse_device(1);
            } else {
                node.kernel.hide_new_links(true);
            }
            for number in 1..9 {
                pod(&life, number).await;
            }
            // The second ENI is attached, and stays as it is.
            tokio::time::sleep(Duration::from_secs(4)).await;
            node.kernel.hide_new_links(false);
            let dump = life.engine.dump().await.unwrap();
            let useless =
                dump.ledger.enis.values().find(|eni| eni.slot().is_some_and(|slot| slot.device == 1));
            let useless = useless.unwrap().id.to_string();
            is_told_soon(&life, &useless).await;
            for number in 9..12 {
                assert_eq!(pod(&life, number).await, 0);
            }
            tokio::time::sleep(Duration::from_secs(120)).await;
            let before = calls(&node);
            assert_eq!(two_days(&node, &life, 0..12, &useless, 0).await, 0);
            let made = calls(&node) - before;
            assert!(made <= 2 * 48, "{made} calls");
            let ledger = life.engine.ledger().await.unwrap();
            assert_eq!(ledger.leases.len(), 12);
            assert!(ledger.leases.values().all(|lease| lease.faces[0].eni.to_string() != useless));
        })
        .unwrap();
    }
}

/// The spare one, and others when that is all that is left.
#[test]
fn an_address_that_the_kernel_refuses_for_two_days_costs_two_first_tries() {
    for warm_ips in [1, 3] {
        let node = node(warm(0, warm_ips, 0), 820);
        node.live(&Steps::default(), async |life| {
            for number in 0..4 {
                pod(&life, number).await;
            }
            let ledger = life.quiet().await;
            let free = ledger.blocks.keys().find(|net| ledger.uses_in(**net).next().is_none());
            let useless = free.unwrap().addr();
            node.kernel.refuse(vec![IpNet::from(useless)]);
            let mut failed = 0;
            for number in 4..4 + warm_ips {
                failed += pod(&life, number).await;
            }
            assert_eq!(failed, 1);
            is_told_soon(&life, &useless.to_string()).await;
            tokio::time::sleep(Duration::from_secs(120)).await;
            let before = calls(&node);
            failed += two_days(&node, &life, 0..4 + warm_ips, &useless.to_string(), 1).await;
            assert!(failed <= 2, "others are given: {failed}");
            let made = calls(&node) - before;
            assert!(made <= 2 * 48, "{made} calls");
        })
        .unwrap();
    }
}

/// Of a prefix two are tried, twice, and then none.
#[test]
fn a_prefix_that_the_kernel_refuses_for_two_days_costs_four_first_tries() {
    let config = Config { mode: Setting::default_of(AddressMode::Prefix), ..warm(0, 0, 0) };
    let node = node(config, 830);
    node.live(&Steps::default(), async |life| {
        for number in 0..16 {
            pod(&life, number).await;
        }
        let ledger = life.quiet().await;
        let free = ledger.blocks.keys().find(|net| ledger.uses_in(**net).next().is_none());
        let useless = *free.expect("one is spare");
        node.kernel.refuse(vec![useless]);
        let mut failed = 0;
        for number in 16..24 {
            failed += pod(&life, number).await;
        }
        assert!((1..=2).contains(&failed), "{failed}");
        let told = useless.addr().to_string();
        let told = told.rsplit_once('.').unwrap().0;
        is_told_soon(&life, told).await;
        let before = calls(&node);
        failed += two_days(&node, &life, 0..24, told, 4).await;
        assert!(failed <= 4, "{failed}");
        let made = calls(&node) - before;
        assert!(made <= 2 * 48, "{made} calls");
    })
    .unwrap();
}

/// Where nothing at all can be wired, the pool does not take more and more from EC2 for it.
#[test]
fn while_the_kernel_refuses_all_addresses_the_pool_grows_by_a_few_at_most() {
    let node = node(warm(0, 1, 0), 840);
    node.live(&Steps::default(), async |life| {
        pod(&life, 0).await;
        life.quiet().await;
        node.kernel.refuse(vec!["10.0.0.0/8".parse().unwrap()]);
        for number in 1..400 {
            let container = format!("c{number}");
            assert!(life.add(&format!("web-{number}"), &container).await.is_err());
            life.del(&container).await;
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        let ledger = life.engine.ledger().await.unwrap();
        let held = ledger.blocks.values().filter(|block| block.occupies()).count();
        assert!(held <= 2 + 4, "{held} addresses");
        node.kernel.refuse(Vec::new());
        assert_eq!(pod(&life, 1000).await, 0);
    })
    .unwrap();
}
