//! Uses: what we do with the addresses of [blocks](crate::block). An address without a use is free.
//!
//! ```text
//!            ADD               DEL, kernel state gone             rest over
//!   (free) ───────> Leased ──────────────────────────> Cooling ─────────────> (free)
//!      └─────────> Suspect ──── no trace of it any more ──^
//! ```
//!
//! A use is not tied to the block that its address came with: a rest is owed in full, wherever EC2 has the address in
//! the meantime.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::BootId;
use crate::sandbox::SandboxKey;
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

/// What an address is used for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Use {
    /// Held by the lease of this sandbox.
    Leased(SandboxKey),
    /// Freed, resting. It is free again the moment the rest is over; no write marks that moment.
    Cooling(Cooldown),
    /// Not ours to give: the reason says why.
    Suspect(Suspicion),
}

/// Why an address may not be leased although EC2 shows it on our ENI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Suspicion {
    /// Found with traces in the kernel that no lease of ours explains, so it may be in use.
    MaybeInUse,
    /// The ledger was lost and rebuilt, and nothing yet proves that no sandbox uses it.
    LedgerRebuilt,
}

impl Use {
    /// Whether the address may be leased at this instant, as far as its use goes.
    pub fn is_over(&self, now: &Now) -> bool {
        matches!(self, Self::Cooling(rest) if rest.remaining(now).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::WallTime;

    /// A clock that began anew counts from nothing; what needs no rest needs none in any boot.
    #[test]
    fn a_rest_ends_after_its_period_of_this_boot() {
        let now = Now { boot: BootId::new("b"), boottime: BootTime(20_000), wall: WallTime(0) };
        let seconds = Duration::from_secs;
        for (boot, since, period_ms, left) in [
            ("b", 10_000, 30_000, Some(seconds(20))),
            ("b", 10_000, 10_001, Some(Duration::from_millis(1))),
            ("b", 10_000, 10_000, None),
            ("b", 10_000, 1000, None),
            ("before", 10_000, 30_000, Some(seconds(30))),
            ("before", 10_000, 0, None),
        ] {
            let rest = Cooldown { boot: BootId::new(boot), since: BootTime(since), period_ms };
            assert_eq!(rest.remaining(&now), left, "{rest:?}");
            assert_eq!(Use::Cooling(rest).is_over(&now), left.is_none());
        }
    }
}
