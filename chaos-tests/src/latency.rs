//! How long things took: the median for how it is, the 99th percentile for how bad it gets.

use std::time::Duration;

use serde::Serialize;

/// Durations of one kind, in any order.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

/// What is told of them, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many there were.
    pub count: usize,
    /// Half of them took at most this long.
    pub median_us: u128,
    /// Of a hundred, 99 took at most this long (nearest rank; the longest, when there are few).
    pub p99_us: u128,
    /// The longest.
    pub max_us: u128,
}

impl Latencies {
    /// One more.
    pub fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// Those of another collection, too.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// What there is to tell; `None` of nothing.
    pub fn summary(&self) -> Option<Summary> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted.get(rank.saturating_sub(1)).map(Duration::as_micros)
        };
        Some(Summary {
            count: sorted.len(),
            median_us: rank(50)?,
            p99_us: rank(99)?,
            max_us: sorted.last()?.as_micros(),
        })
    }
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<T: IntoIterator<Item = Duration>>(durations: T) -> Self {
        Self(durations.into_iter().collect())
    }
}

/// Microseconds for people: `0.42 ms`, `12.3 ms`, `1.50 s`.
pub fn readable(us: u128) -> String {
    // Exact for anything shorter than a year.
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let ms = us as f64 / 1000.0;
    match ms {
        ..10.0 => format!("{ms:.2} ms"),
        ..1000.0 => format!("{ms:.1} ms"),
        _ => format!("{:.2} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest_ones() {
        let of = |numbers: std::ops::RangeInclusive<u64>| {
            numbers.rev().map(Duration::from_micros).collect::<Latencies>().summary()
        };
        assert_eq!(of(1..=200), Some(Summary { count: 200, median_us: 100, p99_us: 198, max_us: 200 }));
        assert_eq!(of(1..=3), Some(Summary { count: 3, median_us: 2, p99_us: 3, max_us: 3 }));
        assert_eq!(of(7..=7), Some(Summary { count: 1, median_us: 7, p99_us: 7, max_us: 7 }));
        assert_eq!(Latencies::default().summary(), None);
    }

    #[test]
    fn people_read_few_digits() {
        assert_eq!(readable(418), "0.42 ms");
        assert_eq!(readable(12_340), "12.3 ms");
        assert_eq!(readable(1_500_000), "1.50 s");
    }
}
