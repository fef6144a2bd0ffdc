//! How long to wait before the next try.

use std::time::Duration;

use crate::fault::Cause;

const FIRST: Duration = Duration::from_millis(800);
const LONGEST: Duration = Duration::from_secs(30);

/// Failures since the last success, and the pause that they ask for: each time twice as long, up to half a minute, half of it by
/// chance, so that the nodes of a cluster do not come back all at once to a server that has just come back itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    failures: u32,
    asked: Option<Duration>,
}

impl Pauses {
    /// Something came.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A try failed.
    pub fn failed(&mut self, cause: &Cause) {
        self.failures = self.failures.saturating_add(1);
        self.asked = match cause {
            Cause::Busy { retry_after } => *retry_after,
            _ => None,
        };
    }

    /// How many tries have failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long to wait now, given random bits. Never less than a busy server has asked for.
    pub fn next(&self, random: u128) -> Duration {
        if self.failures == 0 {
            return Duration::ZERO;
        }
        let doubled = FIRST.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST);
        let half = doubled / 2;
        let chance = u64::try_from(random % (half.as_millis() + 1)).unwrap_or(0);
        self.asked.unwrap_or_default() + half + Duration::from_millis(chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end_with_a_success() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.next(7), Duration::ZERO);
        let cause = Cause::Broken(String::new());
        for (least, most) in [
            (400, 800),
            (800, 1600),
            (1600, 3200),
            (3200, 6400),
            (6400, 12800),
            (12800, 25600),
            (15000, 30000),
            (15000, 30000),
        ] {
            pauses.failed(&cause);
            for random in [0, 1, 12_345, u128::MAX] {
                let pause = pauses.next(random).as_millis();
                assert!((least..=most).contains(&pause), "{pause} of {least}..={most}");
            }
        }
        for _ in 0..100 {
            pauses.failed(&cause);
        }
        assert!(pauses.next(u128::MAX) <= LONGEST);
        pauses.succeeded();
        assert_eq!(pauses.next(7), Duration::ZERO);
    }

    #[test]
    fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
        let mut pauses = Pauses::default();
        pauses.failed(&Cause::Busy { retry_after: Some(Duration::from_secs(60)) });
        assert!(pauses.next(0) > Duration::from_secs(60));
        pauses.failed(&Cause::Broken(String::new()));
        assert!(pauses.next(0) < Duration::from_secs(60), "the next failure asks for nothing");
    }
}
