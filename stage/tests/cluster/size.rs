//! What the daemon takes on the largest node of a large cluster, what it asks the API server for, and with which rights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Api, Ask};
use crate::audit::{Noted, given, noted};
use crate::daemon::{Daemon, install_chart};
use crate::pods::{PODS, Sandbox, pod};
use crate::rig::Stage;

const NODE: &str = "node-a";
/// The most that an instance has addresses for: fifteen ENIs of 49. Two more pods have the node's own.
const INSTANCE_TYPE: &str = "m5.24xlarge";
const LEASED: usize = 735;
const LOCAL: usize = LEASED + 2;
/// What most nodes are limited to.
const USUAL: usize = 110;
const CLUSTER: usize = 50_000;
const OTHER_NODES: usize = 500;
/// Kilobytes, as the kernel counts them. More than half is the mapped program, which is as large whatever runs.
const MOST_RESIDENT: u64 = 25_000;
const POD_IPS: &str = "vpc.amazonaws.com/pod-ips";
/// For hundreds of pods.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn the_largest_node_of_a_large_cluster_is_served_in_little_memory_and_with_few_requests() {
    let stage = Stage::new("test-size");
    stage.run(&["up", "--nodes", "1", "--plugin", "holdfast", "--type", INSTANCE_TYPE]);
    install_chart(&stage);
    let api = Api::of(&stage);
    // Nobody is to run these pods, to miss their nodes, or to clear them away.
    for (place, program) in
        [("control-plane", "kube-controller-manager"), ("control-plane", "kube-scheduler"), (NODE, "kubelet")]
    {
        stage.run(&["exec", place, "sh", "-c", &format!("kill -KILL $(pidof {program})")]);
    }
    fill_cluster(&api);

    let (host, port) = address_of_server(&stage);
    let authority = stage.folder().join("control/ca.crt");
    let environment = [
        ("KUBERNETES_SERVICE_HOST", host.as_str()),
        ("KUBERNETES_SERVICE_PORT", port.as_str()),
        ("ANNOTATE_POD_IP", "true"),
        // All addresses at once, so that no ADD waits for EC2.
        ("MINIMUM_IP_TARGET", "735"),
        ("WARM_IP_TARGET", "0"),
    ];
    let mut daemon = Daemon::replace(&stage, &api, NODE, Path::new(&authority), &environment);
    daemon.start();
    let held = || {
        let dump = daemon.dump();
        let addresses = dump["ledger"]["addresses"].as_array().unwrap();
        addresses.iter().filter(|line| line["state"] == "held").count()
    };
    wait("the node has its addresses", || held() >= LEASED);

    // The cluster's own.
    let others = daemon.leases().len();
    // What a dump of the whole state takes, an operator takes now and then: it is not what pods take. So from here on nobody asks
    // this process before it was looked at.
    daemon.stop();
    daemon.start();
    let names: Vec<String> =
        (0..LOCAL - others).map(|place| format!("application-7d4b9c-{place:03}")).collect();
    let (usual, rest) = names.split_at(USUAL - others);
    let (more, without) = rest.split_at(LEASED - USUAL);
    serve(&stage, &api, usual);
    let usual = Memory::of(&daemon);
    println!("{USUAL} pods, {CLUSTER} in the cluster: {usual:?}");
    serve(&stage, &api, more);
    api.ask_all(without.iter().map(|name| Ask::make(PODS, large_pod(name, NODE))).collect());
    let largest = Memory::of(&daemon);
    println!("{LOCAL} pods, {CLUSTER} in the cluster: {largest:?}");
    // Each pod changes three times, as where a deployment is rolled.
    for round in 0..3 {
        let changed = |name: &String| {
            Ask::merge(
                &format!("{PODS}/{name}/status"),
                json!({ "status": { "message": format!("{round}") } }),
            )
        };
        api.ask_all(names.iter().map(changed).collect());
    }
    let changed = Memory::of(&daemon);
    println!("after each has changed three times: {changed:?}");

    assert_eq!(daemon.leases().len(), LEASED);
    println!("after a dump: {:?}", Memory::of(&daemon));
    each_pod_is_written_once(&noted(&stage), &names[..LEASED - others]);
    only_own_pods_are_listed(&noted(&stage));
    uses_its_rights_and_no_others(&stage, &api, &without[0]);
    let all = [usual, largest, changed];
    assert!(all.iter().all(|memory| memory.resident < MOST_RESIDENT), "{all:?}");
}

/// Kilobytes.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "printed")]
struct Memory {
    resident: u64,
    its_own: u64,
    at_most: u64,
}

impl Memory {
    fn of(daemon: &Daemon<'_>) -> Self {
        let line = |name| daemon.memory(name);
        Self { resident: line("VmRSS"), its_own: line("RssAnon"), at_most: line("VmHWM") }
    }
}

/// Pods of other nodes.
fn fill_cluster(api: &Api) {
    let begun = Instant::now();
    let pods = (0..CLUSTER - LOCAL).map(|place| {
        let node = format!("elsewhere-{}", place % OTHER_NODES);
        Ask::make(PODS, pod(&format!("elsewhere-{place}"), &node))
    });
    api.ask_all(pods.collect());
    println!("{} pods of other nodes were made in {:.0} s", CLUSTER - LOCAL, begun.elapsed().as_secs_f64());
}

/// Makes pods and their sandboxes, and waits until all are annotated.
fn serve(stage: &Stage, api: &Api, names: &[String]) {
    api.ask_all(names.iter().map(|name| Ask::make(PODS, large_pod(name, NODE))).collect());
    let add = |name: &String| {
        let pod = api.ask(Ask::get(&format!("{PODS}/{name}")));
        let sandbox = Sandbox::make(stage, NODE, name);
        let (_, address) = sandbox.add(name, pod["metadata"]["uid"].as_str().unwrap());
        // It stays as long as the node.
        std::mem::forget(sandbox);
        address
    };
    let addresses: Vec<String> = names.iter().map(add).collect();
    for (name, address) in names.iter().zip(addresses) {
        let is_told = |pod: &Value| pod["metadata"]["annotations"][POD_IPS] == address.as_str();
        api.wait(&format!("{PODS}/{name}"), "the pod is annotated", PATIENCE, is_told);
    }
}

/// A pod as large as they are: environment, volumes, and who wrote which field.
fn large_pod(name: &str, node: &str) -> Value {
    let mut pod = pod(name, node);
    let variables: Vec<Value> =
        (0..30).map(|place| json!({ "name": format!("SETTING_{place}"), "value": "x".repeat(60) })).collect();
    for container in ["app", "sidecar"] {
        let container =
            json!({ "name": container, "image": "registry.example/team/app:1.2.3", "env": variables });
        pod["spec"]["containers"].as_array_mut().unwrap().push(container);
    }
    pod["metadata"]["labels"] = json!({ "app": "app", "version": "1.2.3", "team": "a-team" });
    pod["metadata"]["annotations"] = json!({ "checksum/config": "a".repeat(64), "note": "n".repeat(200) });
    pod
}

fn each_pod_is_written_once(noted: &[Noted], names: &[String]) {
    let mut writes: BTreeMap<&str, usize> = BTreeMap::new();
    for one in noted.iter().filter(|one| one.right.1 == "pods" && one.right.2 == "patch") {
        assert_eq!(one.code, 200, "{one:?}");
        *writes.entry(&one.name).or_default() += 1;
    }
    assert_eq!(writes.len(), LEASED, "each that has a lease");
    assert!(names.iter().all(|name| writes.contains_key(name.as_str())), "{writes:?}");
    assert!(writes.values().all(|count| *count == 1), "{writes:?}");
}

fn only_own_pods_are_listed(noted: &[Noted]) {
    let read: Vec<&Noted> =
        noted.iter().filter(|one| one.right.1 == "pods" && one.right.2 != "patch").collect();
    assert!(
        read.iter().any(|one| one.right.2 == "list") && read.iter().any(|one| one.right.2 == "watch"),
        "{read:?}"
    );
    for one in read {
        assert!(one.target.contains("fieldSelector=spec.nodeName%3Dnode-a"), "{one:?}");
    }
}

/// The chart's role, each right of it.
fn uses_its_rights_and_no_others(stage: &Stage, api: &Api, pod: &str) {
    const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";
    // A pod that can be given no address, and again when that is told: an event is made, and counted up.
    let sandbox = Sandbox::make(stage, NODE, "too-many");
    for count in [1, 2] {
        let (_, output) = sandbox.call("ADD", pod, "uid");
        assert!(!output.status.success());
        let counted = |event: &Value| {
            event["series"]["count"].as_u64().unwrap_or(1) == count && event["regarding"]["name"] == pod
        };
        api.wait("/apis/events.k8s.io/v1/namespaces/default/events", "the event stands", PATIENCE, |list| {
            list["items"].as_array().is_some_and(|items| items.iter().any(counted))
        });
    }
    let role = api.ask(Ask::get(&format!("{ROLES}/clusterroles/aws-node")));
    let own = api.ask(Ask::get(&format!("{ROLES}/namespaces/kube-system/roles/aws-node")));
    let given: BTreeSet<_> = [role, own].iter().flat_map(given).collect();
    let noted = noted(stage);
    let used: BTreeSet<_> = noted.iter().map(|one| one.right.clone()).collect();
    assert_eq!(used, given, "each right is used, and nothing else is asked for");
    let refused: Vec<&Noted> = noted.iter().filter(|one| !(200..300).contains(&one.code)).collect();
    assert!(refused.iter().all(|one| ![401, 403].contains(&one.code)), "{refused:?}");
    println!("{} requests, {} rights, all of them used; not done: {refused:?}", noted.len(), given.len());
}

fn address_of_server(stage: &Stage) -> (String, String) {
    let text = std::fs::read(stage.folder().join("admin.kubeconfig")).unwrap();
    let config: Value = serde_json::from_slice(&text).unwrap();
    let url = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    let (host, port) = url.trim_start_matches("https://").rsplit_once(':').unwrap();
    (host.to_owned(), port.to_owned())
}

fn wait(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(500));
    }
}
