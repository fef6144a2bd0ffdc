//! The kernel's clocks, and randomness.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use holdfast_model::ids::BootId;
use holdfast_model::time::{BootTime, Now, WallTime};
use holdfast_ports::Clock;
use nix::time::{ClockId, clock_gettime};
use uuid::Uuid;

/// The real clock. The boot id does not change while a process lives, so it is read once.
#[derive(Debug)]
pub(crate) struct KernelClock {
    boot: BootId,
}

impl KernelClock {
    /// Reads the boot id.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let path = "/proc/sys/kernel/random/boot_id";
        let text =
            fs::read_to_string(path).with_context(|| format!("reading the kernel's boot id from {path}"))?;
        Ok(Self { boot: BootId::new(text.trim()) })
    }
}

/// The wall clock.
pub(crate) fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Clock for KernelClock {
    fn now(&self) -> Now {
        let boottime = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
            // Both are never negative for this clock.
            u64::try_from(time.tv_sec()).unwrap_or(0) * 1000
                + u64::try_from(time.tv_nsec()).unwrap_or(0) / 1_000_000
        });
        Now { boot: self.boot.clone(), boottime: BootTime(boottime), wall: wall() }
    }

    fn elapsed(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
    }

    fn random(&self) -> u128 {
        Uuid::new_v4().as_u128()
    }
}
