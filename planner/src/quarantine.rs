//! Addresses that may be in use although no lease says so.

use std::collections::BTreeSet;
use std::net::IpAddr;

use holdfast_model::address::{AddressState, Cooldown, QuarantineReason};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::Now;

use crate::desired::Desired;
use crate::draft::Draft;

/// What the kernel and the sandboxes tell about addresses that no lease explains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Addresses that a rule, a route or a live sandbox of ours names.
    pub in_use: BTreeSet<IpAddr>,
    /// The ledger was lost and the kernel has not been looked at completely yet: every address that turns up is
    /// suspect.
    pub rebuilding: bool,
}

/// Looks at the quarantined addresses again: one without any trace left goes to rest for its full time; one
/// with a trace stays, as possibly in use. Nothing happens while the traces are incomplete (`rebuilding`).
pub fn review_quarantine(desired: &Desired<'_>, ledger: &Ledger, traces: &Traces, now: &Now) -> Vec<Change> {
    if traces.rebuilding {
        return Vec::new();
    }
    let mut draft = Draft::of(ledger, now);
    for address in ledger.addresses.values() {
        if !matches!(address.state, AddressState::Quarantined(_)) {
            continue;
        }
        if traces.in_use.contains(&address.ip) {
            draft.set_state(address.ip, AddressState::Quarantined(QuarantineReason::MaybeInUse));
        } else if address.assigned {
            draft.set_state(address.ip, AddressState::Cooling(rest(desired, now)));
        } else {
            draft.set_state(address.ip, AddressState::Gone(now.boottime));
        }
    }
    draft.into_changes()
}

/// A full rest that begins now.
pub(crate) fn rest(desired: &Desired<'_>, now: &Now) -> Cooldown {
    Cooldown {
        boot: now.boot.clone(),
        since: now.boottime,
        period_ms: u64::try_from(desired.config.cooldown.value.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests;
