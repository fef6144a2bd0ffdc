//! The socket is how everybody reaches the daemon: its file comes back when somebody takes it away, and no second daemon
//! takes the place of one that lives.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::time::Duration;

use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, scenario, wait_for};
use holdfast_chaos_tests::sabotage;

const WITHIN: Duration = Duration::from_secs(10);

fn one_node() -> (Rig, NodeUnderTest) {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("WARM_IP_TARGET", "1").set("MINIMUM_IP_TARGET", "4").start_ready().unwrap();
    (rig, node)
}

#[test]
fn a_socket_whose_file_or_folder_was_removed_comes_back() {
    let (rig, mut node) = one_node();
    let runner = node.runner();
    fs::remove_file(node.socket()).unwrap();
    let first = rig.run_pod(&runner, "first").unwrap();
    fs::remove_dir_all(node.socket().parent().unwrap()).unwrap();
    let second = rig.run_pod(&runner, "second").unwrap();
    assert_eq!(first.ask(second.address).unwrap(), first.address);
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    assert_eq!(node.log().matches("it is there again").count(), 3, "{}", node.log());

    // A socket of somebody else's in its place is no better.
    fs::remove_file(node.socket()).unwrap();
    let _foreign = std::os::unix::net::UnixListener::bind(node.socket()).unwrap();
    wait_for("bound again", WITHIN, || node.log().matches("it is there again").count() == 4).unwrap();
    rig.run_pod(&runner, "third").unwrap();
    assert!(node.terminate().unwrap().success());
    assert!(!node.socket().exists(), "a daemon that stops leaves none");
}

#[test]
fn health_tells_that_nobody_can_come_in() {
    let (rig, mut node) = one_node();
    fs::remove_file(node.socket()).unwrap();
    // In whose place no socket can be put.
    fs::create_dir(node.socket()).unwrap();
    node.wait_until("refusing", |health| health["serving"] == "refusing").unwrap();
    let health = node.health().unwrap();
    assert!(health["cause"].as_str().unwrap().contains("cni.sock"), "{health}");
    let told = || node.log().matches("cannot be made again").count();
    wait_for("told", WITHIN, || told() > 0).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(told(), 1, "once");
    fs::remove_dir(node.socket()).unwrap();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    rig.run_pod(&node.runner(), "pod").unwrap();
}

#[test]
fn a_second_daemon_with_a_ledger_of_its_own_waits_until_the_first_has_gone() {
    let (rig, mut node) = one_node();
    let mut second = rig.node("node-a").unwrap();
    second.set("HOLDFAST_LEDGER", rig.dir().join("other.redb").to_str().unwrap());
    second.start().unwrap();
    let told = || second.log().contains("another daemon serves there");
    wait_for("told that the place is taken", WITHIN, told).unwrap();
    rig.run_pod(&node.runner(), "first").unwrap();
    assert!(second.terminate().unwrap().success());
    rig.run_pod(&node.runner(), "second").unwrap();
    assert_eq!(node.health().unwrap()["serving"], "ready");

    second.start().unwrap();
    assert!(node.terminate().unwrap().success());
    second.wait_serving().unwrap();
}

/// A probe has five seconds.
#[test]
fn whoever_keeps_the_operators_socket_open_and_says_nothing_holds_up_no_probe() {
    let (_rig, node) = one_node();
    let path = node.socket().with_file_name("admin.sock");
    let idle: Vec<_> = (0..24).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
    let health = node.verb(&["health"]).unwrap();
    assert!(health.status.success(), "{}", String::from_utf8_lossy(&health.stderr));
    drop(idle);
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[(
            "a_socket_whose_file_or_folder_was_removed_comes_back",
            sabotage::WRONG_NEIGHBOUR,
            &["no answer from"],
        )],
    );
}
