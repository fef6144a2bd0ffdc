//! Daemons' pods, made by hand, and what answers at their addresses.

use std::process::Command;

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) const NAMESPACE: &str = "kube-system";

pub(crate) fn api(client: &Client, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    let resource = ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

/// Makes a pod of a node, at an address if it has one; answers its uid.
pub(crate) async fn make(client: &Client, name: &str, node: &str, address: Option<&str>) -> String {
    let pods = api(client, "", "Pod", "pods");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"k8s-app": "aws-node"}},
        "spec": {"nodeName": node, "hostNetwork": true, "containers": [{"name": "aws-node", "image": "x"}]},
    });
    let made = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    if let Some(address) = address {
        let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }
    made.metadata.uid.unwrap()
}

/// The rules of the chart's role: `deploy/tests/chart.py` holds that it has these.
pub(crate) fn chart_rules() -> Value {
    json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/proxy"], "verbs": ["get"]},
    ])
}

/// Gives the user `daemon` these rights in the namespace, and no others.
pub(crate) async fn grant(client: &Client, rules: &Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let role = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Role", "metadata": {"name": "helper"}, "rules": rules});
    let binding = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "RoleBinding", "metadata": {"name": "helper"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "helper"},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": "daemon"}],
    });
    let apply = PatchParams::apply("test").force();
    api(client, GROUP, "Role", "roles").patch("helper", &apply, &Patch::Apply(role)).await.unwrap();
    api(client, GROUP, "RoleBinding", "rolebindings")
        .patch("helper", &apply, &Patch::Apply(binding))
        .await
        .unwrap();
}

/// What stands in for a daemon answers at its metrics port. Ends with the value.
pub(crate) struct Answering(JoinHandle<()>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The same answer to each request at this address; nothing at all where there is none.
pub(crate) async fn answer(address: &str, answer: impl Into<Option<Vec<u8>>>) -> Answering {
    let answer = answer.into();
    let added = Command::new("ip").args(["address", "add", &format!("{address}/32"), "dev", "lo"]).status();
    assert!(added.unwrap().success(), "{address}");
    let listener = TcpListener::bind((address, 61678)).await.unwrap();
    Answering(tokio::spawn(async move {
        let mut silent = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let Some(answer) = answer.clone() else {
                silent.push(stream);
                continue;
            };
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok() {
                    // Whoever asked may have had enough.
                    stream.write_all(&answer).await.ok();
                }
            });
        }
    }))
}

/// A page, as a daemon's server sends it.
pub(crate) fn page(text: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    [head.as_bytes(), text.as_bytes()].concat()
}
