//! A daemon that may not write the kernel's settings, as in a container that is not privileged.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::path::Path;

use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, scenario};
use holdfast_chaos_tests::sabotage;
use holdfast_datapath::netns;

/// The settings of the node's namespace that new links begin with.
fn default_of(node: &NodeUnderTest, setting: &str, value: &str) {
    let write = || fs::write(format!("/proc/sys/net/ipv6/conf/default/{setting}"), value).unwrap();
    netns::run_in(&node.netns().unwrap(), write).unwrap();
}

/// A place that shows the kernel's settings and takes none: a writing opens it, and fails.
fn read_only(at: &Path) {
    use nix::mount::{MsFlags, mount};
    fs::create_dir(at).unwrap();
    let none: Option<&Path> = None;
    mount(Some("/proc/sys"), at, none, MsFlags::MS_BIND, none).unwrap();
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, at, none, flags, none).unwrap();
}

#[test]
fn what_cannot_be_set_is_told_and_what_is_right_needs_no_right() {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    let place = rig.dir().join("proc-sys");
    read_only(&place);
    node.set("WARM_IP_TARGET", "1").set("MINIMUM_IP_TARGET", "4");
    node.set("HOLDFAST_PROC_SYS", place.to_str().unwrap());
    netns::run_in(&node.netns().unwrap(), || fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap())
        .unwrap();
    default_of(&node, "disable_ipv6", "0");
    default_of(&node, "accept_ra", "1");
    node.start_ready().unwrap();

    let runner = node.runner();
    let refused = runner.add(&rig.pod("refused").unwrap()).unwrap().result.unwrap_err();
    for words in ["accept_ra cannot be set to 0", "Read-only", "HOLDFAST_PROC_SYS"] {
        assert!(refused.details.contains(words), "{words}: {refused:?}");
    }
    let health = node.health().unwrap();
    assert_eq!(health["serving"], "impaired", "{health}");
    assert!(health["cause"].as_str().unwrap().contains("accept_ra"), "{health}");

    for (setting, value) in [("accept_ra", "0"), ("forwarding", "0"), ("accept_redirects", "1")] {
        default_of(&node, setting, value);
    }
    rig.run_pod(&runner, "served").unwrap();
    assert_eq!(node.health().unwrap()["serving"], "ready");
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[(
            "what_cannot_be_set_is_told_and_what_is_right_needs_no_right",
            sabotage::REFUSES_WITHOUT_CAUSE,
            &["accept_ra cannot be set to 0"],
        )],
    );
}
