use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::fault::Cause;
use crate::watch::follow::Event;
use crate::watch::wire::{PageWire, event};

fn read<T: Trimmed>(object: serde_json::Value) -> (ObjectKey, T::View) {
    serde_json::from_value::<T>(object).unwrap().trim()
}

fn page(text: &str) -> Result<Vec<String>, Cause> {
    let wire: PageWire<PodObject> =
        serde_json::from_str(text).map_err(|error| Cause::Malformed(error.to_string()))?;
    Ok(wire.page()?.items.into_iter().map(|(key, _)| key.to_string()).collect())
}

#[test]
fn a_list_that_lacks_something_is_no_list() {
    let whole = r#"{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"namespace":"n","name":"a"}}]}"#;
    assert_eq!(page(whole), Ok(vec!["n/a".to_owned()]));
    let empty = r#"{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"7"},"items":null}"#;
    assert_eq!(page(empty), Ok(Vec::new()), "an empty list may be written so");
    for wrong in [
        "{}",
        r#"{"kind":"PodList","metadata":{"resourceVersion":"7"}}"#,
        r#"{"kind":"PodList","metadata":{},"items":[]}"#,
        r#"{"kind":"Pod","metadata":{"resourceVersion":"7"},"items":[]}"#,
        r#"{"kind":"PodList","metadata":{"resourceVersion":"7","remainingItemCount":3},"items":[]}"#,
        &whole[..whole.len() - 4],
    ] {
        assert!(matches!(page(wrong), Err(Cause::Malformed(_))), "{wrong}");
    }
}

#[test]
fn lines_of_a_watch_are_what_they_say() {
    let line = |text: &str| event::<PodObject>(text.as_bytes());
    let object = r#"{"metadata":{"namespace":"n","name":"a","resourceVersion":"8"}}"#;
    assert!(matches!(line(&format!(r#"{{"type":"ADDED","object":{object}}}"#)), Ok(Event::Applied { .. })));
    assert!(matches!(
        line(&format!(r#"{{"object":{object},"type":"MODIFIED"}}"#)),
        Ok(Event::Applied { .. })
    ));
    let gone = line(&format!(r#"{{"type":"DELETED","object":{object}}}"#));
    assert_eq!(gone, Ok(Event::Deleted { key: ObjectKey::new("n", "a"), version: Version::new("8") }));
    let mark = line(
        r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"9","creationTimestamp":null}}}"#,
    );
    assert_eq!(mark, Ok(Event::Bookmark { version: Version::new("9") }));
    let gone = line(
        r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old resource version: 1 (5)","reason":"Expired","code":410}}"#,
    );
    assert_eq!(gone, Err(Cause::Gone));
    assert!(matches!(line(r#"{"type":"ADDED","object":{"meta"#), Err(Cause::Malformed(_))));
    assert!(matches!(line(r#"{"type":"RENAMED","object":{}}"#), Err(Cause::Malformed(_))));
}

#[test]
fn a_node_is_cut_down_to_what_is_used() {
    let (key, view) = read::<NodeObject>(json!({
        "metadata": {"name": "node-1", "uid": "u", "resourceVersion": "5", "labels": {"a": "b"},
                     "annotations": {"c": "d"}, "managedFields": [{"manager": "kubelet"}]},
        "spec": {"providerID": "aws:///x/i-1", "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "timeAdded": "x"}]},
        "status": {"capacity": {"cpu": "2", "pods": "1k"}, "images": [{"names": ["x"]}],
                   "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "m",
                                   "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2025-01-01T00:00:00Z"}]},
    }));
    assert_eq!(key, ObjectKey::new("", "node-1"));
    assert_eq!((view.uid.as_str(), view.version.as_str(), view.capacity_pods), ("u", "5", Some(1000)));
    assert!(view.unschedulable);
    assert_eq!(view.labels["a"], "b");
    assert_eq!(view.annotations["c"], "d");
    let ready = ConditionView {
        status: "True".to_owned(),
        reason: "KubeletReady".to_owned(),
        message: "m".to_owned(),
        last_transition_time: Some("2025-01-01T00:00:00Z".to_owned()),
    };
    assert_eq!(view.conditions, [("Ready".to_owned(), ready)].into());
    let (_, bare) = read::<NodeObject>(json!({"metadata": {"name": "n"}}));
    assert!(!bare.unschedulable && bare.capacity_pods.is_none());
}

#[test]
fn a_pod_is_known_by_the_id_that_the_runtime_has() {
    let (_, view) = read::<PodObject>(json!({
        "metadata": {"namespace": "kube-system", "name": "p-node", "uid": "api", "deletionTimestamp": "2026-01-01T00:00:00Z",
                     "annotations": {"kubernetes.io/config.mirror": "file", "vpc.amazonaws.com/pod-ips": "10.0.0.1"}},
        "spec": {"hostNetwork": true},
    }));
    assert!(view.is("file") && !view.is("api"));
    assert!(view.deleting && view.annotated);
    assert_eq!(view.pod_ips.as_deref(), Some("10.0.0.1"));
    let (_, view) = read::<PodObject>(json!({"metadata": {"namespace": "n", "name": "p", "uid": "api"}}));
    assert!(view.is("api") && !view.deleting && !view.annotated);
}

#[test]
fn one_eni_config_that_says_nothing_hides_no_other() {
    let source = |spec: serde_json::Value| {
        read::<EniConfigObject>(json!({"metadata": {"name": "zone"}, "spec": spec})).1.source
    };
    let whole = source(json!({"subnet": "subnet-1", "securityGroups": ["sg-1"], "more": 1})).unwrap();
    assert_eq!((whole.subnet.as_str(), whole.security_groups), ("subnet-1", Some(vec!["sg-1".to_owned()])));
    assert_eq!(source(json!({"subnet": "subnet-1", "securityGroups": null})).unwrap().security_groups, None);
    for wrong in [json!(null), json!({}), json!({"subnet": 7}), json!({"subnet": ""}), json!("x")] {
        assert!(source(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn features_that_cannot_be_read_are_not_taken_for_none() {
    let features = |spec: serde_json::Value| {
        read::<CniNodeObject>(json!({"metadata": {"name": "node"}, "spec": spec})).1.features
    };
    assert_eq!(features(json!({})), Ok(Vec::new()));
    assert_eq!(
        features(json!({"features": [{"name": "SecurityGroupsForPods"}]})).unwrap()[0].name,
        "SecurityGroupsForPods"
    );
    assert!(features(json!({"features": "SecurityGroupsForPods"})).is_err());
}

#[test]
fn selections_name_what_the_server_is_to_pick() {
    fn parts(request: &crate::request::Prepared) -> (String, BTreeSet<String>) {
        let uri = request.http.uri();
        let query = uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
        (uri.path().to_owned(), query.map(str::to_owned).collect())
    }
    let query = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<BTreeSet<_>>();
    let page = local_pods("node-1").list(50, Some("a=b")).unwrap();
    let wanted = query(&["limit=50", "continue=a%3Db", "fieldSelector=spec.nodeName%3Dnode-1"]);
    assert_eq!(parts(&page), ("/api/v1/pods".to_owned(), wanted));
    assert!(page.http.headers()["accept"].to_str().unwrap().contains("as=PartialObjectMetadataList"));
    let watch = config_map("kube-system", "aws-node").watch("12", 300).unwrap();
    let wanted = query(&[
        "watch=true",
        "timeoutSeconds=300",
        "fieldSelector=metadata.name%3Daws-node",
        "allowWatchBookmarks=true",
        "resourceVersion=12",
    ]);
    assert_eq!(parts(&watch), ("/api/v1/namespaces/kube-system/configmaps".to_owned(), wanted));
    assert_eq!(
        own_cni_node("n").list(50, None).unwrap().http.uri().path(),
        "/apis/vpcresources.k8s.aws/v1alpha1/cninodes"
    );
}
