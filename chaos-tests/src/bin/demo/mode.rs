//! The ways in which pods get their addresses.

/// Out of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Secondary addresses of ENIs, one for each pod.
    Secondary,
    /// Delegated /28 prefixes.
    Prefix,
}

impl Mode {
    /// The daemon's settings.
    pub(crate) fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Secondary => &[],
            // Or an m5.large would have room for 432 pods.
            Self::Prefix => &[("ENABLE_PREFIX_DELEGATION", "true"), ("HOLDFAST_MAX_PODS", "32")],
        }
    }

    /// How many ENIs the pods of a node are on, at least: a prefix more is no reason for another ENI.
    pub(crate) fn enis(self) -> usize {
        match self {
            Self::Secondary => 2,
            Self::Prefix => 1,
        }
    }

    /// How many blocks are asked for one by one after the first ones: the second prefix.
    pub(crate) fn later_blocks(self) -> usize {
        match self {
            Self::Secondary => 0,
            Self::Prefix => 1,
        }
    }

    /// Pods that an m5.large carries with these settings: nine on each of three ENIs, or those of two prefixes.
    pub(crate) fn room(self) -> usize {
        match self {
            Self::Secondary => 27,
            Self::Prefix => 32,
        }
    }
}
