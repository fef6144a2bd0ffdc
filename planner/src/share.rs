//! Where in a span of time this process does what every node does.

use std::time::Duration;

/// Drawn once, so that a fleet whose daemons were started together does not call EC2 together, then or at any later round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(u16);

impl Share {
    /// From random bits.
    pub fn of(draw: u128) -> Self {
        Self((draw & 0xffff) as u16)
    }

    /// The part of this span: less than the whole.
    pub fn part(self, span: Duration) -> Duration {
        span.mul_f64(f64::from(self.0) / 65_536.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_less_than_the_whole_and_shares_differ_by_little() {
        let hour = Duration::from_secs(3600);
        assert_eq!(Share::default().part(hour), Duration::ZERO);
        assert_eq!(Share::of(0x8000).part(hour), hour / 2);
        assert_eq!(Share::of(0xf_8000).part(hour), hour / 2);
        let most = Share::of(u128::MAX).part(hour);
        assert!(most < hour && most > Duration::from_millis(3_599_940), "{most:?}");
    }
}
