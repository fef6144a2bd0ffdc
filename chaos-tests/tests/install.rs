//! What the daemon puts onto its node for the runtime, and how it is asked there.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use holdfast_chaos_tests::cni::Runner;
use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, scenario, wait_for};
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(30);

/// A node with the runtime's folders.
fn node() -> (Rig, NodeUnderTest, PathBuf, PathBuf) {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    let (bin, net_d) = (rig.dir().join("cni-bin"), rig.dir().join("net.d"));
    for folder in [&bin, &net_d] {
        fs::create_dir(folder).unwrap();
    }
    let plugin = rig.programs().plugin.to_str().unwrap().to_owned();
    node.set("WARM_IP_TARGET", "2")
        .set("HOLDFAST_PLUGIN", &plugin)
        .set("HOST_CNI_BIN_PATH", bin.to_str().unwrap())
        .set("HOST_CNI_CONFDIR_PATH", net_d.to_str().unwrap());
    (rig, node, bin.join("aws-cni"), net_d.join("10-aws.conflist"))
}

/// As a runtime calls the first plugin of a list.
fn runner(plugin: &Path, list: &Value) -> Runner {
    let mut conf = list["plugins"][0].clone();
    conf["name"] = list["name"].clone();
    conf["cniVersion"] = list["cniVersion"].clone();
    Runner::new(plugin, conf)
}

#[test]
fn a_runtime_finds_the_plugin_and_its_configuration_as_long_as_the_node_can_serve() {
    let (rig, mut node, plugin, list) = node();
    // Nobody can be served by a ledger of somebody else's.
    fs::create_dir_all(node.ledger().parent().unwrap()).unwrap();
    fs::create_dir(node.ledger()).unwrap();
    node.start().unwrap();
    node.wait_until("refusing", |health| health["serving"] == "refusing").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(!list.exists(), "no configuration before the daemon answers from its ledger");
    fs::remove_dir(node.ledger()).unwrap();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    wait_for("the configuration", WITHIN, || list.exists()).unwrap();
    assert_eq!(fs::read(&plugin).unwrap(), fs::read(&rig.programs().plugin).unwrap());

    let text = fs::read_to_string(&list).unwrap();
    let runner = runner(&plugin, &serde_json::from_str(&text).unwrap());
    let first = rig.run_pod(&runner, "first").unwrap();
    node.kill().unwrap();
    assert_eq!(fs::read_to_string(&list).unwrap(), text, "it stays while the daemon is away");
    node.start_ready().unwrap();
    let second = rig.run_pod(&runner, "second").unwrap();
    assert_eq!(first.ask(second.address).unwrap(), first.address);
    fs::remove_file(&list).unwrap();
    wait_for("the configuration again", WITHIN, || list.exists()).unwrap();
    assert!(node.terminate().unwrap().success());
    assert!(list.exists() && plugin.exists());
}

#[test]
fn probes_of_the_incumbents_manifest_are_answered_under_its_programs_name() {
    let (rig, mut node, ..) = node();
    let probe = rig.dir().join("grpc-health-probe");
    symlink(&rig.programs().daemon, &probe).unwrap();
    let probed = |node: &NodeUnderTest| {
        let socket = node.socket();
        let told = Command::new(&probe)
            .args(["-addr=:50051", "-connect-timeout=5s", "-rpc-timeout=5s"])
            .env("HOLDFAST_SOCKET", socket)
            .output()
            .unwrap();
        told.status.success()
    };
    assert!(!probed(&node), "nobody is there");
    node.start_ready().unwrap();
    assert!(probed(&node));
    assert!(node.terminate().unwrap().success());
    assert!(!probed(&node));
}

/// Whose word each setting is.
#[test]
fn the_settings_that_hold_are_told_by_the_daemon() {
    let (_rig, mut node, ..) = node();
    let settings = |node: &NodeUnderTest| {
        let told = node.verb(&["settings"]).unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let words = String::from_utf8(told.stderr).unwrap();
        (serde_json::from_slice::<Value>(&told.stdout).unwrap(), words)
    };
    let (alone, words) = settings(&node);
    assert!(words.contains("no daemon at") && words.contains("without what the cluster says"), "{words}");
    node.start_ready().unwrap();
    node.set("WARM_IP_TARGET", "7");
    let (held, words) = settings(&node);
    assert_eq!((held["WARM_IP_TARGET"]["value"].as_u64(), words.as_str()), (Some(2), ""));
    assert_eq!(held, alone);
}
