//! Leases: how a sandbox gets an address, and how it gives it back.

use std::collections::BTreeSet;
use std::net::IpAddr;

use holdfast_model::ids::MacAddr;
use holdfast_model::journal::JournalEntry;
use holdfast_model::lease::{Face, Lease, LeasePhase};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey};
use holdfast_model::time::Now;
use holdfast_model::uses::{Suspicion, Use};

use crate::choose::Choice;
use crate::desired::Desired;
use crate::proof::Ended;
use crate::quarantine::{ended, rest};
use crate::traces::Traces;

#[cfg(test)]
mod tests;

/// What an ADD asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Who.
    pub sandbox: SandboxKey,
    /// The pod, for people.
    pub pod: PodRef,
    /// Its network namespace.
    pub netns: NetnsRef,
    /// The host ends of its interfaces, in order: as many as it is to have addresses.
    pub ends: Vec<HostEnd>,
    /// MTU of both ends of each.
    pub mtu: u32,
    /// The trace that the ADD belongs to, for the journal.
    pub trace: Option<Box<str>>,
}

/// The host end of one of a sandbox's interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEnd {
    /// Its name.
    pub veth: String,
    /// Its MAC.
    pub mac: MacAddr,
}

/// A `Pending` lease on the chosen addresses, one for each interface: on all of them or on none. `None` when one of them is not
/// free any more, its ENI takes no leases, or the sandbox holds a lease already.
pub fn open_lease(
    ledger: &Ledger,
    choices: &[Choice],
    request: LeaseRequest,
    now: &Now,
) -> Option<Vec<Change>> {
    let distinct: BTreeSet<IpAddr> = choices.iter().map(|choice| choice.address).collect();
    let matched =
        !choices.is_empty() && distinct.len() == choices.len() && choices.len() == request.ends.len();
    if ledger.leases.contains_key(&request.sandbox) || !matched {
        return None;
    }
    let mut faces = Vec::with_capacity(choices.len());
    for (number, (choice, end)) in choices.iter().zip(&request.ends).enumerate() {
        let block = ledger.block_of(choice.address)?;
        let eni = ledger.enis.get(&choice.eni)?;
        if block.eni != choice.eni || !ledger.is_free(choice.address, now) || !eni.serves_pods() {
            return None;
        }
        faces.push(Face {
            ifname: Face::name(&request.sandbox.ifname, number),
            address: choice.address,
            eni: choice.eni.clone(),
            place: eni.place.clone(),
            host_veth: end.veth.clone(),
            host_mac: end.mac,
            mtu: request.mtu,
        });
    }
    let used = |face: &Face| Change::PutUse(face.address, Use::Leased(request.sandbox.clone()));
    let mut changes: Vec<Change> = faces.iter().map(used).collect();
    changes.push(note(leased(&faces, &request), now));
    changes.push(Change::PutLease(Lease {
        faces,
        sandbox: request.sandbox,
        pod: request.pod,
        netns: request.netns,
        phase: LeasePhase::Pending,
        created: now.wall,
    }));
    Some(changes)
}

fn leased(faces: &[Face], request: &LeaseRequest) -> String {
    let addresses: Vec<String> = faces.iter().map(|face| face.address.to_string()).collect();
    let what = format!("{} leased to {} ({})", addresses.join(", "), request.sandbox, request.pod);
    match &request.trace {
        Some(trace) => format!("{what}, trace {trace}"),
        None => what,
    }
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

/// The sandbox had lost its link, and was wired anew: that is worth remembering.
pub fn rewired(ledger: &Ledger, sandbox: &SandboxKey, now: &Now) -> Vec<Change> {
    let Some(lease) = ledger.leases.get(sandbox) else { return Vec::new() };
    let what =
        format!("{} ({}, {:?}) had lost its link and was wired anew", sandbox, lease.pod, addresses(lease));
    vec![note(what, now)]
}

/// The lease is to be given up: `Releasing`, durable before the kernel is touched. Empty when there is none or it
/// is being released already.
pub fn begin_release(ledger: &Ledger, ended: &Ended, now: &Now) -> Vec<Change> {
    let Some(lease) = ended.lease(ledger).filter(|lease| lease.phase != LeasePhase::Releasing) else {
        return Vec::new();
    };
    vec![
        Change::PutLease(Lease { phase: LeasePhase::Releasing, ..lease.clone() }),
        note(
            format!(
                "{:?} of {} ({}) are being released: {ended}",
                addresses(lease),
                lease.sandbox,
                lease.pod
            ),
            now,
        ),
    ]
}

/// The kernel state of a `Releasing` lease is gone: the lease ends, and its address rests its full time, or is set aside
/// where a sandbox that no lease explains has it. One that EC2 took away meanwhile leaves a tombstone instead. Empty for any
/// other lease.
pub fn finish_release(
    desired: &Desired<'_>,
    ledger: &Ledger,
    traces: &Traces,
    sandbox: &SandboxKey,
    now: &Now,
) -> Vec<Change> {
    let Some(lease) = ledger.leases.get(sandbox).filter(|lease| lease.phase == LeasePhase::Releasing) else {
        return Vec::new();
    };
    let after = |ip: IpAddr| {
        Some(if traces.in_use.contains_key(&ip) {
            Use::Suspect(Suspicion::MaybeInUse)
        } else {
            Use::Cooling(rest(desired, now))
        })
    };
    end(ledger, lease, after, now)
}

/// The wiring of a `Pending` lease failed in this process and was undone; no ADD was answered. Its addresses are
/// free again without a rest: no packet of a workload ever left from them. After a restart use [`begin_release`]
/// instead: the answer may have left. Empty for any other lease.
pub fn undo(ledger: &Ledger, sandbox: &SandboxKey, now: &Now) -> Vec<Change> {
    match ledger.leases.get(sandbox) {
        Some(lease) if lease.phase == LeasePhase::Pending => end(ledger, lease, |_| None, now),
        _ => Vec::new(),
    }
}

// A `Draft` would do, but copies the whole ledger: these decisions are made for every pod, and none of their changes
// depends on another.

fn end(ledger: &Ledger, lease: &Lease, after: impl Fn(IpAddr) -> Option<Use>, now: &Now) -> Vec<Change> {
    let mut changes = vec![Change::DropLease(lease.sandbox.clone())];
    changes.extend(ended(ledger, &addresses(lease), after, now));
    changes
}

fn addresses(lease: &Lease) -> Vec<IpAddr> {
    lease.addresses().collect()
}

fn note(what: String, now: &Now) -> Change {
    Change::Journal(JournalEntry { at: now.wall, what })
}
