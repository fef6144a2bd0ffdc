//! EC2's own request limits: a token bucket per action, shared by all callers of the account.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::request::{Action, Operation};
use super::time::Micros;

/// One bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Calls that may come at once, 1 at least where it is read.
    #[serde(deserialize_with = "capacity")]
    pub capacity: u32,
    /// Calls regained per second; with 0 there are as many as the capacity, once.
    pub refill_per_second: u32,
}

/// A bucket that holds nothing lets no call through whatever flows into it, which a limit is not meant to do.
fn capacity<'de, D: Deserializer<'de>>(input: D) -> Result<u32, D::Error> {
    match u32::deserialize(input)? {
        0 => Err(D::Error::custom(
            "capacity = 0 would let no call through, ever: say 1 or more, leave the bucket out for no limit, or set \
             the fault \"throttle\"",
        )),
        capacity => Ok(capacity),
    }
}

/// Which actions are limited. An action that is not named has no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestLimits {
    /// One bucket for each action.
    pub actions: BTreeMap<Action, Bucket>,
    /// One more for each Describe action, for calls with neither ids nor filters nor pages.
    pub unfiltered: Option<Bucket>,
}

impl RequestLimits {
    /// EC2's published defaults ("Request throttling for the Amazon EC2 API", the table of bucket sizes and refill
    /// rates): calls that read 100 refilled by 20 a second, unfiltered and unpaged ones 50 by 10; calls that change
    /// 50 by 5, with exceptions by name.
    pub fn published() -> Self {
        let bucket = |action: &Action| {
            let (capacity, refill_per_second) = match action {
                action if action.is_read() => (100, 20),
                Action::CreateTags | Action::DeleteTags => (100, 10),
                Action::CreateNetworkInterface
                | Action::DeleteNetworkInterface
                | Action::ModifyNetworkInterfaceAttribute
                | Action::AssignPrivateIpAddresses
                | Action::UnassignPrivateIpAddresses
                | Action::AssignIpv6Addresses
                | Action::UnassignIpv6Addresses => (100, 5),
                _ => (50, 5),
            };
            (*action, Bucket { capacity, refill_per_second })
        };
        Self {
            actions: Action::ALL.iter().map(bucket).collect(),
            unfiltered: Some(Bucket { capacity: 50, refill_per_second: 10 }),
        }
    }
}

/// Millionths of a call, so that refilling loses nothing to rounding.
const CALL: u64 = 1_000_000;

/// The buckets and their levels.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    limits: RequestLimits,
    /// By action, and whether it is the bucket of its unfiltered calls.
    levels: BTreeMap<(Action, bool), (u64, Micros)>,
}

impl Throttle {
    /// All buckets full.
    pub(super) fn new(limits: RequestLimits) -> Self {
        Self { limits, levels: BTreeMap::new() }
    }

    /// Takes one call out of its bucket; false when there is none.
    pub(super) fn admit(&mut self, operation: &Operation, now: Micros) -> bool {
        let action = operation.action();
        let unfiltered = self.limits.unfiltered.filter(|_| operation.is_unfiltered());
        let Some(bucket) = unfiltered.or_else(|| self.limits.actions.get(&action).copied()) else {
            return true;
        };
        let full = u64::from(bucket.capacity) * CALL;
        let (level, filled) = self.levels.entry((action, unfiltered.is_some())).or_insert((full, now));
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
