//! Which addresses can be leased at this instant.

use std::net::IpAddr;

use holdfast_model::eni::EniPlace;
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;
use holdfast_model::pool::PoolKey;
use holdfast_model::time::Now;
use holdfast_model::uses::Use;

use crate::observed::Observed;
use crate::pool::gives;

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
/// The lowest slot first, so that high ENIs fall empty and can be given back; on an ENI, addresses that were not
/// used since they came, then the one that has rested longest.
pub fn free_addresses(pool: PoolKey, ledger: &Ledger, observed: &Observed, now: &Now) -> Vec<Choice> {
    let other_boot = ledger.node.as_ref().is_none_or(|node| node.boot != now.boot);
    if other_boot || observed.reads.ledger_is_doubted() {
        return Vec::new();
    }
    let serving =
        ledger.enis.values().filter(|eni| eni.serves_pods() && observed.ready_enis.contains(&eni.id));
    let mut free: Vec<_> = serving
        .flat_map(|eni| {
            let blocks = ledger.blocks_on(&eni.id).filter(|block| gives(block, pool));
            blocks.map(move |block| (eni, block.net.addr()))
        })
        .filter(|(_, ip)| ledger.is_free(*ip, now))
        .filter(|(_, ip)| !observed.reads.unproven(*ip))
        .map(|(eni, ip)| {
            let freed = match ledger.uses.get(&ip) {
                Some(Use::Cooling(rest)) => Some(rest.since),
                _ => None,
            };
            (eni.slot(), freed, ip, eni)
        })
        .collect();
    free.sort_by_key(|(slot, freed, ip, _)| (*slot, *freed, *ip));
    free.into_iter()
        .map(|(.., ip, eni)| Choice { address: ip, eni: eni.id.clone(), place: eni.place.clone() })
        .collect()
}
