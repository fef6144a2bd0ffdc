//! A Deployment of servers with readiness probes, a Service and a node port before it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Cluster;
use crate::build::AGNHOST;
use crate::error::Result;

const PORT: u16 = 8080;

/// An application. Its pods answer over HTTP with their names.
#[derive(Debug, Clone)]
pub struct App {
    name: String,
    cluster: Cluster,
}

/// One of its pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its node's name; empty before it has one.
    pub node: String,
    /// Its address; empty before it has one.
    pub address: String,
    /// Whether it is to end.
    pub ending: bool,
}

impl App {
    /// Applies one with so many pods. Does not wait.
    pub fn deploy(cluster: &Cluster, name: &str, replicas: u16) -> Result<Self> {
        let labels = json!({ "app": name });
        let container = json!({
            "name": "server", "image": AGNHOST.reference, "imagePullPolicy": "Never",
            "args": ["netexec", format!("--http-port={PORT}")],
            // What has ended is asked no more, and what was asked is answered.
            "lifecycle": { "preStop": { "sleep": { "seconds": 3 } } },
            "readinessProbe": { "httpGet": { "path": "/healthz", "port": PORT }, "periodSeconds": 1, "initialDelaySeconds": 1 },
        });
        // On all nodes evenly, whatever the scheduler would think.
        let spread = json!({
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": labels },
        });
        let pod = json!({ "terminationGracePeriodSeconds": 8, "containers": [container], "topologySpreadConstraints": [spread] });
        cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
                "spec": {
                    "replicas": replicas, "selector": { "matchLabels": labels },
                    "template": { "metadata": { "labels": labels }, "spec": pod },
                },
            },
            {
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
                "spec": { "type": "NodePort", "selector": labels, "ports": [{ "port": 80, "targetPort": PORT }] },
            },
        ] }))?;
        Ok(Self { name: name.to_owned(), cluster: cluster.clone() })
    }

    /// Waits until all its pods are those of its newest form, and ready.
    pub fn settle(&self) -> Result<()> {
        self.rollout("status", &["--timeout=170s"])
    }

    /// Has all its pods replaced, a few at a time. Does not wait.
    pub fn restart(&self) -> Result<()> {
        self.rollout("restart", &[])
    }

    fn rollout(&self, verb: &str, more: &[&str]) -> Result<()> {
        let target = format!("deployment/{}", self.name);
        self.cluster.kubectl(&[&["rollout", verb, &target], more].concat()).map(drop)
    }

    pub(super) fn get(&self) -> Result<Value> {
        self.cluster.get(&["deployment", &self.name])
    }

    /// Its pods.
    pub fn pods(&self) -> Result<Vec<Pod>> {
        let list = self.cluster.get(&["pods", &format!("--selector=app={}", self.name)])?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pod = |pod: &Value| Pod {
            name: text(&pod["metadata"]["name"]),
            node: text(&pod["spec"]["nodeName"]),
            address: text(&pod["status"]["podIP"]),
            ending: pod["metadata"]["deletionTimestamp"].is_string(),
        };
        Ok(list["items"].as_array().into_iter().flatten().map(pod).collect())
    }

    /// Where each node serves it.
    pub fn node_port(&self) -> Result<u16> {
        let service = self.cluster.get(&["service", &self.name])?;
        let port = service["spec"]["ports"][0]["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
        Ok(port.unwrap_or_default())
    }

    /// What went wrong with its pods, by the words of their events, without what a server does that begins to listen late.
    pub fn troubles(&self) -> Result<Vec<String>> {
        let list = self.cluster.get(&["events", "--field-selector=type=Warning"])?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = list["items"].as_array().into_iter().flatten();
        let ours = events.filter(|event| {
            let object = text(&event["involvedObject"]["name"]);
            object.starts_with(&format!("{}-", self.name))
        });
        let told = ours.map(|event| format!("{}: {}", text(&event["reason"]), text(&event["message"])));
        Ok(told
            .filter(|told| !told.contains("connection refused"))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect())
    }
}

/// Addresses that several of these pods have.
pub fn doubled(pods: &[Pod]) -> BTreeMap<String, Vec<String>> {
    let mut by_address = BTreeMap::<String, Vec<String>>::new();
    for pod in pods.iter().filter(|pod| !pod.address.is_empty()) {
        by_address.entry(pod.address.clone()).or_default().push(pod.name.clone());
    }
    by_address.retain(|_, names| names.len() > 1);
    by_address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_two_pods_is_doubled_and_none_is_nobodys() {
        let pod = |name: &str, address: &str| Pod {
            name: name.to_owned(),
            node: String::new(),
            address: address.to_owned(),
            ending: false,
        };
        let pods =
            [pod("a", "10.0.0.1"), pod("b", ""), pod("c", ""), pod("d", "10.0.0.1"), pod("e", "10.0.0.2")];
        let expected = BTreeMap::from([("10.0.0.1".to_owned(), vec!["a".to_owned(), "d".to_owned()])]);
        assert_eq!(doubled(&pods), expected);
    }
}
