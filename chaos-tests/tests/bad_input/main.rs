//! Wrong, hostile and damaged input: a clear error, nothing lost, no crash loop, and recovery when the cause is gone.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod clients;
mod disk;
mod ledger;
mod words;

use holdfast_chaos_tests::cni::{Called, Failure};
use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, scenario};
use holdfast_chaos_tests::sabotage;

/// The plugin's and the daemon's codes (see `holdfast_wire::code`).
mod code {
    pub(crate) const INCOMPATIBLE_VERSION: u64 = 1;
    pub(crate) const INVALID_ENVIRONMENT: u64 = 4;
    pub(crate) const DECODING_FAILURE: u64 = 6;
    pub(crate) const INVALID_CONFIG: u64 = 7;
    pub(crate) const TRY_AGAIN: u64 = 11;
    pub(crate) const NOT_AVAILABLE: u64 = 50;
    pub(crate) const CHECK_FAILED: u64 = 102;
    pub(crate) const PROTOCOL: u32 = 100;
}

fn new_node() -> (Rig, NodeUnderTest) {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("WARM_IP_TARGET", "2").set("MINIMUM_IP_TARGET", "6").set("HOLDFAST_ADD_HOLD", "5");
    (rig, node)
}

fn one_node() -> (Rig, NodeUnderTest) {
    let (rig, mut node) = new_node();
    node.start_ready().unwrap();
    (rig, node)
}

fn refused(called: Called) -> Failure {
    called.result.unwrap_err()
}

/// After whatever was done to it, the daemon serves a pod that works.
fn still_serves(rig: &Rig, node: &mut NodeUnderTest) {
    assert!(node.is_running().unwrap(), "the daemon ended:\n{}", node.log());
    let pod = rig.run_pod(&node.runner(), "good").unwrap();
    let other = rig.run_pod(&node.runner(), "other").unwrap();
    assert_eq!(pod.ask(other.address).unwrap(), pod.address);
    for pod in [&pod, &other] {
        node.runner().del(&pod.pod).unwrap().ok().unwrap();
    }
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[
            (
                "words::wrong_configurations_and_variables_are_refused_with_words",
                sabotage::CHECK_SAYS_YES,
                &["on an `Ok` value"],
            ),
            (
                "ledger::a_damaged_ledger_is_set_aside_and_rebuilt",
                sabotage::GIVES_ONE_TWICE,
                &["an address in use was given again"],
            ),
        ],
    );
}
