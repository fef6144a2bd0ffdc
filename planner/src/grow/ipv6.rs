//! Growth of a pool of IPv6: one prefix on the primary ENI, which has more addresses than a node can have pods. It is asked
//! for when there is none, and never given back; other ENIs are not made for it.

use holdfast_model::block::{Ask, BlockState, Unit};
use holdfast_model::cloud::{Api, CloudChange};
use holdfast_model::eni::EniRecord;
use holdfast_model::ledger::Ledger;
use holdfast_model::refusal::Refusal;
use holdfast_model::time::Now;

use super::{Growth, held_up, limits_unknown};
use crate::claims::busy;
use crate::desired::Desired;
use crate::observed::Observed;
use crate::pool::Pool;

pub(super) fn growth(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    pool: &Pool<'_>,
    now: &Now,
) -> Growth {
    let Some(node) = &ledger.node else { return Growth::refused(Refusal::NotReady) };
    if desired.lacks_ipv6() {
        return Growth::refused(Refusal::NoIpv6 { instance_type: node.identity.instance_type.clone() });
    }
    if desired.per_eni().is_none() {
        return Growth::refused(limits_unknown(observed, &node.identity, now));
    }
    let Some(share) = pool.enis.iter().find(|share| share.eni.is_primary()) else {
        return Growth::refused(Refusal::NotReadYet);
    };
    let eni = share.eni;
    if has_one(ledger, eni) {
        // It rests, or its ENI does not serve.
        let cause =
            observed.keeps_failing(&eni.id, now).then(|| Refusal::LinkAwaited { eni: eni.id.clone() });
        return Growth { changes: Vec::new(), refusal: cause };
    }
    let pause = observed.pause_of(Api::AssignIpv6Addresses, Some(&eni.id), Some(&eni.source.subnet), now);
    if let Some(pause) = pause {
        return Growth::refused(pause.cause.clone());
    }
    if busy(ledger, &eni.id) || observed.doubted(&eni.id) {
        return Growth { changes: Vec::new(), refusal: held_up(pool.key, ledger, observed, now) };
    }
    if share.room == 0 {
        return Growth::refused(Refusal::NoRoomForIpv6 { eni: eni.id.clone() });
    }
    let change = CloudChange::Assign { eni: eni.id.clone(), ask: Ask::ipv6_prefixes(1) };
    Growth { changes: vec![change], refusal: None }
}

/// Whether EC2 has one on this ENI.
fn has_one(ledger: &Ledger, eni: &EniRecord) -> bool {
    let held = |block: &holdfast_model::block::Block| {
        block.unit() == Unit::Ipv6Prefix && block.state == BlockState::Held
    };
    ledger.blocks_on(&eni.id).any(held)
}
