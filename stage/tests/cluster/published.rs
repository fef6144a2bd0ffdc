//! The cluster's figures in CloudWatch: real daemons' pages, read by way of the real API server with the chart's rights, and
//! published by the real SDK to the box's CloudWatch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_stage::drive::App;
use serde_json::{Value, json};

use crate::chart::repository;
use crate::rig::{Stage, values, wait};

const HELPER: &str = "cni-metrics-helper";
const NODES: [&str; 2] = ["node-a", "node-b"];
/// CloudWatch's own limit is higher; this is the other helper's.
const IN_ONE_REQUEST: usize = 20;

#[test]
fn the_clusters_figures_reach_cloudwatch() {
    let stage = Stage::new("test-published");
    stage.run(&["up", "--nodes", "2", "--plugin", "chart"]);
    let cluster = stage.cluster();
    for instance in instances(&stage) {
        let tag = json!({"CreateTags": {"resourceId": [instance], "tag": [{"key": "eks:cluster-name", "value": "staged"}]}});
        admin(&stage, &["foreign", &tag.to_string()]);
    }
    install_helper(&stage);

    // A first look, then growth.
    wait("figures with growth", || latest(&stage, "addReqCount").is_some());
    let known = figures(&stage);
    let names: BTreeSet<&str> = known.values().flatten().map(|(name, _)| name.as_str()).collect();
    for name in ["assignIPAddresses", "totalIPAddresses", "eniAllocated", "eniMaxAvailable", "maxIPAddresses"]
    {
        assert!(names.contains(name), "{name} lacks in {names:?}");
    }
    for name in ["awsUtilErr", "podENIErr"] {
        assert!(!names.contains(name), "{name} is counted by nobody, and absent is not zero");
    }
    assert_eq!(latest(&stage, "holdfastNodes"), Some(2.0));
    assert_eq!(latest(&stage, "holdfastNodesRead"), Some(2.0));
    let told = |metric: &str| NODES.iter().map(|node| page(&stage, node, metric)).sum::<f64>();
    wait("the pool as the daemons have it", || {
        latest(&stage, "totalIPAddresses") == Some(told("awscni_total_ip_addresses"))
            && latest(&stage, "assignIPAddresses") == Some(told("awscni_assigned_ip_addresses"))
    });
    wait_prometheus(&stage, told("awscni_eni_max"));

    // What comes is counted once, although one of the daemons is replaced while it does.
    let before = total(&stage, "addReqCount");
    let app = App::deploy(&cluster, "web", 6).unwrap();
    app.settle().unwrap();
    wait("six pods counted", || total(&stage, "addReqCount") >= before + 6.0);
    let daemon = stage.get(&[
        "pods",
        "--namespace=kube-system",
        "--selector=k8s-app=aws-node",
        "--field-selector=spec.nodeName=node-a",
    ]);
    let daemon = daemon["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    stage.kubectl(&["--namespace=kube-system", "delete", "pod", &daemon, "--wait=true"]);
    stage.kubectl(&["--namespace=kube-system", "rollout", "status", "daemonset/aws-node", "--timeout=120s"]);
    let more = App::deploy(&cluster, "more", 6).unwrap();
    more.settle().unwrap();
    wait("twelve pods counted", || total(&stage, "addReqCount") >= before + 12.0);
    wait("two rounds more", rounds_later(&stage, 2));
    let counted = total(&stage, "addReqCount") - before;
    assert!((counted - 12.0).abs() < f64::EPSILON, "{counted} of twelve");

    // A daemon that hangs is missed, and said to be.
    let frozen = stage.output(&["exec", "node-b", "sh", "-c", "pidof holdfast"]);
    let daemon_of_b = frozen
        .split_whitespace()
        .find(|pid| {
            stage
                .output(&["exec", "node-b", "sh", "-c", &format!("tr '\\0' ' ' < /proc/{pid}/cmdline")])
                .contains(" run")
        })
        .unwrap()
        .to_owned();
    stage.run(&["exec", "node-b", "kill", "-STOP", &daemon_of_b]);
    wait("one of two read", || latest(&stage, "holdfastNodesRead") == Some(1.0));
    assert_eq!(latest(&stage, "holdfastNodes"), Some(2.0));
    assert_eq!(latest(&stage, "eniMaxAvailable"), Some(page(&stage, "node-a", "awscni_eni_max")));
    stage.run(&["exec", "node-b", "kill", "-CONT", &daemon_of_b]);
    wait("two of two read", || latest(&stage, "holdfastNodesRead") == Some(2.0));

    // CloudWatch that refuses is told once, with the right that lacks; what waited comes later.
    let refuse = json!({"code": "AccessDenied", "status": 403}).to_string();
    admin(&stage, &["ask", "PUT", "/cloudwatch/refuse", &refuse]);
    wait("refusals", || seen(&stage)["refused"]["AccessDenied"].as_u64().unwrap_or(0) >= 3);
    let last = *figures(&stage).keys().next_back().unwrap();
    admin(&stage, &["ask", "PUT", "/cloudwatch/refuse", "null"]);
    wait("what waited", || figures(&stage).range(last + 1..).count() >= 4);
    let log = log(&stage);
    let told = log.lines().filter(|line| line.contains("cloudwatch:PutMetricData")).count();
    assert_eq!(told, 1, "{log}");
    assert!(log.contains("CloudWatch takes figures again"), "{log}");
    let times: Vec<u64> = figures(&stage).keys().copied().collect();
    let gaps: Vec<u64> = times.windows(2).map(|two| two[1] - two[0]).collect();
    // A look that waits for a daemon that hangs takes its five seconds longer.
    assert!(gaps.iter().all(|gap| *gap < 10_000), "no round is lost: {gaps:?}");

    judge_requests(&stage);
    let still = stage.get(&["pods", "--namespace=kube-system", &format!("--selector=k8s-app={HELPER}")]);
    assert_eq!(still["items"][0]["status"]["containerStatuses"][0]["restartCount"], 0, "{still:#}");
}

/// As its user adds it to what is installed.
fn install_helper(stage: &Stage) {
    let environment =
        stage.kubectl(&["--namespace=kube-system", "get", "daemonset/aws-node", "--output=json"]);
    let environment: Value = serde_json::from_str(&environment).unwrap();
    let environment = environment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let aws = environment
        .iter()
        .filter(|each| each["name"].as_str().unwrap().starts_with("AWS_") && each["value"].is_string());
    let mut set: BTreeMap<&str, &str> =
        aws.map(|each| (each["name"].as_str().unwrap(), each["value"].as_str().unwrap())).collect();
    assert!(set.contains_key("AWS_ENDPOINT_URL_CLOUDWATCH"), "{set:?}");
    set.extend([("METRIC_UPDATE_INTERVAL", "2"), ("USE_PROMETHEUS", "true")]);
    let file = values(&json!({"holdfast": {"metricsHelper": {"enabled": true, "env": set}}}).to_string());
    stage.helm(&[
        "upgrade",
        "aws-node",
        &repository("deploy/chart/holdfast"),
        "--namespace=kube-system",
        &format!("--values={}", stage.file("control/values.json")),
        &format!("--values={}", file.path().display()),
    ]);
    let deployment = format!("deployment/{HELPER}");
    stage.kubectl(&["--namespace=kube-system", "rollout", "status", &deployment, "--timeout=120s"]);
}

/// Each request obeys what CloudWatch and this helper's documentation say.
fn judge_requests(stage: &Stage) {
    let seen = seen(stage);
    let puts = seen["taken"].as_array().unwrap();
    let own = instances(stage);
    for put in puts {
        assert_eq!(put["namespace"], "Kubernetes");
        assert!(own.contains(put["caller"].as_str().unwrap()), "{put}");
        let data = put["data"].as_array().unwrap();
        assert!(data.len() <= IN_ONE_REQUEST, "{put}");
        for datum in data {
            assert_eq!(
                (&datum["unit"], &datum["dimensions"]),
                (&json!("Count"), &json!({"CLUSTER_ID": "staged"}))
            );
        }
    }
    let refused: Vec<&String> = seen["refused"].as_object().unwrap().keys().collect();
    assert_eq!(refused, ["AccessDenied"], "nothing else was wrong");
}

fn admin(stage: &Stage, arguments: &[&str]) -> Value {
    let vpcsim = std::env::var("HOLDFAST_BIN_VPCSIM").expect("HOLDFAST_BIN_VPCSIM, see `./dev stage test`");
    let words =
        ["exec", "control-plane", "--", &vpcsim, "admin", "--name", "stage", "--run-dir", "/run/vpcsim"];
    serde_json::from_str(&stage.output(&[&words[..], arguments].concat())).unwrap()
}

fn instances(stage: &Stage) -> BTreeSet<String> {
    let state = admin(stage, &["state"]);
    let of = |eni: &Value| eni["attachment"]["instance_id"].as_str().map(str::to_owned);
    state["network_interfaces"].as_array().unwrap().iter().filter_map(of).collect()
}

fn seen(stage: &Stage) -> Value {
    admin(stage, &["ask", "GET", "/cloudwatch"])
}

/// What was taken, by the milliseconds since 1970 that it is of.
fn figures(stage: &Stage) -> BTreeMap<u64, BTreeMap<String, f64>> {
    let mut all: BTreeMap<u64, BTreeMap<String, f64>> = BTreeMap::new();
    for datum in seen(stage)["taken"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|put| put["data"].as_array().unwrap().clone())
    {
        let at = Duration::from_secs_f64(datum["timestamp"].as_f64().unwrap());
        let round = all.entry(u64::try_from(at.as_millis()).unwrap()).or_default();
        let twice =
            round.insert(datum["name"].as_str().unwrap().to_owned(), datum["value"].as_f64().unwrap());
        assert_eq!(twice, None, "published once: {datum}");
    }
    all
}

fn latest(stage: &Stage, name: &str) -> Option<f64> {
    figures(stage).values().next_back()?.get(name).copied()
}

fn total(stage: &Stage, name: &str) -> f64 {
    figures(stage).values().filter_map(|round| round.get(name)).sum()
}

/// Whether so many rounds came since this was made.
fn rounds_later(stage: &Stage, rounds: usize) -> impl FnMut() -> bool {
    let wanted = figures(stage).len() + rounds;
    move || figures(stage).len() >= wanted
}

/// A figure of a node's own page.
fn page(stage: &Stage, node: &str, metric: &str) -> f64 {
    let pods = stage.get(&[
        "pods",
        "--namespace=kube-system",
        "--selector=k8s-app=aws-node",
        &format!("--field-selector=spec.nodeName={node}"),
    ]);
    let name = pods["items"][0]["metadata"]["name"].as_str().unwrap();
    proxied(stage, name, 61678, metric).unwrap()
}

fn proxied(stage: &Stage, pod: &str, port: u16, metric: &str) -> Option<f64> {
    let path = format!("/api/v1/namespaces/kube-system/pods/{pod}:{port}/proxy/metrics");
    let page = stage.kubectl(&["get", "--raw", &path]);
    page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok())
}

fn wait_prometheus(stage: &Stage, enis: f64) {
    let pods = stage.get(&["pods", "--namespace=kube-system", &format!("--selector=k8s-app={HELPER}")]);
    let name = pods["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    wait("the same for Prometheus", || proxied(stage, &name, 61681, "awscni_eni_max") == Some(enis));
    assert_eq!(proxied(stage, &name, 61681, "holdfast_nodes_read"), Some(2.0));
}

fn log(stage: &Stage) -> String {
    stage.kubectl(&["--namespace=kube-system", "logs", &format!("deployment/{HELPER}")])
}
