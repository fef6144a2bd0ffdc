//! Growth: which addresses to ask for, and where. All at once: a plan holds every call that is needed.
//!
//! Attached ENIs are filled first, by slot; then ENIs are created with as many addresses as they are to have,
//! in parallel, each in a slot of its own. What is asked for already counts as if it were there, so planning
//! again doubles nothing. An ENI takes one such call at a time; what could not be asked of it meanwhile is asked
//! of it afterwards, not of a new ENI.
//!
//! Prefixes that a subnet does not give, as far as it tells, are asked for in halves; while it has none, or EC2 refuses them for
//! another reason, ADDs that wait get single addresses.
//!
//! A subnet that was found full lately is asked for one address at a time, and only while an ADD waits: it may
//! have fewer than a whole ENI's worth, and what it has belongs to pods, on whatever node, before spares.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::block::{Ask, Unit};
use holdfast_model::cloud::{Api, CloudChange, TAG_INSTANCE};
use holdfast_model::eni::{EniPhase, EniRecord, EniSlot, Management};
use holdfast_model::ids::SubnetId;
use holdfast_model::intent::Intent;
use holdfast_model::ledger::Ledger;
use holdfast_model::node::NodeIdentity;
use holdfast_model::pool::{Family, PoolKey};
use holdfast_model::refusal::Refusal;
use holdfast_model::time::Now;
use holdfast_model::uses::Use;

use crate::claims::{busy, claimed_slots, lowest_free_slot};
use crate::desired::Desired;
use crate::lifecycle::is_left_alone;
use crate::observed::Observed;
use crate::outcome::PauseScope;
use crate::pauses::{Pause, SETBACKS_FORGOTTEN_AFTER};
use crate::pool::{EniPool, Pool, is_on};
use crate::source::{Fit, Sources};
use crate::subnets::{self, Candidate, Taken};
use crate::tagging;
use crate::targets::Targets;

mod demand;
mod ipv6;
#[cfg(test)]
mod tests;

pub(crate) use demand::without_prefixes;

use demand::Demand;

/// What to ask for, and why not for more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) changes: Vec<CloudChange>,
    pub(crate) refusal: Option<Refusal>,
}

impl Growth {
    fn refused(refusal: Refusal) -> Self {
        Self { changes: Vec::new(), refusal: Some(refusal) }
    }
}

pub(crate) fn growth(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    pool: &Pool<'_>,
    others: &[CloudChange],
    now: &Now,
) -> Growth {
    let (targets, card) = (pool.targets, pool.key.card);
    let short = pool.short();
    if short == 0 {
        // Enough is on its way; if it is held up, that is what an ADD waits for.
        let stalled = (pool.level.waiting > 0)
            .then(|| forbidden(desired, observed).or_else(|| held_up(pool.key, ledger, observed, now)))
            .flatten();
        return Growth { changes: Vec::new(), refusal: stalled };
    }
    let Some(node) = ledger.node.as_ref() else {
        return Growth::refused(Refusal::NotReady);
    };
    if observed.unsure_who {
        return Growth::refused(Refusal::NotReady);
    }
    if let Some(refusal) = forbidden(desired, observed) {
        return Growth::refused(refusal);
    }
    let hidden = !ledger.enis.values().any(EniRecord::is_primary);
    // What is attached, and so what can be added, is not known. Where EC2 was read and does not show the first ENI
    // yet, one more serves who waits meanwhile: there is room for that on every instance that carries two.
    let unknown = hidden
        && (card != 0
            || observed.reads.last_full().is_none()
            || pool.level.waiting == 0
            || one_is_ours(ledger));
    let open = Asked { ledger, others };
    if unknown || observed.reads.ledger_is_doubted() {
        let cause = observed
            .pause_of(Api::DescribeNetworkInterfaces, None, None, now)
            .map_or(Refusal::NotReadYet, |pause| pause.cause.clone());
        return Growth::refused(cause);
    }
    if pool.key.family == Family::V6 {
        return ipv6::growth(desired, ledger, observed, pool, now);
    }
    let (Some(per_eni), Some(max_pods), Some(max_enis)) =
        (desired.per_eni(), desired.max_pods(card), desired.max_enis(card))
    else {
        return Growth::refused(limits_unknown(observed, &node.identity, now));
    };
    let candidates = match pool.sources.subnets() {
        Ok(candidates) => candidates,
        Err(cause) => return Growth::refused(cause.clone()),
    };
    let (unit, exact) = (targets.unit, targets.are_exact());
    let lacking = Targets::lacking(&pool.level);
    let budget = max_pods.saturating_sub(pool.level.total());
    let mut demand = Demand { unit, short, lacking, budget };
    if budget == 0 {
        return Growth::refused(pods_limit(desired, ledger, card, &node.identity));
    }

    let mut grown = Growth::default();
    let mut claimed = claimed_slots(ledger);
    let held = |claimed: &BTreeSet<EniSlot>| {
        claimed.iter().filter(|slot| slot.card == card).count() + usize::from(hidden)
    };
    // Where another ENI can be made in a subnet that has what is wanted, nothing is scraped together in one that has not.
    let being_made =
        |intent: &Intent| matches!(&intent.change, CloudChange::CreateEni { slot, .. } if slot.card == card);
    let may_be_made = held(&claimed) < max_enis as usize || ledger.intents.values().any(being_made);
    let elsewhere =
        |subnet: &SubnetId| may_be_made && subnets::is_elsewhere(candidates, observed, subnet, unit, now);
    let (mut asked, mut tried) = (BTreeSet::new(), BTreeSet::new());
    // Why an ENI is passed over whose share others are to bring.
    let mut passed_over = None;
    for share in pool.enis.iter().filter(|share| share.room > 0) {
        if demand.short == 0 || demand.budget == 0 {
            break;
        }
        let eni = share.eni;
        let subnet = &eni.source.subnet;
        let room = demand.unit_of(observed, subnet, now).of(share.room);
        if eni.phase == EniPhase::Available || busy(ledger, &eni.id) || observed.doubted(&eni.id) {
            if !stuck(ledger, observed, eni, now) {
                demand.met_by(room);
            }
            continue;
        }
        let pause = observed.pause_of(Api::AssignPrivateIpAddresses, Some(&eni.id), Some(subnet), now);
        if let Some(pause) = pause {
            if pause.scope == PauseScope::Api || pause.cause.is_outage() {
                // It will go on here: no ENI is created only because EC2 wants us to slow down, or did not answer.
                grown.refusal = Some(pause.cause.clone());
                demand.met_by(room);
            } else {
                passed_over = Some(pause.cause.clone());
            }
            continue;
        }
        if without_prefixes(observed, subnet, now).is_some() && unit == Unit::Prefix && elsewhere(subnet) {
            continue;
        }
        let wanted = match demand.of(observed, subnet, now) {
            Ok(wanted) => wanted,
            Err(cause) => {
                grown.refusal = Some(cause);
                demand.met_by(unit.of(share.room));
                continue;
            }
        };
        if let Some(last) = running_low(observed, subnet, wanted.unit, now) {
            if elsewhere(subnet) {
                passed_over = Some(last);
                continue;
            }
            if open.is(subnet) || asked.contains(subnet) || demand.lacking == 0 {
                grown.refusal = Some(last);
                demand.met_by(room);
                continue;
            }
            let ask = Ask::addresses(1);
            grown.changes.push(CloudChange::Assign { eni: eni.id.clone(), ask });
            asked.insert(subnet);
            demand.met_by(ask);
            demand.spends(ask);
            continue;
        }
        let count = if exact { share.room.min(wanted.count) } else { share.room };
        let count = count.min(wanted.unit.for_addresses(demand.budget));
        let ask = wanted.unit.of(share.most.map_or(count, |most| most.min(count)));
        if finds_out(observed, subnet, wanted.unit, now) {
            if !open.is(subnet) && tried.insert(subnet) {
                grown.changes.push(CloudChange::Assign { eni: eni.id.clone(), ask });
                demand.spends(ask);
            }
            if !elsewhere(subnet) {
                return grown;
            }
            demand.met_by(room);
            continue;
        }
        grown.changes.push(CloudChange::Assign { eni: eni.id.clone(), ask });
        // The others are asked of it next: a few calls tell whether they fit.
        demand.met_by(wanted.unit.of(count));
        demand.spends(ask);
    }

    // An ENI that is being created will take more once it is there.
    for intent in ledger.intents.values() {
        if let CloudChange::CreateEni { ask, subnet, slot, .. } = &intent.change
            && slot.card == card
            && pool.sources.fit_in(subnet) == Fit::Wanted
        {
            let more = per_eni.saturating_sub(ask.count);
            demand.met_by(demand.unit_of(observed, subnet, now).of(more));
        }
    }
    // What ENIs bring that are under way or taken up by another call for a moment is no matter of one that cannot.
    if demand.short > 0 {
        grown.refusal = grown.refusal.or(passed_over);
    }
    let mut taken = Taken::by(ledger);
    for change in others {
        taken.note(change);
    }
    while demand.short > 0 {
        if hidden && !grown.changes.is_empty() {
            return grown;
        }
        let full = held(&claimed) >= max_enis as usize || demand.budget == 0 || per_eni == 0;
        let limit = full.then(|| {
            // As long as what is attached does not serve, the node is not full of pods.
            let awaited = pool
                .enis
                .iter()
                .find(|share| share.eni.attachment().is_some() && observed.keeps_failing(&share.eni.id, now));
            let full = pool.enis.iter().find(|share| share.most == Some(0) && share.occupied < per_eni);
            match (awaited, full) {
                (Some(share), _) => Refusal::LinkAwaited { eni: share.eni.id.clone() },
                (None, Some(share)) => {
                    Refusal::EniFull { eni: share.eni.id.clone(), addresses: share.occupied }
                }
                (None, None) => limit_reached(desired, ledger, pool, &node.identity, demand.budget),
            }
        });
        let brings = unit.of(if exact { per_eni.min(demand.short) } else { per_eni }).brings();
        let Some(subnet) = subnets::best(candidates, observed, unit, &taken, brings, now) else {
            return grown;
        };
        let subnet = &subnet.subnet;
        if let Some(refusal) = limit.or_else(|| no_more_enis(observed, candidates, subnet, now)) {
            // What keeps an ENI with room from growing passes sooner than a limit.
            grown.refusal.get_or_insert(refusal);
            return grown;
        }
        let wanted = match demand.of(observed, subnet, now) {
            Ok(wanted) => wanted,
            Err(cause) => {
                grown.refusal = Some(cause);
                return grown;
            }
        };
        let most = if exact { per_eni.min(wanted.count) } else { per_eni };
        let fits = observed.fits.most(None, now).unwrap_or(u32::MAX);
        let mut ask = wanted.unit.of(most.min(wanted.unit.for_addresses(demand.budget)).min(fits));
        let mut last_one = false;
        if let Some(last) = running_low(observed, subnet, wanted.unit, now) {
            if open.is(subnet) || asked.contains(subnet) || demand.lacking == 0 {
                // Of what is asked already something is known soon.
                grown.refusal = asked.is_empty().then_some(last);
                return grown;
            }
            (ask.count, last_one) = (1, true);
        } else if finds_out(observed, subnet, wanted.unit, now) {
            if open.is(subnet) || tried.contains(subnet) {
                return grown;
            }
            last_one = true;
        }
        let avoided = claimed.union(&observed.avoided_slots(now)).copied().collect();
        let slot = lowest_free_slot(card, &avoided);
        claimed.insert(slot);
        let made = create(desired, &pool.sources, subnet, &node.identity, slot, ask);
        taken.note(&made);
        grown.changes.push(made);
        demand.met_by(ask);
        demand.spends(ask);
        if last_one {
            break;
        }
    }
    // Whatever was refused on one ENI has been asked for elsewhere, unless the wait is all there is to do; then what
    // holds up the calls under way is what an ADD waits for.
    if !grown.changes.is_empty() {
        grown.refusal = None;
    } else if grown.refusal.is_none() && pool.level.waiting > 0 {
        grown.refusal = held_up(pool.key, ledger, observed, now);
    }
    grown
}

/// What somebody has forbidden, so that the pool stays as it is.
pub(crate) fn forbidden(desired: &Desired<'_>, observed: &Observed) -> Option<Refusal> {
    let brake = desired.brake();
    if brake.is_silent() {
        Some(Refusal::Braked { brake })
    } else if desired.config.metadata_only.value {
        Some(Refusal::MetadataOnly)
    } else if desired.config.provisioning_disabled.value {
        Some(Refusal::ProvisioningDisabled)
    } else if is_left_alone(desired, observed) {
        Some(Refusal::Cordoned)
    } else {
        None
    }
}

/// Whether an ENI of ours is there or being made.
fn one_is_ours(ledger: &Ledger) -> bool {
    ledger.enis.values().any(EniRecord::holds_slot)
        || ledger.intents.values().any(|intent| matches!(intent.change, CloudChange::CreateEni { .. }))
}

/// Which limit keeps the pool from another ENI.
fn limit_reached(
    desired: &Desired<'_>,
    ledger: &Ledger,
    pool: &Pool<'_>,
    node: &NodeIdentity,
    budget: u32,
) -> Refusal {
    if budget == 0 {
        return pods_limit(desired, ledger, pool.key.card, node);
    }
    let of_before = |share: &&EniPool<'_>| share.fit != Fit::Wanted && !share.eni.is_primary();
    let of_before = pool.enis.iter().filter(of_before).count();
    if of_before > 0 {
        return Refusal::OldSource { held: u32::try_from(of_before).unwrap_or(u32::MAX) };
    }
    let open = pool.enis.iter().filter(|share| share.fit != Fit::Closed);
    let blocks = open.flat_map(|share| ledger.blocks_on(&share.eni.id));
    let unit = match desired.unit() {
        Unit::Address => Unit::Prefix,
        Unit::Prefix | Unit::Ipv6Prefix => Unit::Address,
    };
    let held = blocks.filter(|block| block.occupies() && block.unit() == unit).count();
    if held > 0 && desired.brake().keeps() {
        return Refusal::Braked { brake: desired.brake() };
    }
    if held > 0 {
        return Refusal::OtherUnit { unit, held: u32::try_from(held).unwrap_or(u32::MAX) };
    }
    let configured = desired.config.max_enis.value.filter(|most| *most >= 1);
    match (configured, &desired.limits) {
        (Some(most), Some(limits)) if most < limits.enis_on(pool.key.card) => {
            Refusal::ConfiguredLimit { setting: "MAX_ENI".to_owned() }
        }
        _ => instance_full(desired, ledger, pool.key.card, node),
    }
}

/// Why no ENI is created now although there may be more; `None` when one is. An ENI that cannot be attached is not
/// created: it would only have to be deleted again.
fn no_more_enis(
    observed: &Observed,
    candidates: &[Candidate],
    subnet: &SubnetId,
    now: &Now,
) -> Option<Refusal> {
    subnets::all_full(candidates, observed, now).or_else(|| {
        observed
            .pause_of(Api::CreateNetworkInterface, None, Some(subnet), now)
            .or_else(|| observed.pause_of(Api::AttachNetworkInterface, None, None, now))
            .map(|pause| pause.cause.clone())
    })
}

/// Why a subnet that single addresses are asked of was found full lately, if it was. Of prefixes it says by itself whether
/// there are any.
fn running_low(observed: &Observed, subnet: &SubnetId, unit: Unit, now: &Now) -> Option<Refusal> {
    let low = observed.pauses.low_subnet(subnet, now).filter(|_| unit == Unit::Address);
    low.map(|pause| pause.cause.clone())
}

/// Whether it is being found out how many prefixes a subnet has, which takes one call at a time.
fn finds_out(observed: &Observed, subnet: &SubnetId, unit: Unit, now: &Now) -> bool {
    unit == Unit::Prefix && observed.fits.finds_out(subnet, now)
}

/// What is being asked of EC2.
struct Asked<'a> {
    ledger: &'a Ledger,
    /// What the same plan asks for the sake of other pools.
    others: &'a [CloudChange],
}

impl Asked<'_> {
    /// Whether a call that takes from a subnet is open.
    fn is(&self, subnet: &SubnetId) -> bool {
        let open = self.ledger.intents.values().map(|intent| &intent.change);
        open.chain(self.others).any(|change| match change {
            CloudChange::CreateEni { subnet: from, .. } => from == subnet,
            CloudChange::Assign { eni, .. } => {
                self.ledger.enis.get(eni).is_some_and(|eni| &eni.source.subnet == subnet)
            }
            _ => false,
        })
    }
}

/// Whether what keeps this ENI from growing will not pass by itself soon.
fn stuck(ledger: &Ledger, observed: &Observed, eni: &EniRecord, now: &Now) -> bool {
    ledger.intents_on(&eni.id).any(|intent| {
        matches!(intent.change, CloudChange::Unassign { .. })
            && observed.pause_of(intent.change.api(), Some(&eni.id), None, now).is_some()
    })
}

/// The cause that holds up growth that was asked for. What no call has got past since counts on after its rest: the
/// next try is no better until it is answered.
pub(crate) fn held_up(pool: PoolKey, ledger: &Ledger, observed: &Observed, now: &Now) -> Option<Refusal> {
    let concerns = |scope: &PauseScope| match scope {
        // While a subnet has no prefixes, what is asked for is single addresses.
        PauseScope::Prefixes(_) => false,
        // What was not asked of this one is asked of another.
        PauseScope::Subnet(subnet) | PauseScope::MadeIn(subnet) => Asked { ledger, others: &[] }.is(subnet),
        // What becomes of another card's ENI is no matter of this one's.
        PauseScope::Eni(eni) => ledger.enis.get(eni).is_none_or(|eni| is_on(eni, pool)),
        PauseScope::Api | PauseScope::Others => true,
    };
    let resting = |pause: &&Pause| pause.until > now.boottime && concerns(&pause.scope);
    let unbroken = |pause: &&Pause| {
        pause.scope == PauseScope::Api
            && pause.cause.is_outage()
            && now.boottime.since(pause.until) < SETBACKS_FORGOTTEN_AFTER
    };
    let pauses = || observed.pauses.iter();
    pauses()
        .filter(resting)
        .chain(pauses().filter(unbroken))
        .find(|pause| match pause.api {
            Api::DescribeNetworkInterfaces => true,
            // What becomes of further ENIs is no matter of theirs.
            Api::AssignIpv6Addresses => pool.family == Family::V6,
            Api::CreateNetworkInterface | Api::AttachNetworkInterface | Api::AssignPrivateIpAddresses => {
                pool.family == Family::V4
            }
            _ => false,
        })
        .map(|pause| pause.cause.clone())
}

fn pods_limit(desired: &Desired<'_>, ledger: &Ledger, card: u8, node: &NodeIdentity) -> Refusal {
    if desired.config.max_pods.value.is_some() {
        Refusal::ConfiguredLimit { setting: "HOLDFAST_MAX_PODS".to_owned() }
    } else {
        instance_full(desired, ledger, card, node)
    }
}

/// What the instance can carry is not known, and nothing is asked of EC2 that might be too much.
fn limits_unknown(observed: &Observed, node: &NodeIdentity, now: &Now) -> Refusal {
    let api = Api::DescribeInstanceTypes;
    observed.pause_of(api, None, None, now).map_or_else(
        || {
            let cause = format!("what a {} can carry is not known yet", node.instance_type);
            Refusal::Unreachable { api, cause }
        },
        |pause| pause.cause.clone(),
    )
}

fn instance_full(desired: &Desired<'_>, ledger: &Ledger, card: u8, node: &NodeIdentity) -> Refusal {
    let others = ledger
        .enis
        .values()
        .filter(|eni| eni.holds_slot() && eni.management != Management::Managed)
        .filter(|eni| eni.slot().is_some_and(|slot| slot.card == card))
        .count();
    let most = desired.limits.as_ref().map_or(0, |limits| limits.enis_on(card));
    // With custom networking the primary has no addresses for pods.
    let primary = card == PoolKey::DEFAULT.card && desired.config.eni_config.value.is_some();
    let others = others + usize::from(primary);
    let ours = most.saturating_sub(u32::try_from(others).unwrap_or(u32::MAX));
    let set_aside = ledger.uses.values().filter(|what| matches!(what, Use::Suspect(_))).count();
    Refusal::InstanceFull {
        addresses: desired.unit().of(ours.saturating_mul(desired.per_eni().unwrap_or(0))).brings(),
        instance_type: node.instance_type.clone(),
        set_aside: u32::try_from(set_aside).unwrap_or(u32::MAX),
    }
}

fn create(
    desired: &Desired<'_>,
    sources: &Sources,
    subnet: &SubnetId,
    node: &NodeIdentity,
    slot: EniSlot,
    ask: Ask,
) -> CloudChange {
    let mut tags: BTreeMap<String, String> = desired.config.extra_tags.value.clone();
    tags.insert(TAG_INSTANCE.to_owned(), node.instance.to_string());
    tags.extend(tagging::of_cluster(desired));
    CloudChange::CreateEni {
        subnet: subnet.clone(),
        security_groups: sources.groups().into_iter().flatten().cloned().collect(),
        ask,
        slot,
        description: format!("aws-K8S-{}", node.instance),
        tags,
    }
}
