//! A node of an instance type that is not in the daemon's table: its limits are asked of EC2, once.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use holdfast_chaos_tests::look::{self, Patience, Promise, Watched};
use holdfast_chaos_tests::rig::{Rig, RunningPod, scenario};
use holdfast_chaos_tests::sabotage;
use holdfast_model::limits::InstanceLimits;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::Action;

/// The box knows it, and nobody else: three ENIs with eleven pod addresses each.
const TYPE: &str = "z9.large";

#[test]
fn a_type_that_the_daemon_does_not_know_carries_what_ec2_says() {
    assert_eq!(InstanceLimits::of(TYPE), None, "choose another type for this test");
    let rig = Rig::up(&scenario(&[("node-a", TYPE)])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    let watched = Watched::before(&node).unwrap();
    node.set("HOLDFAST_ADD_HOLD", "10").set("WARM_IP_TARGET", "1").start_ready().unwrap();
    // More than one ENI carries.
    let runner = node.runner();
    let pods: Vec<RunningPod> =
        (0..13).map(|number| rig.run_pod(&runner, &format!("pod-{number}")).unwrap()).collect();
    let state = node.wait_state("grown", |ledger| ledger.enis.len() == 2).unwrap();
    assert_eq!(state.leases.len(), pods.len());
    assert_eq!(rig.admin().counts().unwrap().ec2.get(&Action::DescribeInstanceTypes), Some(&1));
    assert_eq!(pods[12].ask(pods[0].address).unwrap(), pods[12].address);
    let promises: Vec<Promise<'_>> = pods.iter().map(RunningPod::promise).collect();
    let look = || Ok(vec![watched.picture(&rig, &node, &promises)?]);
    look::wait_sound(Patience::of(&rig).unwrap(), look).unwrap();

    // The next process knows it: it grows onto the third ENI, and asks nothing of the type.
    node.kill().unwrap();
    rig.admin().set_fault(&Fault::new(FaultKind::Deny).on(Action::DescribeInstanceTypes)).unwrap();
    node.start_serving().unwrap();
    let runner = node.runner();
    let more: Vec<RunningPod> =
        (13..24).map(|number| rig.run_pod(&runner, &format!("pod-{number}")).unwrap()).collect();
    node.wait_state("grown again", |ledger| ledger.enis.len() == 3).unwrap();
    assert_eq!(rig.admin().counts().unwrap().ec2.get(&Action::DescribeInstanceTypes), Some(&1));
    let pods = pods.into_iter().chain(more).collect::<Vec<_>>();
    node.runner().del(&pods[0].pod).unwrap().ok().unwrap();
    let dump = node.dump().unwrap();
    assert_eq!(dump["violations"], serde_json::json!([]), "{dump}");
    node.wait_state("deleted", |ledger| ledger.leases.len() == pods.len() - 1).unwrap();
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[(
            "a_type_that_the_daemon_does_not_know_carries_what_ec2_says",
            sabotage::SENDS_BY_THE_PRIMARY,
            &["table 254"],
        )],
    );
}
