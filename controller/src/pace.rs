//! How often something is restored that somebody else keeps changing.

use std::time::Duration;

use holdfast_model::time::BootTime;

/// So many at once: people and installers change one field after the other, and each is restored as soon as it is seen.
const AT_ONCE: u32 = 20;
/// And then one each interval: who keeps changing a field is most likely a program, which is not to be outrun.
const INTERVAL: Duration = Duration::from_secs(30);

/// A token bucket, kept as the instant at which it is full again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    full: BootTime,
}

impl Pace {
    /// When the next write may go: now, or later.
    pub fn ready(self, now: BootTime) -> BootTime {
        let room = INTERVAL.saturating_mul(AT_ONCE - 1);
        let room = u64::try_from(room.as_millis()).unwrap_or(u64::MAX);
        BootTime(self.full.0.saturating_sub(room)).max(now)
    }

    /// One goes.
    pub fn take(&mut self, now: BootTime) {
        self.full = self.full.max(now).after(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_costs_a_write_each_interval() {
        let mut pace = Pace::default();
        let start = BootTime(10_000_000);
        for _ in 0..AT_ONCE {
            assert_eq!(pace.ready(start), start);
            pace.take(start);
        }
        assert_eq!(pace.ready(start), start.after(INTERVAL));
        let rested = start.after(INTERVAL * 1000);
        assert_eq!(pace.ready(rested), rested);
    }
}
