//! What is still to be asked for.

use holdfast_model::block::{Ask, Unit};
use holdfast_model::ids::SubnetId;
use holdfast_model::refusal::Refusal;
use holdfast_model::time::Now;

use crate::observed::Observed;

/// What the pool is short of, less what was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// In what the pool grows.
    pub(super) unit: Unit,
    /// How many units are missing.
    pub(super) short: u32,
    /// How many addresses ADDs wait for.
    pub(super) lacking: u32,
    /// How many addresses the node may have besides.
    pub(super) budget: u32,
}

impl Demand {
    /// In what a subnet gives. Where it gives no prefixes, those who wait get single addresses.
    pub(super) fn unit_of(&self, observed: &Observed, subnet: &SubnetId, now: &Now) -> Unit {
        if without_prefixes(observed, subnet, now).is_some() { Unit::Address } else { self.unit }
    }

    /// What to ask of a subnet; or why nothing: spare single addresses would only break up more of its blocks.
    pub(super) fn of(&self, observed: &Observed, subnet: &SubnetId, now: &Now) -> Result<Ask, Refusal> {
        match (self.unit, without_prefixes(observed, subnet, now)) {
            (Unit::Address, _) => Ok(Ask::addresses(self.short)),
            (Unit::Ipv6Prefix, _) => Ok(Ask::ipv6_prefixes(self.short)),
            (Unit::Prefix, None) => {
                Ok(Ask::prefixes(self.short.min(observed.fits.most_prefixes(subnet, now))))
            }
            (Unit::Prefix, Some(cause)) if self.lacking == 0 => Err(cause),
            (Unit::Prefix, Some(_)) => Ok(Ask::addresses(self.lacking)),
        }
    }

    /// So much comes.
    pub(super) fn met_by(&mut self, ask: Ask) {
        self.lacking = self.lacking.saturating_sub(ask.brings());
        if ask.unit == self.unit {
            self.short = self.short.saturating_sub(ask.count);
        } else if self.lacking == 0 {
            // In the place of prefixes there is nothing to be had beyond what is waited for.
            self.short = 0;
        }
    }

    /// So much is asked for.
    pub(super) fn spends(&mut self, ask: Ask) {
        self.budget = self.budget.saturating_sub(ask.brings());
    }
}

/// Why no prefixes are asked of a subnet now.
pub(crate) fn without_prefixes(observed: &Observed, subnet: &SubnetId, now: &Now) -> Option<Refusal> {
    observed.pauses.of_prefixes(subnet, now).map(|pause| pause.cause.clone())
}
