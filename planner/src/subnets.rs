//! Subnet discovery: in which subnets of the node's zone ENIs may be made, by their tags (reference: vpc-cni 2.5), and which of
//! them is the best.
//!
//! What EC2 showed is kept by the running process only. It is read at the start, with the periodic reads, before another ENI is
//! wanted when it is old, and when a subnet was found full since: what is read less often than it changes is a hint of where to
//! ask, and EC2's refusal the truth.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_model::block::Unit;
use holdfast_model::cloud::{Api, CloudChange, CloudRead};
use holdfast_model::ids::SubnetId;
use holdfast_model::ledger::Ledger;
use holdfast_model::node::NodeIdentity;
use holdfast_model::pool::Family;
use holdfast_model::refusal::Refusal;
use holdfast_model::subnet::SubnetView;
use holdfast_model::time::{BootTime, Now};

use crate::agenda::Agenda;
use crate::desired::Desired;
use crate::observed::Observed;

#[cfg(test)]
mod tests;

/// By its value a subnet is for pods, or not: `0`.
const TAG_ROLE: &str = "kubernetes.io/role/cni";
/// What the keys of tags begin with that keep a subnet for some clusters, by their names.
const TAG_CLUSTERS: &str = "cni.networking.k8s.aws/cluster/";

/// A subnet is left for another one while it has this part of its addresses free: nodes that have no other one need them, and
/// EC2's count is old by the time that it is gone by.
const KEPT_PART: u32 = 16;
/// But no fewer than this, a prefix's worth, and no more than this.
const KEPT: std::ops::RangeInclusive<u32> = 16..=512;

/// What was read so long ago is read again when another ENI is wanted.
const OLD_AFTER: Duration = Duration::from_secs(60);
/// While subnets are full, no two reads are closer together than this, and the distance doubles each time.
const FULL_READ_EVERY: Duration = Duration::from_secs(60);
/// Up to this.
const FULL_READ_LONGEST: Duration = Duration::from_secs(1800);

/// While spares make way, or come back, each look is a step.
const WATCHED_EVERY: Duration = Duration::from_secs(300);
/// With spares that would make way a subnet that has less than four times what is kept is watched.
const WATCHED_NEAR: Duration = Duration::from_secs(900);
/// One that has more, so often: less than one call in an hour, with all others of a node at rest.
const WATCHED_SELDOM: Duration = Duration::from_secs(2 * 3600);

/// A role that may not read subnets is given the right seldom: the first distance between two tries, which doubles each time.
const REFUSED_READ_EVERY: Duration = Duration::from_secs(300);
/// Up to this.
const REFUSED_READ_LONGEST: Duration = Duration::from_secs(2 * 3600);

/// The read of them.
fn read_of(node: &NodeIdentity) -> CloudRead {
    CloudRead::ZoneSubnets { vpc: node.vpc.clone(), zone: node.zone.clone() }
}

/// The read of them, when it is due; `short`: pods wait for more than there is.
pub(crate) fn read_due(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    period: Duration,
    short: bool,
    now: &Now,
    agenda: &mut Agenda,
) -> Option<CloudRead> {
    let read = read_of(&ledger.node.as_ref()?.identity);
    if !is_on(desired) || observed.reads.reads_now(&read) {
        return None;
    }
    let seen = &observed.subnets;
    if let Some((times, last)) = seen.refused {
        let distance = REFUSED_READ_EVERY * 2_u32.pow(times.saturating_sub(1).min(8));
        if !agenda.reached(last.after(distance.min(REFUSED_READ_LONGEST))) {
            return None;
        }
    }
    let Some(shown) = &seen.shown else {
        // Nobody waits for an ENI: it comes in turn, as the other first reads of a process that goes on do.
        let turn = observed.reads.turn().filter(|_| !short);
        return turn.is_none_or(|turn| agenda.reached(turn)).then_some(read);
    };
    let mut from = shown.began.after(period);
    // With one subnet there is nothing to choose, whatever it has.
    let choice = shown.subnets.len() > 1;
    if choice && ledger.intents.values().any(|intent| matches!(intent.change, CloudChange::CreateEni { .. }))
    {
        from = from.min(shown.began.after(OLD_AFTER));
    }
    if desired.is_adaptive() {
        // Spares make way for other nodes' pods, and only the count tells that these come.
        let own =
            |id: &SubnetId| ledger.enis.values().any(|eni| eni.holds_slot() && eni.source.subnet == *id);
        let near = |view: &SubnetView| {
            let view = Candidate::of(view, false);
            view.runs_low(view.kept.saturating_mul(3))
        };
        let distance = match observed.warm.yields_to(now.boottime) {
            // There is nothing left to give.
            Some(0) => WATCHED_SELDOM,
            Some(_) => WATCHED_EVERY,
            None if shown.subnets.values().any(|view| own(&view.id) && near(view)) => WATCHED_NEAR,
            None => WATCHED_SELDOM,
        };
        from = from.min(shown.began.after(distance));
    }
    if observed.found_full(now.boottime) {
        let distance = (FULL_READ_EVERY * 2_u32.pow(seen.in_vain.min(8))).min(FULL_READ_LONGEST);
        from = from.min(shown.began.after(distance));
    }
    agenda.reached(from).then_some(read)
}

/// What EC2 last showed of one, and when that read began: free addresses, and how many are to be kept.
pub(crate) fn shown(observed: &Observed, subnet: &SubnetId) -> Option<(u32, u32, BootTime)> {
    let shown = observed.subnets.shown.as_ref()?;
    let view = Candidate::of(shown.subnets.get(subnet)?, false);
    Some((view.free?, view.kept, shown.began))
}

/// A subnet in which ENIs may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) subnet: SubnetId,
    /// Whether it is tagged to be for pods; else it serves because it is the node's own.
    pub(crate) explicit: bool,
    /// Free addresses; `None`: nobody told.
    free: Option<u32>,
    /// Those that are kept for who has no other subnet.
    kept: u32,
}

impl Candidate {
    /// One of which nothing is known.
    pub(crate) fn unseen(subnet: SubnetId) -> Self {
        Self { subnet, explicit: false, free: None, kept: 0 }
    }

    fn of(view: &SubnetView, explicit: bool) -> Self {
        let hosts = view.ipv4.map_or(0, |net| 1_u64 << (32 - net.prefix_len()));
        let part = u32::try_from(hosts / u64::from(KEPT_PART)).unwrap_or(u32::MAX);
        let kept = part.clamp(*KEPT.start(), *KEPT.end());
        Self { subnet: view.id.clone(), explicit, free: Some(view.free), kept }
    }

    /// Whether so many more leave it with less than is kept.
    fn runs_low(&self, takes: u32) -> bool {
        self.free.is_some_and(|free| free.saturating_sub(takes) < self.kept)
    }
}

/// What discovery says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tagged {
    /// It is switched off.
    Off,
    /// Subnets cannot be read, and will not be before somebody has done something about it.
    NotAllowed,
    /// They were not read yet, for this cause.
    Unread(Refusal),
    /// They were read.
    Seen {
        /// Those in which ENIs may be made, the one with most free addresses first.
        usable: Vec<Candidate>,
        /// Those that are not for pods of this cluster.
        excluded: BTreeSet<SubnetId>,
    },
}

/// IPv6 pods have their addresses of the primary ENI, wherever that is.
fn is_on(desired: &Desired<'_>) -> bool {
    desired.config.subnet_discovery.value && desired.family() == Family::V4
}

/// What a subnet's tags say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    ForPods,
    NotForUs,
}

impl Tagged {
    pub(crate) fn of(desired: &Desired<'_>, observed: &Observed, node: &NodeIdentity, now: &Now) -> Self {
        if !is_on(desired) {
            return Self::Off;
        }
        let Some(shown) = &observed.subnets.shown else {
            if observed.subnets.refused.is_some() {
                return Self::NotAllowed;
            }
            let pause = observed.pause_of(Api::DescribeSubnets, None, None, now);
            return match pause.map(|pause| &pause.cause) {
                Some(cause) => Self::Unread(cause.clone()),
                None => Self::Unread(Refusal::NotReadYet),
            };
        };
        let cluster = desired.config.cluster.value.as_deref();
        let (mut usable, mut excluded) = (Vec::new(), BTreeSet::new());
        for view in shown.subnets.values() {
            match said(view, cluster) {
                Said::ForPods => usable.push(Candidate::of(view, true)),
                Said::Nothing if view.id == node.subnet => usable.push(Candidate::of(view, false)),
                Said::Nothing => {}
                Said::NotForUs => drop(excluded.insert(view.id.clone())),
            }
        }
        if !shown.subnets.contains_key(&node.subnet) {
            // Another account's, which does not show it to us: nobody said that it is not to be used.
            usable.push(Candidate::unseen(node.subnet.clone()));
        }
        usable.sort_by_key(|candidate| (Reverse(candidate.free), candidate.subnet.clone()));
        Self::Seen { usable, excluded }
    }
}

fn said(view: &SubnetView, cluster: Option<&str>) -> Said {
    let clusters = || view.tags.keys().filter_map(|key| key.strip_prefix(TAG_CLUSTERS));
    let for_us =
        cluster.is_none_or(|ours| clusters().next().is_none() || clusters().any(|name| name == ours));
    match view.tags.get(TAG_ROLE).map(String::as_str) {
        None | Some("") => Said::Nothing,
        Some("0") => Said::NotForUs,
        Some(_) if for_us => Said::ForPods,
        Some(_) => Said::NotForUs,
    }
}

/// What each subnet is asked for by open calls and by the plan that is being made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken(BTreeMap<SubnetId, u32>);

impl Taken {
    /// By open calls.
    pub(crate) fn by(ledger: &Ledger) -> Self {
        let mut taken = Self::default();
        for intent in ledger.intents.values() {
            taken.note(&intent.change);
        }
        taken
    }

    /// So much more; an ENI takes an address of its own.
    pub(crate) fn note(&mut self, change: &CloudChange) {
        if let CloudChange::CreateEni { subnet, ask, .. } = change {
            let sum = self.0.entry(subnet.clone()).or_default();
            *sum = sum.saturating_add(ask.brings()).saturating_add(1);
        }
    }

    fn of(&self, subnet: &SubnetId) -> u32 {
        self.0.get(subnet).copied().unwrap_or(0)
    }
}

/// The subnet in which to make the next ENI, which takes so many addresses: one that calls may be made about, that has prefixes
/// where they are wanted, was not found full lately, and keeps enough; else the first that has the most of this.
pub(crate) fn best<'a>(
    candidates: &'a [Candidate],
    observed: &Observed,
    unit: Unit,
    taken: &Taken,
    takes: u32,
    now: &Now,
) -> Option<&'a Candidate> {
    candidates.iter().min_by_key(|candidate| {
        let id = &candidate.subnet;
        let takes = takes.saturating_add(taken.of(id));
        // While it is being found out what one has, others are asked.
        let finds_out = unit == Unit::Prefix && observed.fits.finds_out(id, now);
        (rests(observed, id, now), lacks(observed, id, unit, now), finds_out, candidate.runs_low(takes))
    })
}

/// Whether a subnet besides this one is known to give what is wanted.
pub(crate) fn is_elsewhere(
    candidates: &[Candidate],
    observed: &Observed,
    subnet: &SubnetId,
    unit: Unit,
    now: &Now,
) -> bool {
    candidates.iter().any(|candidate| {
        let id = &candidate.subnet;
        id != subnet && !rests(observed, id, now) && !lacks(observed, id, unit, now)
    })
}

fn rests(observed: &Observed, subnet: &SubnetId, now: &Now) -> bool {
    observed.pause_of(Api::CreateNetworkInterface, None, Some(subnet), now).is_some()
}

/// Whether a subnet was found without what is wanted lately.
fn lacks(observed: &Observed, subnet: &SubnetId, unit: Unit, now: &Now) -> bool {
    match unit {
        Unit::Prefix => observed.pauses.of_prefixes(subnet, now).is_some(),
        Unit::Address | Unit::Ipv6Prefix => observed.pauses.low_subnet(subnet, now).is_some(),
    }
}

/// Why none of several subnets gives an ENI now.
pub(crate) fn all_full(candidates: &[Candidate], observed: &Observed, now: &Now) -> Option<Refusal> {
    let full = |candidate: &Candidate| {
        let pause = observed.pause_of(Api::CreateNetworkInterface, None, Some(&candidate.subnet), now);
        pause.is_some_and(|pause| matches!(pause.cause, Refusal::SubnetFull { .. }))
    };
    let several = candidates.len() > 1 && candidates.iter().all(full);
    let subnets = || candidates.iter().map(|candidate| candidate.subnet.clone()).collect();
    several.then(|| Refusal::SubnetsFull { subnets: subnets() })
}
