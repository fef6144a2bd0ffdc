//! Published cases about what is written into a cluster. Those of everything else are `chaos-tests/tests/simulated/incidents.rs`.
//!
//! | case | what happens again | what must hold |
//! |---|---|---|
//! | cni#2653 | the cluster does not serve CNINodes, or serves them no more | pods and the node are written all the same, and that one hardly |
//! | karpenter-PR#6267 | a node joins and cannot give addresses yet | nothing is written that an autoscaler takes for a node that pods cannot run on |

use super::*;
use crate::watch::Staleness;

/// In a test's name a case's id is written like this.
const REPLAYED: [(&str, fn(), &str); 2] = [
    (
        "cni#2653",
        cni_2653_a_cluster_without_cni_nodes_holds_nothing_up,
        stringify!(cni_2653_a_cluster_without_cni_nodes_holds_nothing_up),
    ),
    (
        "karpenter-PR#6267",
        karpenter_pr_6267_a_node_that_is_not_ready_yet_bears_no_taint_of_ours,
        stringify!(karpenter_pr_6267_a_node_that_is_not_ready_yet_bears_no_taint_of_ours),
    ),
];

#[test]
fn every_case_has_the_test_that_bears_its_id() {
    for (id, _, name) in REPLAYED {
        assert!(name.starts_with(&id.to_lowercase().replace(['#', '-'], "_")), "{id} is {name}");
    }
}

fn feature(name: &str) -> Feature {
    Feature { name: name.to_owned(), value: String::new() }
}

#[test]
fn cni_2653_a_cluster_without_cni_nodes_holds_nothing_up() {
    let mut stage = Stage::new();
    let asked = Asked {
        server: Server::Api,
        verb: Verb::List,
        kind: Kind::CNI_NODES,
        subresource: None,
        namespace: None,
        which: None,
    };
    let fault = ApiFault { asked: Box::new(asked), cause: Cause::NotServed };
    stage.cni_node.stale = Some(Staleness { since: BootTime(0), fault });
    stage.wanted.features = vec![feature("CustomNetworking")];
    stage.lease("p", "u1", "10.0.0.1");
    stage.pod("p", "u1", "7", None);
    stage.wanted.conditions.insert("Addresses".to_owned(), Some(condition("a")));
    for ends in ["/status", "/p"] {
        let (write, (path, _)) = stage.send();
        assert!(path.ends_with(ends), "{path}");
        stage.answered(&write, "8");
    }
    assert_eq!(stage.step(), Step::Idle, "there is no CNINode to write");

    // It was there, and its version is served no more: each pod is annotated before it is tried again, and that hardly.
    let view = CniNodeView {
        uid: "c".to_owned(),
        version: Version::new("3"),
        features: Ok(Vec::new()),
        managed_by: None,
    };
    stage.cni_node.objects.insert(ObjectKey::new("", "node"), view);
    let begun = stage.now;
    let (mut tried, mut annotated) = (0, 0);
    for number in 0..60 {
        let name = format!("q{number}");
        stage.lease(&name, &name, "10.0.0.2");
        stage.pod(&name, &name, "7", None);
        for _ in 0..4 {
            let Step::Send(write) = stage.step() else { break };
            let path = stage.writer.request(&write).unwrap().http.uri().path().to_owned();
            if path.contains("cninodes") {
                tried += 1;
                stage.refused(&write, Cause::NotServed);
            } else {
                assert!(path.ends_with(&name), "{path}");
                annotated += 1;
                stage.answered(&write, "9");
            }
        }
        stage.now += 5000;
    }
    assert_eq!(annotated, 60);
    assert!((1..=25).contains(&tried), "{tried} tries in {} s", (stage.now - begun) / 1000);
}

#[test]
fn karpenter_pr_6267_a_node_that_is_not_ready_yet_bears_no_taint_of_ours() {
    let mut stage = Stage::new();
    stage.wanted.features = vec![feature("CustomNetworking")];
    stage.lease("p", "u1", "10.0.0.1");
    stage.pod("p", "u1", "7", None);
    stage.warn("p", "no address yet", 1);
    let mut written = Vec::new();
    // It cannot give addresses, then it can, and the words change in between.
    for wanted in [Some(condition("starting")), Some(condition("growing")), None] {
        stage.wanted.conditions.insert("Addresses".to_owned(), wanted);
        for _ in 0..6 {
            let Step::Send(write) = stage.step() else { break };
            let request = stage.writer.request(&write).unwrap();
            let body: Value = serde_json::from_slice(request.http.body()).unwrap();
            written.push((request.http.uri().path().to_owned(), body));
            stage.answered(&write, "9");
        }
        stage.now += 60_000;
    }
    let of_node = written.iter().filter(|(path, _)| path.starts_with("/api/v1/nodes/"));
    let mut conditions = 0;
    for (path, body) in of_node {
        conditions += 1;
        assert_eq!(path, "/api/v1/nodes/node/status");
        let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert!(
            fields.iter().all(|field| ["metadata", "status", "kind", "apiVersion"].contains(&field.as_str())),
            "{body}"
        );
        let status: Vec<&String> = body["status"].as_object().unwrap().keys().collect();
        assert_eq!(status, ["conditions"], "{body}");
    }
    assert!(conditions >= 2, "{written:?}");
    assert!(written.iter().all(|(_, body)| !body.to_string().contains("taint")), "{written:?}");
}
