//! What has happened since the process began, counted: each kind in the one place that all of it passes through.

use std::collections::BTreeMap;

use holdfast_model::block::BlockState;
use holdfast_model::eni::Management;
use holdfast_model::host::HostAction;
use holdfast_model::ledger::{Change, Ledger};

use crate::durations::Durations;

#[cfg(test)]
mod tests;

/// All that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// What reads of EC2 showed otherwise than the ledger had it.
    pub found: Found,
    /// What was put right in the kernel.
    pub repairs: BTreeMap<Repair, u64>,
    /// Rounds of repairs of which something failed. What else was put right in such a round is in no count.
    pub failed_repairs: u64,
    /// Set-ups of ENIs that failed although the link was there.
    pub failed_set_ups: u64,
    /// Transactions that the disk has taken, submissions that were ready at the same time being one.
    pub commits: u64,
    /// Times that the disk began to refuse.
    pub failed_commits: u64,
    /// What ADDs spent their time on.
    pub adds: AddPhases,
}

/// How long the phases of ADDs took. One that failed counts in those that it got through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddPhases {
    /// From the request to the choice of an address: the wait for one, and for an older attachment of the same sandbox.
    pub wait: Durations,
    /// Until the lease was durable.
    pub commit: Durations,
    /// Until the pod was wired and read back.
    pub wire: Durations,
}

/// Differences between the ledger and what EC2 showed, by which the ledger was put right. What our own calls bring is none of
/// them, nor is what a node finds that knew nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// ENIs that others attached.
    pub enis_added: u64,
    /// ENIs that are gone.
    pub enis_gone: u64,
    /// Addresses and prefixes that others assigned.
    pub blocks_added: u64,
    /// Addresses and prefixes that are gone.
    pub blocks_gone: u64,
    /// Of the ENIs that are gone, those with pods.
    pub enis_taken: u64,
    /// Of the addresses that are gone, those of pods.
    pub addresses_taken: u64,
}

impl Found {
    /// A read was taken into the ledger by these changes.
    pub(crate) fn note(&mut self, before: &Ledger, changes: &[Change]) {
        if before.enis.is_empty() {
            return;
        }
        let (mut enis, mut blocks) = (BTreeMap::new(), BTreeMap::new());
        // Of several changes of one record the last counts.
        for change in changes {
            match change {
                Change::PutEni(eni) => drop(enis.insert(&eni.id, Some(eni))),
                Change::DropEni(id) => drop(enis.insert(id, None)),
                Change::PutBlock(block) => drop(blocks.insert(block.net, Some(block.state))),
                Change::DropBlock(net) => drop(blocks.insert(*net, None)),
                _ => {}
            }
        }
        for (id, now) in enis {
            let was = before.enis.get(id).filter(|eni| eni.holds_slot());
            let now = now.filter(|eni| eni.holds_slot());
            let closed = |management| management == Management::Excluded;
            let pods = before.leases_on(id).next().is_some();
            match (was, now) {
                (None, Some(_)) => self.enis_added += 1,
                (Some(_), None) => self.enis_gone += 1,
                // It is kept for the sake of its pods.
                (Some(was), Some(now)) if closed(now.management) && !closed(was.management) && pods => {
                    self.enis_gone += 1;
                    self.enis_taken += 1;
                }
                _ => {}
            }
        }
        let is_there = |state: &BlockState| matches!(state, BlockState::Held | BlockState::Leaving(_));
        for (net, now) in blocks {
            let was = before.blocks.get(&net).map(|block| block.state).filter(is_there);
            match (was, now) {
                (None, Some(BlockState::Held)) => self.blocks_added += 1,
                (Some(_), Some(BlockState::Withdrawn)) => {
                    self.blocks_gone += 1;
                    self.addresses_taken += 1;
                }
                (Some(_), None | Some(BlockState::Gone(_))) => self.blocks_gone += 1,
                _ => {}
            }
        }
    }
}

/// What kind of thing was put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repair {
    /// IPv4 forwarding.
    Forwarding,
    /// An ENI's link, addresses, routes or rule.
    Eni,
    /// The host's side of a pod's wiring.
    Pod,
    /// A pod's link that was gone.
    PodLink,
    /// A rule that is nobody's in particular.
    Rule,
    /// A rule of ours that was left over.
    LeftRule,
    /// A route of ours that was left over.
    LeftRoute,
    /// The NAT table, which is written at the first start as well.
    Nat,
}

impl Repair {
    /// Each of them.
    pub const ALL: [Self; 8] = [
        Self::Forwarding,
        Self::Eni,
        Self::Pod,
        Self::PodLink,
        Self::Rule,
        Self::LeftRule,
        Self::LeftRoute,
        Self::Nat,
    ];

    pub(crate) fn of(action: &HostAction) -> Self {
        match action {
            HostAction::EnableForwarding => Self::Forwarding,
            HostAction::EnsureEni(_) => Self::Eni,
            HostAction::EnsurePod(_) => Self::Pod,
            HostAction::EnsureRule(_) => Self::Rule,
            HostAction::RemoveRule(_) => Self::LeftRule,
            HostAction::RemoveRoute(_) => Self::LeftRoute,
            HostAction::ReplaceNat(_) | HostAction::RemoveNat => Self::Nat,
        }
    }
}

impl Tally {
    /// These were put right.
    pub(crate) fn repaired(&mut self, repairs: impl IntoIterator<Item = Repair>) {
        for repair in repairs {
            *self.repairs.entry(repair).or_default() += 1;
        }
    }
}
