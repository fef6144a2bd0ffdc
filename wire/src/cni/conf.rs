//! The network configuration that a runtime gives on stdin.
//!
//! The text is parsed once, each key is checked by who needs it: a DEL must work with a configuration whose
//! `mtu` no longer makes sense, and unknown keys belong to others.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::chain::Previous;
use super::version::CniVersion;
use crate::code;
use crate::ids::{Attachment, NetworkName, VethPrefix};
use crate::message::EnforcingMode;
use crate::{DEFAULT_SOCKET, DEFAULT_SPOOL};

/// MTU of a pod's link if the configuration gives none that makes sense: that of an ENI.
const DEFAULT_MTU: u32 = 9001;

/// The smallest MTU that is taken: what any IPv4 host must accept.
const MIN_MTU: u32 = 576;

/// The longest deadline that is taken, in milliseconds.
const MAX_DEADLINE_MS: u64 = 600_000;

/// Why a network configuration cannot be used. The names of keys are in the text.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// Not JSON.
    #[error("the network configuration is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but no object.
    #[error("the network configuration is not a JSON object")]
    NotObject,
    /// A version of the specification that this plugin does not speak.
    #[error("cniVersion {0:?} is not supported")]
    Version(String),
    /// A version of the specification that does not have the command.
    #[error("cniVersion {version} does not have {command}: it came with {since}")]
    TooOld {
        /// The configuration's.
        version: CniVersion,
        /// What was asked.
        command: &'static str,
        /// Since when it may be.
        since: CniVersion,
    },
    /// A key is missing or its value does not fit.
    #[error("{key}: {problem}")]
    Key {
        /// The key.
        key: &'static str,
        /// What is wrong, with the value.
        problem: String,
    },
    /// A key has a value of the right type that this plugin does not support.
    #[error("{key} {value:?} is not supported")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
}

impl ConfError {
    /// The specification's code for it.
    pub fn code(&self) -> u32 {
        match self {
            Self::NotJson(_) => code::DECODING_FAILURE,
            Self::Version(_) | Self::TooOld { .. } => code::INCOMPATIBLE_VERSION,
            Self::Unsupported { .. } => code::UNSUPPORTED_FIELD,
            Self::NotObject | Self::Key { .. } => code::INVALID_CONFIG,
        }
    }

    fn key(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Key { key, problem: problem.into() }
    }
}

/// How a pod's link is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLink {
    /// In bytes. A value outside 576 to 9001, or none, gives 9001.
    pub mtu: u32,
    /// `eni` unless set.
    pub veth_prefix: VethPrefix,
    /// Strict unless set.
    pub enforcing_mode: EnforcingMode,
}

/// A network configuration.
#[derive(Debug, Clone)]
pub struct NetConf {
    keys: Map<String, Value>,
}

impl NetConf {
    /// Reads a configuration; keys are not looked at yet.
    pub fn parse(text: &[u8]) -> Result<Self, ConfError> {
        match serde_json::from_slice(text).map_err(ConfError::NotJson)? {
            Value::Object(keys) => Ok(Self { keys }),
            _ => Err(ConfError::NotObject),
        }
    }

    /// `cniVersion` as it is written.
    pub fn version_text(&self) -> Option<&str> {
        self.keys.get("cniVersion")?.as_str()
    }

    /// `cniVersion`, for a command that came with `since`: before that a runtime does not know what it asks for.
    pub fn version_since(&self, since: CniVersion, command: &'static str) -> Result<CniVersion, ConfError> {
        let version = self.version()?;
        if version < since {
            return Err(ConfError::TooOld { version, command, since });
        }
        Ok(version)
    }

    /// `cniVersion`; the specification reads a missing one as 0.1.0, which is not supported.
    pub fn version(&self) -> Result<CniVersion, ConfError> {
        let text = self.text("cniVersion")?.unwrap_or("0.1.0");
        CniVersion::parse(text).ok_or_else(|| ConfError::Version(text.to_owned()))
    }

    /// `name`.
    pub fn network(&self) -> Result<NetworkName, ConfError> {
        let text = self.text("name")?.ok_or_else(|| ConfError::key("name", "missing"))?;
        NetworkName::new(text).map_err(|e| ConfError::key("name", e.to_string()))
    }

    /// `socket`: where the daemon listens. Absolute.
    pub fn socket(&self) -> Result<PathBuf, ConfError> {
        self.path("socket", DEFAULT_SOCKET)
    }

    /// `spool`: where tombstones go. Absolute.
    pub fn spool(&self) -> Result<PathBuf, ConfError> {
        self.path("spool", DEFAULT_SPOOL)
    }

    /// `deadlineMs`: how long the plugin waits for the daemon, whatever the command; `None`: the command's own.
    pub fn deadline(&self) -> Result<Option<Duration>, ConfError> {
        match self.keys.get("deadlineMs") {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(ms) if (1..=MAX_DEADLINE_MS).contains(&ms) => Ok(Some(Duration::from_millis(ms))),
                _ => Err(ConfError::key(
                    "deadlineMs",
                    format!("{value} is not a number of 1 to {MAX_DEADLINE_MS}"),
                )),
            },
        }
    }

    /// `mtu` (a number, or as text the way the incumbent writes it), `vethPrefix` and `podSGEnforcingMode`.
    pub fn pod_link(&self) -> Result<PodLink, ConfError> {
        let mtu = match self.keys.get("mtu") {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        let mtu = mtu.and_then(|m| u32::try_from(m).ok()).filter(|m| (MIN_MTU..=DEFAULT_MTU).contains(m));
        let veth_prefix = VethPrefix::new(self.text("vethPrefix")?.unwrap_or("eni"))
            .map_err(|e| ConfError::key("vethPrefix", e.to_string()))?;
        let enforcing_mode = match self.text("podSGEnforcingMode")? {
            None | Some("" | "strict") => EnforcingMode::Strict,
            Some("standard") => EnforcingMode::Standard,
            Some(other) => {
                return Err(ConfError::Unsupported { key: "podSGEnforcingMode", value: other.to_owned() });
            }
        };
        Ok(PodLink { mtu: mtu.unwrap_or(DEFAULT_MTU), veth_prefix, enforcing_mode })
    }

    /// `pluginLogFile`, if set. Never an error: a log must not stop a pod.
    pub fn log_file(&self) -> Option<&str> {
        self.keys.get("pluginLogFile")?.as_str().filter(|path| !path.is_empty())
    }

    /// `pluginLogLevel`, if set.
    pub fn log_level(&self) -> Option<&str> {
        self.keys.get("pluginLogLevel")?.as_str()
    }

    /// An annotation of the pod, which a runtime passes in `runtimeConfig` when the configuration's
    /// `capabilities` ask for `io.kubernetes.cri.pod-annotations`.
    pub fn pod_annotation(&self, key: &str) -> Option<&str> {
        self.keys.get("runtimeConfig")?.get("io.kubernetes.cri.pod-annotations")?.get(key)?.as_str()
    }

    /// Whether the pod asks for an interface on every network card: `k8s.amazonaws.com/nicConfig` is `multi-nic-attachment`. Any other
    /// value asks for nothing.
    pub fn on_every_card(&self) -> bool {
        self.pod_annotation("k8s.amazonaws.com/nicConfig") == Some("multi-nic-attachment")
    }

    /// `prevResult`: what an earlier plugin of the list gave, or for CHECK and DEL what the ADD gave.
    pub fn previous_result(&self) -> Result<Option<&Previous>, ConfError> {
        match self.keys.get("prevResult") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(result)) => Ok(Some(result)),
            Some(_) => Err(ConfError::key("prevResult", "is not an object")),
        }
    }

    /// The addresses in `prevResult`; entries that cannot be read are left out.
    pub fn previous_addresses(&self) -> Vec<IpAddr> {
        let ips = self.keys.get("prevResult").and_then(|r| r.get("ips")).and_then(Value::as_array);
        ips.into_iter()
            .flatten()
            .filter_map(|ip| ip.get("address")?.as_str()?.parse::<IpNet>().ok())
            .map(|net| net.addr())
            .collect()
    }

    /// `cni.dev/valid-attachments`, or `cni.dev/attachments` as the first libcni with GC wrote it.
    ///
    /// No list and a null are an empty one: that is how libcni writes it. They are worth no more than any list: the daemon
    /// releases only what is gone from the kernel as well. An entry that cannot be read is an error.
    pub fn valid_attachments(&self) -> Result<Vec<Attachment>, ConfError> {
        const KEY: &str = "cni.dev/valid-attachments";
        let list = [KEY, "cni.dev/attachments"].iter().find_map(|key| self.keys.get(*key));
        let list = list.filter(|list| !list.is_null()).map(Vec::<Attachment>::deserialize);
        list.unwrap_or_else(|| Ok(Vec::new())).map_err(|e| ConfError::key(KEY, e.to_string()))
    }

    /// A key that is text, absent or null.
    fn text(&self, key: &'static str) -> Result<Option<&str>, ConfError> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ConfError::key(key, "is not a string")),
        }
    }

    fn path(&self, key: &'static str, default: &str) -> Result<PathBuf, ConfError> {
        let path = PathBuf::from(self.text(key)?.unwrap_or(default));
        if path.is_absolute() && !path.as_os_str().as_encoded_bytes().contains(&0) {
            Ok(path)
        } else {
            Err(ConfError::key(key, format!("{} is not an absolute path", path.display())))
        }
    }
}

#[cfg(test)]
mod tests;
