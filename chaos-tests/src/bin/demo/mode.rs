//! The ways in which pods get their addresses.

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
}

impl Mode {
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
        }
    }

    /// How many ENIs the pods of a node are on, at least: a prefix more is no reason for another ENI.
    pub(crate) fn enis(self) -> usize {
        match self {
            Self::Secondary | Self::Custom => 2,
            Self::Prefix | Self::Ipv6 => 1,
        }
    }

    /// How many blocks are asked for one by one after the first ones: the second prefix.
    pub(crate) fn later_blocks(self) -> usize {
        match self {
            Self::Secondary | Self::Custom | Self::Ipv6 => 0,
            Self::Prefix => 1,
        }
    }

    /// Pods that an m5.large carries with these settings: nine on each of three ENIs, on each but the primary one, or those of two
    /// prefixes. Of IPv6 addresses there are more than pods.
    pub(crate) fn room(self) -> Option<usize> {
        match self {
            Self::Secondary => Some(27),
            Self::Prefix => Some(32),
            Self::Custom => Some(18),
            Self::Ipv6 => None,
        }
    }

    /// The VPC: two m5.large nodes in two subnets.
    pub(crate) fn scenario(self) -> &'static str {
        match self {
            Self::Secondary | Self::Prefix | Self::Custom => {
                include_str!("../../../../sim/scenarios/two-nodes.toml")
            }
            Self::Ipv6 => include_str!("../../../../sim/scenarios/two-nodes-ipv6.toml"),
        }
    }

    /// The subnets of pods, where they are not the nodes' own: what is added to the scenario, one for each zone.
    pub(crate) fn subnets(self) -> &'static str {
        match self {
            Self::Secondary | Self::Prefix | Self::Ipv6 => "",
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
