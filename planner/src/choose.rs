//! Which addresses can be leased at this instant.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use holdfast_model::block::BlockState;
use holdfast_model::eni::{EniPlace, EniRecord};
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;
use holdfast_model::pool::PoolKey;
use holdfast_model::time::{BootTime, Now};
use holdfast_model::uses::Use;

use crate::desired::Desired;
use crate::observed::Observed;
use crate::pool::{gives, is_of_family, is_on};
use crate::refused::Extent;
use crate::source::{Fit, Sources};

mod ipv6;

/// An address to lease, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The address.
    pub address: IpAddr,
    /// Its ENI.
    pub eni: EniId,
    /// That ENI's place: decides the routing table.
    pub place: EniPlace,
}

/// The addresses of a pool that can be leased, in the order in which they are: proven by EC2, used by nobody, on an ENI
/// that serves pods and whose kernel set-up this process has read back. Made once for all who wait.
///
/// Prefixes are given back whole, so the fullest comes first and others fall empty. Else the lowest slot, so that high ENIs
/// fall empty and can be given back; then addresses that were not used since they came, and the one that has rested longest.
/// What the pool does not want any more, by its unit or by where it is, is taken last, so that it is used no longer than it must be;
/// and of an ENI that is closed nothing. What no pod could be wired with comes behind all others, and not before it has rested. Of
/// an IPv6 prefix there are as many as can be wanted at one time.
pub fn free_addresses(
    pool: PoolKey,
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    now: &Now,
) -> Vec<Choice> {
    let other_boot = ledger.node.as_ref().is_none_or(|node| node.boot != now.boot);
    if other_boot || observed.reads.ledger_is_doubted() {
        return Vec::new();
    }
    let unit = desired.unit();
    let sources = Sources::of(desired, ledger, observed, now);
    let serves = |eni: &&EniRecord| {
        eni.serves_pods()
            && is_on(eni, pool)
            && observed.ready_enis.contains(&eni.id)
            && is_of_family(eni, pool.family)
    };
    let serving = ledger.enis.values().filter(serves);
    let mut free = Vec::new();
    for (eni, fit) in serving.map(|eni| (eni, sources.fit(eni))).filter(|(_, fit)| *fit != Fit::Closed) {
        let held = ledger.blocks_on(&eni.id).filter(|block| block.state == BlockState::Held);
        for block in held.filter(|block| gives(block, pool) && !observed.reads.unproven(block.net)) {
            let uses: BTreeMap<IpAddr, &Use> = ledger.uses_in(block.net).collect();
            let fullness = uses.values().filter(|what| !matches!(what, Use::Cooling(_))).count();
            let block_order = (fit == Fit::Leftover || block.unit() != unit, Reverse(fullness), eni.slot());
            let prefix = (!block.is_host()).then_some(block.net);
            let extent = observed.refused.extent(block, uses.iter().map(|(ip, what)| (*ip, *what)), now);
            if extent == Extent::Whole && observed.refused.whole_rests(block, now) {
                continue;
            }
            let refused = |ip: IpAddr| extent == Extent::Whole || observed.refused.has(ip);
            if block.whole().is_some() {
                let some = ipv6::some_of(block, &uses, &observed.traces, now);
                free.extend(
                    some.into_iter().filter(|ip| !observed.refused.rests(*ip, now)).zip(0_u64..).map(
                        |(ip, order)| ((refused(ip), block_order, prefix, Some(BootTime(order)), ip), eni),
                    ),
                );
                continue;
            }
            for ip in block.addresses() {
                let freed = match uses.get(&ip) {
                    None => None,
                    Some(Use::Cooling(rest)) if uses[&ip].is_over(now) => Some(rest.since),
                    Some(_) => continue,
                };
                if !observed.refused.rests(ip, now) {
                    free.push(((refused(ip), block_order, prefix, freed, ip), eni));
                }
            }
        }
    }
    free.sort_unstable_by_key(|(order, _)| *order);
    free.into_iter()
        .map(|((.., ip), eni)| Choice { address: ip, eni: eni.id.clone(), place: eni.place.clone() })
        .collect()
}
