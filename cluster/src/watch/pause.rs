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

    /// How long to wait now, given random bits. Not less than a busy server has asked for, but for who asks for more than half a
    /// minute: the server itself asks for seconds, and something in between that asks for hours would be obeyed long after it
    /// is gone.
    pub fn next(&self, random: u128) -> Duration {
        if self.failures == 0 {
            return Duration::ZERO;
        }
        let doubled = FIRST.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST);
        let half = doubled / 2;
        let chance = u64::try_from(random % (half.as_millis() + 1)).unwrap_or(0);
        self.asked.unwrap_or_default().min(LONGEST).max(half) + Duration::from_millis(chance)
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
        let busy = |seconds| Cause::Busy { retry_after: Some(Duration::from_secs(seconds)) };
        pauses.failed(&busy(20));
        assert!((20_000..=20_400).contains(&pauses.next(u128::MAX).as_millis()));
        pauses.failed(&Cause::Broken(String::new()));
        assert!(pauses.next(0) < Duration::from_secs(20), "the next failure asks for nothing");
        for _ in 0..20 {
            pauses.failed(&busy(1));
        }
        assert!(
            pauses.next(0) >= Duration::from_secs(15),
            "one that asks for little time and again is not asked more often"
        );
    }

    #[test]
    fn nobody_is_obeyed_for_longer_than_half_a_minute() {
        for seconds in [31, 3600, u64::MAX] {
            let mut pauses = Pauses::default();
            for _ in 0..20 {
                pauses.failed(&Cause::Busy { retry_after: Some(Duration::from_secs(seconds)) });
                let pause = pauses.next(u128::MAX);
                assert!((LONGEST..=LONGEST * 3 / 2).contains(&pause), "{seconds}: {pause:?}");
            }
        }
    }
}
