//! `holdfast pool`, of a daemon that runs, and of none.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::process::Output;

use holdfast_chaos_tests::rig::{Rig, scenario};
use serde_json::Value;

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_node_says_what_its_pool_aims_at_and_whose_word_that_is() {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("HOLDFAST_WARM_MODE", "adaptive").set("WARM_IP_TARGET", "3");
    let nobody = node.verb(&["pool"]).unwrap();
    let told = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(!nobody.status.success() && told.contains("no daemon"), "{told}");

    node.start_ready().unwrap();
    let runner = node.runner();
    rig.run_pod(&runner, "one").unwrap();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    let pool: Value = serde_json::from_str(&text(&node.verb(&["pool", "--json"]).unwrap())).unwrap();
    assert_eq!((&pool["mode"], &pool["quantile"]), (&"adaptive".into(), &"99.9 %".into()), "{pool}");
    let first = &pool["pools"][0];
    assert_eq!(first["targets"]["free_at_least"], 3, "{pool}");
    let from = first["targets"]["from"].as_str().unwrap();
    assert!(from.contains("more minutes of learning"), "the first hour is that of the set targets: {pool}");
    assert_eq!(first["level"]["leased"], 1, "{pool}");
    let subnet = &first["subnets"][0];
    let free = subnet["free"].as_u64().unwrap();
    assert_eq!(subnet["prefixes_at_most"].as_u64().unwrap(), free / 16, "{pool}");

    let words = text(&node.verb(&["pool"]).unwrap());
    for said in ["IPv4 on card 0: single addresses, adaptive", "1 leased", "3 at least", "/28s"] {
        assert!(words.contains(said), "{said}: {words}");
    }
    let settings: Value = serde_json::from_str(&text(&node.verb(&["settings"]).unwrap())).unwrap();
    assert_eq!(settings["HOLDFAST_WARM_MODE"]["value"], "adaptive", "{settings}");
}
