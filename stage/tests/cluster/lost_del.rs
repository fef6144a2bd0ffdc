//! Sandboxes whose end nobody tells: a runtime that dies between an ADD and its own note of it, and a DEL that never comes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rig::{Stage, wait};

/// Stands before the plugin, which is in the folder `real` beside it. While `/run/kill` is there the runtime is killed after an ADD, once, before
/// it has the answer; while `/run/swallow` is there DELs succeed and reach nobody.
const BEFORE: &str = "#!/bin/sh\n\
    if [ \"$CNI_COMMAND\" = DEL ] && [ -e /run/swallow ]; then exit 0; fi\n\
    out=$(/opt/cni/bin/real/aws-cni); code=$?\n\
    if [ \"$CNI_COMMAND\" = ADD ] && rm /run/kill 2>/dev/null; then kill -KILL $(pidof containerd); fi\n\
    echo \"$out\"; exit $code\n";

#[test]
fn a_lease_ends_when_its_sandbox_is_proven_dead_and_not_before() {
    let stage = Stage::new("test-lost-del");
    stage.run(&["up", "--nodes", "1", "--plugin", "chart"]);
    let rollout = ["--namespace=kube-system", "rollout", "status"];
    stage.kubectl(&[&rollout[..], &["daemonset/aws-node", "--timeout=120s"]].concat());
    stage.kubectl(&[&rollout[..], &["deployment/coredns", "--timeout=120s"]].concat());
    let node = |command: &str| stage.output(&["exec", "node-a", "--", "sh", "-c", command]);
    node(&format!(
        "set -e; cd /opt/cni/bin; mkdir real; cp aws-cni real/; printf '%s' '{}' > new; chmod 755 new; mv new aws-cni",
        BEFORE.replace('\'', "'\\''")
    ));
    let base = leases(&stage).len();

    // The runtime dies with an ADD that was carried out. It knows a sandbox of it, or it does not; kubelet has another one made.
    node("touch /run/kill");
    run_pod(&stage, "killed");
    wait("the runtime was killed", || node("pidof containerd || true").trim().is_empty());
    assert_eq!(leases(&stage).len(), base + 1, "the lease of the ADD that was carried out");
    node(
        "setsid containerd --config=/run/stage/disk/config/containerd.toml </dev/null >/var/log/containerd-again.log 2>&1 &",
    );
    stage.kubectl(&["wait", "pod/killed", "--for=condition=Ready", "--timeout=120s"]);
    let address = stage.get(&["pod", "killed"])["status"]["podIP"].as_str().unwrap().to_owned();
    wait("of the pod's two leases one is left", || {
        let ours = leases(&stage);
        ours.len() == base + 1 && ours.iter().any(|(_, held)| *held == address)
    });

    // A pod ends, and its DEL reaches nobody.
    let lease = leases(&stage).into_iter().find(|(_, held)| *held == address).unwrap();
    let netns = netns_of(&stage, &address);
    // The namespace is kept alive by somebody, so that the sandbox is not proven dead.
    node(&format!(
        "touch /run/swallow; nsenter --net={netns} setsid sleep 600 </dev/null >/dev/null 2>&1 & sleep 1"
    ));
    stage.kubectl(&["delete", "pod", "killed", "--wait=true", "--timeout=120s"]);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(45) {
        assert!(
            leases(&stage).contains(&lease),
            "given up after {:?} although its link lives",
            begun.elapsed()
        );
        std::thread::sleep(Duration::from_secs(1));
    }
    node("kill $(pidof sleep)");
    let dead = Instant::now();
    wait("the lease ended", || !leases(&stage).contains(&lease));
    eprintln!("ended {:.1} s after its namespace", dead.elapsed().as_secs_f64());
    assert!(dead.elapsed() < Duration::from_secs(60), "{:?}", dead.elapsed());
}

fn run_pod(stage: &Stage, name: &str) {
    let container = json!({ "name": "pause", "image": "stage.invalid/pause:1", "imagePullPolicy": "Never" });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "nodeName": "node-a", "terminationGracePeriodSeconds": 0, "containers": [container] },
    });
    stage.cluster().apply(&pod).unwrap();
}

/// Sandboxes with their addresses, by the daemon's ledger. It is asked in the node, since kubelet's way leads through the runtime.
fn leases(stage: &Stage) -> BTreeSet<(String, String)> {
    let dump = dump(stage);
    let lease = |lease: &Value| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&lease["sandbox"]), text(&lease["faces"][0]["address"]))
    };
    dump["ledger"]["leases"].as_array().unwrap().iter().map(lease).collect()
}

fn netns_of(stage: &Stage, address: &str) -> String {
    let dump = dump(stage);
    let leases = dump["ledger"]["leases"].as_array().unwrap();
    let lease = leases.iter().find(|lease| lease["faces"][0]["address"] == address).unwrap();
    lease["netns"]["path"].as_str().unwrap().to_owned()
}

fn dump(stage: &Stage) -> Value {
    let daemon = std::env::var("HOLDFAST_BIN_DAEMON").expect("HOLDFAST_BIN_DAEMON, see `./dev stage test`");
    serde_json::from_str(&stage.output(&["exec", "node-a", "--", &daemon, "dump"])).unwrap()
}
