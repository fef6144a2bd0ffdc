//! Addresses that may be in use although no lease says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use holdfast_model::address::{AddressState, Cooldown, QuarantineReason};
use holdfast_model::host::{LinkAlias, LinkSeen};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::Now;

use crate::desired::Desired;
use crate::draft::Draft;

/// What the kernel tells of sandboxes that no lease explains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Whether the kernel was looked at completely since the start. Before that every address that turns up is suspect.
    pub looked: bool,
    /// Addresses that lead to such a sandbox's link, and the link.
    pub in_use: BTreeMap<IpAddr, LinkSeen>,
    /// All such links, those that no address leads to among them.
    pub links: BTreeSet<LinkAlias>,
}

impl Traces {
    /// Whether the leases explain everything.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }
}

/// Sets free and resting addresses aside that lead to a sandbox that no lease explains, and looks at those again that
/// were: one without any trace left goes to rest for its full time. Nothing happens before the kernel was looked at.
pub fn review_quarantine(desired: &Desired<'_>, ledger: &Ledger, traces: &Traces, now: &Now) -> Vec<Change> {
    if !traces.looked {
        return Vec::new();
    }
    let mut draft = Draft::of(ledger, now);
    for address in ledger.addresses.values() {
        let suspect = matches!(address.state, AddressState::Quarantined(_));
        let idle = matches!(address.state, AddressState::Free | AddressState::Cooling(_));
        if traces.in_use.contains_key(&address.ip) && (suspect || idle) {
            draft.set_state(address.ip, AddressState::Quarantined(QuarantineReason::MaybeInUse));
        } else if suspect && address.assigned {
            draft.set_state(address.ip, AddressState::Cooling(rest(desired, now)));
        } else if suspect {
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
