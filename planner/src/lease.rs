//! Leases: which address a sandbox gets, and how it gives it back.

use std::net::IpAddr;

use holdfast_model::eni::EniSlot;
use holdfast_model::ids::{EniId, MacAddr};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::refusal::Refusal;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey};
use holdfast_model::time::{BootTime, Now};

use crate::desired::Desired;
use crate::observed::Observed;

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
}

/// Chooses an address: proven by EC2, used by nobody, on an ENI that serves pods and whose kernel set-up this
/// process has read back.
pub fn choose_address(
    _desired: &Desired<'_>,
    _ledger: &Ledger,
    _observed: &Observed,
    _now: &Now,
) -> Result<Choice, Shortage> {
    unimplemented!("being written")
}

/// A `Pending` lease on the chosen address. `None` when the address is not free any more or the sandbox holds a
/// lease already.
pub fn open_lease(
    _desired: &Desired<'_>,
    _ledger: &Ledger,
    _choice: &Choice,
    _request: LeaseRequest,
    _now: &Now,
) -> Option<Vec<Change>> {
    unimplemented!("being written")
}

/// The wiring was read back: `Pending` becomes `Active`. Empty for any other lease.
pub fn activate(_ledger: &Ledger, _sandbox: &SandboxKey) -> Vec<Change> {
    unimplemented!("being written")
}

/// The lease is to be given up: `Releasing`, durable before the kernel is touched. Empty when there is none or it
/// is being released already.
pub fn begin_release(_ledger: &Ledger, _sandbox: &SandboxKey, _now: &Now) -> Vec<Change> {
    unimplemented!("being written")
}

/// The kernel state of a `Releasing` lease is gone: the lease ends, its address rests its full time. Empty
/// otherwise.
pub fn finish_release(
    _desired: &Desired<'_>,
    _ledger: &Ledger,
    _sandbox: &SandboxKey,
    _now: &Now,
) -> Vec<Change> {
    unimplemented!("being written")
}

/// The wiring of a `Pending` lease failed in this process and was undone; no ADD was answered. The address is
/// free again without a rest. After a restart use [`begin_release`]: the answer may have left.
pub fn undo(_ledger: &Ledger, _sandbox: &SandboxKey, _now: &Now) -> Vec<Change> {
    unimplemented!("being written")
}
