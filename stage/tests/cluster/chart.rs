//! Holdfast installed by its chart: what kubelet makes of it, and what is left when it is uninstalled.

use std::path::PathBuf;

use serde_json::Value;

use crate::rig::{Stage, wait};
use crate::workload::Workload;

const CONFLIST: &str = "/etc/cni/net.d/10-aws.conflist";

/// Of `CAP_NET_ADMIN` alone, in `/proc/PID/status`.
const NET_ADMIN: &str = "0000000000001000";

/// A file of the repository.
pub(crate) fn repository(path: &str) -> String {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    root.canonicalize().unwrap().join(path).display().to_string()
}

#[test]
fn the_chart_makes_nodes_ready_with_the_rights_of_its_manifest_and_leaves_none_when_it_goes() {
    let stage = Stage::new("test-chart");
    stage.run(&["up", "--nodes", "2", "--plugin", "chart"]);
    assert_eq!(stage.nodes_ready(), ["node-a", "node-b"]);
    let daemons = daemons(&stage);
    assert_eq!(daemons.len(), 2, "one for each node");
    for node in ["node-a", "node-b"] {
        has_the_manifests_rights_only(&stage, node);
    }
    let workload = Workload::deploy(&stage, 5);
    workload.pods_reach_each_other_over_nodes();
    workload.pods_reach_the_service();
    workload.pods_reach_the_api_server_by_its_service();
    workload.pods_find_names();

    // A daemon's pod that is deleted is followed by another one: the node stays one that can have pods.
    let before = stage.output(&["exec", "node-a", "--", "stat", "--format=%i %Z", CONFLIST]);
    stage.kubectl(&[
        "--namespace=kube-system",
        "delete",
        "pod",
        "--selector=k8s-app=aws-node",
        "--wait=true",
    ]);
    stage.kubectl(&["--namespace=kube-system", "rollout", "status", "daemonset/aws-node", "--timeout=120s"]);
    assert_eq!(
        stage.output(&["exec", "node-a", "--", "stat", "--format=%i %Z", CONFLIST]),
        before,
        "untouched"
    );
    workload.pods_reach_each_other_over_nodes();

    stage.helm(&["uninstall", "aws-node", "--namespace=kube-system"]);
    for node in ["node-a", "node-b"] {
        wait(&format!("{node} has no configuration"), || {
            stage.output(&["exec", node, "--", "ls", "/etc/cni/net.d"]).trim().is_empty()
        });
    }
    workload.pods_reach_each_other_over_nodes();
    wait("no node is ready", || stage.nodes_ready().is_empty());

    // And back: what had run all the time goes on, and can be deleted.
    stage.helm(&[
        "install",
        "aws-node",
        &repository("deploy/chart/holdfast"),
        "--namespace=kube-system",
        &format!("--values={}", stage.file("control/values.json")),
    ]);
    wait("all nodes are ready", || stage.nodes_ready() == ["node-a", "node-b"]);
    workload.pods_reach_each_other_over_nodes();
    stage.kubectl(&["delete", "deployment", "web"]);
    wait("the pods are gone", || stage.get(&["pods"])["items"].as_array().unwrap().is_empty());
}

#[test]
fn the_chart_takes_the_values_of_the_program_that_it_replaces() {
    let stage = Stage::new("test-values");
    let values = repository("deploy/tests/values/incumbent.yaml");
    // That file pulls always, and here is nowhere to pull from.
    let ours = crate::rig::values("image: {pullPolicy: IfNotPresent}\n");
    let ours = ours.path().display().to_string();
    stage.run(&["up", "--nodes", "1", "--plugin", "chart", "--values", &values, "--values", &ours]);
    assert_eq!(stage.nodes_ready(), ["node-a"]);
    // Its probes run a program of another name, and succeed.
    let probe = daemons(&stage)[0]["spec"]["containers"][0]["readinessProbe"].clone();
    assert_eq!(probe["exec"]["command"][0], "/app/grpc-health-probe", "{probe}");
    stage.kubectl(&["--namespace=kube-system", "rollout", "status", "daemonset/aws-node", "--timeout=120s"]);
    has_the_manifests_rights_only(&stage, "node-a");
}

fn daemons(stage: &Stage) -> Vec<Value> {
    let pods = stage.get(&["pods", "--namespace=kube-system", "--selector=k8s-app=aws-node"]);
    pods["items"].as_array().unwrap().clone()
}

/// The process as the kernel has it, whatever the manifest says.
fn has_the_manifests_rights_only(stage: &Stage, node: &str) {
    let ask = "set -e; for p in /proc/[0-9]*; do [ \"$(cat $p/comm 2>/dev/null)\" = holdfast ] || continue; \
               grep -E '^(CapEff|CapPrm|CapBnd|CapAmb|CapInh|NoNewPrivs|Seccomp):' $p/status; \
               echo root $(awk '$5 == \"/\" { print $6 }' $p/mountinfo | cut -d, -f1); \
               for kind in net pid mnt ipc uts; do \
                 [ $(readlink $p/ns/$kind) = $(readlink /proc/self/ns/$kind) ] && echo $kind shared || echo $kind own; \
               done; done";
    let said = stage.output(&["exec", node, "--", "sh", "-c", ask]);
    let words = |line: &str| line.replace(':', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = said.lines().map(words).collect();
    lines.sort();
    let none = "0000000000000000";
    let mut want = [
        format!("CapAmb {none}"),
        format!("CapBnd {NET_ADMIN}"),
        format!("CapEff {NET_ADMIN}"),
        format!("CapInh {none}"),
        format!("CapPrm {NET_ADMIN}"),
        "NoNewPrivs 1".to_owned(),
        "Seccomp 2".to_owned(),
        "ipc own".to_owned(),
        "mnt own".to_owned(),
        "net shared".to_owned(),
        "pid own".to_owned(),
        "root ro".to_owned(),
        "uts shared".to_owned(),
    ];
    want.sort();
    assert_eq!(lines, want, "{node}");
}
