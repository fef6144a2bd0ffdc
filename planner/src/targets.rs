//! How many addresses the pool should have (reference: vpc-cni 3.2 to 3.4, 3.6, 3.7), as plain arithmetic.
//!
//! Two departures from upstream, both against published trouble. Addresses that rest count as available for
//! the warm targets, so that replacing a pod makes no EC2 call; they never count for an ADD that waits, which
//! would otherwise starve beside a pool that looks full (cni#2896). And an ADD that waits counts as an assigned
//! address, so that targets of zero still grow the pool (cni#2482).

use holdfast_model::config::WarmTargets;

/// The pool's figures. Addresses that are on their way (open assignments and creations) count as free ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Leased addresses.
    pub leased: u32,
    /// Addresses that can be leased now, or as soon as their ENI is attached and set up, or EC2 has answered.
    pub free: u32,
    /// Addresses that rest.
    pub cooling: u32,
    /// ADDs that wait for an address.
    pub waiting: u32,
}

impl Level {
    /// All addresses of the pool.
    pub fn total(&self) -> u32 {
        self.leased.saturating_add(self.free).saturating_add(self.cooling)
    }

    fn assigned(&self) -> u32 {
        self.leased.saturating_add(self.waiting)
    }

    fn available(&self) -> u32 {
        self.total().saturating_sub(self.assigned())
    }

    fn without(mut self, free: u32) -> Self {
        self.free = self.free.saturating_sub(free);
        self
    }
}

/// The targets, with what a whole ENI carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// The configured warm targets.
    pub warm: WarmTargets,
    /// Addresses for pods that one ENI carries.
    pub per_eni: u32,
}

impl Targets {
    /// How many addresses are missing. By address: exactly so many are asked for. By ENI: whole ENIs are filled
    /// until this many or more have come.
    pub fn short(&self, level: &Level) -> u32 {
        let by_target = if self.warm.by_address() {
            level.assigned().saturating_add(self.warm.warm_ips).max(self.warm.minimum_ips)
        } else {
            // With no spare ENI wanted, upstream still keeps the pool from being empty.
            level.assigned().saturating_add(self.per_eni.saturating_mul(self.warm.warm_enis).max(1))
        };
        by_target.saturating_sub(level.total()).max(Self::lacking(level))
    }

    /// How many free addresses are too many. Resting ones do not count: an address is given back only when it
    /// is still surplus after all rests are over, so that a pod that is replaced meanwhile costs no call.
    /// By ENI: none, ever; whole ENIs are given back instead.
    pub fn over(&self, level: &Level) -> u32 {
        if !self.warm.by_address() || level.waiting > 0 {
            return 0;
        }
        let above_warm = level.free.saturating_sub(self.warm.warm_ips);
        let above_minimum = level.total().saturating_sub(self.warm.minimum_ips);
        above_warm.min(above_minimum)
    }

    /// Whether an idle ENI with this many free addresses may go, and the pool would not want to grow at once
    /// for the lack of it. Never while an ADD waits. Resting addresses do not count here either.
    pub fn spare(&self, level: &Level, free: u32) -> bool {
        let rested = Level { cooling: 0, ..*level };
        if level.waiting > 0 || self.short(&rested.without(free)) > 0 {
            return false;
        }
        self.warm.by_address()
            || rested.available() >= self.warm.warm_enis.saturating_add(1).saturating_mul(self.per_eni)
    }

    /// How many addresses waiting ADDs lack, the targets aside.
    pub fn lacking(level: &Level) -> u32 {
        level.waiting.saturating_sub(level.free)
    }
}

#[cfg(test)]
mod tests;
