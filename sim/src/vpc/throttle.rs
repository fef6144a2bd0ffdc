//! EC2's own request limits: a token bucket per action, shared by all callers of the account.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::request::Action;
use super::time::Micros;

/// One bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Calls that may come at once.
    pub capacity: u32,
    /// Calls regained per second.
    pub refill_per_second: u32,
}

/// Which actions are limited. An action that is not named has no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestLimits(pub BTreeMap<Action, Bucket>);

impl RequestLimits {
    /// EC2's published defaults: a bucket of 100 refilled with 20 a second for each "non-mutating" action, 50 and 5
    /// for each "mutating" one.
    pub fn published() -> Self {
        let bucket = |action: &Action| {
            let (capacity, refill_per_second) = if action.is_read() { (100, 20) } else { (50, 5) };
            (*action, Bucket { capacity, refill_per_second })
        };
        Self(Action::ALL.iter().map(bucket).collect())
    }
}

/// Millionths of a call, so that refilling loses nothing to rounding.
const CALL: u64 = 1_000_000;

/// The buckets and their levels.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    limits: RequestLimits,
    levels: BTreeMap<Action, (u64, Micros)>,
}

impl Throttle {
    /// All buckets full.
    pub(super) fn new(limits: RequestLimits) -> Self {
        Self { limits, levels: BTreeMap::new() }
    }

    /// Takes one call out of the action's bucket; false when there is none.
    pub(super) fn admit(&mut self, action: Action, now: Micros) -> bool {
        let Some(bucket) = self.limits.0.get(&action) else { return true };
        let full = u64::from(bucket.capacity) * CALL;
        let (level, filled) = self.levels.entry(action).or_insert((full, now));
        // Microseconds times calls per second are millionths of a call.
        let gained = now.0.saturating_sub(filled.0).saturating_mul(u64::from(bucket.refill_per_second));
        *level = level.saturating_add(gained).min(full);
        *filled = now;
        let admitted = *level >= CALL;
        if admitted {
            *level -= CALL;
        }
        admitted
    }
}
