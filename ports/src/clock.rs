//! Time and randomness, for those who may not take them themselves.

use holdfast_model::time::Now;

/// A clock and a source of randomness. Both are simulated in tests.
pub trait Clock: Send + Sync + 'static {
    /// What the clock shows.
    fn now(&self) -> Now;

    /// Random bits: for ids, MACs and jitter, never for secrets.
    fn random(&self) -> u128;
}
