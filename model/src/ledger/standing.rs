//! What an address is doing, its block and its use taken together.

use std::net::IpAddr;

use crate::block::BlockState;
use crate::ids::IntentId;
use crate::ledger::Ledger;
use crate::sandbox::SandboxKey;
use crate::time::{BootTime, Now};
use crate::uses::{Cooldown, Suspicion, Use};

/// What an address is doing: exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Not in the ledger.
    Unknown,
    /// EC2 has it for us, and nobody uses it.
    Free,
    /// Held by a sandbox.
    Leased(&'a SandboxKey),
    /// Freed; it may have rested long enough.
    Cooling(&'a Cooldown),
    /// Perhaps used by somebody that the ledger does not know.
    Suspect(Suspicion),
    /// About to be unassigned, or being so.
    Leaving(IntentId),
    /// Unassigned.
    Gone(BootTime),
}

impl Ledger {
    /// What an address is doing.
    pub fn standing(&self, ip: IpAddr) -> Standing<'_> {
        match self.uses.get(&ip) {
            Some(Use::Leased(sandbox)) => return Standing::Leased(sandbox),
            Some(Use::Suspect(reason)) => return Standing::Suspect(*reason),
            Some(Use::Cooling(rest)) => return Standing::Cooling(rest),
            None => {}
        }
        match self.block_of(ip).map(|block| &block.state) {
            None => Standing::Unknown,
            Some(BlockState::Held | BlockState::Withdrawn) => Standing::Free,
            Some(BlockState::Leaving(intent)) => Standing::Leaving(*intent),
            Some(BlockState::Gone(at)) => Standing::Gone(*at),
        }
    }

    /// Whether EC2 has the address for us and nobody uses it, so that it may be leased at this instant, its ENI
    /// permitting.
    pub fn is_free(&self, ip: IpAddr, now: &Now) -> bool {
        self.is_held(ip) && self.uses.get(&ip).is_none_or(|what| what.is_over(now))
    }

    /// Whether EC2 has the address on an ENI of ours, and we have not asked to have it taken away.
    pub fn is_held(&self, ip: IpAddr) -> bool {
        self.block_of(ip).is_some_and(|block| block.state == BlockState::Held)
    }
}
