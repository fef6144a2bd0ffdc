//! Which addresses of an IPv6 prefix can be leased: by arithmetic, since there are 2^48.
//!
//! Those that were never used come first, from the lowest up, so that one that is freed comes back as late as can be. What was
//! used leaves its rest in the ledger; once there are many of these, the one that has rested longest is taken instead, and the
//! ledger grows no more than the number of pods at one time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use holdfast_model::block::Block;
use holdfast_model::time::Now;
use holdfast_model::uses::Use;
use ipnet::IpNet;

use crate::traces::Traces;

/// So many are offered at one time. Who gets none of these gets one of the next turn's.
pub(super) const AT_ONE_TIME: usize = 512;

/// So many addresses that were used are kept from coming back before they have to.
pub(super) const REMEMBERED: usize = 1024;

/// Some of the prefix's addresses that can be leased, in the order in which they are. None while the whole prefix rests, or is
/// suspect.
pub(super) fn some_of(
    block: &Block,
    uses: &BTreeMap<IpAddr, &Use>,
    traces: &Traces,
    now: &Now,
) -> Vec<IpAddr> {
    let IpNet::V6(net) = block.net else { return Vec::new() };
    let whole = IpAddr::V6(net.network());
    // What the host shows of sandboxes that nobody explains holds for every address: none of them can have a use beforehand.
    if !traces.looked || uses.get(&whole).is_some_and(|what| !what.is_over(now)) {
        return Vec::new();
    }
    let is_anybodys = |ip: &IpAddr| traces.in_use.contains_key(ip);
    let mut rested: Vec<_> = uses
        .iter()
        .filter(|(ip, what)| **ip != whole && what.is_over(now) && !is_anybodys(ip))
        .filter_map(|(ip, what)| match what {
            Use::Cooling(rest) => Some((rest.since, *ip)),
            Use::Leased(_) | Use::Suspect(_) => None,
        })
        .collect();
    rested.sort_unstable();
    let spent = if uses.len() >= REMEMBERED { rested.len() } else { 0 };
    let rested = rested.into_iter().map(|(_, ip)| ip);
    let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
    let fresh = (first.saturating_add(1)..=last)
        .map(|number| IpAddr::V6(Ipv6Addr::from(number)))
        .filter(|ip| !uses.contains_key(ip) && !is_anybodys(ip));
    rested.take(spent).chain(fresh).take(AT_ONE_TIME).collect()
}
