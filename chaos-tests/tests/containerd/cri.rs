//! The runtime interface of Kubernetes (CRI, `runtime.v1`), from the side of kubelet: pod sandboxes and nothing else.
//!
//! Messages carry the fields that are used here; numbers are those of `api.proto` in `k8s.io/cri-api`, and what else
//! a message holds is skipped in reading.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::grpc::Server;

/// Kubelet's patience with its runtime.
const PATIENCE: Duration = Duration::from_secs(120);

/// A pod as kubelet describes it to the runtime.
#[derive(Debug, Clone)]
pub(crate) struct PodSpec {
    /// Name, in the namespace `default`.
    pub(crate) name: String,
    /// How many sandboxes of this pod there have been.
    pub(crate) attempt: u32,
    /// Where the runtime makes its cgroup.
    pub(crate) cgroup: String,
}

/// What the runtime says of a sandbox.
#[derive(Debug, Clone)]
pub(crate) struct SandboxStatus {
    /// Name of its pod.
    pub(crate) name: String,
    /// Its process runs.
    pub(crate) ready: bool,
    /// The address that the runtime took from the result of ADD.
    pub(crate) address: Option<Ipv4Addr>,
    /// A file that leads to its network namespace; none once it is stopped.
    pub(crate) netns: Option<PathBuf>,
}

/// A container runtime.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    server: Server,
}

impl Runtime {
    /// That listens at this socket.
    pub(crate) fn at(socket: &Path) -> Self {
        Self { server: Server::at(socket) }
    }

    /// The conditions that kubelet looks at, `RuntimeReady` and `NetworkReady`: whether each holds, and why not.
    pub(crate) fn conditions(&self) -> anyhow::Result<HashMap<String, (bool, String)>> {
        let answer: StatusResponse = self.call("Status", StatusRequest {}, Duration::from_secs(5))?;
        let conditions = answer.status.unwrap_or_default().conditions;
        Ok(conditions
            .into_iter()
            .map(|c| (c.r#type, (c.status, format!("{}: {}", c.reason, c.message))))
            .collect())
    }

    /// Whether the runtime's own list of images has this one.
    pub(crate) fn has_image(&self, name: &str) -> anyhow::Result<bool> {
        let question = ImageStatusRequest { image: Some(ImageSpec { image: name.to_owned() }) };
        let path = "runtime.v1.ImageService/ImageStatus";
        let answer: ImageStatusResponse = self.server.call(path, question, Duration::from_secs(5))?;
        Ok(answer.image.is_some())
    }

    /// Makes a sandbox for a pod; gives its id.
    pub(crate) fn run(&self, pod: &PodSpec) -> anyhow::Result<String> {
        self.run_within(pod, PATIENCE)
    }

    /// The same with another patience.
    pub(crate) fn run_within(&self, pod: &PodSpec, patience: Duration) -> anyhow::Result<String> {
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: pod.name.clone(),
                uid: format!("uid-of-{}", pod.name),
                namespace: "default".to_owned(),
                attempt: pod.attempt,
            }),
            hostname: pod.name.clone(),
            linux: Some(LinuxPodSandboxConfig { cgroup_parent: pod.cgroup.clone() }),
        };
        let question = RunPodSandboxRequest { config: Some(config) };
        let answer: RunPodSandboxResponse = self.call("RunPodSandbox", question, patience)?;
        Ok(answer.pod_sandbox_id)
    }

    /// Ends a sandbox's processes and its network.
    pub(crate) fn stop(&self, id: &str) -> anyhow::Result<()> {
        let _done: Empty = self.call("StopPodSandbox", SandboxRequest::of(id), PATIENCE)?;
        Ok(())
    }

    /// Forgets a sandbox.
    pub(crate) fn remove(&self, id: &str) -> anyhow::Result<()> {
        let _done: Empty = self.call("RemovePodSandbox", SandboxRequest::of(id), PATIENCE)?;
        Ok(())
    }

    /// What there is to know of a sandbox.
    pub(crate) fn status(&self, id: &str) -> anyhow::Result<SandboxStatus> {
        let question = StatusOfSandbox { pod_sandbox_id: id.to_owned(), verbose: true };
        let answer: PodSandboxStatusResponse = self.call("PodSandboxStatus", question, PATIENCE)?;
        let status = answer.status.with_context(|| format!("an answer without the status of {id}"))?;
        let address = status.network.map(|network| network.ip).filter(|ip| !ip.is_empty());
        let info: Value = match answer.info.get("info") {
            Some(text) => serde_json::from_str(text).with_context(|| format!("reading {text}"))?,
            None => Value::Null,
        };
        let namespaces = info["runtimeSpec"]["linux"]["namespaces"].as_array().into_iter().flatten();
        let network = namespaces.filter(|namespace| namespace["type"] == "network");
        Ok(SandboxStatus {
            name: info["config"]["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            ready: status.state == READY,
            address: address.map(|ip| ip.parse()).transpose()?,
            netns: network.filter_map(|namespace| namespace["path"].as_str()).map(PathBuf::from).next(),
        })
    }

    /// All sandboxes by id, and whether each is ready.
    pub(crate) fn sandboxes(&self) -> anyhow::Result<HashMap<String, bool>> {
        let answer: ListPodSandboxResponse = self.call("ListPodSandbox", Empty {}, PATIENCE)?;
        Ok(answer.items.into_iter().map(|sandbox| (sandbox.id, sandbox.state == READY)).collect())
    }

    fn call<A: prost::Message + Default + 'static>(
        &self,
        method: &str,
        question: impl prost::Message + 'static,
        patience: Duration,
    ) -> anyhow::Result<A> {
        self.server.call(&format!("runtime.v1.RuntimeService/{method}"), question, patience)
    }
}

/// `SANDBOX_READY`.
const READY: i32 = 0;

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<RuntimeCondition>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuntimeCondition {
    #[prost(string, tag = "1")]
    r#type: String,
    #[prost(bool, tag = "2")]
    status: bool,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageStatusRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageStatusResponse {
    #[prost(message, optional, tag = "1")]
    image: Option<Empty>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(uint32, tag = "4")]
    attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "2")]
    hostname: String,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunPodSandboxResponse {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

/// `StopPodSandboxRequest` and `RemovePodSandboxRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct SandboxRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

impl SandboxRequest {
    fn of(id: &str) -> Self {
        Self { pod_sandbox_id: id.to_owned() }
    }
}

/// `PodSandboxStatusRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct StatusOfSandbox {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<PodSandboxStatus>,
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStatus {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(message, optional, tag = "5")]
    network: Option<PodSandboxNetworkStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxNetworkStatus {
    #[prost(string, tag = "1")]
    ip: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandbox {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(int32, tag = "3")]
    state: i32,
}
