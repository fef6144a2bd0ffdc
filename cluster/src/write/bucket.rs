//! How often something may be sent.

use std::time::Duration;

use holdfast_model::time::BootTime;

/// A token bucket: so many at once, and one more each interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) interval: Duration,
}

/// The bucket, kept as the instant at which it is full again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full: BootTime,
}

impl Bucket {
    /// When one may be taken: now, or later.
    pub(super) fn ready(self, rate: Rate, now: BootTime) -> BootTime {
        let room = rate.interval.saturating_mul(rate.burst.saturating_sub(1));
        let ready = self.full.0.saturating_sub(u64::try_from(room.as_millis()).unwrap_or(u64::MAX));
        BootTime(ready.max(now.0))
    }

    /// Takes one.
    pub(super) fn take(&mut self, rate: Rate, now: BootTime) {
        self.full = self.full.max(now).after(rate.interval);
    }

    /// Gives one back: what it was taken for was not done.
    pub(super) fn give_back(&mut self, rate: Rate) {
        let interval = u64::try_from(rate.interval.as_millis()).unwrap_or(u64::MAX);
        self.full = BootTime(self.full.0.saturating_sub(interval));
    }

    /// Whether it is full, and so not worth keeping.
    pub(super) fn is_full(self, now: BootTime) -> bool {
        self.full <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let rate = Rate { burst: 3, interval: Duration::from_secs(10) };
        let mut bucket = Bucket::default();
        let start = BootTime(1_000_000);
        for _ in 0..3 {
            assert_eq!(bucket.ready(rate, start), start);
            bucket.take(rate, start);
        }
        assert_eq!(bucket.ready(rate, start), BootTime(1_010_000));
        bucket.take(rate, BootTime(1_010_000));
        assert_eq!(bucket.ready(rate, BootTime(1_010_000)), BootTime(1_020_000));
        let rested = BootTime(1_200_000);
        assert!(bucket.is_full(rested) && !bucket.is_full(BootTime(1_010_000)));
        for _ in 0..3 {
            assert_eq!(bucket.ready(rate, rested), rested);
            bucket.take(rate, rested);
        }
        assert!(bucket.ready(rate, rested) > rested, "no more than the burst was saved up");
        bucket.give_back(rate);
        assert_eq!(bucket.ready(rate, rested), rested);
    }
}
