//! A node whose addresses are all leased: it stays what it is, and the next pod is told why it waits.

use std::time::{Duration, Instant};

use holdfast_stage::drive::App;
use serde_json::Value;

use crate::rig::{Stage, values};

/// Addresses for pods that an instance of this type can have: three ENIs of four, their own first ones apart.
const TYPE: &str = "t3.small";
const ADDRESSES: usize = 9;

/// How long it is full. Six minutes where `HOLDFAST_LONG` is set: kubelet's own patience with a node is five.
fn full_for() -> Duration {
    Duration::from_secs(if std::env::var_os("HOLDFAST_LONG").is_some() { 360 } else { 40 })
}

#[test]
fn a_full_node_stays_ready_and_its_next_pod_starts_when_an_address_is_free() {
    let stage = Stage::new("test-full");
    // By 1.1.0 the runtime asks for STATUS every few seconds, and takes a no for a broken node.
    let values = values("env: {HOLDFAST_CNI_VERSION: \"1.1.0\"}\n");
    let values = values.path().display().to_string();
    stage.run(&["up", "--nodes", "1", "--type", TYPE, "--plugin", "chart", "--values", &values]);
    let cluster = stage.cluster();
    cluster
        .kubectl(&["--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s"])
        .unwrap();
    let app = App::deploy(&cluster, "web", u16::try_from(ADDRESSES - 1).unwrap()).unwrap();
    app.settle().unwrap();
    let before = app.pods().unwrap();
    let next = App::deploy(&cluster, "next", 1).unwrap();

    let (begun, mut told, mut stopped) = (Instant::now(), Vec::new(), String::new());
    while begun.elapsed() < full_for() {
        assert_eq!(stage.nodes_ready(), ["node-a"], "after {:?}", begun.elapsed());
        assert_eq!(app.pods().unwrap(), before, "none was evicted");
        told = warnings(&stage, "next-");
        stopped = condition(&stage);
        std::thread::sleep(Duration::from_secs(2));
    }
    let cause = format!("all {ADDRESSES} pod addresses");
    assert!(
        told.iter().any(|told| told.starts_with("PodNetworkNotReady: ") && told.contains(&cause)),
        "{told:?}"
    );
    assert!(stopped.starts_with("False InstanceFull") && stopped.contains(&cause), "{stopped}");
    assert!(next.pods().unwrap().iter().all(|pod| pod.address.is_empty()), "it waits");

    // Its own Deployment would want another one in its place.
    stage.kubectl(&["scale", "deployment", "web", &format!("--replicas={}", ADDRESSES - 2)]);
    let free_at = cluster
        .wait("an address at rest", || Ok(resting_until(&stage).ok_or_else(|| "none rests".to_owned())))
        .unwrap();
    cluster
        .wait("the next pod has an address", || {
            Ok(if next.pods()?.iter().all(|pod| pod.address.is_empty()) {
                Err("none".to_owned())
            } else {
                Ok(())
            })
        })
        .unwrap();
    let now: f64 = cluster.exec("node-a", &["date", "+%s.%N"]).unwrap().trim().parse().unwrap();
    eprintln!("started {:.1} s after an address was free", now - free_at);
    // The look for it takes its time too.
    assert!(now - free_at < 2.0 + 1.0, "{} s after an address was free", now - free_at);
    next.settle().unwrap();
    assert_eq!(stage.nodes_ready(), ["node-a"]);
}

fn warnings(stage: &Stage, name: &str) -> Vec<String> {
    let list = stage.get(&["events", "--field-selector=type=Warning"]);
    let events = list["items"].as_array().unwrap().iter();
    let ours = events
        .filter(|event| event["involvedObject"]["name"].as_str().is_some_and(|of| of.starts_with(name)));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ours.map(|event| format!("{}: {}", text(&event["reason"]), text(&event["message"]))).collect()
}

/// Of ours on the node: status, reason and message.
fn condition(stage: &Stage) -> String {
    let node = stage.get(&["node", "node-a"]);
    let conditions = node["status"]["conditions"].as_array().unwrap();
    let ours = conditions.iter().find(|condition| condition["type"] == "HoldfastAddressesAvailable");
    let text = |key: &str| ours.map_or("", |ours| ours[key].as_str().unwrap_or_default());
    format!("{} {} {}", text("status"), text("reason"), text("message"))
}

/// Until when the first address rests that does, in seconds since 1970, by the daemon's ledger.
fn resting_until(stage: &Stage) -> Option<f64> {
    let dump =
        stage.kubectl(&["--namespace=kube-system", "exec", "daemonset/aws-node", "--", "/holdfast", "dump"]);
    let dump: Value = serde_json::from_str(&dump).unwrap();
    let until = all(&dump, "cooling_until").into_iter().min()?;
    let seconds = stage.cluster().exec("node-a", &["date", "+%s.%N", "--date", &until]).unwrap();
    seconds.trim().parse().ok()
}

/// The texts under a key, wherever it is.
fn all(value: &Value, key: &str) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields.get(key).and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(|field| all(field, key))).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| all(item, key)).collect(),
        _ => Vec::new(),
    }
}
