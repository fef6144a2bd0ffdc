//! The simulated VPC as a stage has it.
//!
//! The control plane is an instance of it like the nodes. So the API server has an address of the VPC, which nodes and pods
//! reach by the VPC's own routes, and nothing else joins them: as in EKS, whose API servers have interfaces in the
//! cluster's subnets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::plan::Plan;

/// The instance of the control plane.
pub(crate) const CONTROL: &str = "control-plane";
/// Where all of them are.
pub(crate) const ZONE: &str = "us-west-2a";
/// The VPC's own range; services have another.
pub(crate) const VPC: &str = "10.0.0.0/16";

/// The scenario for `vpcsim`.
pub(crate) fn scenario(plan: &Plan) -> String {
    let kind = &plan.instance_type;
    let node = |name: &str| format!("\n[[node]]\nname = \"{name}\"\ntype = \"{kind}\"\nsubnet = \"a\"\n");
    let nodes: String = plan.nodes.iter().map(|name| node(name)).collect();
    format!(
        "region = \"us-west-2\"\nseed = 1\n\n[vpc]\ncidrs = [\"{VPC}\"]\n\n[[subnet]]\nname = \"a\"\nzone = \"{ZONE}\"\n\
         cidr = \"10.0.0.0/18\"\n{}{nodes}",
        node(CONTROL)
    )
}

/// What a running box says about itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct VpcBox {
    nodes: Vec<Instance>,
}

/// An instance of the box.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) instance: String,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) netns: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
}

impl VpcBox {
    pub(crate) fn instance(&self, name: &str) -> Result<&Instance> {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.ok_or_else(|| Error::Refused(format!("the simulated VPC has no node {name:?}")))
    }
}

impl Instance {
    pub(crate) fn address(&self) -> Result<Ipv4Addr> {
        self.address.ok_or_else(|| Error::Refused(format!("{} has no address", self.name)))
    }
}

/// The instance's first ENI, in `vpcsim admin state`.
pub(crate) fn first_eni(state: &Value, instance: &str) -> Option<String> {
    let enis = state["network_interfaces"].as_array()?;
    let is_it =
        |eni: &&Value| eni["attachment"]["instance_id"] == instance && eni["attachment"]["device_index"] == 0;
    enis.iter().find(is_it)?["network_interface_id"].as_str().map(str::to_owned)
}

/// The change that puts so many prefixes on an ENI, for `vpcsim admin foreign`.
pub(crate) fn assign_prefixes(eni: &str, count: u8) -> Value {
    json!({ "AssignPrivateIpAddresses": { "networkInterfaceId": eni, "ipv4PrefixCount": count } })
}

/// The prefixes in its answer.
pub(crate) fn assigned(answer: &Value) -> Vec<String> {
    let set = answer["ok"]["AssignPrivateIpAddresses"]["assignedIpv4PrefixSet"].as_array();
    let prefixes = set.into_iter().flatten().filter_map(|prefix| prefix["ipv4Prefix"].as_str());
    prefixes.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plugin;
    use crate::plan::tests::plan;

    #[test]
    fn the_control_plane_is_an_instance_beside_the_nodes() {
        let text = scenario(&plan(Plugin::Ptp));
        let nodes: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
        assert_eq!(nodes, ["\"a\"", "\"control-plane\"", "\"node-a\"", "\"node-b\""]);
    }

    #[test]
    fn answers_of_the_box_are_read() {
        let eni = |id: &str, instance: &str, at: u8| json!({ "network_interface_id": id, "attachment": { "instance_id": instance, "device_index": at } });
        let state = json!({ "network_interfaces": [eni("eni-1", "i-1", 1), eni("eni-2", "i-2", 0), eni("eni-3", "i-1", 0)] });
        assert_eq!(first_eni(&state, "i-1").as_deref(), Some("eni-3"));
        assert_eq!(first_eni(&state, "i-3"), None);
        let set = json!([{ "ipv4Prefix": "10.0.2.112/28" }, { "ipv4Prefix": "10.0.1.224/28" }]);
        let answer = json!({ "ok": { "AssignPrivateIpAddresses": { "assignedIpv4PrefixSet": set } } });
        assert_eq!(assigned(&answer), ["10.0.2.112/28", "10.0.1.224/28"]);
        assert_eq!(assigned(&json!({ "error": { "code": "InvalidParameterValue" } })), [""; 0]);
    }
}
