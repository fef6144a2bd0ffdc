//! The pool as the ledger shows it, ENI by ENI.

use holdfast_model::address::{AddressRecord, AddressState};
use holdfast_model::cloud::CloudChange;
use holdfast_model::eni::{EniKind, EniPhase, EniRecord, Management};
use holdfast_model::ledger::Ledger;
use holdfast_model::time::Now;

use crate::desired::Desired;
use crate::observed::Observed;
use crate::targets::{Level, Targets};

/// One ENI's share.
pub(crate) struct EniPool<'a> {
    pub(crate) eni: &'a EniRecord,
    pub(crate) leased: u32,
    /// Free ones, in order.
    pub(crate) free: Vec<&'a AddressRecord>,
    pub(crate) cooling: u32,
    /// Room that nothing takes or is going to take.
    pub(crate) room: u32,
}

/// All ENIs that carry pods or are about to, by slot.
pub(crate) struct Pool<'a> {
    pub(crate) enis: Vec<EniPool<'a>>,
    pub(crate) level: Level,
    /// Addresses that are asked for, or on ENIs that are not attached yet.
    pub(crate) on_the_way: u32,
}

impl<'a> Pool<'a> {
    pub(crate) fn of(desired: &Desired<'_>, ledger: &'a Ledger, observed: &Observed, now: &Now) -> Self {
        let per_eni = desired.limits.pod_addresses_per_eni();
        let mut level = Level { waiting: observed.waiting, ..Level::default() };
        let mut on_the_way = 0;
        for intent in ledger.intents.values() {
            if let CloudChange::CreateEni { secondary_addresses, .. } = &intent.change {
                on_the_way += secondary_addresses;
            }
        }
        level.free += on_the_way;
        let mut enis: Vec<EniPool<'a>> = Vec::new();
        for eni in ledger.enis.values().filter(|eni| carries(eni)) {
            let mut share = EniPool { eni, leased: 0, free: Vec::new(), cooling: 0, room: 0 };
            let mut occupied = 0;
            for address in ledger.addresses_on(&eni.id) {
                occupied += u32::from(address.occupies());
                match &address.state {
                    AddressState::Leased => share.leased += 1,
                    AddressState::Cooling(_) if observed.found.contains_key(&address.ip) => {
                        share.cooling += 1;
                    }
                    _ if address.is_free(now) => share.free.push(address),
                    AddressState::Cooling(_) if address.assigned => share.cooling += 1,
                    _ => {}
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
            if observed.keeps_failing(&eni.id) {
                // Its addresses are out of reach, and what it would be given too: others make up for it.
                level.cooling += share.cooling;
                enis.push(share);
                continue;
            }
            share.room = per_eni.saturating_sub(occupied + asked);
            let free = u32::try_from(share.free.len()).unwrap_or(u32::MAX);
            level.free += free + asked;
            level.cooling += share.cooling;
            on_the_way += asked;
            if eni.phase == EniPhase::Available || !observed.ready_enis.contains(&eni.id) {
                on_the_way += free;
            }
            enis.push(share);
        }
        enis.sort_by_key(|share| share.eni.slot);
        Self { enis, level, on_the_way }
    }
}

impl EniPool<'_> {
    /// Nothing on it is held or rests.
    pub(crate) fn idle(&self) -> bool {
        self.leased == 0 && self.cooling == 0
    }

    pub(crate) fn free_count(&self) -> u32 {
        u32::try_from(self.free.len()).unwrap_or(u32::MAX)
    }
}

/// The targets for a card of this node.
pub(crate) fn targets(desired: &Desired<'_>) -> Targets {
    Targets { warm: desired.config.warm.value, per_eni: desired.limits.pod_addresses_per_eni() }
}

/// Whether the ENI is, or is to be, part of the pool.
fn carries(eni: &EniRecord) -> bool {
    eni.management == Management::Managed
        && matches!(eni.kind, EniKind::Standard | EniKind::Efa)
        && matches!(eni.phase, EniPhase::Available | EniPhase::Attached { .. })
}
