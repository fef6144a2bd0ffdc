//! What is written, judged by what stands there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_cluster::crd::cninode::Feature;
use holdfast_cluster::watch::ObjectKey;
use holdfast_cluster::watch::objects::{
    CniNodeObject, NodeObject, PodObject, local_pods, own_cni_node, own_node,
};
use holdfast_cluster::write::{
    Condition, ConditionStatus, PodId, Regarding, Sources, Wanted, Warning, WarningId, WriterSettings, write,
};
use holdfast_model::time::WallTime;
use kube::Client;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use crate::objects::*;
use crate::proxy::{Fault, PROXY, Proxy};
use crate::server::{ApiServer, PATIENCE, TestClock, alone};

const KEY: &str = "vpc.amazonaws.com/pod-ips";
const TYPE: &str = "holdfast.example/AddressesAvailable";

/// The writer with all that it looks at.
struct Stage {
    wanted: watch::Sender<Wanted>,
    pods: Pods,
    node: Nodes,
    cni_node: CniNodes,
}

impl Stage {
    fn start(server: &ApiServer) -> Self {
        let door = server.door(PROXY, "daemon");
        let (wanted, receiver) = watch::channel(Wanted::default());
        let pods = followed::<PodObject>(&door, local_pods("node-1"));
        let node = followed::<NodeObject>(&door, own_node("node-1"));
        let cni_node = followed::<CniNodeObject>(&door, own_cni_node("node-1"));
        let sources =
            Sources { wanted: receiver, pods: pods.clone(), node: node.clone(), cni_node: cni_node.clone() };
        let settings = WriterSettings { node: "node-1".to_owned(), instance: "holdfast-1".to_owned() };
        tokio::spawn(write(door, settings, sources, TestClock::new()));
        Self { wanted, pods, node, cni_node }
    }

    fn lease(&self, pod: &DynamicObject, address: &str) {
        let id = PodId {
            key: ObjectKey::new("default", pod.metadata.name.clone().unwrap()),
            runtime_uid: pod.metadata.uid.clone().unwrap(),
        };
        self.wanted.send_modify(|wanted| {
            wanted.pod_ips.get_or_insert_default().insert(id, address.parse().unwrap());
        });
    }

    fn condition(&self, message: Option<&str>) {
        let condition = message.map(|message| Condition {
            status: ConditionStatus::False,
            reason: "SubnetFull".to_owned(),
            message: message.to_owned(),
        });
        self.wanted.send_modify(|wanted| drop(wanted.conditions.insert(TYPE.to_owned(), condition)));
    }

    async fn annotated(&mut self, name: &str, value: &str) {
        let key = ObjectKey::new("default", name);
        until(&mut self.pods, &format!("{name} says {value:?}"), |view| {
            view.objects.get(&key).is_some_and(|pod| pod.pod_ips.as_deref() == Some(value))
        })
        .await;
    }
}

#[test]
#[ignore = "needs a built API server: see the head of this test"]
fn annotations_survive_faults_and_strangers() {
    alone(|| async {
        let server = ApiServer::start().await;
        let client = server.client("admin").unwrap();
        grant(&client).await;
        make_node(&client, "node-1").await;
        let proxy = Proxy::start(&server).await;
        let mut stage = Stage::start(&server);

        // Twenty pods whose status somebody writes all the time meanwhile: one write each.
        let mut made = Vec::new();
        for place in 0..20 {
            made.push(make(&pods(&client), pod(&format!("pod-{place:02}"), "node-1")).await);
        }
        let busy = tokio::spawn(keep_writing(client.clone()));
        for (place, pod) in made.iter().enumerate() {
            stage.lease(pod, &format!("10.0.0.{place}"));
        }
        for place in 0..20 {
            stage.annotated(&format!("pod-{place:02}"), &format!("10.0.0.{place}")).await;
        }
        busy.abort();
        assert_eq!(proxy.requests("PATCH", "/pods/pod-").len(), 20, "one write for each pod");

        // A write hangs, an answer is lost, the server is busy: each is made good.
        proxy.next("PATCH", "/pods/a", Fault::Hang);
        proxy.next("PATCH", "/pods/a", Fault::Answer(429, vec![("retry-after", "1")], String::new()));
        proxy.next("PATCH", "/pods/a", Fault::Lose);
        let first = make(&pods(&client), pod("a", "node-1")).await;
        stage.lease(&first, "10.0.1.1");
        stage.annotated("a", "10.0.1.1").await;

        // What other annotations there are stays.
        let noted = json!({"metadata": {"annotations": {"note": "people's"}}});
        let second = make(&pods(&client), pod("b", "node-1")).await;
        pods(&client).patch("b", &PatchParams::default(), &Patch::Merge(noted)).await.unwrap();
        stage.lease(&second, "10.0.1.2");
        stage.annotated("b", "10.0.1.2").await;
        let annotations = pods(&client).get("b").await.unwrap().metadata.annotations.unwrap();
        assert_eq!(
            annotations,
            BTreeMap::from(
                [("note", "people's"), (KEY, "10.0.1.2")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
            )
        );

        // A stranger's hand is undone.
        let wrong = json!({"metadata": {"annotations": {KEY: "192.0.2.9"}}});
        pods(&client).patch("b", &PatchParams::default(), &Patch::Merge(wrong)).await.unwrap();
        stage.annotated("b", "192.0.2.9").await;
        stage.annotated("b", "10.0.1.2").await;

        // Another pod of the same name is another pod, until it has a lease of its own.
        pods(&client).delete("a", &DeleteParams::default()).await.unwrap();
        let again = make(&pods(&client), pod("a", "node-1")).await;
        let key = ObjectKey::new("default", "a");
        let uid = again.metadata.uid.clone().unwrap();
        until(&mut stage.pods, "the new one", |view| {
            view.objects.get(&key).is_some_and(|pod| *pod.uid == *uid)
        })
        .await;
        stage.lease(&again, "10.0.1.3");
        stage.annotated("a", "10.0.1.3").await;
        let value = pods(&client).get("a").await.unwrap().metadata.annotations.unwrap();
        assert_eq!(value[KEY], "10.0.1.3");

        // A write that arrives after its successor changes nothing; nor does one that arrives at another pod of the name.
        for is_recreated in [false, true] {
            let name = if is_recreated { "recreated" } else { "late" };
            let part = if is_recreated { "/pods/recreated" } else { "/pods/late" };
            let (release, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            proxy.next("PATCH", part, Fault::Late(release.clone(), done.clone()));
            let mut made = make(&pods(&client), pod(name, "node-1")).await;
            stage.lease(&made, "10.0.2.1");
            let sent = async {
                while !proxy.all_had_their_turn() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(PATIENCE, sent).await.expect("the first write is sent");
            if is_recreated {
                pods(&client).delete(name, &DeleteParams::default()).await.unwrap();
                made = make(&pods(&client), pod(name, "node-1")).await;
            }
            stage.lease(&made, "10.0.2.2");
            stage.annotated(name, "10.0.2.2").await;
            let before = pods(&client).get(name).await.unwrap().metadata.resource_version;
            release.notify_one();
            tokio::time::timeout(PATIENCE, done.notified()).await.expect("the late one reaches the server");
            assert_eq!(pods(&client).get(name).await.unwrap().metadata.resource_version, before, "{name}");
        }

        // What ended is emptied.
        stage.wanted.send_modify(|wanted| wanted.pod_ips.as_mut().unwrap().clear());
        stage.annotated("b", "").await;
        stage.annotated("pod-19", "").await;
    });
}

/// What kubelet does with the status of new pods.
async fn keep_writing(client: Client) {
    for round in 0.. {
        for place in 0..20 {
            let status = json!({"status": {"message": format!("round {round}")}});
            let name = format!("pod-{place:02}");
            pods(&client).patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        }
    }
}

fn condition_of(node: &DynamicObject, kind: &str) -> Option<Value> {
    let conditions = node.data["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind).cloned()
}

#[test]
#[ignore = "needs a built API server: see the head of this test"]
fn conditions_features_and_warnings_stand_there() {
    alone(|| async {
        let server = ApiServer::start().await;
        let client = server.client("admin").unwrap();
        grant(&client).await;
        install_definitions(&client).await;
        make_node(&client, "node-1").await;
        let proxy = Proxy::start(&server).await;
        let mut stage = Stage::start(&server);

        stage.condition(Some("subnet-1 has no free addresses"));
        until(&mut stage.node, "the condition", |view| {
            view.only().is_some_and(|node| node.conditions.contains_key(TYPE))
        })
        .await;
        let node = nodes(&client).get("node-1").await.unwrap();
        let first = condition_of(&node, TYPE).unwrap();
        assert_eq!(first["message"], "subnet-1 has no free addresses");
        assert!(condition_of(&node, "Ready").is_some(), "the others stay");
        // A writer that started anew changes nothing that stands, and keeps the time where only words change.
        stage.condition(Some("subnet-2 has no free addresses"));
        until(&mut stage.node, "its words", |view| {
            view.only().is_some_and(|node| node.conditions[TYPE].message.contains("subnet-2"))
        })
        .await;
        let second = condition_of(&nodes(&client).get("node-1").await.unwrap(), TYPE).unwrap();
        assert_eq!(second["lastTransitionTime"], first["lastTransitionTime"]);
        // A node that was written meanwhile is a conflict, and is written again when it is seen.
        proxy.next("PATCH", "/nodes/node-1/status", Fault::Answer(409, vec![], String::new()));
        stage.condition(None);
        until(&mut stage.node, "it passed", |view| {
            view.only().is_some_and(|node| !node.conditions.contains_key(TYPE))
        })
        .await;
        assert!(condition_of(&nodes(&client).get("node-1").await.unwrap(), "Ready").is_some());

        let feature = |name: &str, value: &str| Feature { name: name.to_owned(), value: value.to_owned() };
        stage.wanted.send_modify(|wanted| {
            wanted.features =
                vec![feature("CustomNetworking", "zone-a"), feature("SecurityGroupsForPods", "")];
        });
        make(&cni_nodes(&client), json!({"apiVersion": "vpcresources.k8s.aws/v1alpha1", "kind": "CNINode", "metadata": {"name": "node-1"},
             "spec": {"features": [{"name": "Other", "value": "x"}]}})).await;
        until(&mut stage.cni_node, "the features", |view| {
            view.only().is_some_and(|view| view.features.as_ref().unwrap().len() == 3)
        })
        .await;
        let written = cni_nodes(&client).get("node-1").await.unwrap();
        assert_eq!(
            written.data["spec"]["features"][1],
            json!({"name": "CustomNetworking", "value": "zone-a"})
        );

        let pod = make(&pods(&client), pod("p", "node-1")).await;
        let on_pod = Regarding::Pod { key: ObjectKey::new("default", "p"), uid: pod.metadata.uid.clone() };
        let warn = |regarding: &Regarding, reason: &str, count: u32| {
            let id = WarningId { regarding: regarding.clone(), reason: reason.to_owned() };
            let at = WallTime(1_790_000_000_000);
            let message = "subnet-1 has no free addresses: free some there".to_owned();
            let warning = Warning { action: "AddNetwork".to_owned(), message, count, first: at, last: at };
            stage.wanted.send_modify(|wanted| drop(wanted.warnings.insert(id, warning)));
        };
        // The answer to the first is lost: it is one event all the same.
        proxy.next("POST", "/events", Fault::Lose);
        warn(&on_pod, "NoAddress", 1);
        let events = api(&client, "", "v1", "Event", "events", Some("default"));
        let of_pod = ListParams::default()
            .fields(&format!("involvedObject.uid={}", pod.metadata.uid.as_deref().unwrap()));
        let seen = |count: u64| {
            let (events, of_pod) = (events.clone(), of_pod.clone());
            async move {
                loop {
                    let list = events.list(&of_pod).await.unwrap().items;
                    if list.first().is_some_and(|event| count < 2 || event.data["series"]["count"] == count) {
                        return list;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        let patience = PATIENCE;
        let list = tokio::time::timeout(patience, seen(1)).await.expect("the event is there");
        assert_eq!(list[0].data["reason"], "NoAddress");
        assert_eq!(list[0].data["type"], "Warning");
        assert_eq!(list[0].data["message"], "subnet-1 has no free addresses: free some there");
        let repeated = async {
            while proxy.requests("POST", "/events").len() < 2 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(patience, repeated).await.expect("a lost answer is asked for again");
        warn(&on_pod, "NoAddress", 7);
        let list = tokio::time::timeout(patience, seen(7)).await.expect("it is counted up");
        assert_eq!(list.len(), 1);

        warn(&Regarding::Node, "MissingIAMPermissions", 3);
        let of_node = ListParams::default().fields("involvedObject.kind=Node,involvedObject.uid=node-1");
        let there = async {
            while events.list(&of_node).await.unwrap().items.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(patience, there).await.expect("where `kubectl describe node` looks for it");
    });
}
