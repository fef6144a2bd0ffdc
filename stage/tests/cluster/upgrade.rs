//! The DaemonSet rolled to another build and back under running pods.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_stage::drive::{App, Pod};
use serde_json::Value;

use crate::chart::repository;
use crate::rig::Stage;

/// How the other build's image is called.
const OTHER: &str = "localhost/holdfast:0.0.0";

/// The other build is the one whose image `HOLDFAST_IMAGE_OLDER` names, under the version 0.0.0. Where none is named it is this
/// one's once more: then a roll is shown, and not that two builds meet.
#[test]
fn a_roll_to_another_build_and_back_loses_no_packet_and_no_lease() {
    let stage = Stage::new("test-upgrade");
    stage.run(&["up", "--nodes", "2", "--plugin", "chart"]);
    let cluster = stage.cluster();
    for node in ["node-a", "node-b"] {
        match std::env::var("HOLDFAST_IMAGE_OLDER") {
            Ok(image) => {
                cluster.exec(node, &["ctr", "--namespace=k8s.io", "images", "import", "--local", &image])
            }
            Err(_) => cluster.exec(
                node,
                &["ctr", "--namespace=k8s.io", "images", "tag", "localhost/holdfast:0.1.0", OTHER],
            ),
        }
        .unwrap();
    }
    let app = App::deploy(&cluster, "web", 12).unwrap();
    app.settle().unwrap();
    let pods = app.pods().unwrap();
    let leases = leases(&stage);
    assert!(leases.len() >= 12, "{leases:?}");
    // Each asks one of the other node, ten milliseconds apart.
    let first = |node: &str| pods.iter().find(|pod| pod.node == node).unwrap();
    let target = |pod: &Pod| first(if pod.node == "node-a" { "node-b" } else { "node-a" }).address.clone();
    for pod in &pods {
        in_pod(
            &stage,
            pod,
            &format!("ping -q -i 0.01 {} > /tmp/ping 2>&1 & echo $! > /tmp/pid", target(pod)),
        );
    }
    for (tag, builds) in [("0.0.0", "the other one"), ("0.1.0", "this one")] {
        stage.helm(&[
            "upgrade",
            "aws-node",
            &repository("deploy/chart/holdfast"),
            "--namespace=kube-system",
            &format!("--values={}", stage.file("control/values.json")),
            &format!("--set=holdfast.image.tag={tag}"),
        ]);
        stage.kubectl(&[
            "--namespace=kube-system",
            "rollout",
            "status",
            "daemonset/aws-node",
            "--timeout=120s",
        ]);
        assert_eq!(self::leases(&stage), leases, "with {builds}");
        // What comes now is served as well.
        let fresh = App::deploy(&cluster, &format!("new-{}", tag.replace('.', "-")), 2).unwrap();
        fresh.settle().unwrap();
        assert_eq!(fresh.troubles(&BTreeMap::new()).unwrap(), [""; 0], "with {builds}");
        stage.kubectl(&["delete", "deployment", &format!("new-{}", tag.replace('.', "-")), "--wait=true"]);
        cluster
            .wait("the newcomers gone", || {
                let left = fresh.pods()?.len();
                Ok(if left == 0 { Ok(()) } else { Err(format!("{left} are there")) })
            })
            .unwrap();
    }
    for pod in &pods {
        // An answer may be under way.
        std::thread::sleep(Duration::from_millis(200));
        in_pod(&stage, pod, "kill -INT $(cat /tmp/pid); sleep 1");
        let said = in_pod(&stage, pod, "cat /tmp/ping");
        let counts: Vec<u64> = said
            .lines()
            .filter(|line| line.contains("packets transmitted"))
            .flat_map(|line| {
                line.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok())
            })
            .collect();
        let (sent, received) = (counts[0], counts[1]);
        assert!(sent > 500, "{pod:?}: {said}");
        // One that was sent in the last moment has no answer yet.
        assert!(received + 1 >= sent, "{pod:?}: {said}");
    }
    assert_eq!(app.pods().unwrap(), pods, "the same pods with the same addresses");
}

fn in_pod(stage: &Stage, pod: &Pod, command: &str) -> String {
    stage.kubectl(&["exec", &pod.name, "--", "/bin/sh", "-c", command])
}

/// Pods with their addresses, as the daemons' ledgers have them.
fn leases(stage: &Stage) -> BTreeMap<String, String> {
    let daemons = stage.get(&["pods", "--namespace=kube-system", "--selector=k8s-app=aws-node"]);
    let mut all = BTreeMap::new();
    for daemon in daemons["items"].as_array().unwrap() {
        let name = daemon["metadata"]["name"].as_str().unwrap();
        let dump = stage.kubectl(&["--namespace=kube-system", "exec", name, "--", "/holdfast", "dump"]);
        let dump: Value = serde_json::from_str(&dump).unwrap();
        for lease in dump["ledger"]["leases"].as_array().unwrap() {
            let pod = lease["pod"].as_str().map_or_else(|| lease["pod"].to_string(), str::to_owned);
            all.insert(pod, lease["faces"][0]["address"].to_string());
        }
    }
    all
}
