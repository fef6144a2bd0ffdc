//! What ADDs have seen of demand, as a histogram that decays.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::warm::Quantile;

/// No more is counted apart: no instance carries as many addresses, so the histogram has an end.
pub(super) const LARGEST: u32 = 4096;
/// What one ADD weighs, when it comes.
const ONE: u64 = 1 << 20;
/// The weights are cut down that often.
const STEP: Duration = Duration::from_secs(3600);
/// To this part: to half in a day, as the Vertical Pod Autoscaler's half-life is.
const KEPT: (u64, u64) = (995, 1024);
/// After so many steps without a look nothing of what there was is left.
const ALL_GONE: u64 = 2000;
/// A sum of weights below this is nobody: half an ADD.
const NOBODY: u64 = ONE / 2;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Histogram {
    weights: BTreeMap<u32, u64>,
    steps: u64,
}

impl Histogram {
    /// An ADD has seen so much demand.
    pub(super) fn add(&mut self, demand: u32) {
        let weight = self.weights.entry(demand.min(LARGEST)).or_default();
        *weight = weight.saturating_add(ONE);
    }

    /// So long after the first ADD it is now.
    pub(super) fn age(&mut self, age: Duration) {
        let steps = age.as_secs() / STEP.as_secs();
        let gone = steps.saturating_sub(self.steps);
        self.steps = self.steps.max(steps);
        if gone > ALL_GONE {
            self.weights.clear();
        }
        for _ in 0..gone.min(ALL_GONE) {
            self.weights.retain(|_, weight| {
                // The sums stay far below: an ADD each millisecond for ever comes to 2^52.
                *weight = weight.saturating_mul(KEPT.0) / KEPT.1;
                *weight > 0
            });
        }
    }

    /// The least stock with which no more ADDs than that part found none. Of few ADDs, in effect the largest: what is forgotten
    /// is half an ADD.
    pub(super) fn quantile(&self, quantile: Quantile) -> u32 {
        let all: u64 = self.weights.values().fold(0, |sum, weight| sum.saturating_add(*weight));
        let missed = u128::from(all) * u128::from(quantile.missed()) / 1_000_000;
        let missed = missed.max(u128::from(NOBODY));
        let mut above: u128 = 0;
        for (demand, weight) in self.weights.iter().rev() {
            above += u128::from(*weight);
            if above > missed {
                return *demand;
            }
        }
        0
    }

    pub(super) fn largest(&self) -> u32 {
        self.weights.last_key_value().map_or(0, |(demand, _)| *demand)
    }

    pub(super) fn remembered(&self) -> u64 {
        let all: u64 = self.weights.values().fold(0, |sum, weight| sum.saturating_add(*weight));
        all.saturating_add(ONE / 2) / ONE
    }
}
