//! The ways in which pods get their addresses.

/// Out of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Secondary addresses of ENIs, one for each pod.
    Secondary,
    /// Delegated /28 prefixes.
    Prefix,
    /// IPv6 addresses, of one delegated /80 on each node's primary ENI.
    Ipv6,
}

impl Mode {
    /// The daemon's settings.
    pub(crate) fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Secondary => &[],
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
            Self::Secondary => 2,
            Self::Prefix | Self::Ipv6 => 1,
        }
    }

    /// How many blocks are asked for one by one after the first ones: the second prefix.
    pub(crate) fn later_blocks(self) -> usize {
        match self {
            Self::Secondary | Self::Ipv6 => 0,
            Self::Prefix => 1,
        }
    }

    /// Pods that an m5.large carries with these settings: nine on each of three ENIs, or those of two prefixes. Of IPv6
    /// addresses there are more than pods.
    pub(crate) fn room(self) -> Option<usize> {
        match self {
            Self::Secondary => Some(27),
            Self::Prefix => Some(32),
            Self::Ipv6 => None,
        }
    }

    /// The VPC: two m5.large nodes in two subnets.
    pub(crate) fn scenario(self) -> &'static str {
        match self {
            Self::Secondary | Self::Prefix => include_str!("../../../../sim/scenarios/two-nodes.toml"),
            Self::Ipv6 => include_str!("../../../../sim/scenarios/two-nodes-ipv6.toml"),
        }
    }
}
