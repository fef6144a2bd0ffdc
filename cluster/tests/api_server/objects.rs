//! Objects of the tests' cluster, made as anybody would make them.

use std::time::Duration;

use holdfast_cluster::watch::objects::{CniNodeObject, NodeObject, PodObject};
use holdfast_cluster::watch::{Trimmed, View, follow};
use holdfast_cluster::{Door, crd, request::Selection};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::server::{PATIENCE, TestClock};

pub(crate) fn api(
    client: &Client,
    group: &str,
    version: &str,
    kind: &str,
    plural: &str,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

pub(crate) fn pods(client: &Client) -> Api<DynamicObject> {
    api(client, "", "v1", "Pod", "pods", Some("default"))
}

pub(crate) fn nodes(client: &Client) -> Api<DynamicObject> {
    api(client, "", "v1", "Node", "nodes", None)
}

pub(crate) fn eni_configs(client: &Client) -> Api<DynamicObject> {
    api(client, "crd.k8s.amazonaws.com", "v1alpha1", "ENIConfig", "eniconfigs", None)
}

pub(crate) fn cni_nodes(client: &Client) -> Api<DynamicObject> {
    api(client, "vpcresources.k8s.aws", "v1alpha1", "CNINode", "cninodes", None)
}

pub(crate) async fn make(api: &Api<DynamicObject>, object: Value) -> DynamicObject {
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap()
}

/// The definitions, and until their kinds are served.
pub(crate) async fn install_definitions(client: &Client) {
    let definitions = api(
        client,
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        None,
    );
    for definition in crd::installed() {
        make(&definitions, serde_json::to_value(definition).unwrap()).await;
    }
    let served = async {
        while eni_configs(client).list(&kube::api::ListParams::default()).await.is_err()
            || cni_nodes(client).list(&kube::api::ListParams::default()).await.is_err()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("the kinds are served");
}

/// Gives the user `daemon` what the crate says that its role must allow, and nothing else.
pub(crate) async fn grant(client: &Client) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let rule = |group: &str, resource: &str, verbs: &[&str], names: &[&str]| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs, "resourceNames": names});
    let read = &["list", "watch"];
    let rules = json!([
        rule("", "nodes", read, &["node-1"]),
        rule("", "configmaps", read, &["aws-node"]),
        rule("", "nodes/status", &["patch"], &["node-1"]),
        rule("", "pods", &["list", "watch", "patch"], &[]),
        rule("events.k8s.io", "events", &["create", "patch"], &[]),
        rule("crd.k8s.amazonaws.com", "eniconfigs", read, &[]),
        rule("vpcresources.k8s.aws", "cninodes", &["list", "watch", "patch"], &["node-1"]),
    ]);
    let api_version = format!("{GROUP}/v1");
    let role = json!({"apiVersion": api_version, "kind": "ClusterRole", "metadata": {"name": "daemon"}, "rules": rules});
    make(&api(client, GROUP, "v1", "ClusterRole", "clusterroles", None), role).await;
    let binding = json!({
        "apiVersion": api_version, "kind": "ClusterRoleBinding", "metadata": {"name": "daemon"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "daemon"},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": "daemon"}],
    });
    make(&api(client, GROUP, "v1", "ClusterRoleBinding", "clusterrolebindings", None), binding).await;
}

pub(crate) async fn make_node(client: &Client, name: &str) -> DynamicObject {
    let node =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"zone": "a"}}});
    let made = make(&nodes(client), node).await;
    let status = json!({"status": {
        "capacity": {"pods": "110", "cpu": "2", "memory": "1Gi"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "m",
                        "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }});
    nodes(client).patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    made
}

pub(crate) fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
                 "containers": [{"name": "c", "image": "i"}]},
    })
}

/// Follows these objects until the runtime ends.
pub(crate) fn followed<T: Trimmed>(door: &Door, selection: Selection) -> watch::Receiver<View<T::View>> {
    let (sender, receiver) = watch::channel(View::default());
    tokio::spawn(follow::<T>(door.clone(), selection, TestClock::new(), sender));
    receiver
}

pub(crate) type Pods = watch::Receiver<View<<PodObject as Trimmed>::View>>;
pub(crate) type Nodes = watch::Receiver<View<<NodeObject as Trimmed>::View>>;
pub(crate) type CniNodes = watch::Receiver<View<<CniNodeObject as Trimmed>::View>>;

/// Until it is so.
pub(crate) async fn until<V>(receiver: &mut watch::Receiver<V>, what: &str, is_so: impl FnMut(&V) -> bool) {
    let so = tokio::time::timeout(PATIENCE, receiver.wait_for(is_so)).await;
    so.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}")).unwrap();
}

pub(crate) fn names<V>(view: &View<V>) -> Vec<&str> {
    view.objects.keys().map(|key| key.name.as_str()).collect()
}
