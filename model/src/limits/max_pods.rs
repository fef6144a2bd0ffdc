//! How many pods a node can have, for each way to give them addresses.

use serde::{Serialize, Serializer};

use super::{ADDRESSES_PER_PREFIX, Hypervisor, InstanceLimits, InstanceType};

/// Pods that use the host's network, which EKS's figures add: the network's own and kube-proxy.
pub const ON_HOST_NETWORK: u32 = 2;

/// Below so many vCPUs EKS recommends at most [`FEW_PODS`], from there on [`MANY_PODS`] (EKS user guide, "Choose an optimal
/// Amazon EC2 node instance type").
pub const MANY_VCPUS: u32 = 30;
/// EKS's figure for nodes with few vCPUs.
pub const FEW_PODS: u32 = 110;
/// EKS's figure for nodes with many vCPUs.
pub const MANY_PODS: u32 = 250;

/// A way to give pods addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Single secondary addresses.
    Secondary,
    /// Delegated /28 prefixes.
    Prefix,
    /// Single addresses of other subnets: none on the primary ENI.
    CustomNetworking,
    /// Prefixes of other subnets: none on the primary ENI.
    CustomNetworkingPrefix,
    /// A delegated /80 prefix.
    Ipv6,
}

impl Mode {
    /// All.
    pub const ALL: [Self; 5] =
        [Self::Secondary, Self::Prefix, Self::CustomNetworking, Self::CustomNetworkingPrefix, Self::Ipv6];

    /// As programs are told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secondary => "secondary",
            Self::Prefix => "prefix",
            Self::CustomNetworking => "custom-networking",
            Self::CustomNetworkingPrefix => "custom-networking-prefix",
            Self::Ipv6 => "ipv6",
        }
    }

    /// Whether pods' addresses come from delegated IPv4 prefixes.
    pub fn delegates(self) -> bool {
        matches!(self, Self::Prefix | Self::CustomNetworkingPrefix)
    }

    /// ENIs that have no pods' addresses.
    pub fn enis_without_pods(self) -> u32 {
        match self {
            Self::Secondary | Self::Prefix | Self::Ipv6 => 0,
            Self::CustomNetworking | Self::CustomNetworkingPrefix => 1,
        }
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What a node can have of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MaxPods {
    /// Addresses for pods, on the default card.
    pub addresses: u64,
    /// Pods that can run: one for each address, and those on the host's network.
    pub served: u64,
    /// What EKS recommends at most for a node of this size, and never more than can run.
    pub recommended: u32,
}

impl InstanceLimits {
    /// Addresses for pods on the default card; `None`: it cannot be done on this type, or nobody told whether it can.
    pub fn pod_addresses(&self, mode: Mode) -> Option<u64> {
        let enis = self.enis_on(0).saturating_sub(mode.enis_without_pods());
        let slots = u64::from(enis) * u64::from(self.pod_addresses_per_eni());
        match mode {
            Mode::Secondary | Mode::CustomNetworking => Some(slots),
            Mode::Prefix | Mode::CustomNetworkingPrefix => {
                (self.supports_prefixes()?).then(|| slots.saturating_mul(ADDRESSES_PER_PREFIX.into()))
            }
            // One prefix, of the primary ENI, and as many addresses as an /80 has.
            Mode::Ipv6 => (self.supports_prefixes()? && self.supports_ipv6()?).then_some(1 << 48),
        }
    }
}

impl InstanceType {
    /// How many pods a node of this type can have; `None`: the mode cannot be had on it.
    pub fn max_pods(&self, mode: Mode) -> Option<MaxPods> {
        let addresses = self.limits.pod_addresses(mode)?;
        let served = addresses.saturating_add(ON_HOST_NETWORK.into());
        let cap = recommended_for(self.vcpus);
        Some(MaxPods {
            addresses,
            served,
            recommended: u32::try_from(served).map_or(cap, |served| served.min(cap)),
        })
    }

    /// Why a mode cannot be had on this type.
    pub fn lacks(&self, mode: Mode) -> Option<&'static str> {
        if self.max_pods(mode).is_some() {
            None
        } else if self.limits.hypervisor == Some(Hypervisor::Xen) {
            Some("needs the Nitro hypervisor or bare metal")
        } else {
            Some("its ENIs have no IPv6")
        }
    }
}

/// EKS's recommendation by vCPUs.
pub fn recommended_for(vcpus: u32) -> u32 {
    if vcpus < MANY_VCPUS { FEW_PODS } else { MANY_PODS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(name: &str) -> Vec<Option<(u64, u32)>> {
        let known = InstanceType::named(name).unwrap();
        Mode::ALL.map(|mode| known.max_pods(mode).map(|pods| (pods.served, pods.recommended))).to_vec()
    }

    #[test]
    fn each_mode_has_its_figures() {
        let ipv6 = (1 << 48) + 2;
        for (name, [secondary, prefix, custom, custom_prefix], cap) in [
            ("t3.nano", [4, 34, 3, 18], 110),
            ("t3.medium", [17, 242, 12, 162], 110),
            ("m5.large", [29, 434, 20, 290], 110),
            ("m5.4xlarge", [234, 3714, 205, 3250], 110),
            ("m5.8xlarge", [234, 3714, 205, 3250], 250),
            ("m5.24xlarge", [737, 11762, 688, 10978], 250),
            ("i3.16xlarge", [737, 0, 688, 0], 250),
            ("m4.xlarge", [58, 0, 44, 0], 110),
            ("hpc6id.32xlarge", [51, 786, 2, 2], 250),
        ] {
            let xen = prefix == 0;
            let capped = |pods: u64| (pods, u32::try_from(pods).unwrap_or(u32::MAX).min(cap));
            let nitro = |pods| (!xen).then(|| capped(pods));
            let expected = [
                Some(capped(secondary)),
                nitro(prefix),
                Some(capped(custom)),
                nitro(custom_prefix),
                nitro(ipv6),
            ];
            assert_eq!(figures(name), expected, "{name}");
        }
    }

    #[test]
    fn why_a_mode_cannot_be_had_is_said_of_those_that_cannot() {
        for known in InstanceType::all() {
            for mode in Mode::ALL {
                assert_eq!(
                    known.lacks(mode).is_none(),
                    known.max_pods(mode).is_some(),
                    "{} {mode:?}",
                    known.name
                );
            }
        }
        let xen = InstanceType::named("m4.large").unwrap();
        assert!(xen.lacks(Mode::Prefix).unwrap().contains("Nitro"));
    }

    /// Some documents say "less than", others "more than" thirty: no type lies between.
    #[test]
    fn no_type_has_just_thirty_vcpus() {
        assert!(InstanceType::all().all(|known| known.vcpus != MANY_VCPUS));
        assert_eq!((recommended_for(29), recommended_for(30)), (FEW_PODS, MANY_PODS));
    }

    /// What nobody told is promised to nobody.
    #[test]
    fn a_type_of_which_little_is_known_has_no_figure_for_more() {
        let limits = InstanceLimits::of_addresses(vec![3, 3], 10);
        let known = Mode::ALL.map(|mode| limits.pod_addresses(mode));
        assert_eq!(known, [Some(27), None, Some(18), None, None]);
        assert_eq!(InstanceLimits::of_addresses(vec![], 10).pod_addresses(Mode::CustomNetworking), Some(0));
    }
}
