//! Calls the plugin as libcni does: variables in the environment, configuration on stdin, the result on stdout; the
//! result of ADD is kept and handed back to CHECK and DEL.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context;
use holdfast_wire::ids::{ContainerId, IfName, NetworkName, SandboxKey};
use serde_json::{Value, json};

use crate::pod::Pod;

/// A network configuration and the plugin that it names.
#[derive(Debug)]
pub struct Runner {
    plugin: PathBuf,
    conf: Value,
    results: Mutex<BTreeMap<String, Value>>,
}

/// What a plugin printed when it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The specification's code.
    pub code: u64,
    /// One line.
    pub msg: String,
    /// The cause.
    pub details: String,
}

/// A call that ended.
#[derive(Debug)]
pub struct Called {
    /// The JSON on stdout; null when there was none.
    pub result: Result<Value, Failure>,
    /// From the start of the process to its end.
    pub took: Duration,
}

impl Called {
    /// The result, or an error that tells what the plugin said.
    pub fn ok(self) -> anyhow::Result<Value> {
        self.result.map_err(|failure| {
            anyhow::anyhow!("plugin failed with code {}: {}: {}", failure.code, failure.msg, failure.details)
        })
    }
}

/// The sandbox as the plugin names it to the daemon, on the network that [`Runner::holdfast`] configures.
pub fn sandbox(container_id: &str) -> anyhow::Result<SandboxKey> {
    Ok(SandboxKey {
        network: NetworkName::new("aws-cni")?,
        container_id: ContainerId::new(container_id)?,
        ifname: IfName::new("eth0")?,
    })
}

/// The first version that has STATUS and GC: a runtime calls them with no older one.
fn of_1_1(conf: &mut Value) {
    conf["cniVersion"] = "1.1.0".into();
}

impl Runner {
    /// Our plugin at `plugin`, asking the daemon at `socket`, with its spool at `spool`.
    pub fn holdfast(plugin: &Path, socket: &Path, spool: &Path) -> Self {
        Self::new(
            plugin,
            json!({
                "cniVersion": "1.0.0", "name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "9001",
                "socket": socket, "spool": spool,
            }),
        )
    }

    /// Any plugin with any configuration.
    pub fn new(plugin: &Path, conf: Value) -> Self {
        Self { plugin: plugin.to_owned(), conf, results: Mutex::default() }
    }

    /// The same, in another version of the specification.
    pub fn with_version(mut self, version: &str) -> Self {
        self.conf["cniVersion"] = version.into();
        self
    }

    /// ADD. The result is kept for CHECK and DEL.
    pub fn add(&self, pod: &Pod) -> anyhow::Result<Called> {
        let called = self.call("ADD", Some((pod, true)), |_| {})?;
        if let Ok(result) = &called.result {
            self.kept().insert(pod.container_id.clone(), result.clone());
        }
        Ok(called)
    }

    /// DEL with the kept result, the namespace still there.
    pub fn del(&self, pod: &Pod) -> anyhow::Result<Called> {
        let called = self.call("DEL", Some((pod, true)), |conf| self.hand_back(pod, conf))?;
        if called.result.is_ok() {
            self.kept().remove(&pod.container_id);
        }
        Ok(called)
    }

    /// DEL as it comes again later: no namespace, no kept result.
    pub fn del_again(&self, pod: &Pod) -> anyhow::Result<Called> {
        self.call("DEL", Some((pod, false)), |_| {})
    }

    /// CHECK with the kept result.
    pub fn check(&self, pod: &Pod) -> anyhow::Result<Called> {
        self.call("CHECK", Some((pod, true)), |conf| self.hand_back(pod, conf))
    }

    /// Any call, with these variables and this text on stdin.
    pub fn raw(&self, command: &str, variables: &[(&str, &str)], stdin: &[u8]) -> anyhow::Result<Called> {
        let mut process = Command::new(&self.plugin);
        process.env_clear().env("CNI_COMMAND", command).envs(variables.iter().copied());
        Self::run(process, command, stdin)
    }

    /// The network configuration.
    pub fn conf(&self) -> &Value {
        &self.conf
    }

    /// The same with one key of the configuration set.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.conf[key] = value.into();
        self
    }

    /// What a runtime puts into the environment for a pod.
    pub fn variables(pod: &Pod) -> Vec<(&'static str, String)> {
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID=u-{}",
            pod.namespace, pod.name, pod.container_id, pod.container_id
        );
        vec![
            ("CNI_CONTAINERID", pod.container_id.clone()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_ARGS", args),
        ]
    }

    /// STATUS.
    pub fn status(&self) -> anyhow::Result<Called> {
        self.call("STATUS", None, of_1_1)
    }

    /// GC: these sandboxes are what the runtime still wants.
    pub fn gc(&self, valid: &[&Pod]) -> anyhow::Result<Called> {
        let valid: Vec<Value> =
            valid.iter().map(|pod| json!({ "containerID": pod.container_id, "ifname": "eth0" })).collect();
        self.call("GC", None, |conf| {
            of_1_1(conf);
            conf["cni.dev/valid-attachments"] = valid.into();
        })
    }

    /// The address in a result of ADD, where it is one of IPv4.
    pub fn address(result: &Value) -> anyhow::Result<std::net::Ipv4Addr> {
        match Self::ip(result)? {
            std::net::IpAddr::V4(address) => Ok(address),
            std::net::IpAddr::V6(address) => anyhow::bail!("{address} is not of IPv4"),
        }
    }

    /// The address in a result of ADD.
    pub fn ip(result: &Value) -> anyhow::Result<std::net::IpAddr> {
        let text = result["ips"][0]["address"].as_str().with_context(|| format!("no address in {result}"))?;
        let (address, _) = text.split_once('/').with_context(|| format!("no prefix length in {text}"))?;
        Ok(address.parse()?)
    }

    /// The addresses in a result of ADD, interface by interface.
    pub fn addresses(result: &Value) -> anyhow::Result<Vec<std::net::IpAddr>> {
        let ips = result["ips"].as_array().with_context(|| format!("no addresses in {result}"))?;
        let address = |ip: &Value| {
            let text = ip["address"].as_str().with_context(|| format!("no address in {ip}"))?;
            let (address, _) = text.split_once('/').with_context(|| format!("no prefix length in {text}"))?;
            Ok(address.parse()?)
        };
        ips.iter().map(address).collect()
    }

    /// The same for pods that ask for an interface on every network card, as a runtime passes it on.
    pub fn on_every_card(self) -> Self {
        let asked = json!({ "k8s.amazonaws.com/nicConfig": "multi-nic-attachment" });
        self.with("runtimeConfig", json!({ "io.kubernetes.cri.pod-annotations": asked }))
    }

    fn hand_back(&self, pod: &Pod, conf: &mut Value) {
        if let Some(result) = self.kept().get(&pod.container_id) {
            conf["prevResult"] = result.clone();
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Value>> {
        self.results.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn call(
        &self,
        command: &str,
        pod: Option<(&Pod, bool)>,
        conf: impl FnOnce(&mut Value),
    ) -> anyhow::Result<Called> {
        let mut input = self.conf.clone();
        conf(&mut input);
        let input = serde_json::to_vec(&input)?;
        let mut process = Command::new(&self.plugin);
        process.env_clear().env("CNI_COMMAND", command).env("CNI_PATH", "/opt/cni/bin");
        if let Some((pod, with_netns)) = pod {
            process.envs(Self::variables(pod));
            if with_netns {
                process.env("CNI_NETNS", pod.path());
            }
        }
        Self::run(process, command, &input)
    }

    /// Runs a prepared plugin to its end.
    fn run(mut process: Command, command: &str, input: &[u8]) -> anyhow::Result<Called> {
        let started = Instant::now();
        let mut child = process
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("starting {}", process.get_program().display()))?;
        // A plugin that fails early may leave its stdin unread.
        let _unread = child.stdin.take().context("stdin is a pipe")?.write_all(input);
        let output = child.wait_with_output()?;
        let took = started.elapsed();
        let value = if output.stdout.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&output.stdout)
                .with_context(|| format!("{command} printed {:?}", String::from_utf8_lossy(&output.stdout)))?
        };
        let result = if output.status.success() {
            Ok(value)
        } else {
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            Err(Failure {
                code: value["code"]
                    .as_u64()
                    .with_context(|| format!("{command} ended with {} and no error object", output.status))?,
                msg: text("msg"),
                details: text("details"),
            })
        };
        Ok(Called { result, took })
    }
}
