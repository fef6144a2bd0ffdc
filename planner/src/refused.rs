//! Addresses that EC2 has given and the kernel refuses: no pod could be wired with them.
//!
//! Each costs a pod its first try, and comes up again after a rest that grows, behind all others. Meanwhile it is no free
//! address, so that another makes up for it; after a second failure it is none until a pod was wired with it. While nothing
//! can be wired at all it is no address's fault: of those that failed since the last success only a few are kept, and the pool
//! does not grow for the others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::block::{Block, Unit};
use holdfast_model::ledger::Ledger;
use holdfast_model::time::{BootTime, Now};
use holdfast_model::uses::Use;

/// The first rest; it doubles with each failure.
const REST: Duration = Duration::from_secs(60);

/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// Of so many it is believed that it is their own fault, without one that could be wired since.
const UNPROVEN: u32 = 3;

/// With so many of a prefix's addresses refused, and nobody on the others, so is the prefix.
const OF_A_PREFIX: usize = 2;

/// What the kernel did with an address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusals {
    count: u32,
    since: BootTime,
    until: BootTime,
    cause: String,
}

impl Refusals {
    fn is_out(&self, now: &Now) -> bool {
        self.count > 1 || self.until > now.boottime
    }
}

/// All that are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    addresses: BTreeMap<IpAddr, Refusals>,
    /// How many came since something could be wired last.
    unproven: u32,
}

/// How much of a block is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// So many addresses, perhaps none.
    Some(u32),
    Whole,
}

impl Refused {
    /// A pod could not be wired with it; true when that is news.
    pub(crate) fn failed(&mut self, address: IpAddr, cause: &str, now: &Now) -> bool {
        let known = self.addresses.get(&address);
        let (count, since) = known.map_or((0, now.boottime), |known| (known.count, known.since));
        if known.is_none() {
            if self.unproven >= UNPROVEN {
                return false;
            }
            self.unproven += 1;
        }
        let rest = (REST * 2_u32.pow(count.min(10))).min(LONGEST_REST);
        let until = now.boottime.after(rest);
        let cause = cause.to_owned();
        self.addresses.insert(address, Refusals { count: count.saturating_add(1), since, until, cause });
        count == 0
    }

    /// A pod was wired with it: the kernel does what it is told, and takes this one.
    pub(crate) fn wired(&mut self, address: IpAddr) {
        self.addresses.remove(&address);
        self.unproven = 0;
    }

    /// What EC2 has not given any more is forgotten.
    pub(crate) fn keep_held(&mut self, ledger: &Ledger) {
        self.addresses.retain(|address, _| ledger.is_held(*address));
    }

    /// Whether it comes behind all others.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// Whether it is not tried again yet.
    pub(crate) fn rests(&self, address: IpAddr, now: &Now) -> bool {
        self.addresses.get(&address).is_some_and(|refusals| refusals.until > now.boottime)
    }

    /// Whether it is no free address: it rests, or has failed more than once, which does not pass by itself.
    pub(crate) fn is_out(&self, address: IpAddr, now: &Now) -> bool {
        self.addresses.get(&address).is_some_and(|refusals| refusals.is_out(now))
    }

    /// How much of a block is refused, besides what is in use there.
    pub(crate) fn extent<'a>(
        &self,
        block: &Block,
        uses: impl Iterator<Item = (IpAddr, &'a Use)>,
        now: &Now,
    ) -> Extent {
        if self.addresses.is_empty() {
            return Extent::Some(0);
        }
        let (first, last) = (block.net.network(), block.net.broadcast());
        let mut count =
            self.addresses.range(first..=last).filter(|(_, refusals)| refusals.is_out(now)).count();
        let mut serves = false;
        for (ip, _) in uses.filter(|(_, what)| matches!(what, Use::Leased(_))) {
            // One that is being tried is no free address as it is.
            let tried = self.is_out(ip, now);
            count -= usize::from(tried);
            serves |= !tried;
        }
        if block.unit() == Unit::Prefix && count >= OF_A_PREFIX && !serves {
            return Extent::Whole;
        }
        Extent::Some(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Whether none of a block's addresses is tried again yet, those not either that were not tried.
    pub(crate) fn whole_rests(&self, block: &Block, now: &Now) -> bool {
        let (first, last) = (block.net.network(), block.net.broadcast());
        self.addresses.range(first..=last).any(|(_, refusals)| refusals.until > now.boottime)
    }

    /// Those that are no free addresses, in words, each.
    pub(crate) fn told(&self, now: &Now) -> impl Iterator<Item = String> {
        let out = self.addresses.iter().filter(|(_, refusals)| refusals.is_out(now));
        out.map(|(address, refusals)| {
            let Refusals { count, since, cause, .. } = refusals;
            let seconds = now.boottime.since(*since).as_secs();
            format!(
                "no pod could be wired with {address}, {count} times in {seconds} s, last with: {cause}; others are given before it"
            )
        })
    }
}

#[cfg(test)]
mod tests;
