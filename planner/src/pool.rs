//! The pool as the ledger shows it, ENI by ENI.

use std::net::IpAddr;

use holdfast_model::block::{Block, BlockState};
use holdfast_model::cloud::CloudChange;
use holdfast_model::eni::{EniKind, EniPhase, EniRecord, Management};
use holdfast_model::ledger::Ledger;
use holdfast_model::pool::{Family, PoolKey};
use holdfast_model::time::Now;
use holdfast_model::uses::Use;

use crate::desired::Desired;
use crate::observed::{LINK_TAKES_AT_MOST, Observed};
use crate::targets::{Level, Targets};

/// One ENI's share.
pub(crate) struct EniPool<'a> {
    pub(crate) eni: &'a EniRecord,
    pub(crate) leased: u32,
    /// Free ones, in order.
    pub(crate) free: Vec<IpAddr>,
    pub(crate) cooling: u32,
    /// Room that nothing takes or is going to take. None while it is not known how much there is.
    pub(crate) room: u32,
    /// The most that EC2 is asked for at once after it has refused more; none: the ENI is full, whatever its type says.
    pub(crate) most: Option<u32>,
    /// Addresses and prefixes that are on it.
    pub(crate) occupied: u32,
}

/// All ENIs that carry the pool or are about to, by slot.
pub(crate) struct Pool<'a> {
    pub(crate) key: PoolKey,
    pub(crate) enis: Vec<EniPool<'a>>,
    pub(crate) level: Level,
    /// Addresses that are asked for, or on ENIs that are not attached yet.
    pub(crate) on_the_way: u32,
}

impl<'a> Pool<'a> {
    pub(crate) fn of(
        key: PoolKey,
        desired: &Desired<'_>,
        ledger: &'a Ledger,
        observed: &Observed,
        now: &Now,
    ) -> Self {
        let per_eni = desired.per_eni().unwrap_or(0);
        let mut level = Level { waiting: observed.waiting_for(key), ..Level::default() };
        let mut on_the_way = 0;
        for intent in ledger.intents.values() {
            if let CloudChange::CreateEni { secondary_addresses, slot, .. } = &intent.change
                && slot.card == key.card
            {
                on_the_way += secondary_addresses;
            }
        }
        level.free += on_the_way;
        let mut enis: Vec<EniPool<'a>> = Vec::new();
        for eni in ledger.enis.values().filter(|eni| carries(eni, key)) {
            let mut share =
                EniPool { eni, leased: 0, free: Vec::new(), cooling: 0, room: 0, most: None, occupied: 0 };
            let mut occupied = 0;
            for block in ledger.blocks_on(&eni.id) {
                occupied += u32::from(block.occupies());
                if gives(block, key) {
                    share.count(ledger, block, observed, now);
                }
            }
            let asked: u32 = ledger
                .intents_on(&eni.id)
                .filter_map(|intent| match &intent.change {
                    CloudChange::AssignAddresses { count, .. } => Some(*count),
                    _ => None,
                })
                .sum();
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
            share.room = if full { 0 } else { per_eni.saturating_sub(occupied + asked) };
            share.occupied = occupied;
            let free = share.free_count();
            level.free += free + asked;
            level.cooling += share.cooling;
            on_the_way += asked;
            if eni.phase == EniPhase::Available || !observed.ready_enis.contains(&eni.id) {
                on_the_way += free;
            }
            enis.push(share);
        }
        enis.sort_by_key(|share| share.eni.slot());
        Self { key, enis, level, on_the_way }
    }
}

impl EniPool<'_> {
    /// Nothing on it is held or rests.
    pub(crate) fn idle(&self) -> bool {
        self.leased == 0 && self.cooling == 0
    }

    /// Takes in a block of one address.
    fn count(&mut self, ledger: &Ledger, block: &Block, observed: &Observed, now: &Now) {
        let ip = block.net.addr();
        let held = block.state == BlockState::Held;
        match ledger.uses.get(&ip) {
            Some(Use::Leased(_)) => self.leased += 1,
            Some(what @ Use::Cooling(_))
                if observed.reads.unasked(ip).is_some() || (held && !what.is_over(now)) =>
            {
                self.cooling += 1;
            }
            Some(Use::Cooling(_)) | None if held => self.free.push(ip),
            Some(Use::Cooling(_) | Use::Suspect(_)) | None => {}
        }
    }

    pub(crate) fn free_count(&self) -> u32 {
        u32::try_from(self.free.len()).unwrap_or(u32::MAX)
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

/// The targets for a card of this node.
pub(crate) fn targets(desired: &Desired<'_>) -> Targets {
    Targets { warm: desired.config.warm.value, per_eni: desired.per_eni().unwrap_or(0) }
}

/// Whether the ENI is, or is to be, part of the pool.
fn carries(eni: &EniRecord, key: PoolKey) -> bool {
    eni.management == Management::Managed
        && matches!(eni.kind, EniKind::Standard | EniKind::Efa)
        && matches!(eni.phase, EniPhase::Available | EniPhase::Attached { .. })
        && eni.slot().is_some_and(|slot| slot.card == key.card)
}

/// Whether the pool takes its addresses from this block. Delegated prefixes take up room and are not leased from.
pub(crate) fn gives(block: &Block, key: PoolKey) -> bool {
    block.is_host() && Family::of(block.net.addr()) == key.family
}

#[cfg(test)]
mod tests;
