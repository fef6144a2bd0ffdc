//! A daemon with `CAP_NET_ADMIN` and no other right: it does all but enter pods' namespaces, for which the plugin hands it
//! a socket, and where it cannot look it says so and takes nothing for gone.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use holdfast_chaos_tests::cni::Runner;
use holdfast_chaos_tests::packets::{Control, Pinger, ask_internet};
use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, RunningPod, scenario, wait_for};
use holdfast_chaos_tests::sabotage;
use holdfast_datapath::netlink::{Change, LinkRef};
use holdfast_datapath::netns;
use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::ledger::Ledger;

const PATIENCE: Duration = Duration::from_secs(2);

/// What the daemon says at its start.
const LACKS: &str = "this process lacks CAP_SYS_ADMIN";

fn one_node() -> (Rig, NodeUnderTest) {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("WARM_IP_TARGET", "2").set("MINIMUM_IP_TARGET", "12").set("IP_COOLDOWN_PERIOD", "1");
    node.only_rights(&["net_admin"]);
    (rig, node)
}

fn starts(node: &mut NodeUnderTest) {
    node.start_ready().unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid().unwrap())).unwrap();
    let rights: Vec<_> = status.lines().filter(|line| line.starts_with("Cap")).collect();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(rights.contains(&format!("{set}:\t0000000000001000").as_str()), "{rights:?}");
    }
}

fn times(node: &NodeUnderTest, words: &str) -> usize {
    node.log().lines().filter(|line| line.contains(words)).count()
}

fn lease_of<'l>(ledger: &'l Ledger, pod: &RunningPod) -> &'l Lease {
    ledger.leases.values().find(|lease| lease.sandbox.container_id == pod.pod.container_id).unwrap()
}

#[test]
fn pods_come_go_and_live_through_restarts_with_one_right() {
    let (rig, mut node) = one_node();
    // Settings that the daemon has to write: of forwarding, and of each pod's link.
    let unset = || {
        for (setting, value) in [
            ("ipv4/ip_forward", "0"),
            ("ipv6/conf/default/disable_ipv6", "0"),
            ("ipv6/conf/default/accept_ra", "1"),
        ] {
            fs::write(format!("/proc/sys/net/{setting}"), value).unwrap();
        }
    };
    netns::run_in(&node.netns().unwrap(), unset).unwrap();
    starts(&mut node);
    let runner = node.runner();
    // Some of them on a secondary ENI.
    let pods: Vec<RunningPod> = (0..11).map(|n| rig.run_pod(&runner, &format!("pod-{n}")).unwrap()).collect();
    let works = |pod: &RunningPod, other: &RunningPod| {
        assert_eq!(pod.ask(other.address).unwrap(), pod.address);
        ask_internet(pod.pod.netns(), rig.internet(), PATIENCE).unwrap();
        runner.check(&pod.pod).unwrap().ok().unwrap();
    };
    works(&pods[0], &pods[10]);
    works(&pods[10], &pods[0]);

    let before = node.state().unwrap();
    let every = Duration::from_millis(10);
    let control = Control::start(every).unwrap();
    let pinger = Pinger::start(pods[0].pod.netns(), pods[10].address, every).unwrap();
    node.kill().unwrap();
    starts(&mut node);
    assert!(node.terminate().unwrap().success());
    starts(&mut node);
    assert_eq!(node.state().unwrap().leases, before.leases, "nothing about the leases has changed");
    // The repeated ADD of one that has its address looks inside as well.
    assert_eq!(Runner::address(&runner.add(&pods[1].pod).unwrap().ok().unwrap()).unwrap(), pods[1].address);
    for pair in pods.windows(2) {
        works(&pair[0], &pair[1]);
    }
    let new = rig.run_pod(&runner, "new").unwrap();
    // Asked again before its lease is known to be in use: what was answered holds.
    node.kill().unwrap();
    node.start_serving().unwrap();
    assert_eq!(runner.add(&new.pod).unwrap().ok().unwrap(), new.result);
    works(&new, &pods[10]);
    pinger.stop().unwrap().hold(&control.stop().unwrap()).unwrap();

    // What is wrong inside is seen by the socket alone.
    let mut inside = netns::socket_in(new.pod.netns()).unwrap();
    let eth0 = inside.link(&LinkRef::Name("eth0".to_owned())).unwrap().unwrap();
    let down = holdfast_datapath::netlink::LinkSettings { up: Some(false), ..Default::default() };
    inside.apply(&Change::SetLink(LinkRef::Index(eth0.index), down)).unwrap();
    let found = runner.check(&new.pod).unwrap().result.unwrap_err();
    assert!(found.details.contains("eth0 is down in the sandbox"), "{found:?}");

    for pod in pods.iter().chain([&new]) {
        runner.del(&pod.pod).unwrap().ok().unwrap();
    }
    node.wait_state("empty", |ledger| ledger.leases.is_empty()).unwrap();
    assert_eq!(times(&node, LACKS), 4, "once in each life");
    let log = node.log();
    let is_complaint = |line: &&str| {
        let told = line.contains(LACKS) || line.contains("the sandbox lives and is not verified");
        !told && (line.contains("\"ERROR\"") || line.contains("\"WARN\""))
    };
    let complaints: Vec<_> = log.lines().filter(is_complaint).collect();
    assert_eq!(complaints, Vec::<&str>::new());
}

/// Neither a plugin that hands no socket over nor a pod that nobody can be seen in is a reason to take anything away.
#[test]
fn what_takes_the_missing_right_is_told_and_nothing_is_taken_for_gone() {
    let (rig, mut node) = one_node();
    starts(&mut node);
    let runner = node.runner();
    let pod = rig.run_pod(&runner, "pod").unwrap();
    let other = rig.run_pod(&runner, "other").unwrap();

    // A plugin that may not enter either.
    let script = rig.dir().join("aws-cni-with-less");
    let plugin = rig.programs().plugin.display();
    let less = "setpriv --bounding-set -sys_admin --inh-caps -sys_admin --";
    fs::write(&script, format!("#!/bin/sh\nPATH=/usr/bin:/bin\nexec {less} {plugin}\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let alone = Runner::holdfast(&script, &node.socket(), &node.spool());
    let refused = alone.add(&rig.pod("refused").unwrap()).unwrap().result.unwrap_err();
    for words in ["may not be entered", "CAP_SYS_ADMIN"] {
        assert!(refused.details.contains(words), "{refused:?}");
    }
    let refused = alone.check(&pod.pod).unwrap().result.unwrap_err();
    assert!(refused.details.contains("may not be entered"), "{refused:?}");
    let ledger = node.wait_state("undone", |ledger| ledger.leases.len() == 2).unwrap();

    // A pod's link is taken away: it lives, and can be wired anew only by who may enter.
    let veth = lease_of(&ledger, &pod).faces[0].host_veth.clone();
    let mut host = netns::socket_in(&node.netns().unwrap()).unwrap();
    host.apply(&Change::DeleteLink(LinkRef::Name(veth))).unwrap();
    let is_cut_off = |health: &serde_json::Value| {
        let cause = health["cause"].as_str().unwrap_or_default();
        health["serving"] == "impaired" && cause.contains("may not be entered")
    };
    node.wait_until("impaired", is_cut_off).unwrap();
    ask_internet(other.pod.netns(), rig.internet(), PATIENCE).expect("the other one is untouched");
    node.kill().unwrap();
    node.start().unwrap();
    node.wait_until("impaired again", is_cut_off).unwrap();
    let lease = lease_of(&node.state().unwrap(), &pod).clone();
    assert_eq!(lease.phase, LeasePhase::Active);
    assert_eq!(times(&node, LACKS), 2);

    // With the right it gets its network back.
    node.kill().unwrap();
    node.only_rights(&["net_admin", "sys_admin"]);
    node.start_ready().unwrap();
    wait_for("wired anew", Duration::from_secs(20), || pod.ask(other.address).is_ok()).unwrap();
    assert_eq!(pod.ask(other.address).unwrap(), pod.address);
    assert_eq!(lease_of(&node.state().unwrap(), &pod).faces, lease.faces);
    assert_eq!(times(&node, LACKS), 2, "nothing lacks");
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[(
            "pods_come_go_and_live_through_restarts_with_one_right",
            sabotage::HANDS_NO_SOCKET,
            &["may not be entered"],
        )],
    );
}
