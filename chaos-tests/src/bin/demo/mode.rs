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
    /// Secondary addresses of ENIs on every network card, one of each for each pod.
    MultiHomed,
}

/// Two m5.large nodes in two subnets.
const TWO_NODES: &str = include_str!("../../../../sim/scenarios/two-nodes.toml");

/// One with two network cards, one with four.
const SEVERAL_CARDS: &str = include_str!("../../../../sim/scenarios/several-cards.toml");

impl Mode {
    /// The box.
    pub(crate) fn scenario(self) -> &'static str {
        match self {
            Self::Secondary | Self::Prefix => TWO_NODES,
            Self::MultiHomed => SEVERAL_CARDS,
        }
    }

    /// A node's type, as the box has it.
    pub(crate) fn type_of(self, node: &str) -> &'static str {
        match (self, node) {
            (Self::Secondary | Self::Prefix, _) => "m5.large",
            (Self::MultiHomed, "node-a") => "c6in.32xlarge with two network cards",
            (Self::MultiHomed, _) => "p4d.24xlarge with four network cards",
        }
    }

    /// The plugin, as it is called for a pod.
    pub(crate) fn ask(self, runner: Runner) -> Runner {
        match self {
            Self::Secondary | Self::Prefix => runner,
            Self::MultiHomed => runner.on_every_card(),
        }
    }

    /// The daemon's settings.
    pub(crate) fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Secondary => &[],
            // Or an m5.large would have room for 432 pods.
            Self::Prefix => &[("ENABLE_PREFIX_DELEGATION", "true"), ("HOLDFAST_MAX_PODS", "32")],
            // Or it would take 392 pods to fill the smaller one.
            Self::MultiHomed => &[("ENABLE_MULTI_NIC", "true"), ("HOLDFAST_MAX_PODS", "32")],
        }
    }

    /// How long half of the ADDs may take.
    pub(crate) fn median_add(self) -> Duration {
        match self {
            // Half of them find an address that is free: a few milliseconds each.
            Self::Secondary | Self::Prefix => Duration::from_millis(500),
            // Of the cards besides the first one address is ready; who comes next waits for EC2.
            Self::MultiHomed => Duration::from_secs(3),
        }
    }

    /// How many ENIs the pods of a node are on, at least: a prefix more is no reason for another ENI.
    pub(crate) fn enis(self) -> usize {
        match self {
            Self::Secondary | Self::MultiHomed => 2,
            Self::Prefix => 1,
        }
    }

    /// How many blocks are asked for one by one after the first ones: the second prefix.
    pub(crate) fn later_blocks(self) -> usize {
        match self {
            Self::Secondary => 0,
            Self::Prefix => 1,
            // Of the cards besides the first one address is kept ready, so about each pod takes another of each.
            Self::MultiHomed => 3 * 40,
        }
    }

    /// Pods that an m5.large carries with these settings: nine on each of three ENIs, or those of two prefixes.
    pub(crate) fn room(self) -> usize {
        match self {
            Self::Secondary => 27,
            Self::Prefix | Self::MultiHomed => 32,
        }
    }
}
