//! Leases: which address a sandbox gets, and how it gives it back.

use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::address::{AddressRecord, AddressState};
use holdfast_model::cloud::{Api, CloudChange};
use holdfast_model::eni::{EniRecord, EniSlot};
use holdfast_model::ids::{EniId, MacAddr};
use holdfast_model::journal::JournalEntry;
use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::refusal::Refusal;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey};
use holdfast_model::time::{BootTime, Now};

use crate::desired::Desired;
use crate::grow::{growth, held_up};
use crate::observed::Observed;
use crate::pool::Pool;
use crate::quarantine::rest;

#[cfg(test)]
mod tests;

/// An address to lease, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The address.
    pub address: IpAddr,
    /// Its ENI.
    pub eni: EniId,
    /// That ENI's place: decides the routing table.
    pub slot: EniSlot,
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

/// What an ADD asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Who.
    pub sandbox: SandboxKey,
    /// The pod, for people.
    pub pod: PodRef,
    /// Its network namespace.
    pub netns: NetnsRef,
    /// The host end's name.
    pub host_veth: String,
    /// The host end's MAC.
    pub host_mac: MacAddr,
    /// MTU of both ends.
    pub mtu: u32,
}

/// Chooses an address: proven by EC2, used by nobody, on an ENI that serves pods and whose kernel set-up this
/// process has read back.
///
/// The lowest slot first, so that high ENIs fall empty and can be given back; on an ENI, addresses that were not
/// used since they came, then the one that has rested longest.
pub fn choose_address(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    now: &Now,
) -> Result<Choice, Shortage> {
    if ledger.node.as_ref().is_none_or(|node| node.boot != now.boot) {
        return Err(Shortage { cause: Refusal::NotReady, hold: true, hindered: true, ready: None });
    }
    let mut best: Option<(&AddressRecord, (EniSlot, BootTime, IpAddr))> = None;
    for address in ledger.addresses.values().filter(|address| address.is_free(now)) {
        let Some(eni) = ledger.enis.get(&address.eni) else { continue };
        let own = eni.primary_ipv4.is_some_and(|own| IpAddr::V4(own) == address.ip);
        let usable = eni.serves_pods() && observed.ready_enis.contains(&eni.id);
        let unproven = observed.unseen.contains_key(&address.ip) || observed.found.contains_key(&address.ip);
        if own || !usable || unproven {
            continue;
        }
        let freed = match &address.state {
            AddressState::Cooling(rest) => rest.since,
            _ => BootTime(0),
        };
        let rank = (eni.slot, freed, address.ip);
        if best.as_ref().is_none_or(|(_, least)| rank < *least) {
            best = Some((address, rank));
        }
    }
    match best {
        Some((address, (slot, ..))) => Ok(Choice { address: address.ip, eni: address.eni.clone(), slot }),
        None => Err(shortage(desired, ledger, observed, now)),
    }
}

/// Why nothing is free, and whether waiting helps.
fn shortage(desired: &Desired<'_>, ledger: &Ledger, observed: &Observed, now: &Now) -> Shortage {
    // Whoever asks is waiting, whether the engine has counted it yet or not.
    let mut observed = observed.clone();
    observed.waiting = observed.waiting.max(1);
    let pool = Pool::of(desired, ledger, &observed, now);
    let growth = growth(desired, ledger, &observed, &pool, now);

    let left = ledger
        .addresses
        .values()
        .filter(|address| address.assigned)
        .filter(|address| ledger.enis.get(&address.eni).is_some_and(EniRecord::serves_pods))
        .filter_map(|address| match &address.state {
            AddressState::Cooling(rest) => {
                let proven = observed.found.get(&address.ip);
                // The read that proves it may take a while.
                let read = proven.map(|proven| proven.since(now.boottime).max(Duration::from_secs(1)));
                rest.remaining(now).max(read)
            }
            _ => None,
        })
        .chain(being_released(desired, ledger))
        .min();
    let ready = left.map(|left| now.boottime.after(left));
    let rests_in_time = left.is_some_and(|left| left <= desired.config.add_hold.value);

    // More may be wanted than can be had, and what an ADD waits for be on its way all the same.
    let asked_for: u32 = growth.changes.iter().map(addresses_of).sum();
    let comes = pool.on_the_way + asked_for >= observed.waiting && held_up(&observed, now).is_none();
    let hindered = growth.refusal.is_some() && !rests_in_time && !comes;
    let coming = pool.on_the_way > 0 || !growth.changes.is_empty();
    let cause = match (growth.refusal, left) {
        (Some(refusal), Some(left)) if !passes(&refusal) && rests_in_time => all_cooling(refusal, left),
        (Some(refusal), _) => refusal,
        (None, Some(left)) if !coming => Refusal::AllCooling { seconds: whole_seconds(left) },
        (None, _) => Refusal::Unreachable {
            api: awaited(ledger),
            cause: "addresses were asked for and are not in service yet".to_owned(),
        },
    };
    let hold = passes(&cause) || rests_in_time || (coming && !is_final(&cause));
    Shortage { cause, hold, hindered, ready }
}

/// How many addresses a change brings.
fn addresses_of(change: &CloudChange) -> u32 {
    match change {
        CloudChange::AssignAddresses { count, .. } => *count,
        CloudChange::CreateEni { secondary_addresses, .. } => *secondary_addresses,
        _ => 0,
    }
}

/// Leases on their way out: each is a rest that is about to begin.
fn being_released(desired: &Desired<'_>, ledger: &Ledger) -> Option<Duration> {
    let releasing = ledger.leases.values().any(|lease| lease.phase == LeasePhase::Releasing);
    releasing.then_some(desired.config.cooldown.value)
}

/// The instance can carry no more, but it need not: one is nearly ready.
fn all_cooling(refusal: Refusal, left: Duration) -> Refusal {
    match refusal {
        Refusal::InstanceFull { .. } | Refusal::ConfiguredLimit { .. } | Refusal::ProvisioningDisabled => {
            Refusal::AllCooling { seconds: whole_seconds(left) }
        }
        other => other,
    }
}

/// Whether the obstacle passes without anybody's help.
fn passes(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Throttled { .. }
            | Refusal::Unreachable { .. }
            | Refusal::NotReady
            | Refusal::Miscounted { .. }
            | Refusal::AllCooling { .. }
    )
}

/// Whether somebody has to change something before an address can come from EC2.
fn is_final(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Denied { .. } | Refusal::SubnetFull { .. })
}

fn whole_seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

fn awaited(ledger: &Ledger) -> Api {
    ledger
        .intents
        .values()
        .map(|intent| intent.change.api())
        .find(|api| {
            matches!(
                api,
                Api::AssignPrivateIpAddresses | Api::CreateNetworkInterface | Api::AttachNetworkInterface
            )
        })
        .unwrap_or(Api::AssignPrivateIpAddresses)
}

/// A `Pending` lease on the chosen address. `None` when the address is not free any more, its ENI takes no
/// leases, or the sandbox holds a lease already.
pub fn open_lease(ledger: &Ledger, choice: &Choice, request: LeaseRequest, now: &Now) -> Option<Vec<Change>> {
    let address = ledger.addresses.get(&choice.address)?;
    let eni = ledger.enis.get(&choice.eni)?;
    if ledger.leases.contains_key(&request.sandbox)
        || address.eni != choice.eni
        || !address.is_free(now)
        || ledger.lease_of(choice.address).is_some()
        || !eni.serves_pods()
    {
        return None;
    }
    let mut changes: Vec<_> = set_state(ledger, choice.address, AddressState::Leased).into_iter().collect();
    changes.push(note(format!("{} leased to {} ({})", choice.address, request.sandbox, request.pod), now));
    changes.push(Change::PutLease(Lease {
        sandbox: request.sandbox,
        pod: request.pod,
        netns: request.netns,
        address: choice.address,
        eni: choice.eni.clone(),
        slot: eni.slot,
        host_veth: request.host_veth,
        host_mac: request.host_mac,
        mtu: request.mtu,
        phase: LeasePhase::Pending,
        created: now.wall,
    }));
    Some(changes)
}

/// The wiring was read back: `Pending` becomes `Active`. Empty for any other lease.
pub fn activate(ledger: &Ledger, sandbox: &SandboxKey) -> Vec<Change> {
    match ledger.leases.get(sandbox) {
        Some(lease) if lease.phase == LeasePhase::Pending => {
            vec![Change::PutLease(Lease { phase: LeasePhase::Active, ..lease.clone() })]
        }
        _ => Vec::new(),
    }
}

/// The lease is to be given up: `Releasing`, durable before the kernel is touched. Empty when there is none or it
/// is being released already.
pub fn begin_release(ledger: &Ledger, sandbox: &SandboxKey, now: &Now) -> Vec<Change> {
    let Some(lease) = ledger.leases.get(sandbox).filter(|lease| lease.phase != LeasePhase::Releasing) else {
        return Vec::new();
    };
    vec![
        Change::PutLease(Lease { phase: LeasePhase::Releasing, ..lease.clone() }),
        note(format!("{} of {} ({}) is being released", lease.address, sandbox, lease.pod), now),
    ]
}

/// The kernel state of a `Releasing` lease is gone: the lease ends, and its address rests its full time. One that
/// EC2 took away meanwhile leaves a tombstone instead. Empty for any other lease.
pub fn finish_release(
    desired: &Desired<'_>,
    ledger: &Ledger,
    sandbox: &SandboxKey,
    now: &Now,
) -> Vec<Change> {
    let Some(lease) = ledger.leases.get(sandbox).filter(|lease| lease.phase == LeasePhase::Releasing) else {
        return Vec::new();
    };
    end(ledger, lease, AddressState::Cooling(rest(desired, now)), now)
}

/// The wiring of a `Pending` lease failed in this process and was undone; no ADD was answered. The address is
/// free again without a rest: no packet of a workload ever left from it. After a restart use [`begin_release`]
/// instead: the answer may have left. Empty for any other lease.
pub fn undo(ledger: &Ledger, sandbox: &SandboxKey, now: &Now) -> Vec<Change> {
    match ledger.leases.get(sandbox) {
        Some(lease) if lease.phase == LeasePhase::Pending => end(ledger, lease, AddressState::Free, now),
        _ => Vec::new(),
    }
}

fn end(ledger: &Ledger, lease: &Lease, after: AddressState, now: &Now) -> Vec<Change> {
    let mut changes = vec![Change::DropLease(lease.sandbox.clone())];
    let assigned = ledger.addresses.get(&lease.address).is_some_and(|address| address.assigned);
    let after = if assigned { after } else { AddressState::Gone(now.boottime) };
    changes.extend(set_state(ledger, lease.address, after));
    changes
}

// A `Draft` would do, but copies the whole ledger: these decisions are made for every pod, and none of their changes
// depends on another.

fn set_state(ledger: &Ledger, ip: IpAddr, state: AddressState) -> Option<Change> {
    let record = ledger.addresses.get(&ip).filter(|record| record.state != state)?;
    Some(Change::PutAddress(AddressRecord { state, ..record.clone() }))
}

fn note(what: String, now: &Now) -> Change {
    Change::Journal(JournalEntry { at: now.wall, what })
}
