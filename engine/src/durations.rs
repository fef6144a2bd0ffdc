//! How long things took, as a histogram: for whoever watches a node, never for a decision.

use std::time::Duration;

/// Upper bounds. An ADD from the pool takes milliseconds; one that waits for an ENI, tens of seconds; none is held for longer
/// than a runtime's patience of minutes.
const BOUNDS: [Duration; 16] = [
    Duration::from_micros(1_000),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
];

/// How often something took how long, since the process began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// By bound; those above the last one are in the count only.
    within: [u64; BOUNDS.len()],
    count: u64,
    sum: Duration,
}

impl Durations {
    /// It took this long once more.
    pub fn note(&mut self, took: Duration) {
        if let Some(slot) = BOUNDS.iter().position(|bound| took <= *bound) {
            self.within[slot] += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// How often.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of it together.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// For each bound how often it took that long or less.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        BOUNDS.iter().zip(&self.within).scan(0, |so_far, (bound, within)| {
            *so_far += within;
            Some((*bound, *so_far))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_the_first_bound_that_it_does_not_exceed_and_in_all_above() {
        let mut took = Durations::default();
        for millis in [1, 2, 120_000, 120_001] {
            took.note(Duration::from_millis(millis));
        }
        let of = |millis| {
            let bound = Duration::from_millis(millis);
            took.cumulative().find(|(known, _)| *known == bound).map(|(_, count)| count)
        };
        assert_eq!((of(1), of(5), of(60_000), of(120_000)), (Some(1), Some(2), Some(2), Some(3)));
        assert_eq!((took.count(), took.sum()), (4, Duration::from_millis(240_004)));
        assert!(BOUNDS.windows(2).all(|pair| pair[0] < pair[1]), "in order");
    }
}
