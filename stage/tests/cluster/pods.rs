//! Pods of a node: real ones, which kubelet starts, and sandboxes for which the plugin is called without anybody else.

use std::io::Write as _;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Api, Ask};
use crate::rig::Stage;

pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
/// What a pod takes whose images are there, on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A pod of a node, whatever the scheduler would think.
pub(crate) fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "pause", "image": "stage.invalid/pause:1", "imagePullPolicy": "Never" }],
        },
    })
}

/// One that kubelet refuses: it is there, with no sandbox, until it is deleted.
pub(crate) fn refused_pod(name: &str, node: &str) -> Value {
    let mut pod = pod(name, node);
    pod["spec"]["nodeSelector"] = json!({ "nowhere": "true" });
    pod
}

/// A pod that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) address: String,
}

/// Makes pods and waits until all run.
pub(crate) fn run(api: &Api, node: &str, names: &[String]) -> Vec<Running> {
    api.ask_all(names.iter().map(|name| Ask::make(PODS, pod(name, node))).collect());
    let runs = |pod: &Value| pod["status"]["phase"] == "Running" && pod["status"]["podIP"].is_string();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let wait = |name: &String| {
        let pod = api.wait(&format!("{PODS}/{name}"), "the pod runs", STARTS_WITHIN, runs);
        Running {
            name: name.clone(),
            uid: text(&pod["metadata"]["uid"]),
            address: text(&pod["status"]["podIP"]),
        }
    };
    names.iter().map(wait).collect()
}

/// Deletes pods and waits until all are gone.
pub(crate) fn delete(api: &Api, names: &[String]) {
    api.ask_all(names.iter().map(|name| Ask::delete(&format!("{PODS}/{name}"))).collect());
    for name in names {
        api.wait(&format!("{PODS}/{name}"), "the pod is gone", STARTS_WITHIN, |answer| answer["code"] == 404);
    }
}

/// A sandbox that no runtime knows.
pub(crate) struct Sandbox<'a> {
    stage: &'a Stage,
    node: &'a str,
    name: String,
}

impl<'a> Sandbox<'a> {
    pub(crate) fn make(stage: &'a Stage, node: &'a str, name: &str) -> Self {
        stage.run(&["exec", node, "ip", "netns", "add", name]);
        Self { stage, node, name: name.to_owned() }
    }

    /// One whose interface's name is taken: nobody can wire it.
    pub(crate) fn make_taken(stage: &'a Stage, node: &'a str, name: &str) -> Self {
        let this = Self::make(stage, node, name);
        stage.run(&["exec", node, "ip", "-netns", name, "link", "add", "eth0", "type", "bridge"]);
        this
    }

    /// Calls the plugin as the runtime of this pod; gives how long it took, the way into the node included.
    pub(crate) fn call(&self, verb: &str, pod: &str, uid: &str) -> (Duration, Output) {
        let Self { name, .. } = self;
        let variables = [
            format!("CNI_COMMAND={verb}"),
            format!("CNI_CONTAINERID={name}"),
            format!("CNI_NETNS=/run/netns/{name}"),
            "CNI_IFNAME=eth0".to_owned(),
            "CNI_PATH=/opt/cni/bin".to_owned(),
            format!(
                "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};\
                 K8S_POD_INFRA_CONTAINER_ID={name};K8S_POD_UID={uid}"
            ),
        ];
        let configuration = json!({ "cniVersion": "1.0.0", "name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "9001" });
        let mut argv = vec!["exec", self.node, "env"];
        argv.extend(variables.iter().map(String::as_str));
        argv.push("/opt/cni/bin/aws-cni");
        let mut command = self.stage.command(&argv);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(configuration.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (begun.elapsed(), output)
    }

    /// The same of an ADD, which must succeed; gives the address.
    pub(crate) fn add(&self, pod: &str, uid: &str) -> (Duration, String) {
        let (took, output) = self.call("ADD", pod, uid);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "ADD: {said}{}", String::from_utf8_lossy(&output.stderr));
        let result: Value = serde_json::from_str(&said).unwrap();
        let address = result["ips"][0]["address"].as_str().unwrap();
        (took, address.trim_end_matches("/32").to_owned())
    }
}

impl Drop for Sandbox<'_> {
    fn drop(&mut self) {
        let (_, output) = self.call("DEL", "", "");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() || std::thread::panicking(), "DEL: {said}");
        self.stage.run(&["exec", self.node, "ip", "netns", "delete", &self.name]);
    }
}

/// Pings an address five times a second from the control plane's instance, through the VPC, until it is told to end.
pub(crate) struct Pings(Vec<(String, Child)>);

impl Pings {
    pub(crate) fn start(stage: &Stage, addresses: impl IntoIterator<Item = String>) -> Self {
        let start = |address: String| {
            // Quiet: nobody reads a line for each answer, and a pipe that is full holds the client up.
            let script = format!("busybox ping -q -i 0.2 {address} & read _; kill -INT $!; wait $!");
            let mut command = stage.command(&["exec", "control-plane", "sh", "-c", &script]);
            let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            (address, child)
        };
        Self(addresses.into_iter().map(start).collect())
    }

    /// None of them was lost; gives how many there were.
    pub(crate) fn end(self) -> u32 {
        let mut all = 0;
        for (address, mut child) in self.0 {
            drop(child.stdin.take());
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text
                .lines()
                .find(|line| line.contains("packets transmitted"))
                .unwrap_or_else(|| panic!("{text}"));
            let numbers: Vec<u32> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
            // The last one may be under way still.
            assert!(numbers[0] - numbers[1] <= 1 && numbers[1] > 0, "{address}: {line}");
            all += numbers[1];
        }
        all
    }
}
