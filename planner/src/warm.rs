//! How many addresses are to be free, learned from what a node's pods have taken and given back.
//!
//! The question is the newsvendor's, with a lead time: what is asked of EC2 now is there a lead time later, so the ADDs until then
//! live on what is free now (a base-stock policy; its safety stock is the quantile of the demand in a lead time: Arrow, Harris and
//! Marschak 1951; Silver, Pyke and Thomas, *Inventory and Production Management*, chapter 7). For each ADD the demand that it sees
//! is by how much the addresses in use, resting ones among them, have risen since a lead time before: were so many free then, it
//! finds one. The part of ADDs whose demand is larger than the stock is the part that waits, so the quantile of that demand over
//! all ADDs *is* what the setting asks for.
//!
//! That distribution is kept as the Vertical Pod Autoscaler's recommender keeps its own: a histogram that decays, by half in a day
//! (`Histogram`). And what is wanted falls only after it has been lower for a while, as the Horizontal Pod Autoscaler's
//! stabilisation window has it (`Recess`): pods that were replaced, a job that comes again each few minutes, and a wave of them cost EC2 no
//! call each.
//!
//! All of it is bounded: the histogram by `histogram::LARGEST`, the rest by seconds and minutes of fixed windows. It lives in this
//! process only, and is learned anew after a restart, which keeps what is free meanwhile ([`Warm::stock_kept`]).

use std::time::Duration;

use holdfast_model::time::BootTime;
use holdfast_model::warm::Quantile;

mod histogram;
mod lead;
mod recent;
mod recess;
#[cfg(test)]
mod tests;
mod yielding;

use histogram::Histogram;
use lead::Lead;
use recent::Recent;
use recess::Recess;
pub(crate) use yielding::Room;
use yielding::Yielding;

/// So long the static targets rule after the start: what a node has seen of an hour says what the next one is like better than
/// what it has seen of a minute.
pub const LEARNS_FOR: Duration = Duration::from_secs(3600);

/// What a node gets when it joins, the pods of DaemonSets and those that had no room before, it gets once: demand counts from so
/// long after the start.
pub const SETTLES_FOR: Duration = Duration::from_secs(300);

/// However quiet a node is, so many are free: a pod comes once, and two together are seen nowhere before they come.
pub const FEWEST: u32 = 2;

/// What was seen at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Addresses that are leased or rest, and ADDs that wait for one.
    pub used: u32,
    /// Addresses that were asked of EC2 and cannot be leased yet.
    pub coming: u32,
    /// At the first look, free addresses that the process has found; `None`: the node has been given none yet.
    pub found: Option<u32>,
}

/// How many addresses are to be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock {
    /// With fewer, more are asked for.
    pub least: u32,
    /// Up to so many.
    pub filled: u32,
    /// With more than this, and a few, some are given back, down to this.
    pub most: u32,
}

impl Stock {
    /// So many free ones are given back only, at the least: fewer are not worth a call.
    pub fn too_many(&self) -> u32 {
        self.most.saturating_add(self.filled.saturating_sub(self.least)).saturating_add(1)
    }
}

/// What a node has learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warm {
    since: Option<BootTime>,
    /// What was free when it began to look.
    kept: Option<u32>,
    recent: Recent,
    demand: Histogram,
    recess: Recess,
    lead: Lead,
    yielding: Yielding,
}

impl Warm {
    /// Takes in what there is now. An instant before the last one counts as the last one.
    pub fn see(&mut self, seen: Seen, now: BootTime) {
        let now = now.max(self.recent.last().unwrap_or(now));
        if self.since.is_none() {
            self.kept = seen.found;
        }
        let since = *self.since.get_or_insert(now);
        self.lead.see(seen.coming, now);
        self.demand.age(now.since(since));
        let before = self.recent.used().unwrap_or(seen.used);
        // So many more are in use. What has gone meanwhile leaves fewer of them, and a quantile that is the higher for it.
        if seen.used > before && now.since(since) >= SETTLES_FOR {
            let then = self.recent.used_at(now, self.lead.time()).unwrap_or(before);
            // What is beyond the histogram is all one to it.
            let first = before.saturating_add(1).max(seen.used.saturating_sub(histogram::LARGEST));
            for used in first..=seen.used {
                self.demand.add(used.saturating_sub(then));
            }
        }
        self.recent.see(seen.used, now);
        self.recess.see(seen.used, now);
    }

    /// Whether it has looked.
    pub fn has_begun(&self) -> bool {
        self.since.is_some()
    }

    /// When it has seen enough to say how many are to be free; `None`: it has seen nothing yet.
    pub fn learned_at(&self) -> Option<BootTime> {
        self.since.map(|since| since.after(LEARNS_FOR))
    }

    /// Whether it has seen enough.
    pub fn is_learned(&self, now: BootTime) -> bool {
        self.learned_at().is_some_and(|at| at <= now)
    }

    /// How many are to be free while a process learns that has begun on a node with addresses: as many as there were, so that a
    /// start costs no call, neither for more nor for fewer; but no more than this, the floor aside. What the process before had
    /// learned is in the pool. `None`: the node was new.
    pub fn stock_kept(&self, most: u32, floor: u32, now: BootTime) -> Option<Stock> {
        let kept = self.kept?;
        let stock = self.stock_of(kept.min(most).max(FEWEST.min(most)).max(floor), floor, now);
        let gives_back = self.yielding.most(now).is_some();
        Some(if gives_back { stock } else { Stock { most: stock.most.max(kept), ..stock } })
    }

    /// How many addresses are to be free, by what was seen, so that this part of the ADDs finds one. No less than the floor.
    pub fn stock(&self, quantile: Quantile, floor: u32, now: BootTime) -> Stock {
        let learned = self.demand.quantile(quantile).max(FEWEST);
        self.stock_of(learned.max(floor), floor, now)
    }

    /// The same of a number that others have found.
    pub fn stock_of(&self, least: u32, floor: u32, now: BootTime) -> Stock {
        if let Some(most) = self.yielding.most(now) {
            // No margin either: each address may be the one that another node's first pod waits for.
            let least = least.min(most).max(floor);
            return Stock { least, filled: least, most: least };
        }
        let filled = least.saturating_add(least / 8).saturating_add(1);
        Stock { least, filled, most: filled.saturating_add(self.recess.depth(now)) }
    }

    /// The subnets that the spares are in, as EC2 showed them by a read that began then; `held`: free addresses here. See
    /// [`Yielding`].
    pub(crate) fn yields(&mut self, room: Room, held: u32, began: BootTime) {
        self.yielding.see(room, held, began);
    }

    /// How many may be free at the most, since the subnet runs low.
    pub fn yields_to(&self, now: BootTime) -> Option<u32> {
        self.yielding.most(now)
    }

    /// When time alone lets the wanted number fall.
    pub(crate) fn changes_at(&self, now: BootTime) -> Option<BootTime> {
        let over = self.yielding.ends_at().filter(|at| *at > now);
        self.recess.falls_at(now).into_iter().chain(over).min()
    }

    /// How long EC2 takes to bring addresses, as far as was seen, and no less than a floor.
    pub fn lead(&self) -> Duration {
        self.lead.time()
    }

    /// How long it took at the most, if it has brought any.
    pub fn lead_seen(&self) -> Option<Duration> {
        self.lead.seen()
    }

    /// The most that was wanted within a lead time, as far as it is remembered.
    pub fn largest(&self) -> u32 {
        self.demand.largest()
    }

    /// The quantile that was found.
    pub fn learned(&self, quantile: Quantile) -> u32 {
        self.demand.quantile(quantile).max(FEWEST)
    }

    /// ADDs that it goes by, rounded; those of a day ago count half.
    pub fn remembered(&self) -> u64 {
        self.demand.remembered()
    }

    /// By how much more was in use within the last quarter of an hour.
    pub fn recess(&self, now: BootTime) -> u32 {
        self.recess.depth(now)
    }
}
