//! What is put onto the node for its runtime.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_model::config::Config;

use super::reader::{Bad, Reader};
use super::values::{absolute, boolean};
use crate::install::{CniVersion, Install, Wanted};

/// Variables about it. A runtime reads what they lead to once, so that they are a process's.
pub(super) const VARIABLES: &[&str] = &[
    "AWS_VPC_K8S_PLUGIN_LOG_FILE",
    "AWS_VPC_K8S_PLUGIN_LOG_LEVEL",
    "DISABLE_POD_V6",
    "ENABLE_BANDWIDTH_PLUGIN",
    "HOLDFAST_CNI_VERSION",
    "HOLDFAST_CONFLIST",
    "HOLDFAST_PLUGIN",
    "HOST_CNI_BIN_PATH",
    "HOST_CNI_CONFDIR_PATH",
    "POD_SECURITY_GROUP_ENFORCING_MODE",
];

/// Where the plugin's log goes, on the host.
const PLUGIN_LOG: &str = "/var/log/aws-routed-eni/plugin.log";

/// Nothing is put where no folder is named: whoever runs the daemon by hand sees to both himself.
pub(super) fn install<F: Fn(&str) -> Option<String>>(reader: &mut Reader<'_, F>, config: &Config) -> Install {
    let mut path =
        |name| reader.get(name, Bad::Refused, None::<PathBuf>, |text| absolute(text).map(Some)).value;
    let (program, plugins) = (path("HOLDFAST_PLUGIN"), path("HOST_CNI_BIN_PATH"));
    let (configurations, template) = (path("HOST_CNI_CONFDIR_PATH"), path("HOLDFAST_CONFLIST"));
    let wanted = Wanted {
        version: reader.get("HOLDFAST_CNI_VERSION", Bad::Refused, CniVersion::V040, CniVersion::parse).value,
        veth_prefix: config.veth_prefix.value.clone(),
        mtu: config.pod_mtu.value,
        log_file: reader
            .get("AWS_VPC_K8S_PLUGIN_LOG_FILE", Bad::Refused, PLUGIN_LOG.to_owned(), log_file)
            .value,
        log_level: reader.get("AWS_VPC_K8S_PLUGIN_LOG_LEVEL", Bad::Ignored, "Debug".to_owned(), text).value,
        enforcing_mode: reader
            .get("POD_SECURITY_GROUP_ENFORCING_MODE", Bad::Ignored, "strict".to_owned(), enforcing_mode)
            .value,
        socket: config.socket.value.clone(),
        spool: config.spool.value.clone(),
        bandwidth: reader.get("ENABLE_BANDWIDTH_PLUGIN", Bad::Ignored, false, boolean).value,
        without_ipv6: reader.get("DISABLE_POD_V6", Bad::Ignored, false, boolean).value,
        template,
    };
    Install {
        plugin: plugins.map(|folder| (program, folder)),
        configurations,
        wanted,
        withdrawn: Arc::default(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as settings are read")]
fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// As upstream: its standard output is the runtime's.
fn log_file(text: &str) -> Result<String, String> {
    match text {
        "stderr" => Ok(text.to_owned()),
        _ => absolute(text)
            .map(|path| path.display().to_string())
            .map_err(|_not_absolute| "want an absolute path, or stderr".to_owned()),
    }
}

fn enforcing_mode(text: &str) -> Result<String, String> {
    match text {
        "strict" | "standard" => Ok(text.to_owned()),
        _ => Err("want strict or standard".to_owned()),
    }
}
