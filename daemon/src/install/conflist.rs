//! The network configuration: ours, or one of the user's with the same gaps to fill that the Amazon VPC CNI's template has.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use holdfast_wire::{DEFAULT_SOCKET, DEFAULT_SPOOL};
use serde::Serialize;
use serde_json::{Value, json};

/// A version of the CNI specification that a configuration may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum CniVersion {
    /// What the Amazon VPC CNI writes. A runtime asks for no STATUS by it.
    #[serde(rename = "0.4.0")]
    V040,
    #[serde(rename = "1.0.0")]
    V100,
    /// A runtime asks every few seconds whether the node can have pods, and takes a no for a broken node.
    #[serde(rename = "1.1.0")]
    V110,
}

impl CniVersion {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "0.4.0" => Ok(Self::V040),
            "1.0.0" => Ok(Self::V100),
            "1.1.0" => Ok(Self::V110),
            _ => Err("want 0.4.0, 1.0.0 or 1.1.0".to_owned()),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::V040 => "0.4.0",
            Self::V100 => "1.0.0",
            Self::V110 => "1.1.0",
        }
    }
}

/// What a configuration is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) version: CniVersion,
    pub(crate) veth_prefix: String,
    pub(crate) mtu: u32,
    pub(crate) log_file: String,
    pub(crate) log_level: String,
    /// `strict` or `standard`, for pods with security groups of their own.
    pub(crate) enforcing_mode: String,
    /// Where the daemon is, and what is left for it while it is away.
    pub(crate) socket: PathBuf,
    pub(crate) spool: PathBuf,
    /// Whether `bandwidth` is chained.
    pub(crate) bandwidth: bool,
    /// Whether `tuning` is chained, which turns IPv6 off in pods.
    pub(crate) without_ipv6: bool,
    /// The user's own, instead.
    pub(crate) template: Option<PathBuf>,
}

impl Wanted {
    /// The file's text. Reads the user's template, if there is one. Of ours those plugins are left out that are not there.
    pub(super) fn text(&self, is_there: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        match &self.template {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
                self.filled(&text).with_context(|| format!("the network configuration {}", path.display()))
            }
            None => Ok(format!("{:#}\n", self.ours(is_there))),
        }
    }

    fn ours(&self, is_there: impl Fn(&str) -> bool) -> Value {
        let mut own = json!({
            "name": "aws-cni",
            "type": "aws-cni",
            "vethPrefix": self.veth_prefix,
            // Text, as the Amazon VPC CNI writes it.
            "mtu": self.mtu.to_string(),
            "podSGEnforcingMode": self.enforcing_mode,
            "pluginLogFile": self.log_file,
            "pluginLogLevel": self.log_level,
            "capabilities": { "io.kubernetes.cri.pod-annotations": true },
        });
        self.say_where(&mut own);
        let mut plugins = vec![own];
        let chains = |name: &str, lost: &str| {
            let there = is_there(name);
            if !there {
                tracing::warn!(
                    "{name} is not among the runtime's plugins and left out of the configuration: {lost}"
                );
            }
            there
        };
        if chains("portmap", "pods' hostPort does not work") {
            plugins
                .push(json!({ "type": "portmap", "capabilities": { "portMappings": true }, "snat": true }));
        }
        if self.bandwidth && chains("bandwidth", "pods' bandwidth is not limited") {
            plugins.push(json!({ "type": "bandwidth", "capabilities": { "bandwidth": true } }));
        }
        if self.without_ipv6 && chains("tuning", "pods have IPv6 on their links") {
            let off = |scope: &str| (format!("net.ipv6.conf.{scope}.disable_ipv6"), Value::from("1"));
            let sysctl: serde_json::Map<String, Value> =
                ["all", "default", "lo"].map(off).into_iter().collect();
            plugins.push(json!({ "type": "tuning", "sysctl": sysctl }));
        }
        json!({
            "cniVersion": self.version.text(),
            "name": "aws-cni",
            // CHECK is for runtimes that ask for it by themselves; none of Kubernetes' does.
            "disableCheck": true,
            "plugins": plugins,
        })
    }

    /// A plugin looks in the usual places unless it is told of others.
    fn say_where(&self, own: &mut Value) {
        for (key, path, usual) in
            [("socket", &self.socket, DEFAULT_SOCKET), ("spool", &self.spool, DEFAULT_SPOOL)]
        {
            if path != Path::new(usual) {
                own[key] = path.display().to_string().into();
            }
        }
    }

    /// The user's text with its gaps filled: those of the Amazon VPC CNI's template.
    fn filled(&self, template: &str) -> anyhow::Result<String> {
        let mtu = self.mtu.to_string();
        let gaps = [
            ("__VETHPREFIX__", self.veth_prefix.as_str()),
            ("__MTU__", &mtu),
            ("__PODSGENFORCINGMODE__", &self.enforcing_mode),
            ("__PLUGINLOGFILE__", &self.log_file),
            ("__PLUGINLOGLEVEL__", &self.log_level),
            // Pods get one address family here: `egress-cni` is not installed, and may be named switched off.
            ("__EGRESSPLUGINENABLED__", "false"),
            ("__EGRESSPLUGINLOGFILE__", &self.log_file),
            ("__EGRESSPLUGINIPAMSUBNET__", "fd00::ac:00/118"),
            ("__EGRESSPLUGINIPAMDST__", "::/0"),
            ("__EGRESSPLUGINIPAMDATADIR__", "/run/cni/v4pd/egress-v6-ipam"),
            ("__RANDOMIZESNAT__", "prng"),
            ("__NODEIP__", ""),
        ];
        let mut text = template.to_owned();
        for (gap, value) in gaps {
            text = text.replace(gap, value);
        }
        let mut list: Value = serde_json::from_str(&text).context("is no JSON")?;
        let Some(plugins) = list.get_mut("plugins").and_then(Value::as_array_mut) else {
            bail!("has no list of plugins");
        };
        // The Amazon VPC CNI's own template names it always.
        plugins.retain(|plugin| plugin["type"] != "egress-cni");
        let Some(own) = plugins.iter_mut().find(|plugin| plugin["type"] == "aws-cni") else {
            bail!("names no plugin of type aws-cni: pods would have no address");
        };
        self.say_where(own);
        Ok(format!("{list:#}\n"))
    }
}

/// Whether a configuration hands pods to our plugin.
pub(super) fn names_us(text: &str) -> bool {
    let list: Value = serde_json::from_str(text).unwrap_or_default();
    list["plugins"].as_array().is_some_and(|plugins| plugins.iter().any(|plugin| plugin["type"] == "aws-cni"))
}

#[cfg(test)]
pub(super) mod tests;
