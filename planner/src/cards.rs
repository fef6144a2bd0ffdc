//! Which network cards pods get addresses on.
//!
//! The first one, and with `ENABLE_MULTI_NIC` every one that carries an IP network or may be given one: a card with nothing
//! but EFA-only ENIs is its owner's.

use std::collections::BTreeSet;

use holdfast_model::eni::{EniKind, EniPhase, EniRecord, Management};
use holdfast_model::ledger::Ledger;
use holdfast_model::pool::{Family, PoolKey};

use crate::desired::Desired;

#[cfg(test)]
mod tests;

/// The cards that pods get addresses on, in order. `None`: what the instance's type carries is not known yet, and more than the
/// first are wanted.
pub fn managed_cards(desired: &Desired<'_>, ledger: &Ledger) -> Option<Vec<u8>> {
    // IPv6 pods are all behind the primary.
    if !desired.config.multi_nic.value || desired.family() == Family::V6 {
        return Some(vec![PoolKey::DEFAULT.card]);
    }
    let limits = desired.limits.as_ref()?;
    Some(limits.cards().filter(|card| *card == PoolKey::DEFAULT.card || !is_fabric(ledger, *card)).collect())
}

/// Whether a card is used for EFA without IP and for nothing else.
fn is_fabric(ledger: &Ledger, card: u8) -> bool {
    let there = || ledger.enis.values().filter(move |eni| is_on(eni, card));
    let carries_ip = |eni: &EniRecord| eni.management == Management::Managed && eni.kind != EniKind::EfaOnly;
    there().any(|eni| eni.kind == EniKind::EfaOnly) && !there().any(carries_ip)
}

fn is_on(eni: &EniRecord, card: u8) -> bool {
    eni.holds_slot() && eni.slot().is_some_and(|slot| slot.card == card)
}

/// A pool, and whether pods are served from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) key: PoolKey,
    /// Not wanted any more: what is there goes as its pods go.
    pub(crate) retires: bool,
}

/// All pools that a plan has to do with, in order of their cards: those of managed cards, and those of cards of which an ENI of ours is
/// left, attached or not.
pub(crate) fn pools(desired: &Desired<'_>, ledger: &Ledger) -> Vec<Wanted> {
    let managed = managed_cards(desired, ledger);
    let left = ledger
        .enis
        .values()
        .filter(|eni| eni.management != Management::Unmanaged && eni.phase != EniPhase::Gone)
        .filter_map(|eni| Some(eni.slot()?.card));
    let named = managed.iter().flatten().copied();
    let cards: BTreeSet<u8> = [PoolKey::DEFAULT.card].into_iter().chain(named).chain(left).collect();
    let retires = |card| managed.as_ref().is_some_and(|managed| !managed.contains(&card));
    cards.into_iter().map(|card| Wanted { key: desired.pool_on(card), retires: retires(card) }).collect()
}
