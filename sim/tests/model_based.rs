//! Random calls, faults and clock steps against `SimVpc`, beside a reference written on its own. Whenever the
//! reference sees reasons to refuse a call, the answer must be one of them; when it sees none, the call must succeed
//! and give what was free before.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test: a panic is its way to fail, and nobody imports it"
)]

#[path = "model_based/calls.rs"]
mod calls;
#[path = "model_based/follower.rs"]
mod follower;
#[path = "model_based/reference.rs"]
mod reference;
#[path = "model_based/run.rs"]
mod run;
#[path = "model_based/steps.rs"]
mod steps;

use std::collections::BTreeSet;

use holdfast_sim::vpc::Outcome;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use run::Run;
use steps::step;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn random_calls_faults_and_time_keep_the_rules(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut run = Run::new(seed);
        run.compare();
        for step in &steps {
            run.step(step);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_seeds_and_steps_give_equal_runs(seed in any::<u64>(), steps in prop::collection::vec(step(), 1..40)) {
        let run = || {
            let mut run = Run::new(seed);
            for step in &steps {
                run.step(step);
            }
            let log = run.sim.log().records().cloned().collect::<Vec<_>>();
            (run.sim.authoritative().network_interfaces(), run.sim.authoritative().subnets(), log)
        };
        prop_assert_eq!(run(), run());
    }
}

/// The random steps really get somewhere: each action succeeds and each refusal happens.
#[test]
fn random_steps_reach_every_answer() {
    let mut runner = TestRunner::deterministic();
    let steps = prop::collection::vec(step(), 60..80);
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let mut run = Run::new(seed);
        for step in steps.new_tree(&mut runner).expect("no filter rejects").current() {
            run.step(&step);
        }
        seen.extend(run.sim.log().records().map(|record| match &record.outcome {
            Outcome::Done => format!("{} done", record.action),
            Outcome::Failed(code) => code.to_string(),
            lost => format!("{lost:?}"),
        }));
    }
    let expected = [
        "AnswerLost",
        "AssignPrivateIpAddresses done",
        "AttachNetworkInterface done",
        "AttachmentLimitExceeded",
        "CreateNetworkInterface done",
        "DeleteNetworkInterface done",
        "DescribeNetworkInterfaces done",
        "DetachNetworkInterface done",
        "IdempotentParameterMismatch",
        "IncorrectState",
        "InsufficientCidrBlocks",
        "InsufficientFreeAddressesInSubnet",
        "InternalError",
        "InvalidAttachmentID.NotFound",
        "InvalidIPAddress.InUse",
        "InvalidNetworkInterface.InUse",
        "InvalidNetworkInterfaceID.NotFound",
        "InvalidParameterCombination",
        "InvalidParameterValue",
        "MissingParameter",
        "ModifyNetworkInterfaceAttribute done",
        "OperationNotPermitted",
        "PrivateIpAddressLimitExceeded",
        "RequestLimitExceeded",
        "RequestLost",
        "UnassignPrivateIpAddresses done",
    ];
    let missing: Vec<_> = expected.iter().filter(|answer| !seen.contains(**answer)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}; seen: {seen:?}");
}
