//! What a node without addresses says: to people why, to the runtime that the plugin is well. A runtime takes a plugin
//! that fails STATUS for a broken node, whose pods are to be moved away. And what a node says whose pods are cut off.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::net::IpAddr;

use holdfast_chaos_tests::rig::{Rig, RunningPod, scenario};
use holdfast_chaos_tests::sabotage;
use holdfast_datapath::netlink::{Change, Route, RouteScope, RouteType, Rule};
use holdfast_datapath::netns;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::{Action, CallRecord, Outcome};
use ipnet::IpNet;

#[test]
fn a_node_without_addresses_says_what_keeps_it_from_getting_some_and_stays_in_service() {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("WARM_IP_TARGET", "1").set("IP_COOLDOWN_PERIOD", "1").start_ready().unwrap();
    let runner = node.runner();
    runner.status().unwrap().ok().unwrap();

    let deny = Fault::new(FaultKind::Deny).on(Action::AssignPrivateIpAddresses);
    rig.admin().set_fault(&deny).unwrap();
    let pod = rig.run_pod(&runner, "the-spare-one").unwrap();
    node.wait_until("short", |health| health["serving"] == "short").unwrap();
    let cause = "not allowed to call ec2:AssignPrivateIpAddresses";
    let health = node.health().unwrap();
    assert!(health["cause"].as_str().unwrap().contains(cause), "{health}");
    let refused = runner.add(&rig.pod("one-too-many").unwrap()).unwrap().result.unwrap_err();
    assert!(refused.details.contains(cause), "an ADD is told the same: {refused:?}");
    runner.status().unwrap().ok().unwrap();
    let denied = |call: &CallRecord| {
        call.action == Action::AssignPrivateIpAddresses && matches!(call.outcome, Outcome::Failed(_))
    };
    assert!(rig.admin().calls().unwrap().iter().any(denied), "the fault never hit");

    // The right is still lacking, but an address is free again.
    runner.del(&pod.pod).unwrap().ok().unwrap();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    rig.run_pod(&runner, "the-next-one").unwrap();
}

/// No runtime asks for it, and all that is ours is in its place.
#[test]
fn a_pod_whose_packets_others_send_nowhere_is_told_of_while_it_lasts() {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("WARM_IP_TARGET", "2").start_ready().unwrap();
    let runner = node.runner();
    let pods = ["one", "other"].map(|name| rig.run_pod(&runner, name).unwrap());
    let nowhere = Route {
        kind: RouteType::BlackHole,
        link: None,
        scope: RouteScope::Universe,
        ..Route::on_link(99, "0.0.0.0/0".parse().unwrap(), 0)
    };
    let from = |pod: &RunningPod| Some(IpNet::from(IpAddr::V4(pod.address)));
    let rules = pods.each_ref().map(|pod| Rule { from: from(pod), ..Rule::new(1000, 99) });
    let mut host = netns::socket_in(&node.netns().unwrap()).unwrap();
    host.apply(&Change::AddRoute(nowhere)).unwrap();
    for (rule, pods) in rules.iter().zip(["1 pod is", "2 pods are"]) {
        host.apply(&Change::AddRule(rule.clone())).unwrap();
        let is_told = |health: &serde_json::Value| {
            let cause = health["cause"].as_str().unwrap_or_default();
            cause.starts_with(pods) && cause.contains("a foreign rule 1000 from")
        };
        node.wait_until("cut off", is_told).unwrap();
    }
    for rule in rules {
        host.apply(&Change::DeleteRule(rule)).unwrap();
    }
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[(
            "a_node_without_addresses_says_what_keeps_it_from_getting_some_and_stays_in_service",
            sabotage::REFUSES_WITHOUT_CAUSE,
            &["an ADD is told the same"],
        )],
    );
}
