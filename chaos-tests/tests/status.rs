//! STATUS through the plugin: whether an ADD would work now, and if not, the true cause for whoever reads the runtime's
//! log.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::{Duration, Instant};

use holdfast_chaos_tests::cni::{Failure, Runner};
use holdfast_chaos_tests::rig::{Rig, scenario};
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::Action;
use serde_json::Value;

/// The specification's "an ADD would not work now".
const NOT_AVAILABLE: u64 = 50;

/// How long the node may take to find out.
const SOON: Duration = Duration::from_secs(20);

/// Waits until STATUS says so.
fn wait_for<T>(runner: &Runner, wanted: impl Fn(&Result<Value, Failure>) -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        let said = runner.status().unwrap().result;
        if let Some(wanted) = wanted(&said) {
            return wanted;
        }
        assert!(begun.elapsed() < SOON, "still {said:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_node_without_addresses_says_what_keeps_it_from_getting_some() {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("WARM_IP_TARGET", "1").set("IP_COOLDOWN_PERIOD", "1").start_ready().unwrap();
    let runner = node.runner();
    let yes = |said: &Result<Value, Failure>| said.is_ok().then_some(());
    wait_for(&runner, yes);

    let deny = Fault::new(FaultKind::Deny).on(Action::AssignPrivateIpAddresses);
    rig.admin().set_fault(&deny).unwrap();
    let pod = rig.run_pod(&runner, "the-spare-one").unwrap();
    let status = wait_for(&runner, |said| said.clone().err());
    assert_eq!(status.code, NOT_AVAILABLE, "{status:?}");
    let cause = "not allowed to call ec2:AssignPrivateIpAddresses";
    assert!(status.details.contains(cause), "{status:?}");
    let refused = runner.add(&rig.pod("one-too-many").unwrap()).unwrap().result.unwrap_err();
    assert!(refused.details.contains(cause), "an ADD is told the same: {refused:?}");

    // The right is still lacking, but an address is free again.
    runner.del(&pod.pod).unwrap().ok().unwrap();
    wait_for(&runner, yes);
    rig.run_pod(&runner, "the-next-one").unwrap();
}
