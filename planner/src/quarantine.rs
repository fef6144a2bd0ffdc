//! Addresses that may be in use although no lease says so.

use std::net::IpAddr;

use holdfast_model::block::BlockState;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::Now;
use holdfast_model::uses::{Cooldown, Suspicion, Use};

use crate::desired::Desired;
use crate::draft::Draft;
use crate::traces::Traces;

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
