//! What the configuration and the instance type ask for.

use holdfast_model::block::Unit;
use holdfast_model::config::{AddressMode, Config};
use holdfast_model::limits::InstanceLimits;
use holdfast_model::pool::{Family, PoolKey};
use holdfast_model::warm::WarmMode;

/// The desired side of a plan.
#[derive(Clone, Debug)]
pub struct Desired<'a> {
    /// All settings.
    pub config: &'a Config,
    /// What the instance's type can carry; `None`: not known. Nothing stands in for it.
    pub limits: Option<InstanceLimits>,
}

impl Desired<'_> {
    /// In what the pool is to be given its addresses. A type that cannot carry prefixes gets single addresses, and the
    /// report says so.
    pub fn unit(&self) -> Unit {
        match self.config.mode.value {
            _ if self.family() == Family::V6 => Unit::Ipv6Prefix,
            AddressMode::Prefix if !self.lacks_prefixes() => Unit::Prefix,
            AddressMode::Prefix | AddressMode::Secondary => Unit::Address,
        }
    }

    /// Of which family new pods' addresses are.
    pub fn family(&self) -> Family {
        self.config.family.value
    }

    /// Whether the number of free addresses is learned. Of IPv6 a node has one prefix, which is more than any number.
    pub fn is_adaptive(&self) -> bool {
        self.config.warm_mode.value == WarmMode::Adaptive && self.family() == Family::V4
    }

    /// The pool that new pods are served from.
    pub fn pool(&self) -> PoolKey {
        PoolKey::first(self.family())
    }

    /// The pool of a card. Pods with IPv6 addresses are served from the first only.
    pub fn pool_on(&self, card: u8) -> PoolKey {
        if card == PoolKey::DEFAULT.card { self.pool() } else { PoolKey::v4_on(card) }
    }

    /// Whether prefixes are wanted that the instance's type cannot carry, and single addresses do in their place.
    pub(crate) fn lacks_prefixes(&self) -> bool {
        let supported = self.limits.as_ref().and_then(InstanceLimits::supports_prefixes);
        let wanted = self.config.mode.value == AddressMode::Prefix && self.family() == Family::V4;
        wanted && supported == Some(false)
    }

    /// Whether pods are to have IPv6 addresses, which the instance's type cannot give them. Nothing does in their place.
    pub(crate) fn lacks_ipv6(&self) -> bool {
        let cannot = |limits: &InstanceLimits| {
            limits.supports_prefixes() == Some(false) || limits.supports_ipv6() == Some(false)
        };
        self.family() == Family::V6 && self.limits.as_ref().is_some_and(cannot)
    }

    /// Addresses or prefixes for pods that one ENI carries.
    pub fn per_eni(&self) -> Option<u32> {
        self.limits.as_ref().and_then(|limits| limits.blocks_per_eni(self.family()))
    }

    /// No growth of a card's pool at or beyond this many addresses: the configured figure, else the instance's own. Out of prefixes
    /// it can serve more than EKS's figure says, which is of the first card.
    pub fn max_pods(&self, card: u8) -> Option<u32> {
        let first = card == PoolKey::DEFAULT.card;
        let own = |limits: &InstanceLimits| {
            let all = match self.unit() {
                Unit::Address if first => limits.max_pods(),
                unit => limits.most_addresses_on(card, unit),
            };
            // With custom networking the primary has none of them.
            let of_primary = limits.pod_addresses_per_eni().saturating_mul(self.unit().addresses());
            let without = first && self.config.eni_config.value.is_some();
            if without { all.saturating_sub(of_primary) } else { all }
        };
        self.config.max_pods.value.or_else(|| self.limits.as_ref().map(own))
    }

    /// ENIs that the node may have on one card, the primary and unmanaged ones included.
    pub fn max_enis(&self, card: u8) -> Option<u32> {
        let limit = self.limits.as_ref()?.enis_on(card);
        Some(match self.config.max_enis.value {
            Some(configured) if configured >= 1 => configured.min(limit),
            _ => limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use holdfast_model::config::Setting;

    use super::*;

    /// `MAX_ENI`: upstream takes what is below one for no limit.
    #[test]
    fn the_configured_limit_of_enis_only_narrows() {
        let limits = InstanceLimits::of("m5.large").unwrap();
        let most = limits.enis_on(0);
        for (configured, then) in
            [(None, most), (Some(0), most), (Some(1), 1), (Some(most), most), (Some(most + 1), most)]
        {
            let config = Config { max_enis: Setting::from_environment(configured), ..Config::default() };
            let desired = Desired { config: &config, limits: Some(limits.clone()) };
            assert_eq!(desired.max_enis(0), Some(then), "{configured:?}");
        }
    }
}
