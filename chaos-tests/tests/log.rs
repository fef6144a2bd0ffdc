//! Where the daemon's log goes nothing can stop it: a reader that stops or leaves, a full disk. Lines are lost then, and
//! how many is told.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, scenario, wait_for};
use holdfast_chaos_tests::sabotage;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::unistd::pipe2;

fn node() -> (Rig, NodeUnderTest) {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("WARM_IP_TARGET", "1").set("MINIMUM_IP_TARGET", "4").set("IP_COOLDOWN_PERIOD", "1");
    (rig, node)
}

fn pipe() -> (OwnedFd, File) {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    (reader, File::from(writer))
}

/// A pod comes and goes, and the daemon says how it is.
fn works(rig: &Rig, node: &mut NodeUnderTest) {
    let runner = node.runner();
    let pods = ["one", "two", "three"].map(|name| rig.run_pod(&runner, name).unwrap());
    assert_eq!(pods[0].ask(pods[1].address).unwrap(), pods[0].address);
    for pod in &pods {
        runner.del(&pod.pod).unwrap().ok().unwrap();
    }
    assert_eq!(node.health().unwrap()["alive"], true);
    assert!(node.is_running().unwrap());
}

/// As many lines as are told to be lost.
fn lost(text: &str) -> u64 {
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["lost"].as_u64())
        .sum()
}

#[test]
fn a_reader_that_stops_holds_neither_pods_nor_the_end() {
    let (rig, mut node) = node();
    let (reader, writer) = pipe();
    // Full before the daemon says its first word, and nobody reads it for now.
    let mut full = File::options()
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer)))
        .unwrap();
    let mut filled = 0;
    while let Ok(more) = full.write(&[b'\n'; 4096]) {
        filled += more;
    }
    node.start_logging(writer).unwrap();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    works(&rig, &mut node);
    let told = Instant::now();
    assert!(node.terminate().unwrap().success());
    assert!(told.elapsed() < Duration::from_secs(30), "its last words kept it");
    drop(full);
    let mut all = Vec::new();
    File::from(reader).read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), filled, "nothing could be written");
}

#[test]
fn a_reader_that_comes_back_is_told_what_it_missed() {
    let (rig, mut node) = node();
    // Each request of the flood to come is a line.
    let (reader, writer) = pipe();
    node.start_logging(writer).unwrap();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    // Lines enough for the pipe and for the daemon's own room, of a hundred bytes at least.
    for _ in 0..20_000 {
        strange_request(&node);
    }
    works(&rig, &mut node);
    let reading = std::thread::spawn(move || {
        let mut all = String::new();
        File::from(reader).read_to_string(&mut all).unwrap();
        all
    });
    assert!(node.terminate().unwrap().success());
    let all = reading.join().unwrap();
    assert!(lost(&all) > 0, "{} lines and none is told to be lost", all.lines().count());
}

/// What is no request of the protocol leaves a line in the log.
fn strange_request(node: &NodeUnderTest) {
    let mut stream = std::os::unix::net::UnixStream::connect(node.socket()).unwrap();
    stream.write_all(&[0xff; 4]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
}

#[test]
fn a_reader_that_leaves_takes_nobody_along() {
    let (rig, mut node) = node();
    let (reader, writer) = pipe();
    drop(reader);
    node.start_logging(writer).unwrap();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    works(&rig, &mut node);
    assert!(node.terminate().unwrap().success());
}

#[test]
fn a_full_disk_costs_lines_which_are_told_when_there_is_room() {
    let (rig, mut node) = node();
    let dir = rig.dir().join("logs");
    fs::create_dir(&dir).unwrap();
    // In namespaces of this thread's own, and gone with them.
    mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();
    let filler = dir.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write(&[b'x'; 4096]).is_ok_and(|written| written > 0) {}
    let log = dir.join("daemon.log");
    node.start_logging(File::options().create(true).append(true).open(&log).unwrap()).unwrap();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    works(&rig, &mut node);
    assert_eq!(fs::read_to_string(&log).unwrap(), "", "the disk was full");

    fs::remove_file(&filler).unwrap();
    drop(file);
    let runner = node.runner();
    let pod = rig.run_pod(&runner, "four").unwrap();
    let written = || fs::read_to_string(&log).unwrap_or_default();
    wait_for("the hole told", Duration::from_secs(10), || lost(&written()) > 0).unwrap();
    wait_for("the pod told", Duration::from_secs(10), || written().contains("default/four")).unwrap();
    runner.del(&pod.pod).unwrap().ok().unwrap();
}

#[test]
fn wrong_settings_are_lines_of_the_log_like_all_others() {
    let (_rig, mut node) = node();
    node.set("WARM_IP_TARGET", "many").set("AWS_VPC_K8S_CNI_LOGLEVEL", "loud").set("ENABLE_IPv6", "true");
    node.start().unwrap();
    let status = node.daemon().unwrap().wait(Duration::from_secs(30)).unwrap();
    assert_eq!(status.code(), Some(64));
    let log = node.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (variable, level) in
        [("WARM_IP_TARGET", "WARN"), ("AWS_VPC_K8S_CNI_LOGLEVEL", "WARN"), ("ENABLE_IPv6", "ERROR")]
    {
        let told = |line: &&serde_json::Value| line["message"].as_str().unwrap().starts_with(variable);
        let line = lines.iter().find(told).unwrap_or_else(|| panic!("{variable} is not in {log}"));
        assert_eq!(line["level"], level, "{line}");
    }
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[("a_reader_that_leaves_takes_nobody_along", sabotage::WRONG_NEIGHBOUR, &["no answer from"])],
    );
}
