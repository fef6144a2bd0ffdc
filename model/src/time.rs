//! Instants as plain numbers, handed in by whoever owns a clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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

impl fmt::Display for WallTime {
    /// As RFC 3339 says, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0) * 1_000_000;
        let told =
            OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().and_then(|at| at.format(&Rfc3339).ok());
        // `None` past the year 9999.
        match told {
            Some(told) => f.write_str(&told),
            None => write!(f, "{} ms after 1970", self.0),
        }
    }
}

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

impl Now {
    /// What the wall clock shows, or showed, at an instant of this boot, for people.
    pub fn wall_at(&self, at: BootTime) -> WallTime {
        let boot = self.wall.0.saturating_sub(self.boottime.0);
        WallTime(boot.saturating_add(at.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_times_are_told_by_rfc3339() {
        // Oracle: `date -u -d @N +%FT%TZ`.
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_767_225_599_250, "2025-12-31T23:59:59.25Z"),
            (u64::MAX, "18446744073709551615 ms after 1970"),
        ] {
            assert_eq!(WallTime(millis).to_string(), text);
        }
    }

    #[test]
    fn an_instant_of_this_boot_is_told_by_the_wall_clock_of_today() {
        let now = Now { boot: BootId::new("b"), boottime: BootTime(5_000), wall: WallTime(100_000) };
        assert_eq!(now.wall_at(BootTime(2_000)), WallTime(97_000));
        assert_eq!(now.wall_at(BootTime(7_000)), WallTime(102_000));
    }
}
