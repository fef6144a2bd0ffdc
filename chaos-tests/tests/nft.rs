//! An `nft` of another release, or one that fails: the NAT table stands all the same where it can, is not written again
//! and again, and what is wrong is told.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use holdfast_chaos_tests::packets::ask_internet;
use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, scenario, wait_for};
use holdfast_chaos_tests::sabotage;
use holdfast_datapath::netns;

/// Lists what the real one lists, and one key more.
const OF_TOMORROW: &str = r#"case "$*" in *list*) nft "$@" > /run/listed || exit $?; sed 's/"policy":/"flags_of_tomorrow": 0, "policy":/g' /run/listed; exit;; esac"#;

/// Lists nothing.
const LISTS_NOTHING: &str =
    r#"case "$*" in *list*) echo "netlink: Error: Operation not supported" >&2; exit 1;; esac"#;

/// Neither lists nor writes, while `/run/broken` is there.
const BROKEN: &str =
    r#"[ ! -e /run/broken ] || { echo "netlink: Error: Operation not supported" >&2; exit 1; }"#;

fn node(script: &str) -> (Rig, NodeUnderTest) {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("WARM_IP_TARGET", "1").set("MINIMUM_IP_TARGET", "4");
    let count = format!("echo \"$*\" >> {}", calls(&rig).display());
    node.stand_in("nft", &format!("{count}\n{script}\nexec nft \"$@\"")).unwrap();
    (rig, node)
}

fn calls(rig: &Rig) -> std::path::PathBuf {
    rig.dir().join("nft-calls")
}

fn count(rig: &Rig, word: &str) -> usize {
    let text = fs::read_to_string(calls(rig)).unwrap_or_default();
    text.lines().filter(|line| line.contains(word)).count()
}

/// Whether a new pod reaches a host outside the VPC, as the node.
fn has_a_way_out(rig: &Rig, node: &NodeUnderTest, name: &str) -> bool {
    let pod = rig.run_pod(&node.runner(), name).unwrap();
    let seen = ask_internet(pod.pod.netns(), rig.internet(), Duration::from_secs(2));
    seen.is_ok_and(|source| source == node.address().unwrap())
}

/// Somebody changes the host's network so often, and each time the daemon looks at it.
fn looks(rig: &Rig, node: &NodeUnderTest, times: usize) {
    for number in 0..times {
        let before = count(rig, "list");
        let add = ["link", "add", &format!("other{number}"), "type", "veth"];
        let made = netns::run_in(&node.netns().unwrap(), || Command::new("ip").args(add).status().unwrap());
        assert!(made.unwrap().success());
        wait_for("a look", Duration::from_secs(30), || count(rig, "list") > before).unwrap();
    }
}

#[test]
fn a_table_that_is_listed_in_other_words_is_written_once() {
    let (rig, mut node) = node(OF_TOMORROW);
    node.start_ready().unwrap();
    looks(&rig, &node, 5);
    assert_eq!(count(&rig, "-f"), 1, "{}", node.log());
    assert!(has_a_way_out(&rig, &node, "pod"), "no way out: {}", node.log());

    let gone = netns::run_in(&node.netns().unwrap(), || {
        Command::new("nft").args(["flush", "chain", "ip", "holdfast", "snat-mark"]).status().unwrap()
    });
    assert!(gone.unwrap().success());
    wait_for("written again", Duration::from_secs(30), || count(&rig, "-f") == 2).unwrap();
}

#[test]
fn a_table_that_cannot_be_listed_is_written_all_the_same_and_that_is_told() {
    let (rig, mut node) = node(LISTS_NOTHING);
    node.start_ready().unwrap();
    assert!(has_a_way_out(&rig, &node, "pod"), "no way out: {}", node.log());
    looks(&rig, &node, 5);
    assert_eq!(count(&rig, "-f"), 1, "{}", node.log());
    assert_eq!(node.log().matches("our NAT table cannot be listed").count(), 1, "{}", node.log());
    assert_eq!(node.dump().unwrap()["nat"], "Unknown");
    assert_eq!(node.health().unwrap()["serving"], "ready", "pods have their way out");
}

#[test]
fn a_table_that_cannot_be_written_is_told_by_health_until_it_is() {
    let (rig, mut node) = node(BROKEN);
    fs::write("/run/broken", "").unwrap();
    node.start().unwrap();
    // Inside the VPC pods are served even so.
    node.wait_until("impaired", |health| health["serving"] == "impaired").unwrap();
    let health = node.health().unwrap();
    assert!(health["cause"].as_str().unwrap().contains("Operation not supported"), "{health}");
    node.runner().status().unwrap().ok().unwrap();
    assert!(!has_a_way_out(&rig, &node, "before"));
    fs::remove_file("/run/broken").unwrap();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    assert!(has_a_way_out(&rig, &node, "after"), "{}", node.log());
}

/// Blocks or unblocks the metadata service for the node.
fn block_metadata(node: &NodeUnderTest, rules: &[&str]) {
    for rule in rules {
        let run = || Command::new("nft").args(rule.split(' ')).status().unwrap();
        assert!(netns::run_in(&node.netns().unwrap(), run).unwrap().success(), "{rule}");
    }
}

#[test]
fn no_pod_is_answered_for_before_the_table_of_a_node_that_was_late_to_be_known() {
    let (rig, mut node) = node(r#"case "$*" in *-f*) sleep 2;; esac"#);
    block_metadata(
        &node,
        &[
            "add table ip block",
            "add chain ip block output { type filter hook output priority 0 ; }",
            "add rule ip block output ip daddr 169.254.169.254 reject",
        ],
    );
    node.start_serving().unwrap();
    // Longer than the patience that there is with a table that is being written.
    std::thread::sleep(Duration::from_secs(6));
    let pod = rig.pod("pod").unwrap();
    let runner = node.runner();
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| runner.add(&pod).unwrap());
        block_metadata(&node, &["delete table ip block"]);
        adding.join().unwrap().ok().unwrap();
    });
    let tables =
        netns::run_in(&node.netns().unwrap(), || Command::new("nft").args(["list", "tables"]).output());
    let tables = String::from_utf8(tables.unwrap().unwrap().stdout).unwrap();
    assert!(tables.contains("holdfast"), "answered without a way out: {tables:?}\n{}", node.log());
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[("a_table_that_is_listed_in_other_words_is_written_once", sabotage::NO_NAT, &["no way out"])],
    );
}
