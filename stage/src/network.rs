//! The pods' network: what of it is put on a node before kubelet comes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::component::{Component, Content, Place, words};
use crate::control::text;
use crate::plan::Holdfast;

/// A node's network.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    /// Files of the node, by their paths in it.
    pub(crate) files: Vec<Content>,
    /// Programs to be put into `/opt/cni/bin`.
    pub(crate) plugins: Vec<PathBuf>,
    /// What runs beside kubelet.
    pub(crate) parts: Vec<Component>,
}

/// How many prefixes of sixteen addresses a node has for `ptp`: more pods than kubelet lets it run.
pub(crate) const PREFIXES: u8 = 9;

/// `ptp` with addresses that EC2 has put on the node's first ENI.
///
/// So the VPC delivers them and lets their packets pass, as it does Holdfast's, and neither an overlay nor routes from node
/// to node are needed: the two networks differ in who wires the pods, and in nothing else. There is no source NAT: what is
/// outside the VPC is not reached.
pub(crate) fn ptp(prefixes: &[String]) -> Network {
    let ranges: Vec<Value> = prefixes.iter().map(|prefix| json!({ "subnet": prefix })).collect();
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "stage",
        "plugins": [
            {
                "type": "ptp", "mtu": 9001, "ipMasq": false,
                "ipam": { "type": "host-local", "ranges": [ranges], "routes": [{ "dst": "0.0.0.0/0" }] },
            },
            { "type": "portmap", "capabilities": { "portMappings": true }, "snat": true },
        ],
    });
    Network { files: vec![conflist("10-ptp.conflist", &list)], ..Network::default() }
}

/// Holdfast as its notes for operators have it.
pub(crate) fn holdfast(node: &str, programs: &Holdfast, environment: &BTreeMap<String, String>) -> Network {
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "aws-cni",
        "plugins": [
            {
                "type": "aws-cni", "vethPrefix": "eni", "mtu": "9001",
                "pluginLogFile": "/var/log/aws-routed-eni/plugin.log",
            },
            { "type": "portmap", "capabilities": { "portMappings": true }, "snat": true },
        ],
    });
    let mut argv = vec![programs.daemon.display().to_string()];
    argv.extend(words(["run"]));
    let mut daemon = Component::new("holdfast", Place::Node(node.to_owned()), argv);
    daemon.environment.clone_from(environment);
    Network {
        files: vec![conflist("10-aws.conflist", &list)],
        plugins: vec![programs.plugin.clone()],
        parts: vec![daemon],
    }
}

fn conflist(name: &str, list: &Value) -> Content {
    Content { path: format!("/etc/cni/net.d/{name}").into(), text: text(list) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptp_takes_an_address_of_any_of_the_prefixes() {
        let network = ptp(&["10.0.2.112/28".to_owned(), "10.0.1.224/28".to_owned()]);
        let list: Value = serde_json::from_str(&network.files[0].text).unwrap();
        // One set with several ranges: one address of any. Several sets would be one address of each.
        let ranges = json!([[{ "subnet": "10.0.2.112/28" }, { "subnet": "10.0.1.224/28" }]]);
        assert_eq!(list["plugins"][0]["ipam"]["ranges"], ranges);
    }
}
