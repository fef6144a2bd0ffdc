//! What an instance type can carry, as data.

mod table;

use serde::{Deserialize, Serialize};

use crate::block::Unit;

/// Limits of an instance type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceLimits {
    /// ENIs on each network card, the primary included. Cards differ: the first often carries more.
    pub enis: Vec<u32>,
    /// IPv4 addresses per ENI, the ENI's own included.
    pub ipv4_per_eni: u32,
    /// Whether prefixes can be delegated to its ENIs, which takes Nitro or bare metal; `None`: EC2 tells when it is asked
    /// for one.
    pub supports_prefixes: Option<bool>,
}

impl InstanceLimits {
    /// The limits of a type that we know by heart; `None` sends the caller to DescribeInstanceTypes.
    pub fn of(instance_type: &str) -> Option<Self> {
        table::LIMITS
            .binary_search_by_key(&instance_type, |(name, _)| name)
            .ok()
            .map(|at| table::LIMITS[at].1.limits())
    }

    /// ENIs on one card, the primary included.
    pub fn enis_on(&self, card: u8) -> u32 {
        self.enis.get(usize::from(card)).copied().unwrap_or(0)
    }

    /// Addresses for pods per ENI: all but the ENI's own.
    pub fn pod_addresses_per_eni(&self) -> u32 {
        self.ipv4_per_eni.saturating_sub(1)
    }

    /// Addresses for pods that the default card carries when all are given in this unit.
    pub fn most_addresses(&self, unit: Unit) -> u32 {
        self.enis_on(0).saturating_mul(self.pod_addresses_per_eni()).saturating_mul(unit.addresses())
    }

    /// EKS's figure for pods on such a node: pod addresses of the default card, plus two for pods that use the
    /// host's network (reference: vpc-cni 3.13).
    pub fn max_pods(&self) -> u32 {
        self.most_addresses(Unit::Address).saturating_add(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_gives_eks_figures() {
        assert!(table::LIMITS.windows(2).all(|pair| pair[0].0 < pair[1].0), "binary search wants order");
        for (name, pods) in [
            ("t3.small", 11),
            ("t3.medium", 17),
            ("m5.large", 29),
            ("m5.xlarge", 58),
            ("m5.4xlarge", 234),
            ("p3dn.24xlarge", 737),
            ("p5.48xlarge", 100),
        ] {
            assert_eq!(InstanceLimits::of(name).map(|limits| limits.max_pods()), Some(pods), "{name}");
        }
        assert_eq!(InstanceLimits::of("z9.imaginary"), None);
    }
}
