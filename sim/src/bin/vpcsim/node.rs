//! `vpcsim node`: what can be asked of a running box's nodes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::Context as _;
use clap::Subcommand;
use holdfast_sim::scenario::NodeTable;

use crate::control::Request;

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Starts an instance and makes it a node, which has its first interface when this returns.
    Add {
        /// Its name.
        name: String,
        /// Instance type.
        #[arg(long = "type", default_value = "m5.large")]
        instance_type: String,
        /// The scenario's name of its subnet.
        #[arg(long)]
        subnet: String,
        /// Its first address; chosen by the box where absent.
        #[arg(long)]
        address: Option<Ipv4Addr>,
        /// How many IPv6 addresses it begins with.
        #[arg(long, default_value_t = 0)]
        ipv6_addresses: u32,
        /// Through how many hops its metadata gets: 1 reaches the node only, 2 its pods.
        #[arg(long, default_value_t = 2)]
        hop_limit: u8,
        /// What it calls its interfaces, as in a scenario, such as '{"names": "eth"}'.
        #[arg(long, default_value = "{}")]
        interfaces: String,
        /// What its image sets in its kernel, as in a scenario, such as '{"rp_filter": 1}'.
        #[arg(long, default_value = "{}")]
        sysctls: String,
    },
    /// Ends a node's instance and takes the node away. What runs in it is not ended, and has no network any more.
    Remove {
        /// The node, or an instance id.
        node: String,
    },
    /// Has a node lose packets from now on: this and nothing else. `[]` ends it.
    Lose {
        /// The node, or an instance id.
        node: String,
        /// As in a scenario, such as '[{"permille": 200, "with": "169.254.169.254/32"}]'.
        losses: String,
    },
    /// Prints how many packets a node has lost so.
    Lost {
        /// The node, or an instance id.
        node: String,
    },
    /// Boots a node's instance anew: all that was in its network namespace is left behind, and a new one, under the same
    /// path, gets its interfaces again. What runs in the old one is not ended, and has no network any more.
    Reboot {
        /// The node, or an instance id.
        node: String,
    },
    /// Stops a node's instance: as a reboot that comes no further than the new, bare namespace. Its ENIs stay its own.
    Stop {
        /// The node, or an instance id.
        node: String,
    },
    /// Starts it again: its interfaces appear as the box's timing says.
    Start {
        /// The node, or an instance id.
        node: String,
    },
}

impl TryFrom<Verb> for Request {
    type Error = anyhow::Error;

    fn try_from(verb: Verb) -> anyhow::Result<Self> {
        Ok(match verb {
            Verb::Add {
                name,
                instance_type,
                subnet,
                address,
                ipv6_addresses,
                hop_limit,
                interfaces,
                sysctls,
            } => {
                let interfaces = serde_json::from_str(&interfaces)
                    .with_context(|| format!("understand --interfaces {interfaces}"))?;
                let sysctls = serde_json::from_str(&sysctls)
                    .with_context(|| format!("understand --sysctls {sysctls}"))?;
                let (loss, tags) = (Vec::new(), BTreeMap::new());
                Self::Add(Box::new(NodeTable {
                    name,
                    instance_type,
                    subnet,
                    address,
                    ipv6_addresses,
                    hop_limit,
                    interfaces,
                    sysctls,
                    loss,
                    tags,
                }))
            }
            Verb::Remove { node } => Self::Remove(node),
            Verb::Reboot { node } => Self::Reboot(node),
            Verb::Stop { node } => Self::Stop(node),
            Verb::Start { node } => Self::Start(node),
            Verb::Lose { node, losses } => {
                let losses = serde_json::from_str(&losses).with_context(|| format!("understand {losses}"))?;
                Self::Lose(node, losses)
            }
            Verb::Lost { node } => Self::Lost(node),
        })
    }
}
