//! The cluster's DNS: CoreDNS as a Deployment, behind the Service that pods ask.

use serde_json::{Value, json};

use crate::build::COREDNS;
use crate::control::DNS;

/// What is outside the cluster is not there, and that is said at once: who asks for `web.example.` does not wait.
const COREFILE: &str = ".:53 {
  errors
  health :8080
  ready :8181
  cache 5
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    pods insecure
    ttl 5
  }
  template ANY ANY . {
    rcode NXDOMAIN
  }
}
";

/// All that is applied, for `kubectl`.
pub(crate) fn manifests() -> Value {
    let name = json!({ "name": "coredns", "namespace": "kube-system" });
    let account = json!({ "kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system" });
    let role =
        json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "stage:coredns" });
    let read = json!(["list", "watch"]);
    let port = |protocol: &str| json!({ "name": protocol.to_lowercase(), "protocol": protocol, "port": 53 });
    let labels = json!({ "k8s-app": "kube-dns" });
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": name },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "stage:coredns" },
            "rules": [
                { "apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": read },
                { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read },
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": "stage:coredns" }, "roleRef": role, "subjects": [account],
        },
        { "apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": { "Corefile": COREFILE } },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "kube-dns", "namespace": "kube-system" },
            "spec": { "clusterIP": DNS, "selector": labels, "ports": [port("UDP"), port("TCP")] },
        },
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": name,
            "spec": {
                "replicas": 1, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod() },
            },
        },
    ] })
}

fn pod() -> Value {
    let container = json!({
        "name": "coredns", "image": COREDNS.reference, "imagePullPolicy": "Never", "args": ["-conf", "/etc/coredns/Corefile"],
        "readinessProbe": { "httpGet": { "path": "/ready", "port": 8181 }, "periodSeconds": 1 },
        "volumeMounts": [{ "name": "config", "mountPath": "/etc/coredns", "readOnly": true }],
    });
    json!({
        "serviceAccountName": "coredns", "dnsPolicy": "Default", "priorityClassName": "system-cluster-critical",
        "containers": [container],
        "volumes": [{ "name": "config", "configMap": { "name": "coredns" } }],
    })
}
