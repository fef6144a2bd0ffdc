//! EC2's rules as plain sets and counts, written without a look at the code under test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use holdfast_sim::vpc::{AttachmentId, EniId};
use ipnet::Ipv4Net;

use super::steps::Harm;

pub const MS: u64 = 1000;
pub const CREATE_TAKES: u64 = 100 * MS;
pub const ATTACH_TAKES: u64 = 300 * MS;
pub const LINK_APPEARS: u64 = 200 * MS;
pub const DETACH_TAKES: u64 = 500 * MS;

/// Type, ENIs in all, ENIs per card, cards, IPv4 slots per ENI, prefixes possible. From AWS's tables, not from the
/// code under test.
pub const TYPES: [(&str, usize, usize, u32, usize, bool); 4] = [
    ("m5.large", 3, 3, 1, 10, true),
    ("t3.small", 3, 3, 1, 4, true),
    ("p5.48xlarge", 64, 2, 32, 50, true),
    ("m4.4xlarge", 8, 8, 1, 30, false),
];

/// The first subnet is roomy, the second is soon full: 11 addresses, no usable block; 27 with no more than one.
pub const SUBNETS: [&str; 3] = ["10.0.0.0/24", "10.0.1.0/28", "10.0.2.0/26"];

/// What the reference knows of an ENI.
#[derive(Debug, Clone, PartialEq)]
pub struct RefEni {
    pub subnet: usize,
    /// Primary first.
    pub ips: Vec<Ipv4Addr>,
    pub prefixes: Vec<Ipv4Addr>,
    pub pending_until: u64,
    pub bound: Option<RefBinding>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RefBinding {
    pub attachment: AttachmentId,
    pub instance: usize,
    pub card: u32,
    pub device: u32,
    pub since: u64,
    pub detached_at: Option<u64>,
    pub delete_on_termination: bool,
}

/// The whole reference.
pub struct Reference {
    pub now: u64,
    pub enis: BTreeMap<EniId, RefEni>,
    /// Every id there ever was, for references to what is gone.
    pub ever: Vec<EniId>,
    pub ended: BTreeSet<usize>,
    /// Instance, card and device of what was detached by force: taken until a stop.
    pub ghosts: BTreeSet<(usize, u32, u32)>,
    pub tokens: BTreeMap<u8, ((u8, u8, u8), EniId)>,
    pub harms: Vec<(Harm, u8)>,
    /// Of each lag fault in force.
    pub lags: Vec<u64>,
    /// Ids alive from that instant on.
    pub past: Vec<(u64, BTreeSet<EniId>)>,
}

pub type Reasons = BTreeSet<&'static str>;

impl Reference {
    pub fn used(&self, subnet: usize) -> BTreeSet<Ipv4Addr> {
        let mut used = BTreeSet::new();
        for eni in self.enis.values().filter(|eni| eni.subnet == subnet) {
            used.extend(eni.ips.iter().copied());
            for first in &eni.prefixes {
                used.extend((0..16).map(|offset| Ipv4Addr::from(u32::from(*first) + offset)));
            }
        }
        used
    }

    pub fn hosts(subnet: usize) -> BTreeSet<Ipv4Addr> {
        let net: Ipv4Net = SUBNETS[subnet].parse().unwrap();
        // `hosts` leaves out the first and the last address; EC2 keeps three more.
        net.hosts().skip(3).collect()
    }

    pub fn free(&self, subnet: usize) -> BTreeSet<Ipv4Addr> {
        Self::hosts(subnet).difference(&self.used(subnet)).copied().collect()
    }

    pub fn free_blocks(&self, subnet: usize) -> BTreeSet<Ipv4Addr> {
        let free = self.free(subnet);
        free.iter()
            .copied()
            .filter(|first| u32::from(*first) % 16 == 0)
            .filter(|first| (0..16).all(|n| free.contains(&Ipv4Addr::from(u32::from(*first) + n))))
            .collect()
    }

    /// Lets what has come due by `now` happen.
    pub fn settle(&mut self, now: u64) {
        self.now = now;
        for eni in self.enis.values_mut() {
            let over =
                eni.bound.as_ref().is_some_and(|b| b.detached_at.is_some_and(|at| at + DETACH_TAKES <= now));
            if over {
                eni.bound = None;
            }
        }
    }

    pub fn remember(&mut self) {
        let ids: BTreeSet<EniId> = self.enis.keys().copied().collect();
        self.past.push((self.now, ids));
    }

    /// Reasons against some more IPv4 slots on this ENI.
    pub fn no_room(eni: &RefEni, slots: usize, reasons: &mut Reasons) {
        if let Some(binding) = &eni.bound
            && eni.ips.len() + eni.prefixes.len() + slots > TYPES[binding.instance].4
        {
            reasons.insert("PrivateIpAddressLimitExceeded");
        }
    }

    pub fn no_prefixes(eni: &RefEni, reasons: &mut Reasons) {
        if eni.bound.as_ref().is_some_and(|binding| !TYPES[binding.instance].5) {
            reasons.insert("InvalidParameterValue");
        }
    }

    pub fn against_creation(&self, subnet: usize, addresses: u8, prefixes: u8) -> Reasons {
        let mut reasons = Reasons::new();
        if addresses > 0 && prefixes > 0 {
            reasons.insert("InvalidParameterCombination");
        }
        if self.free(subnet).len() < 1 + usize::from(addresses) {
            reasons.insert("InsufficientFreeAddressesInSubnet");
        }
        reasons
    }

    pub fn against_attaching(&self, id: &EniId, instance: usize, card: u32, device: u32) -> Reasons {
        let mut reasons = Reasons::new();
        let Some(eni) = self.enis.get(id) else {
            reasons.insert("InvalidNetworkInterfaceID.NotFound");
            return reasons;
        };
        let (_, all, per_card, cards, slots, prefixes) = TYPES[instance];
        if eni.bound.is_some() {
            reasons.insert("InvalidNetworkInterface.InUse");
        }
        if self.ended.contains(&instance) {
            reasons.insert("IncorrectState");
        }
        let there: Vec<&RefBinding> =
            self.enis.values().filter_map(|e| e.bound.as_ref()).filter(|b| b.instance == instance).collect();
        let on_card = there.iter().filter(|b| b.card == card).count();
        if self.ghosts.contains(&(instance, card, device)) {
            reasons.insert("InvalidParameterValue");
        }
        if card >= cards || there.iter().any(|b| (b.card, b.device) == (card, device)) {
            reasons.insert("InvalidParameterValue");
        }
        if there.len() >= all || on_card >= per_card {
            reasons.insert("AttachmentLimitExceeded");
        }
        if eni.ips.len() + eni.prefixes.len() > slots {
            reasons.insert("PrivateIpAddressLimitExceeded");
        }
        if !prefixes && !eni.prefixes.is_empty() {
            reasons.insert("InvalidParameterValue");
        }
        reasons
    }
}

/// What becomes of a call apart from its own merits.
#[derive(PartialEq)]
pub enum Fate {
    Untouched,
    AnswerLost,
    /// Has no effect, and shows this code, or nothing when the answer is lost.
    Refused(Option<&'static str>),
}

impl Reference {
    /// What becomes of the next call. A harm is used up by what it changes: not by what an older one of its kind, or
    /// one that comes before it, has changed already, nor by the refusal of a read whose answer is lost.
    pub fn fate(&mut self, reads: bool) -> Fate {
        if self.suffers(Harm::RequestLost) {
            return Fate::Refused(None);
        }
        let lost = self.suffers(Harm::AnswerLost);
        for (harm, code) in [(Harm::Throttle, "RequestLimitExceeded"), (Harm::ErrorInstead, "InternalError")]
        {
            if reads && lost {
                break;
            }
            if self.suffers(harm) {
                return Fate::Refused(Some(code).filter(|_| !lost));
            }
        }
        if lost { Fate::AnswerLost } else { Fate::Untouched }
    }

    /// Uses one up of this kind, if there is any.
    fn suffers(&mut self, kind: Harm) -> bool {
        let Some((_, times)) = self.harms.iter_mut().find(|(harm, _)| *harm == kind) else { return false };
        *times -= 1;
        self.harms.retain(|(_, times)| *times > 0);
        true
    }
}
