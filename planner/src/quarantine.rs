//! Addresses that may be in use although no lease says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use holdfast_model::block::BlockState;
use holdfast_model::host::{HostObserved, LinkAlias, LinkSeen};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::Now;
use holdfast_model::uses::{Cooldown, Suspicion, Use};

use crate::desired::Desired;
use crate::draft::Draft;
use crate::host::borne;

/// What the kernel tells of sandboxes that no lease explains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Whether the kernel was looked at completely since the start. Before that every address that turns up is suspect.
    pub looked: bool,
    /// Addresses that lead to such a sandbox's link, or that the host itself bears; and the link.
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

impl Traces {
    /// Together with the addresses that the host itself bears: what they are there for is for whoever put them there to
    /// say, and a pod that was given one would not be reached.
    pub fn and_of_the_host(mut self, observed: &HostObserved) -> Self {
        for (address, link) in borne(observed) {
            self.in_use.entry(address).or_insert_with(|| link.clone());
        }
        self
    }
}

/// Sets free and resting addresses aside that lead to a sandbox that no lease explains or that the host itself bears, and
/// looks at those again that were: one without any trace left goes to rest for its full time. Nothing happens before the
/// kernel was looked at.
pub fn review_quarantine(desired: &Desired<'_>, ledger: &Ledger, traces: &Traces, now: &Now) -> Vec<Change> {
    if !traces.looked {
        return Vec::new();
    }
    let mut draft = Draft::of(ledger, now);
    for &ip in traces.in_use.keys() {
        let leased = matches!(ledger.uses.get(&ip), Some(Use::Leased(_)));
        let suspect = matches!(ledger.uses.get(&ip), Some(Use::Suspect(_)));
        if suspect || (ledger.is_held(ip) && !leased) {
            draft.put_use(ip, Use::Suspect(Suspicion::MaybeInUse));
        }
    }
    for (&ip, what) in &ledger.uses {
        if matches!(what, Use::Suspect(_)) && !traces.in_use.contains_key(&ip) {
            release(&mut draft, ip, rest(desired, now), now);
        }
    }
    draft.into_changes()
}

/// Nobody uses the address any more: it rests, and what EC2 took away meanwhile leaves a tombstone.
pub(crate) fn release(draft: &mut Draft<'_>, ip: IpAddr, rest: Cooldown, now: &Now) {
    draft.put_use(ip, Use::Cooling(rest));
    let block = draft.ledger.block_of(ip).filter(|block| block.state == BlockState::Withdrawn).cloned();
    if let Some(block) = block
        && !draft.ledger.is_somebodys(&block)
    {
        draft.set_state(block.net, BlockState::Gone(now.boottime));
    }
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
