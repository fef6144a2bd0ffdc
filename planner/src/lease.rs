//! Leases: which address a sandbox gets, and how it gives it back.

use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::block::{Block, BlockState};
use holdfast_model::cloud::{Api, CloudChange};
use holdfast_model::eni::EniPlace;
use holdfast_model::ids::{EniId, MacAddr};
use holdfast_model::journal::JournalEntry;
use holdfast_model::lease::{Face, Lease, LeasePhase};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::refusal::Refusal;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey};
use holdfast_model::pool::PoolKey;
use holdfast_model::time::{BootTime, Now};
use holdfast_model::uses::Use;

use crate::desired::Desired;
use crate::grow::{growth, held_up};
use crate::observed::Observed;
use crate::pool::{Pool, gives};
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
    pub place: EniPlace,
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
    let best = ledger
        .enis
        .values()
        .filter(|eni| eni.serves_pods() && observed.ready_enis.contains(&eni.id))
        .flat_map(|eni| {
            let blocks = ledger.blocks_on(&eni.id).filter(|block| gives(block, PoolKey::DEFAULT));
            blocks.map(move |block| (eni, block.net.addr()))
        })
        .filter(|(_, ip)| ledger.is_free(*ip, now))
        .filter(|(_, ip)| !observed.unseen.contains_key(ip) && !observed.found.contains_key(ip))
        .min_by_key(|(eni, ip)| {
            let freed = match ledger.uses.get(ip) {
                Some(Use::Cooling(rest)) => rest.since,
                _ => BootTime(0),
            };
            (eni.slot(), freed, *ip)
        });
    match best {
        Some((eni, address)) => Ok(Choice { address, eni: eni.id.clone(), place: eni.place.clone() }),
        None => Err(shortage(desired, ledger, observed, now)),
    }
}

/// Why nothing is free, and whether waiting helps.
fn shortage(desired: &Desired<'_>, ledger: &Ledger, observed: &Observed, now: &Now) -> Shortage {
    // Whoever asks is waiting, whether the engine has counted it yet or not.
    let mut observed = observed.clone();
    let waiting = observed.waiting.entry(PoolKey::DEFAULT).or_insert(0);
    *waiting = (*waiting).max(1);
    let pool = Pool::of(PoolKey::DEFAULT, desired, ledger, &observed, now);
    let growth = growth(desired, ledger, &observed, &pool, now);

    let left = ledger
        .uses
        .iter()
        .filter_map(|(ip, what)| {
            let Use::Cooling(rest) = what else { return None };
            let block = ledger.block_of(*ip).filter(|block| block.state == BlockState::Held)?;
            ledger.enis.get(&block.eni).filter(|eni| eni.serves_pods())?;
            let proven = observed.found.get(ip);
            // The read that proves it may take a while.
            let read = proven.map(|proven| proven.since(now.boottime).max(Duration::from_secs(1)));
            rest.remaining(now).max(read)
        })
        .chain(being_released(desired, ledger))
        .min();
    let ready = left.map(|left| now.boottime.after(left));
    let rests_in_time = left.is_some_and(|left| left <= desired.config.add_hold.value);

    // More may be wanted than can be had, and what an ADD waits for be on its way all the same.
    let asked_for: u32 = growth.changes.iter().map(addresses_of).sum();
    let comes = pool.on_the_way + asked_for >= pool.level.waiting && held_up(&observed, now).is_none();
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
    let block = ledger.block_of(choice.address)?;
    let eni = ledger.enis.get(&choice.eni)?;
    if ledger.leases.contains_key(&request.sandbox)
        || block.eni != choice.eni
        || !ledger.is_free(choice.address, now)
        || !eni.serves_pods()
    {
        return None;
    }
    Some(vec![
        Change::PutUse(choice.address, Use::Leased(request.sandbox.clone())),
        note(format!("{} leased to {} ({})", choice.address, request.sandbox, request.pod), now),
        Change::PutLease(Lease {
            faces: vec![Face {
                ifname: request.sandbox.ifname.clone(),
                address: choice.address,
                eni: choice.eni.clone(),
                place: eni.place.clone(),
                host_veth: request.host_veth,
                host_mac: request.host_mac,
                mtu: request.mtu,
            }],
            sandbox: request.sandbox,
            pod: request.pod,
            netns: request.netns,
            phase: LeasePhase::Pending,
            created: now.wall,
        }),
    ])
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
        note(format!("{:?} of {} ({}) are being released", addresses(lease), sandbox, lease.pod), now),
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
    end(ledger, lease, Some(Use::Cooling(rest(desired, now))), now)
}

/// The wiring of a `Pending` lease failed in this process and was undone; no ADD was answered. Its addresses are
/// free again without a rest: no packet of a workload ever left from them. After a restart use [`begin_release`]
/// instead: the answer may have left. Empty for any other lease.
pub fn undo(ledger: &Ledger, sandbox: &SandboxKey, now: &Now) -> Vec<Change> {
    match ledger.leases.get(sandbox) {
        Some(lease) if lease.phase == LeasePhase::Pending => end(ledger, lease, None, now),
        _ => Vec::new(),
    }
}

// A `Draft` would do, but copies the whole ledger: these decisions are made for every pod, and none of their changes
// depends on another.

fn end(ledger: &Ledger, lease: &Lease, after: Option<Use>, now: &Now) -> Vec<Change> {
    let mut changes = vec![Change::DropLease(lease.sandbox.clone())];
    for ip in lease.addresses() {
        changes.push(match &after {
            Some(what) => Change::PutUse(ip, what.clone()),
            None => Change::DropUse(ip),
        });
        let withdrawn = ledger.block_of(ip).filter(|block| block.state == BlockState::Withdrawn);
        // What others use in it keeps it in the book.
        let others = |block: &Block| {
            ledger.uses_in(block.net).any(|(other, what)| !lease.addresses().any(|ip| ip == other) && in_use(what))
        };
        if let Some(block) = withdrawn.filter(|block| !others(block)) {
            changes.push(Change::PutBlock(Block { state: BlockState::Gone(now.boottime), ..block.clone() }));
        }
    }
    changes
}

fn in_use(what: &Use) -> bool {
    matches!(what, Use::Leased(_) | Use::Suspect(_))
}

fn addresses(lease: &Lease) -> Vec<IpAddr> {
    lease.addresses().collect()
}

fn note(what: String, now: &Now) -> Change {
    Change::Journal(JournalEntry { at: now.wall, what })
}
