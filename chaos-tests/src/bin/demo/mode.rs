//! The ways in which pods get their addresses.

use std::time::Duration;

use holdfast_chaos_tests::cni::Runner;

/// Out of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Secondary addresses of ENIs, one for each pod.
    Secondary,
    /// Delegated /28 prefixes.
    Prefix,
    /// Secondary addresses of another subnet than the node's own, as an ENIConfig says.
    Custom,
    /// IPv6 addresses, of one delegated /80 on each node's primary ENI.
    Ipv6,
    /// Secondary addresses of ENIs on every network card, one of each for each pod.
    MultiHomed,
}

/// Two m5.large nodes in two subnets.
const TWO_NODES: &str = include_str!("../../../../sim/scenarios/two-nodes.toml");

/// The same with IPv6.
const TWO_NODES_IPV6: &str = include_str!("../../../../sim/scenarios/two-nodes-ipv6.toml");

/// One with two network cards, one with four.
const SEVERAL_CARDS: &str = include_str!("../../../../sim/scenarios/several-cards.toml");

impl Mode {
    /// The box.
    pub(crate) fn scenario(self) -> &'static str {
        match self {
            Self::Secondary | Self::Prefix | Self::Custom => TWO_NODES,
            Self::Ipv6 => TWO_NODES_IPV6,
            Self::MultiHomed => SEVERAL_CARDS,
        }
    }

    /// A node's type, as the box has it.
    pub(crate) fn type_of(self, node: &str) -> &'static str {
        match (self, node) {
            (Self::Secondary | Self::Prefix | Self::Custom | Self::Ipv6, _) => "m5.large",
            (Self::MultiHomed, "node-a") => "c6in.32xlarge with two network cards",
            (Self::MultiHomed, _) => "p4d.24xlarge with four network cards",
        }
    }

    /// The plugin, as it is called for a pod.
    pub(crate) fn ask(self, runner: Runner) -> Runner {
        match self {
            Self::Secondary | Self::Prefix | Self::Custom | Self::Ipv6 => runner,
            Self::MultiHomed => runner.on_every_card(),
        }
    }

    /// The daemon's settings.
    pub(crate) fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Secondary => &[],
            Self::Custom => &[("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true")],
            // Or an m5.large would have room for 432 pods.
            Self::Prefix => &[("ENABLE_PREFIX_DELEGATION", "true"), ("HOLDFAST_MAX_PODS", "32")],
            Self::Ipv6 => {
                &[("ENABLE_IPv4", "false"), ("ENABLE_IPv6", "true"), ("ENABLE_PREFIX_DELEGATION", "true")]
            }
            // Or it would take 392 pods to fill the smaller one.
            Self::MultiHomed => &[("ENABLE_MULTI_NIC", "true"), ("HOLDFAST_MAX_PODS", "32")],
        }
    }

    /// How long half of the ADDs may take.
    pub(crate) fn median_add(self) -> Duration {
        match self {
            // Half of them find an address that is free: a few milliseconds each.
            Self::Secondary | Self::Prefix | Self::Custom | Self::Ipv6 => Duration::from_millis(500),
            // Of the cards besides the first one address is ready; who comes next waits for EC2.
            Self::MultiHomed => Duration::from_secs(3),
        }
    }

    /// How many ENIs the pods of a node are on, at least: a prefix more is no reason for another ENI.
    pub(crate) fn enis(self) -> usize {
        match self {
            Self::Secondary | Self::Custom | Self::MultiHomed => 2,
            Self::Prefix | Self::Ipv6 => 1,
        }
    }

    /// How many blocks are asked for one by one after the first ones: the second prefix.
    pub(crate) fn later_blocks(self) -> usize {
        match self {
            Self::Secondary | Self::Custom | Self::Ipv6 => 0,
            Self::Prefix => 1,
            // Of the cards besides the first one address is kept ready, so about each pod takes another of each.
            Self::MultiHomed => 3 * 40,
        }
    }

    /// Pods that an m5.large carries with these settings: nine on each of three ENIs, on each but the primary one, or those of two
    /// prefixes. Of IPv6 addresses there are more than pods.
    pub(crate) fn room(self) -> Option<usize> {
        match self {
            Self::Secondary => Some(27),
            Self::Prefix | Self::MultiHomed => Some(32),
            Self::Custom => Some(18),
            Self::Ipv6 => None,
        }
    }

    /// The subnets of pods, where they are not the nodes' own: what is added to the scenario, one for each zone.
    pub(crate) fn subnets(self) -> &'static str {
        match self {
            Self::Secondary | Self::Prefix | Self::Ipv6 | Self::MultiHomed => "",
            Self::Custom => SUBNETS_OF_PODS,
        }
    }
}

/// In a block of their own, as where the VPC's first one has become too small.
const SUBNETS_OF_PODS: &str = r#"
[[subnet]]
name = "pods-a"
zone = "us-west-2a"
cidr = "100.64.0.0/20"

[[subnet]]
name = "pods-b"
zone = "us-west-2b"
cidr = "100.64.16.0/20"
"#;
