//! How often this node may call EC2: a token bucket for each action.
//!
//! EC2's own buckets are the account's, in a region, whoever calls. A node keeps to a share of them, large enough for what
//! the largest instance asks for at once, so that no fault of ours, of whatever kind, takes the account's rate from
//! others. Pauses after setbacks are apart from this.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::cloud::Api;
use holdfast_model::time::BootTime;

use crate::agenda::Agenda;

#[cfg(test)]
mod tests;

/// Thousandths of a call: what flows in within a millisecond is a whole number of them.
const CALL: u64 = 1000;

/// The share of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    /// Calls at once.
    capacity: u64,
    /// Calls a second, for long.
    per_second: u64,
}

/// A fifth of EC2's published figures ("Request throttling for the Amazon EC2 API"), and never less than an instance of
/// fifteen ENIs needs at once.
fn share(api: Api) -> Share {
    let (capacity, per_second) = match api {
        // 100, refilled by 5 a second.
        Api::CreateNetworkInterface
        | Api::DeleteNetworkInterface
        | Api::ModifyNetworkInterfaceAttribute
        | Api::AssignPrivateIpAddresses
        | Api::AssignIpv6Addresses
        | Api::UnassignPrivateIpAddresses
        | Api::CreateTags => (20, 1),
        // 50, refilled by 5.
        Api::AttachNetworkInterface | Api::DetachNetworkInterface => (16, 1),
        // 100, refilled by 20.
        Api::DescribeNetworkInterfaces
        | Api::DescribeInstances
        | Api::DescribeInstanceTypes
        | Api::DescribeSubnets => (20, 4),
    };
    Share { capacity, per_second }
}

/// What is left of a bucket, and when it was so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    left: u64,
    at: BootTime,
}

/// How much a bucket holds at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLevel {
    /// Whole calls that may be made at once.
    pub left: u64,
    /// The most that there can be.
    pub capacity: u64,
}

/// All buckets. One that nothing was taken from is full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    levels: BTreeMap<Api, Level>,
}

impl Budget {
    /// How much each holds.
    pub fn levels(&self, now: BootTime) -> BTreeMap<Api, BudgetLevel> {
        let level = |api| BudgetLevel { left: self.left(api, now) / CALL, capacity: share(api).capacity };
        Api::ALL.into_iter().map(|api| (api, level(api))).collect()
    }

    /// A call of this action is being sent.
    pub(crate) fn take(&mut self, api: Api, now: BootTime) {
        let left = self.left(api, now).saturating_sub(CALL);
        self.levels.insert(api, Level { left, at: now });
    }

    /// Takes a call if there is one left; notes when there will be one if not.
    pub(crate) fn admits(&mut self, api: Api, now: BootTime, agenda: &mut Agenda) -> bool {
        let left = self.left(api, now);
        if left >= CALL {
            self.take(api, now);
            return true;
        }
        agenda.at(now.after(Duration::from_millis((CALL - left).div_ceil(share(api).per_second))));
        false
    }

    fn left(&self, api: Api, now: BootTime) -> u64 {
        let Share { capacity, per_second } = share(api);
        let full = capacity * CALL;
        self.levels.get(&api).map_or(full, |level| {
            let millis = u64::try_from(now.since(level.at).as_millis()).unwrap_or(u64::MAX);
            level.left.saturating_add(millis.saturating_mul(per_second)).min(full)
        })
    }
}
