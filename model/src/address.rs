//! Addresses as the ledger keeps them: each on one ENI, each in exactly one state.
//!
//! ```text
//!             EC2 shows it                ADD               DEL, kernel state gone
//!   (unknown) ───────────> Free ───────────────> Leased ──────────────────────────> Cooling
//!                            ^  <──────────────────── period over ─────────────────────┘
//!                            │ UnassignAddresses intent
//!                            v
//!                         Departing ──answer──> Gone ──memory over──> (forgotten)
//! ```

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{BootId, EniId, IntentId};
use crate::time::{BootTime, Now};

/// A rest that a freed address takes before it is used again.
///
/// Counted in boot time. A record from another boot counts as not begun: the rest may get longer that way,
/// never shorter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cooldown {
    /// The boot that `since` counts from.
    pub boot: BootId,
    /// When the address was freed.
    pub since: BootTime,
    /// How long it rests, in milliseconds.
    pub period_ms: u64,
}

impl Cooldown {
    /// How much is left; `None` when it is over.
    pub fn remaining(&self, now: &Now) -> Option<Duration> {
        let period = Duration::from_millis(self.period_ms);
        if self.boot != now.boot {
            return (!period.is_zero()).then_some(period);
        }
        period.checked_sub(now.boottime.since(self.since)).filter(|left| !left.is_zero())
    }
}

/// What an address is doing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AddressState {
    /// Shown by EC2 and used by nobody.
    Free,
    /// Held by exactly one lease.
    Leased,
    /// Freed, resting. It is free again the moment the rest is over; no write marks that moment.
    Cooling(Cooldown),
    /// On our ENI, and not ours to give: the reason says why.
    Quarantined(QuarantineReason),
    /// Named by an open intent to unassign it. It never comes back from here by our own doing.
    Departing(IntentId),
    /// Unassigned. Kept for a while because describes lag: a late view must not bring it back.
    Gone(BootTime),
}

/// Why an address may not be leased although EC2 shows it on our ENI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QuarantineReason {
    /// Found with traces in the kernel that no lease of ours explains, so it may be in use.
    MaybeInUse,
    /// The ledger was lost and rebuilt, and nothing yet proves that no sandbox uses it.
    LedgerRebuilt,
}

/// One address on one ENI, the ENI's primary address excepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRecord {
    /// The address.
    pub ip: IpAddr,
    /// The ENI it is assigned to.
    pub eni: EniId,
    /// What it is doing.
    pub state: AddressState,
    /// False when an authoritative read no longer showed an address that a live sandbox holds: somebody took
    /// it away in EC2. Such an address is never leased again; it leaves the ledger with its lease.
    pub assigned: bool,
}

impl AddressRecord {
    /// Whether it may be leased at this instant, its ENI permitting.
    pub fn is_free(&self, now: &Now) -> bool {
        self.assigned
            && match &self.state {
                AddressState::Free => true,
                AddressState::Cooling(cooldown) => cooldown.remaining(now).is_none(),
                AddressState::Leased
                | AddressState::Quarantined(_)
                | AddressState::Departing(_)
                | AddressState::Gone(_) => false,
            }
    }

    /// Whether EC2 has it on the ENI, as far as we know, so that it counts against the ENI's limit.
    pub fn occupies(&self) -> bool {
        !matches!(self.state, AddressState::Gone(_))
    }
}
