//! The pool as the ledger shows it, ENI by ENI.

use holdfast_model::block::{Ask, Block, BlockState, Unit};
use holdfast_model::cloud::CloudChange;
use holdfast_model::config::WarmTargets;
use holdfast_model::eni::{EniKind, EniPhase, EniRecord, Management};
use holdfast_model::ledger::Ledger;
use holdfast_model::pool::{Family, PoolKey};
use holdfast_model::time::{BootTime, Now};
use holdfast_model::uses::Use;
use ipnet::IpNet;

use crate::cards::Wanted;
use crate::desired::Desired;
use crate::observed::{LINK_TAKES_AT_MOST, Observed};
use crate::refused::Extent;
use crate::source::{Fit, Sources};
use crate::targets::{Level, Targets};

/// One ENI's share.
pub(crate) struct EniPool<'a> {
    pub(crate) eni: &'a EniRecord,
    /// What it is to the pool. A closed one's share is in no figure of the pool's.
    pub(crate) fit: Fit,
    pub(crate) leased: u32,
    /// Free addresses in blocks of the pool's unit.
    pub(crate) free: u32,
    /// Resting ones there.
    pub(crate) cooling: u32,
    /// Blocks of the pool's unit of which nothing is used, in order.
    pub(crate) idle: Vec<IpNet>,
    /// The same of the other unit.
    pub(crate) beside: Beside,
    /// Room that nothing takes or is going to take. None while it is not known how much there is.
    pub(crate) room: u32,
    /// The most that EC2 is asked for at once after it has refused more; none: the ENI is full, whatever its type says.
    pub(crate) most: Option<u32>,
    /// Addresses and prefixes that are on it.
    pub(crate) occupied: u32,
}

/// What an ENI has in blocks of the unit that the pool does not want, or all that it has where it is not wanted itself.
#[derive(Default)]
pub(crate) struct Beside {
    pub(crate) free: u32,
    pub(crate) cooling: u32,
    pub(crate) idle: Vec<IpNet>,
}

/// All ENIs that carry the pool or are about to, by slot.
pub(crate) struct Pool<'a> {
    pub(crate) key: PoolKey,
    pub(crate) sources: Sources,
    pub(crate) enis: Vec<EniPool<'a>>,
    pub(crate) level: Level,
    /// Addresses that are asked for, or on ENIs that are not attached yet.
    pub(crate) on_the_way: u32,
    /// What it is to have.
    pub(crate) targets: Targets,
    /// It is to have nothing: its card serves no pods any more.
    pub(crate) retires: bool,
    /// When the most that were leased at once lately is another by time alone.
    pub(crate) peak_ends: Option<BootTime>,
}

impl<'a> Pool<'a> {
    pub(crate) fn of(
        Wanted { key, retires }: Wanted,
        desired: &Desired<'_>,
        ledger: &'a Ledger,
        observed: &Observed,
        now: &Now,
    ) -> Self {
        let (per_eni, unit) = (desired.per_eni().unwrap_or(0), desired.unit());
        let sources = Sources::of(desired, ledger, observed, now);
        let mut level = Level { waiting: observed.waiting_for(key), ..Level::default() };
        let mut on_the_way = 0;
        for intent in ledger.intents.values() {
            if let CloudChange::CreateEni { ask, slot, subnet, .. } = &intent.change
                && slot.card == key.card
                && sources.fit_in(subnet) == Fit::Wanted
                && ask.unit.family() == key.family
            {
                on_the_way = u32::saturating_add(on_the_way, ask.brings());
                level.comes(*ask, unit);
            }
        }
        let mut enis: Vec<EniPool<'a>> = Vec::new();
        for eni in ledger.enis.values().filter(|eni| carries(eni, key)) {
            let mut share = EniPool::empty(eni, sources.fit(eni));
            for block in ledger.blocks_on(&eni.id) {
                share.occupied += u32::from(block.occupies() && block.family() == key.family);
                if gives(block, key) {
                    share.count(ledger, block, unit, observed, now);
                }
            }
            let asked: Vec<Ask> = ledger
                .intents_on(&eni.id)
                .filter_map(|intent| match &intent.change {
                    CloudChange::Assign { ask, .. } if ask.unit.family() == key.family => Some(*ask),
                    _ => None,
                })
                .collect();
            if share.fit == Fit::Closed {
                enis.push(share);
                continue;
            }
            level.leased += share.leased;
            if observed.keeps_failing(&eni.id, now) || cannot_be_set_up(ledger, observed, eni, now) {
                // Its addresses are out of reach, and what it would be given too: others make up for it.
                level.cooling += share.cooling;
                enis.push(share);
                continue;
            }
            share.most = observed.fits.most(Some(&eni.id), now);
            // Before it is believed to be full, a read tells what is on it.
            let full = share.most == Some(0) && !observed.doubted(&eni.id);
            let filled: u32 = asked.iter().fold(0, |sum, ask| sum.saturating_add(ask.count));
            share.room = if full || share.fit != Fit::Wanted {
                0
            } else {
                per_eni.saturating_sub(share.occupied.saturating_add(filled))
            };
            level.free = level.free.saturating_add(share.free);
            level.beside = level.beside.saturating_add(share.beside.free);
            level.cooling += share.cooling;
            for ask in asked {
                on_the_way = u32::saturating_add(on_the_way, ask.brings());
                level.comes(ask, unit);
            }
            if eni.phase == EniPhase::Available || !observed.ready_enis.contains(&eni.id) {
                on_the_way = on_the_way.saturating_add(share.free).saturating_add(share.beside.free);
            }
            enis.push(share);
        }
        enis.sort_by_key(|share| share.eni.slot());
        let peak = observed.peak_of(key, level.leased, now);
        level.returning = peak.most().map_or(level.total(), |most| most.saturating_sub(level.leased));
        let targets = targets(desired, key, observed, now);
        Self { key, sources, enis, level, on_the_way, targets, retires, peak_ends: peak.ends() }
    }

    /// How many units are missing. While ENIs could be made and it is not known which of those that are there are wanted, only for
    /// those who wait.
    pub(crate) fn short(&self) -> u32 {
        if self.retires {
            return 0;
        }
        if self.sources.are_settled() || self.sources.subnets().is_err() {
            return self.targets.short(&self.level);
        }
        self.targets.unit.for_addresses(Targets::lacking(&self.level))
    }

    /// Whether an idle ENI with this many free addresses may go, the pool being at this level.
    pub(crate) fn spares(&self, level: &Level, free: u32) -> bool {
        self.retires || self.targets.spare(level, free)
    }
}

impl Level {
    /// So much is asked for.
    fn comes(&mut self, ask: Ask, unit: Unit) {
        if ask.unit == unit {
            self.free = self.free.saturating_add(ask.brings());
        } else {
            self.beside = self.beside.saturating_add(ask.brings());
        }
    }
}

impl<'a> EniPool<'a> {
    fn empty(eni: &'a EniRecord, fit: Fit) -> Self {
        let (idle, beside) = (Vec::new(), Beside::default());
        Self { eni, fit, leased: 0, free: 0, cooling: 0, idle, beside, room: 0, most: None, occupied: 0 }
    }

    /// Nothing on it is held or rests.
    pub(crate) fn is_idle(&self) -> bool {
        self.leased == 0 && self.cooling == 0 && self.beside.cooling == 0
    }

    /// Takes in a block.
    fn count(&mut self, ledger: &Ledger, block: &Block, unit: Unit, observed: &Observed, now: &Now) {
        let held = block.state == BlockState::Held;
        let unasked = observed.reads.unasked(block.net).is_some();
        let (mut used, mut leased, mut cooling): (u32, u32, u32) = (0, 0, 0);
        let mut rests = false;
        let whole_is_used = block.whole().is_some_and(|whole| !ledger.is_free(whole, now));
        for (ip, what) in ledger.uses_in(block.net) {
            match what {
                Use::Leased(_) => leased += 1,
                Use::Cooling(_) if observed.refused.is_out(ip, now) => {
                    rests |= unasked || !what.is_over(now);
                    continue;
                }
                Use::Cooling(_) if unasked || (held && !what.is_over(now)) => cooling += 1,
                Use::Cooling(_) => continue,
                Use::Suspect(_) => {}
            }
            used += 1;
        }
        self.leased += leased;
        let gives = held && !whole_is_used;
        let refused = match observed.refused.extent(block, ledger.uses_in(block.net), now) {
            Extent::Whole => block.unit().addresses(),
            Extent::Some(refused) => refused,
        };
        let free =
            if gives { block.unit().addresses().saturating_sub(used).saturating_sub(refused) } else { 0 };
        let idle = (held && used == 0 && !rests).then_some(block.net);
        if block.unit() == unit && self.fit == Fit::Wanted {
            self.free = self.free.saturating_add(free);
            self.cooling += cooling;
            self.idle.extend(idle);
        } else {
            self.beside.free = self.beside.free.saturating_add(free);
            self.beside.cooling += cooling;
            self.beside.idle.extend(idle);
        }
    }
}

/// Whether what an ENI's set-up needs has not been told for longer than that takes.
fn cannot_be_set_up(ledger: &Ledger, observed: &Observed, eni: &EniRecord, now: &Now) -> bool {
    let range = ledger.subnets.get(&eni.source.subnet).and_then(|subnet| subnet.ipv4);
    eni.attachment().is_some()
        && !observed.ready_enis.contains(&eni.id)
        && (range.is_none() || eni.primary_ipv4.is_none())
        && now.boottime.since(eni.since) >= LINK_TAKES_AT_MOST
}

/// What is kept ready on the cards besides the first: upstream's figures. They serve multi-homed pods, which come in no bursts.
const BESIDES: WarmTargets = WarmTargets { warm_enis: 0, warm_ips: 1, minimum_ips: 1, warm_prefixes: 0 };

/// The targets for a pool of this node. Where they are learned, which is on the first card, those that are set, or what there was at the start,
/// rule until enough was seen; from then on the address targets are a floor, and the targets of ENIs and prefixes, which everybody has, are nothing.
fn targets(desired: &Desired<'_>, key: PoolKey, observed: &Observed, now: &Now) -> Targets {
    let first = key.card == PoolKey::DEFAULT.card;
    let warm = if first { desired.config.warm.value } else { BESIDES };
    let set = Targets { warm, unit: desired.unit(), per_eni: desired.per_eni().unwrap_or(0), stock: None };
    if !(first && desired.is_adaptive()) {
        return set;
    }
    let (learned, at, floor) = (&observed.warm, now.boottime, warm.warm_ips);
    let stock = if learned.is_learned(at) {
        Some(learned.stock(desired.config.warm_quantile.value, floor, at))
    } else {
        let set = set.spare_addresses();
        let yields = || learned.yields_to(at).map(|_most| learned.stock_of(set, floor, at));
        learned.stock_kept(set, floor, at).or_else(yields)
    };
    Targets { stock, ..set }
}

/// Whether the ENI is, or is to be, part of the pool.
fn carries(eni: &EniRecord, key: PoolKey) -> bool {
    eni.management == Management::Managed
        && matches!(eni.kind, EniKind::Standard | EniKind::Efa)
        && matches!(eni.phase, EniPhase::Available | EniPhase::Attached { .. })
        && is_on(eni, key)
        && is_of_family(eni, key.family)
}

/// Whether the ENI's place is on the pool's card.
pub(crate) fn is_on(eni: &EniRecord, key: PoolKey) -> bool {
    eni.slot().is_some_and(|slot| slot.card == key.card)
}

/// Whether pods of a family get addresses of this ENI. Those of IPv6 are all behind the primary, where one prefix is enough;
/// the kernel has no ways for them over another.
pub(crate) fn is_of_family(eni: &EniRecord, family: Family) -> bool {
    family == Family::V4 || eni.is_primary()
}

/// Whether the pool takes its addresses from this block.
pub(crate) fn gives(block: &Block, key: PoolKey) -> bool {
    block.family() == key.family
}

#[cfg(test)]
mod tests;
