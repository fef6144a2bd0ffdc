//! The lives that are lived through.

use holdfast_model::config::{AddressMode, Config, Setting};

use super::{by_address, by_ipv6, by_prefix, changed, elsewhere, in_mode, of_ipv6, on_every_card};
use crate::box_of::{one_node, one_node_of_both};
use crate::custom;
use crate::node::{Life, Node};

/// Every change of EC2 that a node makes.
pub(super) const CHANGES: [&str; 7] = [
    "AssignPrivateIpAddresses",
    "CreateNetworkInterface",
    "AttachNetworkInterface",
    "ModifyNetworkInterfaceAttribute",
    "UnassignPrivateIpAddresses",
    "DetachNetworkInterface",
    "DeleteNetworkInterface",
];

/// What is lived through at whose every step somebody dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plot {
    /// Start, growth by address and by ENI, ADD, DEL, release of addresses, release of an ENI.
    Addresses,
    /// The same by prefix.
    Prefixes,
    /// From single addresses to prefixes, under pods.
    ToPrefixes,
    /// From prefixes to single addresses, under pods.
    ToAddresses,
    /// Start, growth and release with custom networking.
    Custom,
    /// Custom networking switched on under pods.
    ToCustom,
    /// Custom networking switched off under pods.
    FromCustom,
    /// Another ENIConfig under pods.
    ToAnother,
    /// The node's own subnet full, so that others serve; then excluded.
    Discovered,
    /// Start, ADD, DEL with IPv6 addresses.
    Ipv6,
    /// From single IPv4 addresses to IPv6, under pods.
    ToIpv6,
    /// From IPv6 to single IPv4 addresses, under pods.
    FromIpv6,
    /// Pods with an interface on each of two network cards, beside others.
    EveryCard,
}

impl Plot {
    /// The settings at the beginning and at the end.
    pub(super) fn settings(self) -> (Config, Config) {
        let (secondary, prefix) = (in_mode(AddressMode::Secondary), in_mode(AddressMode::Prefix));
        match self {
            Self::Addresses
            | Self::Custom
            | Self::ToCustom
            | Self::FromCustom
            | Self::ToAnother
            | Self::Discovered => (secondary.clone(), secondary),
            Self::Prefixes => (prefix.clone(), prefix),
            Self::ToPrefixes => (secondary, prefix),
            Self::ToAddresses => (prefix, secondary),
            Self::Ipv6 => (of_ipv6(), of_ipv6()),
            Self::ToIpv6 => (secondary, of_ipv6()),
            Self::FromIpv6 => (of_ipv6(), secondary),
            Self::EveryCard => {
                let every = Config { multi_nic: Setting::default_of(true), ..secondary };
                (every.clone(), every)
            }
        }
    }

    pub(super) fn node(self) -> Node {
        let config = self.settings().0;
        let of_type = match self {
            Self::Addresses => "m5.large",
            // With room for ENIs of before and after.
            Self::ToAnother | Self::Discovered => "t3.xlarge",
            Self::EveryCard => "c6in.32xlarge",
            _ => "t3.small",
        };
        let mut node = match self {
            Self::Custom | Self::ToCustom | Self::FromCustom | Self::ToAnother | Self::Discovered => {
                custom::node(of_type, config, 7)
            }
            Self::Ipv6 | Self::ToIpv6 | Self::FromIpv6 => return one_node_of_both(of_type, config, 7),
            _ => return one_node(of_type, config, 7),
        };
        node.config = self.configs(&node).0;
        if self == Self::Discovered {
            custom::fill(&node, "10.0.0.0/20", 2);
        }
        node
    }

    /// The settings at the beginning and at the end, with the ENIConfigs of this node's box.
    pub(super) fn configs(self, node: &Node) -> (Config, Config) {
        let (first, last) = self.settings();
        let applied = |config: &Config, block| custom::applied(node, config.clone(), block);
        match self {
            Self::Custom => (applied(&first, custom::PODS), applied(&last, custom::PODS)),
            Self::ToCustom => (first, applied(&last, custom::PODS)),
            Self::FromCustom => (applied(&first, custom::PODS), last),
            Self::ToAnother => (applied(&first, custom::PODS), applied(&last, custom::OTHERS)),
            _ => (first, last),
        }
    }

    /// The node as the next life finds it: the settings are what they were changed to.
    pub(super) fn settle(self, node: &mut Node) {
        node.config = self.configs(node).1;
    }

    /// Changes of EC2 that it must come to.
    pub(super) fn changes(self) -> &'static [&'static str] {
        match self {
            Self::Addresses | Self::Prefixes => &CHANGES,
            Self::Custom | Self::ToCustom | Self::FromCustom | Self::ToAnother => &[
                "CreateNetworkInterface",
                "AttachNetworkInterface",
                "ModifyNetworkInterfaceAttribute",
                "DetachNetworkInterface",
                "DeleteNetworkInterface",
            ],
            Self::Discovered => &["CreateNetworkInterface", "DescribeSubnets"],
            Self::ToPrefixes | Self::ToAddresses => {
                &["AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"]
            }
            Self::Ipv6 => &["AssignIpv6Addresses"],
            Self::ToIpv6 | Self::FromIpv6 => &["AssignIpv6Addresses", "AssignPrivateIpAddresses"],
            // The last address of a card and its ENI are kept.
            Self::EveryCard => &CHANGES[..5],
        }
    }

    pub(super) async fn script(self, life: Life, last: Config) {
        match self {
            Self::Custom | Self::Discovered => elsewhere(life).await,
            Self::ToCustom | Self::FromCustom | Self::ToAnother => changed(life, last).await,
            Self::Addresses => by_address(life).await,
            Self::Prefixes => by_prefix(life).await,
            Self::ToPrefixes | Self::ToAddresses | Self::ToIpv6 | Self::FromIpv6 => {
                changed(life, last).await;
            }
            Self::Ipv6 => by_ipv6(life).await,
            Self::EveryCard => on_every_card(life).await,
        }
    }
}
