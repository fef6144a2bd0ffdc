//! What an instance type can carry, as data.
//!
//! [`InstanceLimits`] is what a node needs of its type, from our table or from EC2; [`InstanceType`] is all that the table has.
//! [`max_pods`] says what follows for a node's pods, and [`expression`] says that to those who set up nodes.

mod branches;
pub mod expression;
pub mod max_pods;
mod table;

use serde::{Deserialize, Serialize};

pub use branches::BranchEnis;
pub use table::InstanceType;

use crate::block::Unit;
use crate::pool::Family;

/// Addresses in a delegated IPv4 prefix, a /28.
pub const ADDRESSES_PER_PREFIX: u32 = 16;

/// What an instance runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hypervisor {
    /// Prefixes can be delegated to its ENIs.
    Nitro,
    /// The older one: single addresses only.
    Xen,
    /// None: bare metal, which takes prefixes too.
    BareMetal,
}

/// Limits of an instance type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceLimits {
    /// ENIs on each network card, the primary included. Cards differ: the first often carries more.
    pub enis: Vec<u32>,
    /// IPv4 addresses per ENI, the ENI's own included.
    pub ipv4_per_eni: u32,
    /// IPv6 addresses, or prefixes in their place, per ENI; 0: IPv6 is not to be had. `None`: nobody told.
    pub ipv6_per_eni: Option<u32>,
    /// `None`: nobody told.
    pub hypervisor: Option<Hypervisor>,
}

impl InstanceLimits {
    /// As much as secondary-address mode needs; nothing is said of the rest.
    pub fn of_addresses(enis: Vec<u32>, ipv4_per_eni: u32) -> Self {
        Self { enis, ipv4_per_eni, ipv6_per_eni: None, hypervisor: None }
    }

    /// The limits of a type that we know by heart; `None` sends the caller to DescribeInstanceTypes.
    pub fn of(instance_type: &str) -> Option<Self> {
        InstanceType::named(instance_type).map(|known| known.limits)
    }

    /// ENIs on one card, the primary included.
    pub fn enis_on(&self, card: u8) -> u32 {
        self.enis.get(usize::from(card)).copied().unwrap_or(0)
    }

    /// Addresses for pods per ENI: all but the ENI's own. As many prefixes in their place, where the type takes prefixes.
    pub fn pod_addresses_per_eni(&self) -> u32 {
        self.ipv4_per_eni.saturating_sub(1)
    }

    /// Addresses and prefixes of one family that an ENI carries besides its own IPv4 address; `None`: nobody told.
    pub fn blocks_per_eni(&self, family: Family) -> Option<u32> {
        match family {
            Family::V4 => Some(self.pod_addresses_per_eni()),
            Family::V6 => self.ipv6_per_eni,
        }
    }

    /// Whether prefixes can be delegated to its ENIs; `None`: nobody told what it runs on, and EC2 will.
    pub fn supports_prefixes(&self) -> Option<bool> {
        self.hypervisor.map(|runs_on| runs_on != Hypervisor::Xen)
    }

    /// Whether its ENIs have IPv6; `None`: nobody told.
    pub fn supports_ipv6(&self) -> Option<bool> {
        self.ipv6_per_eni.map(|slots| slots > 0)
    }

    /// Its network cards that carry ENIs, in order.
    pub fn cards(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=u8::MAX).zip(&self.enis).filter(|(_, enis)| **enis > 0).map(|(card, _)| card)
    }

    /// Addresses for pods that the default card carries when all are given in this unit.
    pub fn most_addresses(&self, unit: Unit) -> u32 {
        self.most_addresses_on(0, unit)
    }

    /// Addresses for pods that one card carries when all are given in this unit.
    pub fn most_addresses_on(&self, card: u8, unit: Unit) -> u32 {
        self.enis_on(card).saturating_mul(self.pod_addresses_per_eni()).saturating_mul(unit.addresses())
    }

    /// EKS's figure for pods on such a node: pod addresses of the default card, plus two for pods that use the
    /// host's network (reference: vpc-cni 3.13).
    pub fn max_pods(&self) -> u32 {
        self.most_addresses(Unit::Address).saturating_add(max_pods::ON_HOST_NETWORK)
    }
}

/// What EC2 said of a type that is not in the table. Kept, so that a start needs no EC2 to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldLimits {
    /// Which type was asked about; it says nothing of another.
    pub instance_type: String,
    /// What it can carry.
    pub limits: InstanceLimits,
}

#[cfg(test)]
mod tests;
