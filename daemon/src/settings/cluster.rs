//! Where the cluster's API server is, as a process in a pod is told.

use std::path::PathBuf;

use super::reader::{Bad, Reader};
use super::values::absolute;

/// Variables about it, most of them set by kubelet.
pub(super) const VARIABLES: &[&str] = &[
    "CLUSTER_ENDPOINT",
    "HOLDFAST_DAEMON_SET",
    "HOLDFAST_SERVICE_ACCOUNT",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "MY_NODE_NAME",
    "MY_POD_NAME",
];

/// Where kubelet mounts a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The API server, and as whom it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiServer {
    /// `https://` host and port.
    pub(crate) server: String,
    /// The folder with `token`, `ca.crt` and `namespace`.
    pub(crate) account: PathBuf,
    /// What this node is called there.
    pub(crate) node: String,
    /// What this process's pod is called, where it runs in one.
    pub(crate) pod: Option<String>,
    /// The DaemonSet whose pod that is.
    pub(crate) daemon_set: Option<String>,
}

/// Nothing: this process is in no cluster, or is not told of its node.
pub(super) fn api_server<F: Fn(&str) -> Option<String>>(reader: &mut Reader<'_, F>) -> Option<ApiServer> {
    let mut given = |name| reader.get(name, Bad::Ignored, None, |text| Ok(Some(text.to_owned()))).value;
    let (host, port) = (given("KUBERNETES_SERVICE_HOST"), given("KUBERNETES_SERVICE_PORT"));
    let (node, pod) = (given("MY_NODE_NAME"), given("MY_POD_NAME"));
    let daemon_set = given("HOLDFAST_DAEMON_SET");
    let endpoint = reader.get("CLUSTER_ENDPOINT", Bad::Ignored, None, |text| https(text).map(Some)).value;
    let account =
        reader.get("HOLDFAST_SERVICE_ACCOUNT", Bad::Refused, SERVICE_ACCOUNT.into(), absolute).value;
    let usual = host.map(|host| {
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        format!("https://{host}:{}", port.unwrap_or_else(|| "443".to_owned()))
    });
    Some(ApiServer { server: endpoint.or(usual)?, account, node: node?, pod, daemon_set })
}

/// As upstream, which is given it by EKS as a whole address.
fn https(text: &str) -> Result<String, String> {
    let wanted = || "want an address like https://ABC.gr7.us-west-2.eks.amazonaws.com".to_owned();
    match text.strip_prefix("https://") {
        Some(host) if !host.is_empty() => Ok(text.trim_end_matches('/').to_owned()),
        Some(_) => Err(wanted()),
        None if text.contains("://") => Err(wanted()),
        None => Ok(format!("https://{}", text.trim_end_matches('/'))),
    }
}
