//! Two nodes full of pods over all their ENIs: everybody reaches everybody, and each packet leaves by the ENI that
//! owns its source address.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use holdfast_chaos_tests::look::{self, Patience, Promise, Watched};
use holdfast_chaos_tests::packets::{Echo, Prober, ask_internet, sent_by_link};
use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, RunningPod, scenario};
use holdfast_chaos_tests::sabotage;
use holdfast_datapath::netlink::{Change, Rule};
use holdfast_datapath::netns;
use holdfast_model::host::{PROTOCOL, priority};
use ipnet::IpNet;

const PODS: usize = 25;
const PATIENCE: Duration = Duration::from_secs(2);

/// Adds pods, some at once, as a runtime does after a node's start.
fn fill(rig: &Rig, node: &NodeUnderTest) -> Vec<RunningPod> {
    let runner = node.runner();
    let names: Vec<String> = (0..PODS).map(|n| format!("{}-pod-{n}", node.name())).collect();
    std::thread::scope(|scope| {
        let run = |names: &[String]| {
            let (names, runner) = (names.to_vec(), &runner);
            scope.spawn(move || -> Vec<_> {
                names.iter().map(|name| rig.run_pod(runner, name).unwrap()).collect()
            })
        };
        let threads: Vec<_> = names.chunks(PODS.div_ceil(5)).map(run).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// The device number of the ENI that carries each leased address, as EC2 shows it.
fn devices(rig: &Rig, node: &NodeUnderTest) -> BTreeMap<Ipv4Addr, u32> {
    let enis = rig.admin().enis_of(node.instance()).unwrap();
    enis.iter()
        .flat_map(|eni| {
            let device = eni.attachment.as_ref().unwrap().device_index;
            eni.secondary_ips().map(move |address| (address, device))
        })
        .collect()
}

#[test]
fn every_pod_reaches_every_other_by_the_eni_that_owns_its_address() {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large"), ("node-b", "m5.large")])).unwrap();
    let mut nodes: Vec<NodeUnderTest> =
        ["node-a", "node-b"].iter().map(|name| rig.node(name).unwrap()).collect();
    let watched: Vec<Watched> = nodes.iter().map(|node| Watched::before(node).unwrap()).collect();
    for node in &mut nodes {
        node.start().unwrap();
    }
    for node in &mut nodes {
        node.wait_serving().unwrap();
    }
    let pods: Vec<Vec<RunningPod>> = nodes.iter().map(|node| fill(&rig, node)).collect();

    // Addresses: each once, each shown by EC2 on an ENI of its node, all three ENIs in use.
    let all: BTreeSet<Ipv4Addr> = pods.iter().flatten().map(|pod| pod.address).collect();
    assert_eq!(all.len(), 2 * PODS, "an address was given twice");
    for (node, pods) in nodes.iter().zip(&pods) {
        let devices = devices(&rig, node);
        let used: BTreeSet<u32> = pods.iter().map(|pod| devices[&pod.address]).collect();
        assert_eq!(used, BTreeSet::from([0, 1, 2]), "{} uses all its ENIs", node.name());
        let ledger = node.state().unwrap();
        assert_eq!(ledger.leases.len(), PODS);
        for lease in ledger.leases.values() {
            let IpAddr::V4(address) = lease.faces[0].address else { panic!("{lease:?}") };
            assert_eq!(
                u32::from(lease.faces[0].place.slot().unwrap().device),
                devices[&address],
                "the ledger agrees with EC2"
            );
        }
    }

    // EC2, results and kernels are as they must be, both ways of each pod, and nothing else is there.
    let look = || {
        let of = |(watched, (node, pods)): (&Watched, (&NodeUnderTest, &Vec<RunningPod>))| {
            let promises: Vec<Promise<'_>> = pods.iter().map(RunningPod::promise).collect();
            watched.picture(&rig, node, &promises)
        };
        watched.iter().zip(nodes.iter().zip(&pods)).map(of).collect()
    };
    look::wait_sound(Patience::of(&rig).unwrap(), look).unwrap();

    // Everybody asks everybody: the answer comes, and the question came from the asker's own address.
    let dropped = rig.dropped_for_their_source().unwrap();
    std::thread::scope(|scope| {
        for pods in &pods {
            let all = &all;
            scope.spawn(move || {
                for pod in pods {
                    let mut prober = Prober::new(pod.pod.netns()).unwrap();
                    for other in all {
                        let seen = prober.ask(*other, PATIENCE);
                        let seen = seen.unwrap_or_else(|error| panic!("{}: {error:#}", pod.address));
                        assert_eq!(seen, pod.address, "asking {other}");
                    }
                }
            });
        }
    });

    // The internet sees the node; the node reaches its pods, and the other's.
    for (node, pods) in nodes.iter().zip(&pods) {
        for pod in pods {
            let seen = ask_internet(pod.pod.netns(), rig.internet(), PATIENCE).unwrap();
            assert_eq!(seen, node.address().unwrap(), "{} on {}", pod.address, node.name());
        }
        let mut prober = Prober::new(&node.netns().unwrap()).unwrap();
        for address in &all {
            let seen = prober.ask(*address, PATIENCE).unwrap();
            // Towards its own pods the kernel may take any address of the node, in the box that of a service on `lo`.
            let own = pods.iter().any(|pod| pod.address == *address);
            assert!(own || seen == node.address().unwrap(), "{address} saw {seen}");
        }
    }
    assert_eq!(
        rig.dropped_for_their_source().unwrap(),
        dropped,
        "the router dropped packets for their source"
    );

    // A pod reaches a node, too.
    let echo = Echo::serve(&nodes[1].netns().unwrap()).unwrap();
    assert_eq!(pods[0][0].ask(nodes[1].address().unwrap()).unwrap(), pods[0][0].address);
    drop(echo);

    for device in 0..3 {
        leaves_by_its_eni(&rig, &nodes[0], &pods[0], pods[1][0].address, device);
    }
    a_wrong_way_is_noticed_and_mended(&rig, &nodes[0], &pods[0], pods[1][0].address);
    assert_eq!(rig.admin().broken_rules().unwrap(), Vec::<String>::new());
}

/// Questions of a pod, and answers to it, are counted on the link of the ENI that owns its address.
fn leaves_by_its_eni(rig: &Rig, node: &NodeUnderTest, pods: &[RunningPod], other: Ipv4Addr, device: u32) {
    const QUESTIONS: u64 = 40;
    let devices = devices(rig, node);
    let pod = pods.iter().find(|pod| devices[&pod.address] == device).unwrap();
    let netns = node.netns().unwrap();
    let before = sent_by_link(&netns).unwrap();
    let mut prober = Prober::new(pod.pod.netns()).unwrap();
    for _ in 0..QUESTIONS {
        prober.ask(other, PATIENCE).unwrap();
    }
    let after = sent_by_link(&netns).unwrap();
    for by in 0..3 {
        let link = format!("ens{}", 5 + by);
        let sent = after[&link] - before[&link];
        // A few ARP packets may be among them.
        let expected = if by == device { QUESTIONS..QUESTIONS + 10 } else { 0..10 };
        assert!(expected.contains(&sent), "{} on device {device}: {sent} packets by {link}", pod.address);
    }
}

/// The check above can fail: without its rule a pod's packets leave by the primary ENI, and the router drops them. The
/// daemon puts the rule back.
fn a_wrong_way_is_noticed_and_mended(rig: &Rig, node: &NodeUnderTest, pods: &[RunningPod], other: Ipv4Addr) {
    let devices = devices(rig, node);
    let pod = pods.iter().find(|pod| devices[&pod.address] == 2).unwrap();
    let dropped = rig.dropped_for_their_source().unwrap();
    let own = IpNet::from(IpAddr::V4(pod.address));
    let rule = Rule { from: Some(own), protocol: PROTOCOL, ..Rule::new(priority::FROM_POD, 0) };
    netns::socket_in(&node.netns().unwrap()).unwrap().apply(&Change::DeleteRule(rule)).unwrap();
    let gone = Instant::now();
    let mut prober = Prober::new(pod.pod.netns()).unwrap();
    assert!(prober.ask(other, Duration::from_millis(50)).is_err(), "a packet came through by the wrong ENI");
    assert!(rig.dropped_for_their_source().unwrap() > dropped, "the router dropped it");
    while prober.ask(other, Duration::from_millis(50)).is_err() {
        assert!(gone.elapsed() < Duration::from_secs(10), "the rule did not come back:\n{}", node.log());
    }
    println!("a deleted rule was back after {} ms", gone.elapsed().as_millis());
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[
            (
                "every_pod_reaches_every_other_by_the_eni_that_owns_its_address",
                sabotage::STALE_OWNER,
                &["no answer from"],
            ),
            (
                "every_pod_reaches_every_other_by_the_eni_that_owns_its_address",
                sabotage::GIVES_ONE_TWICE,
                &["an address was given twice"],
            ),
            (
                "every_pod_reaches_every_other_by_the_eni_that_owns_its_address",
                sabotage::SENDS_BY_THE_PRIMARY,
                &["table 254"],
            ),
            (
                "every_pod_reaches_every_other_by_the_eni_that_owns_its_address",
                sabotage::NO_NAT,
                &["leaves with its own source, not with"],
            ),
            (
                "every_pod_reaches_every_other_by_the_eni_that_owns_its_address",
                sabotage::TELLS_A_GATEWAY,
                &["the gateway \"169.254.1.1\"; it is null"],
            ),
        ],
    );
}
