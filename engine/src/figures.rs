//! The node's state in numbers, for whoever watches it: counts only, nothing of the ledger is copied.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::block::{Block, BlockState, Unit};
use holdfast_model::cloud::Api;
use holdfast_model::eni::{EniRecord, Management};
use holdfast_model::host::NatSeen;
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::time::Now;
use holdfast_model::uses::Use;
use holdfast_planner::BudgetLevel;
use ipnet::IpNet;

use crate::ready::Status;
use crate::tally::Tally;

#[cfg(test)]
mod tests;

/// What there is to count of a node at one instant. What is not known is not there.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Would an ADD work now?
    pub status: Status,
    /// How long this process took from its engine's begin until pods could be served; `None`: not yet.
    pub served_after: Option<Duration>,
    /// What the node's type can carry.
    pub limits: Option<InstanceLimits>,
    /// In what the pool is given its addresses.
    pub unit: Unit,
    /// ENIs that are attached.
    pub enis: Vec<EniFigures>,
    /// For each block that EC2 has on an ENI of ours how many of its addresses are leased.
    pub leased_by_block: Vec<(IpNet, u32)>,
    /// ADDs that wait.
    pub waiting: u32,
    /// How long the one that came first has waited; `None`: none waits.
    pub longest_wait: Option<Duration>,
    /// Changes of EC2 that are meant to be made and of which it is not known that they were, by action.
    pub intents: BTreeMap<Api, u32>,
    /// Reads of EC2 that are not answered yet.
    pub reads: u32,
    /// What is left of this node's share of EC2's rates, by action.
    pub budget: BTreeMap<Api, BudgetLevel>,
    /// Setbacks for which calls rest just now, by action.
    pub pauses: BTreeMap<Api, u32>,
    /// Pods that were answered for and that nothing reaches.
    pub cut_off: u32,
    /// Invariants that the ledger breaks. Anything above zero is a defect.
    pub violations: u32,
    /// Whether the disk takes what it is given.
    pub ledger_writable: bool,
    /// What the last look at the NAT table showed; `None`: there is to be none.
    pub nat: Option<NatSeen>,
    /// What has happened since the process began.
    pub tally: Tally,
}

/// Addresses of a delegated IPv6 prefix, a /80.
const IPV6_PREFIX: u64 = 1 << 48;

/// One attached ENI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EniFigures {
    /// Which.
    pub id: EniId,
    /// Whose it is.
    pub management: Management,
    /// What each of its addresses is doing, those of nobody's ENI excepted: exactly one thing, so that together they are all
    /// that EC2 has on it.
    pub addresses: BTreeMap<AddressState, u64>,
    /// Delegated prefixes that EC2 has on it, whose addresses are among those.
    pub prefixes: u32,
}

/// What an address is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressState {
    /// The ENI's own.
    Primary,
    /// Can be leased at this instant.
    Free,
    /// Nobody uses it, and it cannot be leased yet or any more: its ENI is not set up, is being given back or is closed, or
    /// EC2 has to show it once more.
    Unready,
    /// A pod's.
    Leased,
    /// Freed, resting.
    Cooling,
    /// Perhaps used by somebody that the ledger does not know.
    Quarantined,
    /// A pod's, although EC2 has taken it away.
    Withdrawn,
    /// Being given back.
    Leaving,
}

impl AddressState {
    /// Each of them.
    pub const ALL: [Self; 8] = [
        Self::Primary,
        Self::Free,
        Self::Unready,
        Self::Leased,
        Self::Cooling,
        Self::Quarantined,
        Self::Withdrawn,
        Self::Leaving,
    ];

    /// Of an address of this block; `None`: EC2 has it no longer, or it was never used and left with its block.
    fn of(ip: IpAddr, block: &Block, ledger: &Ledger, free: &BTreeSet<IpAddr>, now: &Now) -> Option<Self> {
        let what = ledger.uses.get(&ip);
        match block.state {
            BlockState::Leaving(_) => return Some(Self::Leaving),
            BlockState::Withdrawn if block.is_host() || what.is_some() => return Some(Self::Withdrawn),
            BlockState::Gone(_) | BlockState::Withdrawn => return None,
            BlockState::Held => {}
        }
        Some(match what {
            Some(Use::Leased(_)) => Self::Leased,
            Some(Use::Suspect(_)) => Self::Quarantined,
            Some(what @ Use::Cooling(_)) if !what.is_over(now) => Self::Cooling,
            Some(Use::Cooling(_)) | None if free.contains(&ip) => Self::Free,
            Some(Use::Cooling(_)) | None => Self::Unready,
        })
    }
}

impl EniFigures {
    pub(crate) fn of(eni: &EniRecord, ledger: &Ledger, free: &BTreeSet<IpAddr>, now: &Now) -> Self {
        let mut addresses: BTreeMap<_, u64> = BTreeMap::new();
        let mut prefixes = 0;
        if eni.management != Management::Unmanaged {
            addresses.extend(AddressState::ALL.map(|state| (state, 0)));
            addresses.insert(AddressState::Primary, u64::from(eni.primary_ipv4.is_some()));
            for block in ledger.blocks_on(&eni.id) {
                prefixes += u32::from(block.occupies() && block.unit() == Unit::Prefix);
                let of = |ip| AddressState::of(ip, block, ledger, free, now);
                let Some(whole) = block.whole() else {
                    for state in block.addresses().filter_map(of) {
                        *addresses.entry(state).or_default() += 1;
                    }
                    continue;
                };
                let named: Vec<IpAddr> =
                    ledger.uses_in(block.net).map(|(ip, _)| ip).filter(|ip| *ip != whole).collect();
                let unnamed = IPV6_PREFIX.saturating_sub(named.len() as u64);
                for state in named.into_iter().filter_map(of) {
                    *addresses.entry(state).or_default() += 1;
                }
                // What no use names is as the whole is: any of them that can be leased tells.
                let any = free.range(whole..).next().copied().filter(|ip| block.net.contains(ip));
                if let Some(state) = of(any.unwrap_or(whole)) {
                    *addresses.entry(state).or_default() += unnamed;
                }
            }
        }
        Self { id: eni.id.clone(), management: eni.management, addresses, prefixes }
    }

    /// How many of its addresses are doing this.
    pub fn count(&self, state: AddressState) -> u64 {
        self.addresses.get(&state).copied().unwrap_or(0)
    }
}

pub(crate) fn leased_in(block: &Block, ledger: &Ledger) -> u32 {
    let leased = ledger.uses_in(block.net).filter(|(_, what)| matches!(what, Use::Leased(_)));
    counted(leased.count())
}

pub(crate) fn counted(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
