//! Addresses that may be in use although no lease says so.

use std::collections::BTreeMap;
use std::net::IpAddr;

use holdfast_model::block::{Block, BlockState};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::Now;
use holdfast_model::uses::{Cooldown, Suspicion, Use};
use ipnet::IpNet;

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
            let rest = Use::Cooling(rest(desired, now));
            for change in ended(&draft.ledger, &[ip], |_| Some(rest.clone()), now) {
                draft.push(change);
            }
        }
    }
    draft.into_changes()
}

/// Who used these addresses is gone: what becomes of each, and of what EC2 took away meanwhile and was kept for them alone,
/// a tombstone.
pub(crate) fn ended(
    ledger: &Ledger,
    addresses: &[IpAddr],
    after: impl Fn(IpAddr) -> Option<Use>,
    now: &Now,
) -> Vec<Change> {
    let uses: BTreeMap<IpAddr, Option<Use>> = addresses.iter().map(|ip| (*ip, after(*ip))).collect();
    let in_use = |what: &Use| matches!(what, Use::Leased(_) | Use::Suspect(_));
    let is_somebodys = |block: &Block| {
        let others = ledger.uses_in(block.net).filter(|(ip, _)| !uses.contains_key(ip)).map(|(_, what)| what);
        let these =
            uses.iter().filter(|(ip, _)| block.net.contains(*ip)).filter_map(|(_, what)| what.as_ref());
        others.chain(these).any(in_use)
    };
    let blocks: BTreeMap<IpNet, &Block> =
        addresses.iter().filter_map(|ip| ledger.block_of(*ip)).map(|block| (block.net, block)).collect();
    let withdrawn = blocks.into_values().filter(|block| block.state == BlockState::Withdrawn);
    let gone = withdrawn
        .filter(|block| !is_somebodys(block))
        .map(|block| Change::PutBlock(Block { state: BlockState::Gone(now.boottime), ..block.clone() }));
    let gone: Vec<Change> = gone.collect();
    let put = |(ip, what): (IpAddr, Option<Use>)| match what {
        Some(what) => Change::PutUse(ip, what),
        None => Change::DropUse(ip),
    };
    uses.into_iter().map(put).chain(gone).collect()
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
