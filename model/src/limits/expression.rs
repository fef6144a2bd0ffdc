//! Max pods for those who set up nodes: expressions in CEL, which they evaluate for each instance type.
//!
//! | | nodeadm, `spec.kubelet.maxPodsExpression` of a `NodeConfig` | Karpenter, `spec.kubelet.maxPods` of an `EC2NodeClass` |
//! |---|---|---|
//! | variables | `default_enis`, `ips_per_eni`, `max_pods`; late ones know vCPUs too | these, `vcpus`, `memory_mib` and `instance_type` |
//! | functions | CEL's own | also `min` and `max` |
//! | what is not above zero, or does not compile | EKS's figure of secondary addresses is taken | refused, or that type's default is taken |
//!
//! `default_enis` counts those of the default card. So nodeadm's cannot tell types that take prefixes from those that do not,
//! nor large ones from small ones: it has to fit all types that the nodes may be of. Karpenter's fits any type.

use std::fmt;

use super::InstanceType;
use super::max_pods::{FEW_PODS, MANY_PODS, MANY_VCPUS, Mode, ON_HOST_NETWORK, recommended_for};

/// Families on the Xen hypervisor. AWS makes no new ones. (An `i3.metal` is bare metal and goes with its family: less is
/// promised of it than it has.)
const XEN_FAMILIES: [&str; 19] = [
    "c1", "c3", "c4", "d2", "f1", "h1", "i2", "i3", "m1", "m2", "m3", "m4", "p3", "r3", "r4", "t1", "t2",
    "x1", "x1e",
];

/// Who evaluates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The node's own set-up program of EKS's machine images.
    Nodeadm,
    /// The autoscaler, with its feature gate `NodeClassCEL`. Older ones, and without it, take a plain number only.
    Karpenter,
}

/// How high a figure may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// What EKS recommends at most.
    Recommended,
    /// As many as have addresses.
    Addresses,
}

/// No expression is right for these types.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unable {
    /// How pods are to get addresses.
    pub mode: Mode,
    /// On which it cannot be done.
    pub types: Vec<&'static str>,
}

impl fmt::Display for Unable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMED: usize = 5;
        let named = &self.types[..self.types.len().min(NAMED)];
        write!(f, "{} is not to be had on {}", self.mode.name(), named.join(", "))?;
        match self.types.len() - named.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The expression that says how many pods a node can have. Nodeadm's is right for nodes of these types.
pub fn expression(tool: Tool, mode: Mode, types: &[InstanceType], cap: Cap) -> Result<String, Unable> {
    match tool {
        Tool::Nodeadm => for_types(mode, types, cap),
        Tool::Karpenter => Ok(for_any_type(mode, cap)),
    }
}

/// Prefixes are only counted on where each type takes them: what runs short of them has single addresses.
fn for_types(mode: Mode, types: &[InstanceType], cap: Cap) -> Result<String, Unable> {
    let without: Vec<&str> =
        types.iter().filter(|known| known.max_pods(mode).is_none()).map(|known| known.name).collect();
    let most = types.iter().map(|known| recommended_for(known.vcpus)).min().unwrap_or(FEW_PODS);
    if mode == Mode::Ipv6 {
        return if without.is_empty() { Ok(most.to_string()) } else { Err(Unable { mode, types: without }) };
    }
    let pods = pods(mode, without.is_empty());
    Ok(match cap {
        Cap::Recommended => format!("{pods} < {most} ? {pods} : {most}"),
        Cap::Addresses => pods,
    })
}

fn for_any_type(mode: Mode, cap: Cap) -> String {
    let xen = format!("instance_type.matches('^({})[.]')", XEN_FAMILIES.join("|"));
    let most = format!("(vcpus < {MANY_VCPUS} ? {FEW_PODS} : {MANY_PODS})");
    let pods = match mode {
        Mode::Ipv6 => return format!("{xen} ? {ON_HOST_NETWORK} : {most}"),
        Mode::Prefix | Mode::CustomNetworkingPrefix => {
            format!("({xen} ? {} : {})", pods(mode, false), pods(mode, true))
        }
        Mode::Secondary | Mode::CustomNetworking => pods(mode, true),
    };
    match cap {
        Cap::Recommended => format!("min({most}, {pods})"),
        Cap::Addresses => pods,
    }
}

/// Pods by the figures of a type's default card.
fn pods(mode: Mode, takes_prefixes: bool) -> String {
    let enis = match mode.enis_without_pods() {
        0 => "default_enis".to_owned(),
        without => format!("(default_enis - {without})"),
    };
    let each = if mode.delegates() && takes_prefixes { " * 16" } else { "" };
    format!("{enis} * (ips_per_eni - 1){each} + {ON_HOST_NETWORK}")
}

#[cfg(test)]
mod tests;
