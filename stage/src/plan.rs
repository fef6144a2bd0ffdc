//! What a stage is to be: chosen once, by who brings it up, and carried out by its keeper.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::release::Release;

/// More than one machine carries.
const MOST_NODES: u8 = 16;

/// The network that pods get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plugin {
    /// The reference plugin `ptp` with addresses of prefixes that EC2 has put on the node's first ENI: what the stage
    /// can do without Holdfast.
    Ptp,
    /// Holdfast: its daemon as a process of the node, its plugin in the runtime's folder.
    Holdfast,
    /// Holdfast as it is installed: its chart, whose DaemonSet kubelet runs from the image.
    Chart,
}

impl Plugin {
    /// Its name, as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ptp => "ptp",
            Self::Holdfast => "holdfast",
            Self::Chart => "chart",
        }
    }
}

/// A whole stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What the cluster is made of.
    pub release: Release,
    /// Its nodes' names.
    pub nodes: Vec<String>,
    /// Their instance type.
    pub instance_type: String,
    /// Their pods' network.
    pub plugin: Plugin,
    /// What is not built from Go modules.
    pub programs: Programs,
}

/// Holdfast's own programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    /// `stage` itself.
    pub stage: PathBuf,
    /// `vpcsim`.
    pub vpcsim: PathBuf,
    /// `holdfast` and `aws-cni`, where they are the network.
    pub holdfast: Option<Holdfast>,
    /// Where it is installed by its chart.
    pub chart: Option<Chart>,
}

/// The daemon and its plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdfast {
    /// `holdfast`.
    pub daemon: PathBuf,
    /// `aws-cni`.
    pub plugin: PathBuf,
}

/// What Holdfast is installed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chart {
    /// Helm, of any version that the chart is for.
    pub helm: PathBuf,
    /// The chart.
    pub folder: PathBuf,
    /// The image's archive.
    pub image: PathBuf,
    /// The user's values, in their order.
    pub values: Vec<PathBuf>,
}

impl Plan {
    /// A stage of so many nodes.
    pub fn new(
        release: Release,
        nodes: u8,
        instance_type: &str,
        plugin: Plugin,
        programs: Programs,
    ) -> Result<Self> {
        if !(1..=MOST_NODES).contains(&nodes) {
            return Err(Error::Refused(format!("{nodes} nodes: want 1 to {MOST_NODES}")));
        }
        if plugin == Plugin::Holdfast && programs.holdfast.is_none() {
            return Err(Error::Refused(
                "a stage whose network is Holdfast needs its programs: name both the daemon and the plugin"
                    .to_owned(),
            ));
        }
        if plugin == Plugin::Chart && programs.chart.is_none() {
            return Err(Error::Refused(
                "a stage whose network is installed by the chart needs Helm and the image: name both"
                    .to_owned(),
            ));
        }
        let names = (b'a'..).take(usize::from(nodes)).map(|letter| format!("node-{}", char::from(letter)));
        Ok(Self {
            release,
            nodes: names.collect(),
            instance_type: instance_type.to_owned(),
            plugin,
            programs,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan(plugin: Plugin) -> Plan {
        let version = |version: &str| version.to_owned();
        let release = Release {
            name: None,
            kubernetes: version("1.37.1"),
            containerd: version("2.3.7"),
            etcd: version("3.6.16"),
            plugins: version("1.10.0"),
            coredns: version("1.15.0"),
        };
        let programs = Programs {
            stage: "/p/stage".into(),
            vpcsim: "/p/vpcsim".into(),
            holdfast: Some(Holdfast { daemon: "/p/holdfast".into(), plugin: "/p/aws-cni".into() }),
            chart: None,
        };
        Plan::new(release, 2, "m5.xlarge", plugin, programs).unwrap()
    }

    #[test]
    fn a_plan_has_the_nodes_that_were_asked_for() {
        let two = plan(Plugin::Ptp);
        assert_eq!(two.nodes, ["node-a", "node-b"]);
        let of =
            |nodes| Plan::new(two.release.clone(), nodes, "m5.xlarge", Plugin::Ptp, two.programs.clone());
        assert!(of(0).is_err() && of(17).is_err());
        assert_eq!(of(16).unwrap().nodes[15], "node-p");
        let without = Programs { holdfast: None, ..two.programs.clone() };
        for plugin in [Plugin::Holdfast, Plugin::Chart] {
            assert!(Plan::new(two.release.clone(), 2, "m5.xlarge", plugin, without.clone()).is_err());
        }
    }
}
