//! What there is to say of a pool: what is coming, when the next address is ready, and what stands in the way. Said once
//! for all who wait.

use std::time::Duration;

use holdfast_model::block::Unit;
use holdfast_model::cloud::{Api, CloudChange};
use holdfast_model::eni::EniRecord;
use holdfast_model::lease::{Face, LeasePhase};
use holdfast_model::ledger::Ledger;
use holdfast_model::pool::{Family, PoolKey};
use holdfast_model::refusal::{CredentialsFault, Refusal};
use holdfast_model::time::{BootTime, Now};
use holdfast_model::uses::Use;

use crate::cards::Wanted;
use crate::desired::Desired;
use crate::grow::{Growth, growth, held_up, without_prefixes};
use crate::observed::Observed;
use crate::pool::{Pool, gives, is_on};
use crate::targets::Level;

/// What there is to say of a pool at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Its figures.
    pub level: Level,
    /// Addresses that are asked for, or on ENIs that are not in service yet, and those that the plan asks for now.
    pub coming: u32,
    /// When an address will have rested, and been shown by EC2 where that is wanted; `None`: none is resting.
    pub ready: Option<BootTime>,
    /// Why the pool does not grow as far as it should. `None` when it has, or is about to have, what it needs.
    pub refusal: Option<Refusal>,
    /// What the pool makes do without, although the settings ask for it and every ADD is served: prefixes, that the subnet or
    /// the type does not give.
    pub without: Option<Refusal>,
    /// Whether growth that was asked for is held up.
    held_up: bool,
    /// Whether anything is under way that may bring addresses.
    under_way: bool,
    /// The call that is waited for.
    awaited: Option<Api>,
}

/// No address can be leased at this instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The true cause, for the pod's event.
    pub cause: Refusal,
    /// Whether holding the ADD makes sense: an address is on its way, will have rested in time, or the obstacle
    /// passes by itself. False: refuse at once.
    pub hold: bool,
    /// Whether `cause` stands in the way of an ADD that is held. False: nothing does, it need only wait for what is
    /// on its way, or for a rest that ends in time.
    pub hindered: bool,
    /// When an address will have rested, if one is resting.
    pub ready: Option<BootTime>,
}

/// What there would be to say to one more who asks.
pub fn report(
    pool: PoolKey,
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    now: &Now,
) -> Report {
    if ledger.node.as_ref().is_none_or(|node| node.boot != now.boot) {
        return Report::unknown();
    }
    // Whoever asks is waiting, whether the engine has counted it yet or not.
    let mut observed = observed.clone();
    let waiting = observed.waiting.entry(pool).or_insert(0);
    *waiting = (*waiting).max(1);
    let wanted = Wanted { key: pool, retires: false };
    let pool = Pool::of(wanted, desired, ledger, &observed, now);
    let growth = growth(desired, ledger, &observed, &pool, &[], now);
    Report::of(desired, ledger, &observed, &pool, &growth, now)
}

impl Report {
    /// Of a node that is not known yet.
    pub(crate) fn unknown() -> Self {
        Self { refusal: Some(Refusal::NotReady), ..Self::default() }
    }

    pub(crate) fn of(
        desired: &Desired<'_>,
        ledger: &Ledger,
        observed: &Observed,
        pool: &Pool<'_>,
        growth: &Growth,
        now: &Now,
    ) -> Self {
        let asked_for = growth.changes.iter().map(addresses_of).fold(0, u32::saturating_add);
        let resting = resting(pool.key, ledger, observed, now).map(|left| now.boottime.after(left)).min();
        // A rest that is about to begin.
        let here = |face: &Face| face.place.slot().is_some_and(|slot| slot.card == pool.key.card);
        let mut leases = ledger.leases.values();
        let releasing =
            leases.any(|lease| lease.phase == LeasePhase::Releasing && lease.faces.iter().any(here));
        // Who waits for an IPv6 address waits for no pod's.
        let released = (releasing && pool.key.family == Family::V4)
            .then(|| now.boottime.after(desired.config.cooldown.value));
        Self {
            level: pool.level,
            coming: pool.on_the_way.saturating_add(asked_for),
            ready: resting.into_iter().chain(released).min(),
            refusal: growth.refusal.clone(),
            without: without(desired, ledger, observed, pool, now),
            held_up: desired.brake().is_silent() || held_up(pool.key, ledger, observed, now).is_some(),
            under_way: pool.on_the_way > 0 || !growth.changes.is_empty(),
            awaited: awaited(ledger),
        }
    }

    /// What to tell an ADD for which there is no address; `hold` is how long it may be held.
    pub fn shortage(&self, hold: Duration, now: &Now) -> Shortage {
        let ready = self.ready;
        let left = ready.map(|ready| ready.since(now.boottime));
        let rests_in_time = left.is_some_and(|left| left <= hold);
        // More may be wanted than can be had, and what an ADD waits for be on its way all the same.
        let comes = self.coming >= self.level.waiting && !self.held_up;
        let hindered = self.refusal.is_some() && !rests_in_time && !comes;
        let cause = match (self.refusal.clone(), left) {
            (Some(refusal), Some(left)) if !passes(&refusal) && rests_in_time => all_cooling(refusal, left),
            (Some(refusal), _) => refusal,
            (None, Some(left)) if !self.under_way => Refusal::AllCooling { seconds: whole_seconds(left) },
            (None, _) => Refusal::Unreachable {
                api: self.awaited.unwrap_or(Api::AssignPrivateIpAddresses),
                cause: "addresses were asked for and are not in service yet".to_owned(),
            },
        };
        let hold = passes(&cause) || rests_in_time || (self.under_way && !is_final(&cause));
        Shortage { cause, hold, hindered, ready }
    }
}

fn without(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    pool: &Pool<'_>,
    now: &Now,
) -> Option<Refusal> {
    let node = &ledger.node.as_ref()?.identity;
    if desired.lacks_prefixes() {
        return Some(Refusal::NoPrefixes { instance_type: node.instance_type.clone() });
    }
    if desired.unit() != Unit::Prefix {
        return None;
    }
    // As long as one subnet has prefixes, nothing lacks.
    let subnets = pool.sources.subnets().ok()?;
    let lacks = subnets.iter().map(|candidate| without_prefixes(observed, &candidate.subnet, now));
    lacks.collect::<Option<Vec<_>>>()?.into_iter().next()
}

/// How much is left of each rest that somebody may wait for. Of an IPv6 prefix that is the rest of the whole.
fn resting(pool: PoolKey, ledger: &Ledger, observed: &Observed, now: &Now) -> impl Iterator<Item = Duration> {
    ledger.uses.iter().filter_map(move |(ip, what)| {
        let Use::Cooling(rest) = what else { return None };
        let block = ledger.block_of(*ip).filter(|_| ledger.is_held(*ip))?;
        if !gives(block, pool) || block.whole().is_some_and(|whole| whole != *ip) {
            return None;
        }
        ledger.enis.get(&block.eni).filter(|eni| EniRecord::serves_pods(eni) && is_on(eni, pool))?;
        // The read that proves it may take a while.
        let read = observed
            .reads
            .unasked(block.net)
            .map(|proven| proven.since(now.boottime).max(Duration::from_secs(1)));
        rest.remaining(now).max(read)
    })
}

/// How many addresses a change brings.
fn addresses_of(change: &CloudChange) -> u32 {
    match change {
        CloudChange::CreateEni { ask, .. } | CloudChange::Assign { ask, .. } => ask.brings(),
        _ => 0,
    }
}

/// The instance can carry no more, but it need not: one is nearly ready.
fn all_cooling(refusal: Refusal, left: Duration) -> Refusal {
    match refusal {
        Refusal::InstanceFull { .. }
        | Refusal::OtherUnit { .. }
        | Refusal::ConfiguredLimit { .. }
        | Refusal::OldSource { .. }
        | Refusal::ProvisioningDisabled
        | Refusal::MetadataOnly
        | Refusal::Braked { .. }
        | Refusal::Cordoned => Refusal::AllCooling { seconds: whole_seconds(left) },
        other => other,
    }
}

/// Whether the obstacle passes without anybody's help.
fn passes(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Throttled { .. }
            | Refusal::Unreachable { .. }
            | Refusal::Credentials { fault: CredentialsFault::Missing | CredentialsFault::Expired, .. }
            | Refusal::NotReady
            | Refusal::NotReadYet
            | Refusal::EniConfigUntold
            | Refusal::LinkAwaited { .. }
            | Refusal::EniTaken { .. }
            | Refusal::Miscounted { .. }
            | Refusal::AllCooling { .. }
    )
}

/// Whether somebody has to change something before an address can come from EC2.
fn is_final(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Denied { .. }
            | Refusal::SubnetFull { .. }
            | Refusal::SubnetsFull { .. }
            | Refusal::NoSubnet { .. }
            | Refusal::EniConfigMissing { .. }
            | Refusal::EniConfigWrong { .. }
            | Refusal::NoIpv6Prefix { .. }
            | Refusal::NoIpv6 { .. }
    )
}

fn whole_seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

fn awaited(ledger: &Ledger) -> Option<Api> {
    let brings = |api: &Api| {
        matches!(
            api,
            Api::AssignPrivateIpAddresses
                | Api::AssignIpv6Addresses
                | Api::CreateNetworkInterface
                | Api::AttachNetworkInterface
        )
    };
    ledger.intents.values().map(|intent| intent.change.api()).find(brings)
}

#[cfg(test)]
mod tests;
