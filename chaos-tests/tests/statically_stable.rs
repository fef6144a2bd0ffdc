//! EC2 and the metadata service refuse all connections from before the daemon's start: what runs goes on, DEL works,
//! and ADD works as long as the ledger holds proven free addresses.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::{Duration, Instant};

use holdfast_chaos_tests::packets::{Control, Pinger};
use holdfast_chaos_tests::rig::{Rig, RunningPod, scenario};
use holdfast_chaos_tests::sabotage;

/// The specification's "try again later".
const TRY_AGAIN: u64 = 11;

/// The specification's "an ADD would not work now".
const NOT_AVAILABLE: u64 = 50;

/// A little longer than the planner's own figure (`adopt::ABSENCE_BELIEVED_AFTER`, 30 s).
const ABSENCE_BELIEVED_AFTER: Duration = Duration::from_secs(31);

#[test]
fn a_node_that_is_cut_off_from_aws_goes_on() {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large"), ("node-b", "m5.large")])).unwrap();
    let mut far_node = rig.node("node-b").unwrap();
    far_node.set("WARM_IP_TARGET", "1").start_ready().unwrap();
    let far = rig.run_pod(&far_node.runner(), "far").unwrap();
    let mut node = rig.node("node-a").unwrap();
    // Few addresses, resting long, so that the end is near.
    node.set("WARM_IP_TARGET", "2").set("MINIMUM_IP_TARGET", "4").set("IP_COOLDOWN_PERIOD", "600");
    node.set("HOLDFAST_ADD_HOLD", "2");
    node.start_ready().unwrap();
    let runner = node.runner();
    let mut pods: Vec<RunningPod> =
        (0..3).map(|n| rig.run_pod(&runner, &format!("pod-{n}")).unwrap()).collect();
    let before = node
        .wait_state("warm", |ledger| {
            ledger.intents.is_empty() && ledger.blocks.len() >= ledger.leases.len() + 2
        })
        .unwrap();
    let free = before.blocks.len() - before.leases.len();
    let every = Duration::from_millis(10);
    let control = Control::start(every).unwrap();
    let pinger = Pinger::start(pods[0].pod.netns(), far.address, every).unwrap();

    node.kill().unwrap();
    rig.admin().reset().unwrap();
    node.cut_off();
    let begun = Instant::now();
    node.start_serving().unwrap();
    println!("serving {} ms after the start, without AWS", begun.elapsed().as_millis());
    assert!(begun.elapsed() < Duration::from_secs(1), "a start waits for nobody");

    // DEL works, ADD works from what is proven free.
    let deleted = pods.pop().unwrap();
    runner.del(&deleted.pod).unwrap().ok().unwrap();
    for n in 0..free {
        pods.push(rig.run_pod(&runner, &format!("stable-{n}")).unwrap());
    }
    for pod in &pods {
        assert_eq!(pod.ask(far.address).unwrap(), pod.address);
        assert_ne!(pod.address, deleted.address);
    }
    // Then the true cause is told.
    let refused = runner.add(&rig.pod("one-too-many").unwrap()).unwrap();
    println!("refused after {:?}: {:?}", refused.took, refused.result);
    let failure = refused.result.unwrap_err();
    assert_eq!(failure.code, TRY_AGAIN, "{failure:?}");
    // By what is asked for first: the role's credentials come from the metadata service.
    let is_true =
        |told: &str| told.contains("EC2 does not answer") || told.contains("no credentials to call ec2:");
    assert!(is_true(&failure.details), "{failure:?}");
    let health = node.health().unwrap();
    assert_eq!(health["alive"], true, "liveness never depends on EC2: {health}");
    // It is told to people, and is no failure of the node's: its pods are to stay.
    assert_eq!(health["serving"], "short", "{health}");
    assert!(is_true(health["cause"].as_str().unwrap()), "{health}");
    runner.status().unwrap().ok().unwrap();

    // Nothing was asked of the real one, and nothing released for not being seen: not either at the time from which on
    // an absence would be believed.
    std::thread::sleep(ABSENCE_BELIEVED_AFTER.saturating_sub(begun.elapsed()));
    let counts = rig.admin().counts().unwrap();
    assert_eq!(counts.ec2_by_caller.get(node.instance().as_str()), None, "{counts:?}");
    let after = node.state().unwrap();
    assert_eq!(after.enis.len(), before.enis.len());
    assert!(before.blocks.keys().all(|net| after.blocks.contains_key(net)));

    // AWS comes back with the next start; the pod that was refused gets its address.
    assert!(node.terminate().unwrap().success());
    node.reconnect().start_serving().unwrap();
    let late = rig.run_pod(&runner, "late").unwrap();
    assert_eq!(late.ask(far.address).unwrap(), late.address);
    let pings = pinger.stop().unwrap();
    pings.hold(&control.stop().unwrap()).unwrap();
    assert!(pings.sent > 20, "{pings:?}");
}

#[test]
fn a_new_node_that_is_cut_off_says_so_and_stays() {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("HOLDFAST_ADD_HOLD", "1").cut_off();
    node.start_serving().unwrap();
    let runner = node.runner();
    let pod = rig.pod("early").unwrap();
    let failure = runner.add(&pod).unwrap().result.unwrap_err();
    assert_eq!(failure.code, TRY_AGAIN, "{failure:?}");
    assert!(failure.details.contains("identity is not known yet"), "{failure:?}");
    runner.del(&pod).unwrap().ok().unwrap();
    let status = runner.status().unwrap().result.unwrap_err();
    assert_eq!(status.code, NOT_AVAILABLE, "{status:?}");
    assert!(node.is_running().unwrap());
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[
            (
                "a_node_that_is_cut_off_from_aws_goes_on",
                sabotage::SLOW_RESTART,
                &["a start waits for nobody"],
            ),
            ("a_node_that_is_cut_off_from_aws_goes_on", sabotage::REFUSES_WITHOUT_CAUSE, &["details: \"\""]),
            (
                "a_node_that_is_cut_off_from_aws_goes_on",
                sabotage::REFUSES_AFTER_KILLS,
                &["a saboteur refuses"],
            ),
        ],
    );
}
