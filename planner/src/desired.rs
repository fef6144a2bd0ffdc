//! What the configuration and the instance type ask for.

use holdfast_model::config::Config;
use holdfast_model::limits::InstanceLimits;

/// The desired side of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    /// All settings.
    pub config: &'a Config,
    /// What the instance's type can carry.
    pub limits: InstanceLimits,
}

impl Desired<'_> {
    /// No growth at or beyond this many addresses: the configured figure, else the instance's own.
    pub fn max_pods(&self) -> u32 {
        self.config.max_pods.value.unwrap_or_else(|| self.limits.max_pods())
    }

    /// ENIs that the node may have on one card, the primary and unmanaged ones included.
    pub fn max_enis(&self) -> u32 {
        match self.config.max_enis.value {
            Some(limit) if limit >= 1 => limit.min(self.limits.enis),
            _ => self.limits.enis,
        }
    }
}
