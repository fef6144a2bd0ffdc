//! A Deployment with readiness probes and a Service before it, as people use them.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde_json::json;

use crate::rig::Stage;

const NAME: &str = "web";
const IMAGE: &str = "stage.invalid/agnhost:1";
const PORT: u16 = 8080;

/// Pods that answer over HTTP with their names.
#[derive(Debug)]
pub(crate) struct Workload<'a> {
    stage: &'a Stage,
    pods: Vec<Pod>,
    service: String,
}

#[derive(Debug, Clone)]
struct Pod {
    name: String,
    node: String,
    address: String,
}

impl<'a> Workload<'a> {
    /// Applies it and waits until it is available: each pod's probe has succeeded.
    pub(crate) fn deploy(stage: &'a Stage, replicas: u8) -> Self {
        let labels = json!({ "app": NAME });
        let container = json!({
            "name": NAME, "image": IMAGE, "args": ["netexec", format!("--http-port={PORT}")],
            "imagePullPolicy": "Never",
            "readinessProbe": { "httpGet": { "path": "/healthz", "port": PORT }, "periodSeconds": 1 },
        });
        // On all nodes, whatever the scheduler would think.
        let spread = json!({
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": { "matchLabels": labels },
        });
        let spec = json!({
            "terminationGracePeriodSeconds": 1, "containers": [container], "topologySpreadConstraints": [spread],
        });
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": NAME },
                "spec": {
                    "replicas": replicas, "selector": { "matchLabels": labels },
                    "template": { "metadata": { "labels": labels }, "spec": spec },
                },
            },
            {
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": NAME },
                "spec": { "selector": labels, "ports": [{ "port": 80, "targetPort": PORT }] },
            },
        ] });
        let mut file =
            tempfile::Builder::new().suffix(".json").tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        file.write_all(list.to_string().as_bytes()).unwrap();
        stage.kubectl(&["apply", "--filename", &file.path().display().to_string()]);
        stage.kubectl(&["rollout", "status", &format!("deployment/{NAME}"), "--timeout=120s"]);
        let pods = stage.get(&["pods", "--selector", &format!("app={NAME}")]);
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let pod = |pod: &serde_json::Value| Pod {
            name: text(&pod["metadata"]["name"]),
            node: text(&pod["spec"]["nodeName"]),
            address: text(&pod["status"]["podIP"]),
        };
        let pods: Vec<Pod> = pods["items"].as_array().unwrap().iter().map(pod).collect();
        assert_eq!(pods.len(), usize::from(replicas));
        let service = text(&stage.get(&["service", NAME])["spec"]["clusterIP"]);
        Self { stage, pods, service }
    }

    /// The first pod of each node asks the first one of each other.
    pub(crate) fn pods_reach_each_other_over_nodes(&self) {
        let first = self.first_of_each_node();
        assert_eq!(first.len(), 2, "the pods are on two nodes: {:?}", self.pods);
        for from in first.values() {
            for to in first.values().filter(|to| to.node != from.node) {
                assert_eq!(self.fetch(from, &to.address, PORT), to.name, "from {from:?} to {to:?}");
            }
        }
    }

    /// Asked often enough, the Service leads each pod to pods of both nodes.
    pub(crate) fn pods_reach_the_service(&self) {
        let node_of: BTreeMap<&str, &str> =
            self.pods.iter().map(|pod| (pod.name.as_str(), pod.node.as_str())).collect();
        for from in self.first_of_each_node().values() {
            let mut nodes = std::collections::BTreeSet::new();
            // By chance alone forty answers of one node's pods are one in hundreds of millions.
            for _ in 0..40 {
                let answer = self.fetch(from, &self.service, 80);
                nodes.insert(node_of.get(answer.as_str()).copied().unwrap_or("none of the pods").to_owned());
                if nodes.len() == 2 {
                    break;
                }
            }
            assert_eq!(nodes.into_iter().collect::<Vec<_>>(), ["node-a", "node-b"], "from {from:?}");
        }
    }

    /// The API server is reached as pods reach it: by the Service that it makes for itself.
    pub(crate) fn pods_reach_the_api_server_by_its_service(&self) {
        let address =
            self.stage.get(&["service", "kubernetes"])["spec"]["clusterIP"].as_str().unwrap().to_owned();
        for from in self.first_of_each_node().values() {
            self.stage.kubectl(&[
                "exec",
                &from.name,
                "--",
                "/agnhost",
                "connect",
                "--timeout=10s",
                &format!("{address}:443"),
            ]);
        }
    }

    /// A Service's name is found from each node, and one that is not there is told so at once.
    pub(crate) fn pods_find_names(&self) {
        let dns = ["rollout", "status", "deployment/coredns", "--namespace=kube-system", "--timeout=120s"];
        self.stage.kubectl(&dns);
        for from in self.first_of_each_node().values() {
            let ask = |name: &str| format!("nslookup {name}; true");
            let exec =
                |name: &str| self.stage.kubectl(&["exec", &from.name, "--", "/bin/sh", "-c", &ask(name)]);
            let found = exec(&format!("{NAME}.default.svc.cluster.local"));
            assert!(found.contains(&self.service), "from {from:?}: {found}");
            let absent = exec("web.example.");
            assert!(absent.contains("NXDOMAIN"), "from {from:?}: {absent}");
        }
    }

    /// Debian's static busybox dies when its `wget` looks a name up, even of a number; its `nc` does not look.
    fn fetch(&self, from: &Pod, address: &str, port: u16) -> String {
        let ask = format!("printf 'GET /hostname HTTP/1.0\\r\\n\\r\\n' | nc -w 10 {address} {port}");
        let answer = self.stage.kubectl(&["exec", &from.name, "--", "/bin/sh", "-c", &ask]);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{address}: {answer:?}"));
        assert!(head.contains(" 200 "), "{address}: {head}");
        body.trim().to_owned()
    }

    fn first_of_each_node(&self) -> BTreeMap<&str, &Pod> {
        self.pods.iter().rev().map(|pod| (pod.node.as_str(), pod)).collect()
    }
}
