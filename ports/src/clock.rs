//! Time and randomness, for those who may not take them themselves.

use std::time::Duration;

use holdfast_model::time::Now;

/// A clock and a source of randomness. Both are simulated in tests.
pub trait Clock: Send + Sync + 'static {
    /// What the clock shows.
    fn now(&self) -> Now;

    /// The time since the boot, as finely as the clock tells it: for measuring, nothing is decided by it.
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now().boottime.0)
    }

    /// Random bits: for ids, MACs and jitter, never for secrets.
    fn random(&self) -> u128;
}
