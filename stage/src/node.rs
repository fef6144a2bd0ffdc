//! A node: containerd, kubelet and kube-proxy, with the files that they go by.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::build::PAUSE;
use crate::component::{Component, Content, Place, Ready, words};
use crate::control::{Access, DNS, PROXY, Tokens, text};
use crate::error::Result;
use crate::plan::Plan;
use crate::vpc::{Instance, ZONE};

/// Where a node finds its disk, see `init`.
const CONFIG: &str = "/run/stage/disk/config";
/// Where it finds its runtime.
const RUNTIME: &str = "/run/containerd/containerd.sock";

/// One node, as its parts are told of it.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) name: &'a str,
    pub(crate) address: Ipv4Addr,
    pub(crate) instance: &'a str,
    pub(crate) plan: &'a Plan,
    pub(crate) bin: &'a Path,
}

impl<'a> Node<'a> {
    /// An instance of the VPC as a node.
    pub(crate) fn of(instance: &'a Instance, plan: &'a Plan, bin: &'a Path) -> Result<Self> {
        Ok(Self {
            name: &instance.name,
            address: instance.address()?,
            instance: &instance.instance,
            plan,
            bin,
        })
    }

    /// A machine's own, and the same whenever it boots.
    pub(crate) fn machine_id(&self) -> String {
        format!("{:x}", Sha256::digest(self.instance))[..32].to_owned()
    }

    /// Its files, below the folder `config` of its disk.
    pub(crate) fn files(&self, access: &Access, tokens: &Tokens) -> Vec<Content> {
        let content = |path: &str, text: String| Content { path: path.into(), text };
        vec![
            content("containerd.toml", self.containerd_config()),
            content("kubelet.json", self.kubelet_config()),
            content("kubelet.kubeconfig", access.kubeconfig(tokens.of(self.name))),
            content("kube-proxy.json", self.proxy_config()),
            content("kube-proxy.kubeconfig", access.kubeconfig(tokens.of(PROXY.name))),
        ]
    }

    /// The runtime, which needs nobody.
    pub(crate) fn runtime(&self) -> Component {
        let argv = vec![self.program("containerd"), format!("--config={CONFIG}/containerd.toml")];
        let ask = vec![self.program("ctr"), "version".to_owned()];
        self.part("containerd", argv).ready(Ready::Command(ask))
    }

    /// Has the runtime take an image in.
    pub(crate) fn import(&self, archive: &Path) -> Vec<String> {
        let mut argv = vec![self.program("ctr")];
        argv.extend(words(["--namespace=k8s.io", "images", "import", "--local"]));
        argv.push(archive.display().to_string());
        argv
    }

    /// What needs the API server.
    pub(crate) fn agents(&self) -> Vec<Component> {
        let labels = format!(
            "topology.kubernetes.io/region=us-west-2,topology.kubernetes.io/zone={ZONE},\
             node.kubernetes.io/instance-type={}",
            self.plan.instance_type
        );
        let kubelet = vec![
            self.program("kubelet"),
            format!("--config={CONFIG}/kubelet.json"),
            format!("--kubeconfig={CONFIG}/kubelet.kubeconfig"),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={}", self.address),
            format!("--node-labels={labels}"),
            "--root-dir=/var/lib/kubelet".to_owned(),
            "--cert-dir=/var/lib/kubelet/pki".to_owned(),
        ];
        let proxy = vec![self.program("kube-proxy"), format!("--config={CONFIG}/kube-proxy.json")];
        vec![self.part("kubelet", kubelet), self.part("kube-proxy", proxy)]
    }

    fn part(&self, name: &str, argv: Vec<String>) -> Component {
        Component::new(name, Place::Node(self.name.to_owned()), argv)
    }

    fn program(&self, name: &str) -> String {
        self.bin.join(name).display().to_string()
    }

    /// AppArmor and negative `oom_score_adj` are rights that a machine for tests need not give.
    fn containerd_config(&self) -> String {
        let version = self.plan.release.containerd_config();
        format!(
            "version = {version}\n\
             root = \"/var/lib/containerd\"\n\
             state = \"/run/containerd\"\n\
             oom_score = 0\n\
             \n\
             [plugins.'io.containerd.cri.v1.images']\n\
             snapshotter = \"overlayfs\"\n\
             [plugins.'io.containerd.cri.v1.images'.pinned_images]\n\
             sandbox = \"{pause}\"\n\
             \n\
             [plugins.'io.containerd.cri.v1.runtime']\n\
             disable_apparmor = true\n\
             restrict_oom_score_adj = true\n\
             [plugins.'io.containerd.cri.v1.runtime'.cni]\n\
             bin_dirs = [\"/opt/cni/bin\"]\n\
             conf_dir = \"/etc/cni/net.d\"\n\
             max_conf_num = 1\n\
             [plugins.'io.containerd.cri.v1.runtime'.containerd]\n\
             default_runtime_name = \"runc\"\n\
             [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n\
             runtime_type = \"io.containerd.runc.v2\"\n\
             \n\
             [plugins.'io.containerd.nri.v1.nri']\n\
             disable = true\n",
            pause = PAUSE.reference,
        )
    }

    fn kubelet_config(&self) -> String {
        text(&json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": format!("unix://{RUNTIME}"),
            "providerID": format!("aws:///{ZONE}/{}", self.instance),
            // Only who is in the VPC gets here, and that is the stage.
            "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
            "authorization": { "mode": "AlwaysAllow" },
            "clusterDomain": "cluster.local",
            "clusterDNS": [DNS],
            "resolvConf": "/dev/null",
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": false,
            "enforceNodeAllocatable": [],
            "failCgroupV1": false,
            "failSwapOn": false,
            "oomScoreAdj": 0,
            "makeIPTablesUtilChains": false,
            // The disk and the memory are the machine's, and what others have of them is not the node's affair.
            "evictionHard": { "memory.available": "1Mi" },
            "imageGCHighThresholdPercent": 100,
            // A container that is killed again and again is back at once, each time.
            "crashLoopBackOff": { "maxContainerRestartPeriod": "1s" },
            "serializeImagePulls": false,
            "registryPullQPS": 0,
        }))
    }

    fn proxy_config(&self) -> String {
        text(&json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": { "kubeconfig": format!("{CONFIG}/kube-proxy.kubeconfig") },
            "hostnameOverride": self.name,
            "mode": "nftables",
            "oomScoreAdj": 0,
            // What cannot be set in a network namespace is left as it is.
            "conntrack": { "maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::plan::Plugin;
    use crate::plan::tests::plan;

    #[test]
    fn each_file_that_a_part_names_is_written() {
        let plan = plan(Plugin::Ptp);
        let node = Node {
            name: "node-a",
            address: Ipv4Addr::new(10, 0, 0, 7),
            instance: "i-1",
            plan: &plan,
            bin: Path::new("/bin"),
        };
        let access = Access { address: Ipv4Addr::new(10, 0, 0, 9), authority: "/ca".to_owned() };
        let tokens = Tokens::draw(&plan.nodes, &mut || "t".to_owned());
        let files = node.files(&access, &tokens);
        let mut named: Vec<String> =
            node.agents().into_iter().chain([node.runtime()]).flat_map(|part| part.argv).collect();
        named.extend(files.iter().map(|file| file.text.clone()));
        for file in &files {
            let path = format!("{CONFIG}/{}", file.path.display());
            assert!(named.iter().any(|text| text.contains(&path)), "nobody goes by {path}");
            if file.path.extension().is_some_and(|extension| extension == "json") {
                serde_json::from_str::<Value>(&file.text).unwrap();
            }
        }
    }
}
