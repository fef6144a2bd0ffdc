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
    pub(super) cluster: Cluster,
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
    /// Since when it is to end, in seconds since 1970.
    pub ending: Option<u64>,
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
            "readinessProbe": { "httpGet": { "path": "/healthz", "port": PORT }, "periodSeconds": 1, "initialDelaySeconds": 1, "timeoutSeconds": 5 },
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
            ending: ending(&pod["metadata"]),
        };
        Ok(list["items"].as_array().into_iter().flatten().map(pod).collect())
    }

    /// Where each node serves it.
    pub fn node_port(&self) -> Result<u16> {
        let service = self.cluster.get(&["service", &self.name])?;
        let port = service["spec"]["ports"][0]["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
        Ok(port.unwrap_or_default())
    }

    /// What went wrong with its pods, by the words of their events. Without the answers of a server that does not listen, or ends: the
    /// network has brought them. Without the probes of pods, of `seen`, that were to end: their network ends with them.
    pub fn troubles(&self, seen: &BTreeMap<String, Pod>) -> Result<Vec<String>> {
        let list = self.cluster.get(&["events", "--field-selector=type=Warning"])?;
        let events = list["items"].as_array().into_iter().flatten();
        let told = events.filter_map(|event| trouble(event, &self.name, seen));
        Ok(told.collect::<BTreeSet<_>>().into_iter().collect())
    }
}

fn trouble(event: &Value, app: &str, seen: &BTreeMap<String, Pod>) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, reason, message) =
        (text(&event["involvedObject"]["name"]), text(&event["reason"]), text(&event["message"]));
    let first = event["firstTimestamp"].as_str().and_then(seconds);
    let ending = seen.get(&name).and_then(|pod| pod.ending);
    let probe = reason == "Unhealthy";
    let answered =
        probe && ["connection refused", "connection reset"].iter().any(|end| message.contains(end));
    let ended = probe && ending.is_some_and(|since| first.is_some_and(|first| first >= since));
    let ours = name.starts_with(&format!("{app}-"));
    (ours && !answered && !ended).then(|| format!("{name}: {reason}: {message}"))
}

/// When a pod was told to end: its API server writes down by when it is to have ended.
fn ending(metadata: &Value) -> Option<u64> {
    let by = seconds(metadata["deletionTimestamp"].as_str()?)?;
    Some(by.saturating_sub(metadata["deletionGracePeriodSeconds"].as_u64().unwrap_or(0)))
}

/// Seconds since 1970, of a time as Kubernetes writes it: `2026-11-29T16:42:43Z`.
fn seconds(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers =
        |text: &str, between| text.split(between).map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>();
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let ([year, month, day], [hours, minutes, seconds]) = (&date[..], &time[..]) else { return None };
    // Years that begin in March, so that the day that is not always there is a year's last.
    let (year, month) = if *month > 2 { (*year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let since = days.checked_sub(719_468)?;
    Some(((since * 24 + hours) * 60 + minutes) * 60 + seconds)
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
            ending: None,
        };
        let pods =
            [pod("a", "10.0.0.1"), pod("b", ""), pod("c", ""), pod("d", "10.0.0.1"), pod("e", "10.0.0.2")];
        let expected = BTreeMap::from([("10.0.0.1".to_owned(), vec!["a".to_owned(), "d".to_owned()])]);
        assert_eq!(doubled(&pods), expected);
    }

    #[test]
    fn a_time_is_seconds_since_1970() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T12:00:01Z"), Some(951_825_601));
        assert_eq!(seconds("2026-11-29T16:42:43Z"), Some(1_795_970_563));
        for wrong in ["", "2026-11-29", "2026-11-29T16:42:43", "2026-11-29T16:42Z", "a-b-cTd:e:fZ"] {
            assert_eq!(seconds(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_probe_counts_while_its_pod_is_to_run_and_a_sandbox_always() {
        let pod =
            |ending| Pod { name: "web-1".to_owned(), node: String::new(), address: String::new(), ending };
        let told = |reason: &str, message: &str, name: &str, ending: Option<u64>| {
            let event = json!({
                "involvedObject": { "name": name }, "reason": reason, "message": message, "firstTimestamp": "1970-01-01T00:00:10Z",
            });
            trouble(&event, "web", &BTreeMap::from([("web-1".to_owned(), pod(ending))])).is_some()
        };
        assert!(told("Unhealthy", "deadline exceeded", "web-1", None));
        assert!(told("Unhealthy", "deadline exceeded", "web-1", Some(11)), "before its end");
        assert!(!told("Unhealthy", "deadline exceeded", "web-1", Some(10)));
        assert!(!told("Unhealthy", "connection refused", "web-1", None));
        assert!(told("FailedCreatePodSandBox", "connection refused", "web-1", Some(10)));
        assert!(!told("FailedCreatePodSandBox", "no", "other-1", None));
    }
}
