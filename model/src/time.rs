//! Instants as plain numbers, handed in by whoever owns a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::BootId;

/// Milliseconds since boot, suspended time included (`CLOCK_BOOTTIME`). It never jumps, and it means something
/// only together with the [`BootId`] it was read under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootTime(pub u64);

impl BootTime {
    /// The instant `by` later.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Milliseconds since the Unix epoch. For people and for records only: nothing is decided by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(pub u64);

/// What a clock shows at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// The boot that [`Now::boottime`] counts from.
    pub boot: BootId,
    /// Time since that boot.
    pub boottime: BootTime,
    /// The wall clock, for records.
    pub wall: WallTime,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
