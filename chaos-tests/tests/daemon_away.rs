//! The daemon goes away and comes back: pods do not notice, releases are not lost, and nothing is done twice.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast_chaos_tests::cni::{self, Runner};
use holdfast_chaos_tests::packets::{Control, Pinger};
use holdfast_chaos_tests::pod::Pod;
use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, RunningPod, scenario, wait_for};
use holdfast_chaos_tests::sabotage;
use holdfast_datapath::netlink::AddressFamily;
use holdfast_datapath::netns;
use holdfast_model::lease::LeasePhase;
use holdfast_model::ledger::Ledger;
use holdfast_model::ledger::Standing;
use holdfast_wire::spool::Spool;
use holdfast_wire::tombstone::Tombstone;
use ipnet::IpNet;

/// The specification's "try again later".
const TRY_AGAIN: u64 = 11;

/// What was put into a spool is looked for every second.
const SPOOL_IS_READ_WITHIN: Duration = Duration::from_secs(10);

const ATTACH_TAKES: Duration = Duration::from_secs(6);

fn one_node() -> (Rig, NodeUnderTest) {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    // A few addresses on the primary ENI are enough, and quickly had.
    node.set("WARM_IP_TARGET", "2").set("MINIMUM_IP_TARGET", "8");
    node.start_ready().unwrap();
    (rig, node)
}

fn phase(ledger: &Ledger, container_id: &str) -> Option<LeasePhase> {
    ledger.leases.values().find(|lease| lease.sandbox.container_id == container_id).map(|lease| lease.phase)
}

/// Rules that name an address, in the node's namespace.
fn rules_of(node: &NodeUnderTest, address: Ipv4Addr) -> usize {
    let own = Some(IpNet::from(IpAddr::V4(address)));
    let rules = netns::socket_in(&node.netns().unwrap()).unwrap().rules(AddressFamily::Inet).unwrap();
    rules.iter().filter(|rule| rule.from == own || rule.to == own).count()
}

fn tombstones(spool: &Path) -> usize {
    Spool::new(spool).list().unwrap().tombstones.len()
}

#[test]
fn a_del_without_a_daemon_succeeds_and_is_carried_out_at_the_next_start() {
    let (rig, mut node) = one_node();
    let runner = node.runner();
    let gone = rig.run_pod(&runner, "gone").unwrap();
    let stays = rig.run_pod(&runner, "stays").unwrap();
    assert!(rules_of(&node, gone.address) > 0);
    node.kill().unwrap();

    let called = runner.del(&gone.pod).unwrap();
    assert!(called.took < Duration::from_secs(2), "{:?}", called.took);
    called.ok().unwrap();
    runner.del_again(&gone.pod).unwrap().ok().unwrap();
    assert_eq!(tombstones(&node.spool()), 1, "one for the sandbox, however often it is deleted");
    let impatient = node.runner().with("deadlineMs", 300);
    let refused = impatient.add(&rig.pod("new").unwrap()).unwrap().result.unwrap_err();
    assert_eq!(refused.code, TRY_AGAIN, "{refused:?}");
    assert!(refused.details.contains("no daemon"), "{refused:?}");

    node.start_serving().unwrap();
    // As soon as it serves: the release was durable and in the kernel before the first request.
    let ledger = node.state().unwrap();
    assert!(
        matches!(phase(&ledger, &gone.pod.container_id), None | Some(LeasePhase::Releasing)),
        "{ledger:#?}"
    );
    assert_eq!(rules_of(&node, gone.address), 0, "rules are gone");
    assert_eq!(tombstones(&node.spool()), 0, "the tombstone is gone");
    let ledger =
        node.wait_state("released", |ledger| phase(ledger, &gone.pod.container_id).is_none()).unwrap();
    let standing = ledger.standing(IpAddr::V4(gone.address));
    assert!(matches!(standing, Standing::Cooling(_)), "{standing:?}");
    assert_eq!(phase(&ledger, &stays.pod.container_id), Some(LeasePhase::Active));
    let next = rig.run_pod(&runner, "next").unwrap();
    assert_ne!(next.address, gone.address, "an address rests before it is used again");
    assert_eq!(stays.ask(next.address).unwrap(), stays.address);
}

#[test]
fn a_running_pod_loses_no_packet_over_a_kill_and_a_stop() {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large"), ("node-b", "m5.large")])).unwrap();
    let mut nodes: Vec<_> = ["node-a", "node-b"].iter().map(|name| rig.node(name).unwrap()).collect();
    for node in &mut nodes {
        node.set("WARM_IP_TARGET", "2").start_ready().unwrap();
    }
    // Ten, so that some are on a secondary ENI.
    let runner = nodes[0].runner();
    let pods: Vec<RunningPod> = (0..10).map(|n| rig.run_pod(&runner, &format!("pod-{n}")).unwrap()).collect();
    let far = rig.run_pod(&nodes[1].runner(), "far").unwrap();
    let ledger = nodes[0].state().unwrap();
    let on_secondary = |pod: &&RunningPod| {
        ledger.leases.values().any(|lease| {
            lease.faces[0].address == pod.address && lease.faces[0].place.slot().unwrap().device != 0
        })
    };
    let travelled = [&pods[0], pods.iter().find(on_secondary).expect("some pod is on a secondary ENI")];
    let every = Duration::from_millis(10);
    let control = Control::start(every).unwrap();
    let pingers: Vec<_> = travelled
        .iter()
        .flat_map(|pod| [far.address, pods[1].address].map(|to| (pod.pod.netns(), to)))
        .map(|(netns, to)| Pinger::start(netns, to, every).unwrap())
        .collect();
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..2 {
        nodes[0].kill().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        nodes[0].start_serving().unwrap();
        std::thread::sleep(Duration::from_millis(700));
        let status = nodes[0].terminate().unwrap();
        assert!(status.success(), "a stop ends with {status}");
        assert!(!nodes[0].socket().exists(), "a stopped daemon leaves no socket");
        std::thread::sleep(Duration::from_millis(200));
        nodes[0].start_serving().unwrap();
        std::thread::sleep(Duration::from_millis(700));
    }
    let lasted = begun.elapsed();
    let control = control.stop().unwrap();
    for pinger in pingers {
        let pings = pinger.stop().unwrap();
        pings.hold(&control).unwrap();
        // Each answer came before the next question was due, most of the time.
        assert!(u128::from(pings.sent) > lasted.as_millis() / 10 / 3, "{pings:?} in {lasted:?}");
    }
    let after = nodes[0].state().unwrap();
    assert_eq!(after.leases, ledger.leases, "nothing about the leases has changed");
}

#[test]
fn a_kill_in_the_middle_of_an_add_loses_nothing() {
    let (rig, mut node) = one_node();
    let runner = node.runner();
    // No daemon comes back while it waits.
    let impatient = node.runner().with("deadlineMs", 1000);
    let began = Instant::now();
    let resident = rig.run_pod(&runner, "resident").unwrap();
    let one_takes = began.elapsed();
    let mut failed = 0;
    const ROUNDS: u32 = 14;
    for round in 0..ROUNDS {
        let pod = rig.pod(&format!("pod-{round}")).unwrap();
        let called = std::thread::scope(|scope| {
            let adding = scope.spawn(|| impatient.add(&pod).unwrap());
            // From before the request arrives to after its answer has left, however fast this machine is.
            if round + 1 == ROUNDS {
                wait_for("answered", Duration::from_secs(10), || adding.is_finished()).unwrap();
            } else {
                std::thread::sleep(one_takes * round / ROUNDS);
            }
            node.kill().unwrap();
            adding.join().unwrap()
        });
        node.start_serving().unwrap();
        match called.result {
            Ok(result) => {
                // What was answered holds: asking again gives the same.
                let again = runner.add(&pod).unwrap().ok().unwrap();
                assert_eq!(again, result, "round {round}");
            }
            Err(failure) => {
                failed += 1;
                assert_eq!(failure.code, TRY_AGAIN, "{failure:?}");
                // As the runtime does: clean up, then a new sandbox.
                runner.del(&pod).unwrap().ok().unwrap();
                let retry = rig.run_pod(&runner, &format!("pod-{round}")).unwrap();
                assert_eq!(retry.ask(resident.address).unwrap(), retry.address, "round {round}");
                runner.del(&retry.pod).unwrap().ok().unwrap();
            }
        }
        runner.del(&pod).unwrap().ok().unwrap();
        let ledger = node.wait_state("settled", |ledger| ledger.leases.len() == 1).unwrap();
        assert_eq!(phase(&ledger, &resident.pod.container_id), Some(LeasePhase::Active));
    }
    println!("{failed} of {ROUNDS} ADDs were cut off");
    assert!(failed > 0, "no kill hit an ADD");
}

#[test]
fn an_add_that_waits_for_an_eni_survives_a_kill() {
    let (rig, mut node) = one_node();
    // From the first on: the pool grows ahead of its pods, and the ENI that these wait for must not be there yet.
    let mut timing = holdfast_sim::vpc::Timing::measured();
    timing.attach_latency = ATTACH_TAKES;
    rig.admin().set_timing(&timing).unwrap();
    // The primary ENI's nine addresses but one.
    let runner = node.runner();
    let pods: Vec<_> = (0..8).map(|n| rig.run_pod(&runner, &format!("pod-{n}")).unwrap()).collect();
    let waiting: Vec<_> = (0..4).map(|n| rig.pod(&format!("late-{n}")).unwrap()).collect();
    std::thread::scope(|scope| {
        let adding: Vec<_> = waiting.iter().map(|pod| scope.spawn(|| runner.add(pod).unwrap())).collect();
        // The Attach that they wait for is on its way, for six seconds.
        wait_for("attaching", ATTACH_TAKES, || node.log().contains("\"api\":\"AttachNetworkInterface\""))
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        node.kill().unwrap();
        node.start_serving().unwrap();
        // The plugins that were cut off ask the new daemon: no runtime needs to know.
        assert!(adding.iter().any(|adding| !adding.is_finished()), "all were answered before the kill");
        for adding in adding {
            adding.join().unwrap().ok().unwrap();
        }
    });
    for pod in &waiting {
        // A runtime's retry, with the same sandbox or another, is served as well.
        runner.add(pod).unwrap().ok().unwrap();
    }
    let ledger = node.state().unwrap();
    assert_eq!(ledger.leases.len(), pods.len() + waiting.len());
    let enis = rig.admin().state().unwrap().network_interfaces;
    let attached = enis.iter().filter(|eni| eni.attachment.is_some()).count();
    assert_eq!(enis.len(), attached, "no ENI is left over: {enis:#?}");
}

#[test]
fn an_add_asked_again_gives_the_same_answer() {
    let (rig, mut node) = one_node();
    let runner = node.runner();
    let pod = rig.pod("twice").unwrap();
    let first = runner.add(&pod).unwrap().ok().unwrap();
    assert_eq!(runner.add(&pod).unwrap().ok().unwrap(), first);
    runner.check(&pod).unwrap().ok().unwrap();
    node.kill().unwrap();
    node.start_serving().unwrap();
    assert_eq!(runner.add(&pod).unwrap().ok().unwrap(), first, "after a restart too");
    // At the same time: one lease, one answer.
    let other = rig.pod("at-once").unwrap();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let adding: Vec<_> =
            (0..4).map(|_| scope.spawn(|| runner.add(&other).unwrap().ok().unwrap())).collect();
        adding.into_iter().map(|adding| adding.join().unwrap()).collect()
    });
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
    assert_eq!(node.state().unwrap().leases.len(), 2);
}

/// A StatefulSet's pod keeps its name over its sandboxes.
#[test]
fn a_del_never_touches_a_newer_sandbox_of_the_same_name() {
    let (rig, mut node) = one_node();
    let runner = node.runner();
    let peer = rig.run_pod(&runner, "peer").unwrap();
    let works = |pod: &RunningPod| assert_eq!(pod.ask(peer.address).unwrap(), pod.address);

    // The old sandbox is still alive when the new one comes.
    let first = rig.run_pod(&runner, "web-0").unwrap();
    let second = rig.run_pod(&runner, "web-0").unwrap();
    assert_ne!(first.address, second.address);
    works(&first);
    works(&second);
    for _ in 0..10 {
        runner.del(&first.pod).unwrap().ok().unwrap();
        works(&second);
    }
    // Its namespace ends, and the DEL comes again, late and without it.
    let first_again = first.pod.container_id.clone();
    drop(first);
    let old = Pod::create(rig.dir().join("netns").as_path(), "web-0", &first_again).unwrap();
    runner.del_again(&old).unwrap().ok().unwrap();
    works(&second);

    // The old sandbox is gone without a DEL when the new one comes; its DEL arrives late, ten times.
    let (gone, file) = (second.pod.container_id.clone(), second.pod.path().to_owned());
    drop(second);
    assert!(!file.exists());
    let third = rig.run_pod(&runner, "web-0").unwrap();
    works(&third);
    let late = Pod::create(rig.dir().join("netns").as_path(), "web-0", &gone).unwrap();
    for _ in 0..10 {
        runner.del_again(&late).unwrap().ok().unwrap();
        works(&third);
    }

    // The DEL of the old sandbox waits in the spool while the new one comes.
    node.kill().unwrap();
    runner.del(&third.pod).unwrap().ok().unwrap();
    node.start_serving().unwrap();
    let fourth = rig.run_pod(&runner, "web-0").unwrap();
    runner.del_again(&third.pod).unwrap().ok().unwrap();
    works(&fourth);
    wait_for("read", SPOOL_IS_READ_WITHIN, || tombstones(&node.spool()) == 0).unwrap();
    works(&fourth);
    let ledger = node.wait_state("settled", |ledger| ledger.leases.len() == 2).unwrap();
    assert_eq!(phase(&ledger, &fourth.pod.container_id), Some(LeasePhase::Active));
    assert_eq!(tombstones(&node.spool()), 0);
}

/// A tombstone of a sandbox is older than an ADD of that very sandbox that finds it, and never undoes it.
#[test]
fn a_tombstone_goes_before_an_add_of_its_sandbox_never_after() {
    let (rig, node) = one_node();
    let runner = node.runner();
    let peer = rig.run_pod(&runner, "peer").unwrap();
    let mut pods = Vec::new();
    for round in 0..4_u64 {
        let pod = rig.pod(&format!("pod-{round}")).unwrap();
        let tombstone = Tombstone {
            sandbox: cni::sandbox(&pod.container_id).unwrap(),
            pod: None,
            netns_path: None,
            recorded_at_ms: 0,
            reason: "a test".to_owned(),
        };
        // At different moments between two looks of the daemon.
        std::thread::sleep(Duration::from_millis(round * 230));
        Spool::new(node.spool()).put(&tombstone, std::process::id()).unwrap();
        let result = runner.add(&pod).unwrap().ok().unwrap();
        pods.push((Runner::address(&result).unwrap(), pod));
    }
    wait_for("carried out", SPOOL_IS_READ_WITHIN, || tombstones(&node.spool()) == 0).unwrap();
    let ledger = node.state().unwrap();
    for (address, pod) in &pods {
        assert_eq!(phase(&ledger, &pod.container_id), Some(LeasePhase::Active), "{}", pod.name);
        assert_eq!(rules_of(&node, *address), rules_of(&node, peer.address), "{}", pod.name);
    }
    // One that comes after the ADD is a later DEL, and is carried out while the daemon runs.
    let (_, pod) = &pods[0];
    let tombstone = Tombstone {
        sandbox: cni::sandbox(&pod.container_id).unwrap(),
        pod: None,
        netns_path: None,
        recorded_at_ms: 0,
        reason: "a test".to_owned(),
    };
    Spool::new(node.spool()).put(&tombstone, std::process::id()).unwrap();
    node.wait_state("released", |ledger| phase(ledger, &pod.container_id).is_none()).unwrap();
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[
            (
                "a_del_without_a_daemon_succeeds_and_is_carried_out_at_the_next_start",
                sabotage::DEL_NEEDS_A_DAEMON,
                &["a saboteur wants one"],
            ),
            (
                "a_running_pod_loses_no_packet_over_a_kill_and_a_stop",
                // An ADD that the rule comes in time for is refused; after that, packets are lost.
                sabotage::SENDS_BY_THE_PRIMARY,
                &["pings were lost", "table 254"],
            ),
            (
                "a_kill_in_the_middle_of_an_add_loses_nothing",
                sabotage::REFUSES_AFTER_KILLS,
                &["a saboteur refuses"],
            ),
            (
                "a_kill_in_the_middle_of_an_add_loses_nothing",
                sabotage::DEL_DOES_NOTHING,
                &["not settled within"],
            ),
        ],
    );
}
