//! How many addresses the pool should have (reference: vpc-cni 3.2 to 3.4, 3.6, 3.7), as plain arithmetic.
//!
//! Two departures from upstream, both against published trouble. Addresses that rest count as available for
//! the warm targets, so that replacing a pod makes no EC2 call; they never count for an ADD that waits, which
//! would otherwise starve beside a pool that looks full (cni#2896). And an ADD that waits counts as an assigned
//! address, so that targets of zero still grow the pool (cni#2482).

use holdfast_model::block::Unit;
use holdfast_model::config::WarmTargets;

use crate::warm::Stock;

/// The pool's figures. Addresses that are on their way (open assignments and creations) count as free ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Leased addresses.
    pub leased: u32,
    /// Addresses that can be leased now, or as soon as their ENI is attached and set up, or EC2 has answered.
    pub free: u32,
    /// Addresses that rest.
    pub cooling: u32,
    /// So many were leased at once lately beyond what is now: those pods may be about to be replaced. All there are, while that
    /// is not known.
    pub returning: u32,
    /// ADDs that wait for an address.
    pub waiting: u32,
    /// Free addresses in blocks of the other unit: single ones where prefixes are wanted, and the other way round. They
    /// serve who waits, and no target counts on them.
    pub beside: u32,
}

impl Level {
    /// All addresses of the pool.
    pub fn total(&self) -> u32 {
        self.leased.saturating_add(self.free).saturating_add(self.cooling)
    }

    fn assigned(&self) -> u32 {
        self.leased.saturating_add(self.waiting.saturating_sub(self.beside))
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
    /// In what the pool grows and shrinks.
    pub unit: Unit,
    /// So many of them one ENI carries.
    pub per_eni: u32,
    /// How many are to be free, where that is learned.
    pub stock: Option<Stock>,
}

/// Which of the targets rule.
enum Ruling {
    Learned(Stock),
    Addresses,
    Prefixes,
    /// There is one that has more than a node can need.
    One,
    Enis,
}

impl Targets {
    fn ruling(&self) -> Ruling {
        match self.unit {
            Unit::Ipv6Prefix => Ruling::One,
            _ if let Some(stock) = self.stock => Ruling::Learned(stock),
            _ if self.warm.by_address() => Ruling::Addresses,
            Unit::Prefix => Ruling::Prefixes,
            Unit::Address => Ruling::Enis,
        }
    }

    /// Whether what is missing is asked for, and not whole ENIs.
    pub(crate) fn are_exact(&self) -> bool {
        !matches!(self.ruling(), Ruling::Enis)
    }

    /// Free addresses to keep. With none wanted, upstream still keeps the pool from being empty, unless the address targets
    /// rule.
    pub(crate) fn spare_addresses(&self) -> u32 {
        match self.ruling() {
            Ruling::Learned(stock) => stock.filled,
            Ruling::Addresses => self.warm.warm_ips,
            Ruling::Prefixes => self.warm.warm_prefixes.saturating_mul(Unit::Prefix.addresses()).max(1),
            Ruling::One => 1,
            Ruling::Enis => self.eni_of_addresses().saturating_mul(self.warm.warm_enis).max(1),
        }
    }

    pub(crate) fn least_addresses(&self) -> u32 {
        match self.ruling() {
            Ruling::Learned(_) | Ruling::Addresses => self.warm.minimum_ips,
            Ruling::Prefixes | Ruling::One | Ruling::Enis => 0,
        }
    }

    fn eni_of_addresses(&self) -> u32 {
        self.per_eni.saturating_mul(self.unit.addresses())
    }

    /// How many units are missing. By address or prefix: exactly so many are asked for. By ENI: whole ENIs are filled
    /// until this many or more have come.
    pub fn short(&self, level: &Level) -> u32 {
        let warm = match self.ruling() {
            Ruling::Learned(stock) => Self::short_of(stock, level),
            _ => level.assigned().saturating_add(self.spare_addresses()).saturating_sub(level.total()),
        };
        let least = self.least_addresses().saturating_sub(level.total());
        let missing = warm.max(least).max(Self::lacking(level));
        self.unit.for_addresses(missing)
    }

    /// How many units are too many, of so many of which nothing is used. Something is given back only when a pod that is
    /// replaced meanwhile costs no call. So of single addresses those that rest do not count. Prefixes would be held for a
    /// few such, and where pods are replaced all the time some always rest: of those what counts is how many were leased at
    /// once lately, and that as many are free as rest.
    /// By ENI: none, ever; whole ENIs are given back instead.
    pub fn over(&self, level: &Level, idle: u32) -> u32 {
        if !self.are_exact() || level.waiting > 0 {
            return 0;
        }
        let above_warm = match self.ruling() {
            Ruling::Learned(stock) if level.free < stock.too_many() => 0,
            Ruling::Learned(stock) => level.free - stock.most,
            _ if self.unit == Unit::Prefix => {
                let there = level.free.saturating_add(level.cooling).saturating_sub(level.returning);
                let all_rest = level.free.saturating_sub(level.cooling);
                there.saturating_sub(self.spare_addresses()).min(all_rest)
            }
            _ => level.free.saturating_sub(self.spare_addresses()),
        };
        let above_minimum = level.total().saturating_sub(self.least_addresses());
        (above_warm.min(above_minimum) / self.unit.addresses()).min(idle)
    }

    /// Whether an idle ENI with this many free addresses may go, and the pool would not want to grow at once
    /// for the lack of it. Never while an ADD waits. Resting addresses do not count here either.
    pub fn spare(&self, level: &Level, free: u32) -> bool {
        let rested = Level { cooling: 0, ..*level };
        let kept = if self.unit == Unit::Prefix { level.returning.saturating_sub(level.cooling) } else { 0 };
        if level.waiting > 0 || self.short(&rested.without(free.saturating_add(kept))) > 0 {
            return false;
        }
        if let Ruling::Learned(stock) = self.ruling() {
            return level.free.saturating_sub(free) >= stock.most;
        }
        self.are_exact()
            || rested.available()
                >= self.warm.warm_enis.saturating_add(1).saturating_mul(self.eni_of_addresses())
    }

    /// How many addresses are missing for what is to be free. Resting ones are in use here: how many of them there are is part
    /// of what was learned, and ADDs get none of them.
    fn short_of(stock: Stock, level: &Level) -> u32 {
        let waiting = level.waiting.saturating_sub(level.beside);
        let wanted = waiting.saturating_add(stock.least);
        if level.free >= wanted { 0 } else { waiting.saturating_add(stock.filled).saturating_sub(level.free) }
    }

    /// How many addresses waiting ADDs lack, the targets aside.
    pub fn lacking(level: &Level) -> u32 {
        level.waiting.saturating_sub(level.free).saturating_sub(level.beside)
    }
}

#[cfg(test)]
mod tests;
