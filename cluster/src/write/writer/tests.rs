use std::collections::BTreeMap;
use std::net::IpAddr;

use holdfast_model::ids::BootId;
use holdfast_model::time::WallTime;
use serde_json::{Value, json};

use super::*;
use crate::asked::{Asked, Server, Verb};
use crate::crd::cninode::Feature;
use crate::watch::objects::ConditionView;
use crate::write::{Condition, ConditionStatus, PodId, Regarding, Warning};

mod incidents;

/// A writer, what it is to write, and what it sees.
struct Stage {
    writer: Writer,
    wanted: Wanted,
    pods: View<PodView>,
    node: View<NodeView>,
    cni_node: View<CniNodeView>,
    now: u64,
}

/// A request: path and body.
type Sent = (String, Value);

impl Stage {
    fn new() -> Self {
        let settings = WriterSettings { node: "node".to_owned(), instance: "holdfast-x".to_owned() };
        let mut node = View::default();
        let own = NodeView { uid: "node-uid".to_owned(), version: Version::new("5"), ..NodeView::default() };
        node.objects.insert(ObjectKey::new("", "node"), own);
        let wanted = Wanted { pod_ips: Some(BTreeMap::new()), ..Wanted::default() };
        Self {
            writer: Writer::new(settings),
            wanted,
            pods: View::default(),
            node,
            cni_node: View::default(),
            now: 1_000_000,
        }
    }

    fn pod(&mut self, name: &str, uid: &str, version: &str, pod_ips: Option<&str>) -> &mut PodView {
        let view = PodView {
            uid: uid.into(),
            version: Version::new(version),
            annotated: pod_ips.is_some(),
            pod_ips: pod_ips.map(Into::into),
            ..PodView::default()
        };
        self.pods.objects.insert(ObjectKey::new("ns", name), view);
        self.pods.objects.get_mut(&ObjectKey::new("ns", name)).unwrap()
    }

    fn lease(&mut self, name: &str, uid: &str, address: &str) {
        let id = PodId { key: ObjectKey::new("ns", name), runtime_uid: uid.to_owned() };
        self.wanted.pod_ips.as_mut().unwrap().insert(id, address.parse::<IpAddr>().unwrap());
    }

    fn warn(&mut self, name: &str, message: &str, count: u32) {
        let id = WarningId {
            regarding: Regarding::Pod { key: ObjectKey::new("ns", name), uid: Some("u".to_owned()) },
            reason: "NoAddress".to_owned(),
        };
        let warning = Warning {
            action: "Adding".to_owned(),
            message: message.to_owned(),
            count,
            first: WallTime(1_700_000_000_000),
            last: WallTime(1_700_000_060_500),
        };
        self.wanted.warnings.insert(id, warning);
    }

    fn step(&mut self) -> Step {
        let seen = Seen { pods: &self.pods, node: &self.node, cni_node: &self.cni_node };
        let now =
            Now { boot: BootId::new("b"), boottime: BootTime(self.now), wall: WallTime(1_700_000_000_000) };
        self.writer.next(&self.wanted, seen, &now, u128::from(self.now))
    }

    fn send(&mut self) -> (Box<Write>, Sent) {
        let Step::Send(write) = self.step() else { panic!("nothing is sent: {:?}", self.step()) };
        let request = self.writer.request(&write).unwrap();
        let body = serde_json::from_slice(request.http.body()).unwrap();
        (write, (request.http.uri().path().to_owned(), body))
    }

    /// However long it waits.
    fn sends_in_time(&mut self) -> Box<Write> {
        loop {
            match self.step() {
                Step::Send(write) => return write,
                Step::WaitUntil(until) => self.now = until.0,
                Step::Idle => panic!("nothing is sent"),
            }
        }
    }

    fn waits(&mut self) -> u64 {
        let Step::WaitUntil(until) = self.step() else { panic!("no wait: {:?}", self.step()) };
        until.0 - self.now
    }

    fn answered(&mut self, write: &Write, version: &str) {
        let written =
            Written { metadata: Meta { resource_version: Version::new(version), ..Meta::default() } };
        self.writer.done(write, Ok(&written), BootTime(self.now), 7);
    }

    fn refused(&mut self, write: &Write, cause: Cause) {
        let asked = Asked {
            server: Server::Api,
            verb: Verb::Patch,
            kind: Kind::PODS,
            subresource: None,
            namespace: None,
            which: None,
        };
        let fault = ApiFault { asked: Box::new(asked), cause };
        self.writer.done(write, Err(&fault), BootTime(self.now), 7);
    }
}

fn silent() -> Cause {
    Cause::Silent(Duration::from_secs(10))
}

#[test]
fn a_pod_is_written_once() {
    let mut stage = Stage::new();
    stage.lease("p", "u1", "10.0.0.1");
    assert_eq!(stage.step(), Step::Idle, "not seen yet");
    stage.pod("p", "u1", "7", None);
    let (write, (path, body)) = stage.send();
    assert_eq!(path, "/api/v1/namespaces/ns/pods/p");
    assert_eq!(
        body,
        json!([
            {"op": "test", "path": "/metadata/uid", "value": "u1"},
            {"op": "test", "path": "/metadata/annotations", "value": null},
            {"op": "add", "path": "/metadata/annotations", "value": {"vpc.amazonaws.com/pod-ips": "10.0.0.1"}},
        ])
    );
    stage.answered(&write, "9");
    assert_eq!(stage.step(), Step::Idle, "the watch has not shown it yet, and it is there");
    stage.pod("p", "u1", "8", None);
    assert_eq!(stage.step(), Step::Idle, "older than what was written");
    stage.pod("p", "u1", "9", Some("10.0.0.1"));
    assert_eq!(stage.step(), Step::Idle);
    // Somebody else took it away: it is written again, level-triggered.
    stage.pod("p", "u1", "10", None);
    stage.send();
}

#[test]
fn a_lost_write_is_repeated_and_a_late_one_changes_nothing() {
    let mut stage = Stage::new();
    stage.lease("p", "u1", "10.0.0.1");
    stage.pod("p", "u1", "7", Some("10.0.0.9"));
    let (write, first) = stage.send();
    assert_eq!(first.1[1]["value"], "10.0.0.9", "it is based on what was seen");
    stage.refused(&write, silent());
    let wait = stage.waits();
    assert!((1..=2_000).contains(&wait), "{wait}");
    stage.now += wait;
    let (write, again) = stage.send();
    assert_eq!(first, again);
    // It had been carried out, so this one fails its test: nothing is tried before something newer is seen.
    stage.refused(&write, Cause::Refused("test failed".to_owned()));
    assert!(stage.waits() > 0);
    stage.pod("p", "u1", "8", Some("10.0.0.1"));
    assert_eq!(stage.step(), Step::Idle);
}

#[test]
fn a_failed_test_is_tried_again_at_once_when_something_newer_is_seen() {
    let mut stage = Stage::new();
    stage.lease("p", "u1", "10.0.0.1");
    stage.pod("p", "u1", "7", None);
    let (write, _) = stage.send();
    stage.refused(&write, Cause::Refused("test failed".to_owned()));
    assert!(stage.waits() > 0);
    stage.pod("p", "u1", "8", None).annotated = true;
    let (_, (_, body)) = stage.send();
    assert_eq!(
        body[1],
        json!({"op": "test", "path": "/metadata/annotations/vpc.amazonaws.com~1pod-ips", "value": null})
    );
}

#[test]
fn another_pod_of_the_same_name_is_not_told_of_the_old_ones_address() {
    let mut stage = Stage::new();
    stage.lease("p", "old", "10.0.0.1");
    stage.pod("p", "new", "7", None);
    assert_eq!(stage.step(), Step::Idle);
    stage.lease("p", "new", "10.0.0.2");
    let (_, (_, body)) = stage.send();
    assert_eq!(body[2]["value"]["vpc.amazonaws.com/pod-ips"], "10.0.0.2");
}

#[test]
fn a_pod_from_a_file_is_known_by_kubelets_id() {
    let mut stage = Stage::new();
    stage.lease("p", "file", "10.0.0.1");
    let pod = stage.pod("p", "api", "7", None);
    pod.runtime_uid = Some("file".into());
    pod.annotated = true;
    let (_, (_, body)) = stage.send();
    assert_eq!(body[0]["value"], "api");
}

#[test]
fn what_ended_is_emptied_but_not_on_a_pod_that_goes() {
    let mut stage = Stage::new();
    stage.pod("p", "u1", "7", Some("10.0.0.1"));
    stage.pod("q", "u2", "7", Some("10.0.0.2")).deleting = true;
    stage.pod("r", "u3", "7", Some(""));
    stage.pod("s", "u4", "7", None);
    let (write, (path, body)) = stage.send();
    assert!(path.ends_with("/p"));
    assert_eq!((&body[1]["value"], &body[2]["value"]), (&json!("10.0.0.1"), &json!("")));
    stage.answered(&write, "8");
    assert_eq!(stage.step(), Step::Idle);
    stage.wanted.pod_ips = None;
    stage.pod("p", "u1", "9", Some("10.0.0.1"));
    assert_eq!(stage.step(), Step::Idle, "they are left alone where nobody wants them");
}

fn condition(message: &str) -> Condition {
    Condition { status: ConditionStatus::False, reason: "SubnetFull".to_owned(), message: message.to_owned() }
}

#[test]
fn a_condition_stands_while_it_is_wanted_and_keeps_its_time() {
    let mut stage = Stage::new();
    stage.wanted.conditions.insert("Addresses".to_owned(), None);
    assert_eq!(stage.step(), Step::Idle, "it does not stand there");
    stage.wanted.conditions.insert("Addresses".to_owned(), Some(condition("a")));
    let (write, (path, body)) = stage.send();
    assert_eq!(path, "/api/v1/nodes/node/status");
    assert_eq!(body["metadata"], json!({"uid": "node-uid", "resourceVersion": "5"}));
    assert_eq!(body["status"]["conditions"][0]["lastTransitionTime"], "2023-11-14T22:13:20Z");
    stage.answered(&write, "6");
    assert_eq!(stage.step(), Step::Idle);
    // Its words change before the watch has shown the first: based on what was written, and as old as that.
    stage.wanted.conditions.insert("Addresses".to_owned(), Some(condition("b")));
    let (_, (_, body)) = stage.send();
    assert_eq!(body["metadata"]["resourceVersion"], "6");
    let own = stage.node.objects.values_mut().next().unwrap();
    own.version = Version::new("8");
    own.conditions.insert(
        "Addresses".to_owned(),
        ConditionView {
            status: "False".to_owned(),
            reason: "SubnetFull".to_owned(),
            message: "a".to_owned(),
            last_transition_time: Some("2020-01-01T00:00:00Z".to_owned()),
        },
    );
    let (write, (_, body)) = stage.send();
    assert_eq!(body["status"]["conditions"][0]["lastTransitionTime"], "2020-01-01T00:00:00Z");
    assert_eq!(body["metadata"]["resourceVersion"], "8");
    stage.answered(&write, "9");
    stage.wanted.conditions.insert("Addresses".to_owned(), None);
    let wait = stage.waits();
    assert_eq!(wait, 10_000, "four in one instant are one too many");
    stage.now += wait;
    let (_, (_, body)) = stage.send();
    assert_eq!(body["status"]["conditions"], json!([{"$patch": "delete", "type": "Addresses"}]));
}

#[test]
fn features_of_others_are_kept() {
    let mut stage = Stage::new();
    let feature = |name: &str, value: &str| Feature { name: name.to_owned(), value: value.to_owned() };
    stage.wanted.features = vec![feature("CustomNetworking", "zone-a"), feature("SecurityGroupsForPods", "")];
    assert_eq!(stage.step(), Step::Idle, "others make it");
    let mut view = CniNodeView {
        uid: "c".to_owned(),
        version: Version::new("3"),
        features: Ok(vec![feature("Other", "x"), feature("CustomNetworking", "zone-b")]),
        managed_by: None,
    };
    stage.cni_node.objects.insert(ObjectKey::new("", "node"), view.clone());
    let (write, (path, body)) = stage.send();
    assert_eq!(path, "/apis/vpcresources.k8s.aws/v1alpha1/cninodes/node");
    assert_eq!(body["metadata"], json!({"uid": "c", "resourceVersion": "3"}));
    assert_eq!(
        body["spec"]["features"],
        json!([{"name": "Other", "value": "x"}, {"name": "CustomNetworking", "value": "zone-a"}, {"name": "SecurityGroupsForPods"}])
    );
    stage.answered(&write, "4");
    assert_eq!(stage.step(), Step::Idle, "not seen yet");
    view.version = Version::new("5");
    view.features = Err("not a list".to_owned());
    stage.cni_node.objects.insert(ObjectKey::new("", "node"), view);
    assert_eq!(stage.step(), Step::Idle, "what cannot be read is not written over");
}

#[test]
fn a_warning_is_one_event_that_is_counted_up() {
    let mut stage = Stage::new();
    stage.warn("p", "the subnet is full", 1);
    let (write, (path, body)) = stage.send();
    assert_eq!(path, "/apis/events.k8s.io/v1/namespaces/ns/events");
    assert_eq!((&body["note"], &body["series"]), (&json!("the subnet is full"), &Value::Null));
    assert_eq!(body["eventTime"], "2023-11-14T22:13:20.000000Z");
    let name = body["metadata"]["name"].as_str().unwrap().to_owned();
    stage.refused(&write, silent());
    let wait = stage.waits();
    stage.now += wait;
    let (write, (_, again)) = stage.send();
    assert_eq!(again["metadata"]["name"], *name, "the same event, however often it is tried");
    stage.refused(&write, Cause::Exists);
    assert_eq!(stage.step(), Step::Idle, "an answer had been lost");
    stage.warn("p", "the subnet is full", 9);
    let (write, (path, body)) = stage.send();
    assert_eq!(path, format!("/apis/events.k8s.io/v1/namespaces/ns/events/{name}"));
    assert_eq!(body, json!({"series": {"count": 9, "lastObservedTime": "2023-11-14T22:14:20.500000Z"}}));
    stage.refused(&write, Cause::NotFound);
    let (write, (path, body)) = stage.send();
    assert!(path.ends_with("/events"), "it was kept for an hour");
    assert_eq!(body["series"]["count"], 9);
    stage.answered(&write, "1");
    stage.warn("p", "the subnet is full", 10);
    let (write, _) = stage.send();
    stage.answered(&write, "1");
    stage.warn("p", "the quota is used up", 11);
    assert!(stage.waits() > 0, "one object is not told of more than once a minute");
    stage.now += 60_000;
    let (write, (_, body)) = stage.send();
    assert_ne!(body["metadata"]["name"], *name, "another cause is another event");
    stage.refused(&write, Cause::Refused("the namespace goes".to_owned()));
    assert_eq!(stage.step(), Step::Idle, "and where none can be made, none is");
}

/// The server takes no longer name of an event than of a pod.
#[test]
fn an_event_of_a_pod_with_a_long_name_has_a_name_that_can_be() {
    for (pod, kept) in [
        ("p".repeat(253), "p".repeat(236)),
        (format!("{}-{}", "p".repeat(235), "q".repeat(17)), "p".repeat(235)),
        (format!("{}.-{}", "p".repeat(234), "q".repeat(17)), "p".repeat(234)),
        ("p".repeat(236), "p".repeat(236)),
    ] {
        let mut stage = Stage::new();
        stage.warn(&pod, "full", 1);
        let (_, (_, body)) = stage.send();
        let (object, suffix) = body["metadata"]["name"].as_str().unwrap().rsplit_once('.').unwrap();
        assert_eq!((object, suffix.len()), (kept.as_str(), 16));
        assert_eq!(body["regarding"]["name"], pod);
    }
}

#[test]
fn an_outage_uses_up_nobodys_turns() {
    let causes = [
        Cause::NotReached("refused".to_owned()),
        silent(),
        Cause::Broken("reset".to_owned()),
        Cause::Busy { retry_after: Some(Duration::from_secs(1)) },
        Cause::Failing { status: 500, words: "no leader".to_owned() },
        Cause::Forbidden("cannot".to_owned()),
    ];
    for cause in causes {
        let mut stage = Stage::new();
        let condition = Condition {
            status: ConditionStatus::True,
            reason: "AddressesAvailable".to_owned(),
            message: String::new(),
        };
        stage.wanted.conditions.insert("Addresses".to_owned(), Some(condition));
        stage.warn("p", "the subnet is full", 1);
        for _ in 0..2 * 40 {
            let write = stage.sends_in_time();
            stage.refused(&write, cause.clone());
        }
        // Whatever its pauses have grown to: half a minute, and a second for those whose outcome nobody knows.
        let begun = stage.now;
        for _ in 0..2 {
            let write = stage.sends_in_time();
            stage.answered(&write, "6");
        }
        let took = stage.now - begun;
        assert!(took <= 32_000, "{cause:?}: all is told {took} ms after the outage");
    }
}

#[test]
fn a_full_nodes_warnings_are_bounded() {
    let mut stage = Stage::new();
    for pod in 0..200 {
        stage.warn(&format!("p{pod}"), "no", 1);
    }
    let mut sent = 0;
    while let Step::Send(write) = stage.step() {
        stage.answered(&write, "1");
        sent += 1;
    }
    assert_eq!(sent, 25);
    stage.now += 60_000;
    while let Step::Send(write) = stage.step() {
        stage.answered(&write, "1");
        sent += 1;
    }
    assert_eq!(sent, 50, "at most one in two seconds, saved up to a burst");
}

#[test]
fn what_fails_holds_back_what_would_fare_the_same() {
    let mut stage = Stage::new();
    stage.lease("p", "u1", "10.0.0.1");
    stage.lease("q", "u2", "10.0.0.2");
    stage.pod("p", "u1", "7", None);
    stage.pod("q", "u2", "7", None);
    stage.wanted.conditions.insert("Addresses".to_owned(), Some(condition("a")));
    let (write, (path, _)) = stage.send();
    assert!(path.ends_with("/status"), "the condition goes first: {path}");
    stage.refused(&write, Cause::Forbidden("cannot".to_owned()));
    // A right that lacks holds back what needs it, and nothing else.
    let (write, (path, _)) = stage.send();
    assert!(path.ends_with("/p"), "{path}");
    // A server error may be one object's: the others come first.
    stage.refused(&write, Cause::Failing { status: 500, words: "a hook".to_owned() });
    let (write, (path, _)) = stage.send();
    assert!(path.ends_with("/q"), "{path}");
    // A busy server is left alone by all, for as long as it asks.
    stage.refused(&write, Cause::Busy { retry_after: Some(Duration::from_secs(25)) });
    assert!(stage.waits() >= 25_000);
}

#[test]
fn a_pod_that_is_gone_is_forgotten() {
    let mut stage = Stage::new();
    stage.lease("p", "u1", "10.0.0.1");
    stage.pod("p", "u1", "7", None);
    let (write, _) = stage.send();
    stage.refused(&write, Cause::NotFound);
    assert!(stage.waits() > 0);
    stage.pods.objects.clear();
    assert_eq!(stage.step(), Step::Idle);
    assert_eq!(stage.writer.targets.len(), 0);
}
