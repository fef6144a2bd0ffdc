//! The fault menu: what can go wrong with the simulated EC2 and IMDS, as data that can be set while it runs.
//!
//! A [`Fault`] is a kind, a scope and a life. What a kind cannot be narrowed by is refused, never ignored. Every hit is
//! counted, so that a test can tell a fault that did nothing. The published outages behind each kind are in the
//! project's incident list under the same `F` numbers.
//!
//! A hit is a change: the call was not carried out as it would have been, or its answer that left the box was another
//! one. What is drawn for a call and then changes nothing is not counted, and does not use up [`Fault::count`]. Of
//! several faults each is judged beside the others: the one that took effect is hit, not the one that it hid, and of what
//! is shown each changes what the older ones left. In detail:
//!
//! * `ErrorInstead`, `Throttle`, `Deny`, `ImdsStatus`: what they stand in place of is not tried, so it may have been
//!   the same error.
//! * `TerminateBefore`, `TerminateAfter`: the instance ended by it; one that was over already is not hit.
//! * `AttachHangs`, `DetachHangs`: once when the attachment was due, and again for each half second that it stays.
//! * `LinkLate`, `LinkNever`: when the link is put off, at the attachment; whether it would have been waited for is not
//!   known by then.
//! * `InstanceRetires`: when the instance is stopped, not when that is announced.
//! * The view of metadata (`ImdsOmitsEni`, `ImdsOmitsAddresses`, `ImdsRemembers`, `ImdsFrozen`, `ImdsLags`) and
//!   `ImdsExpiredCredentials`: a read of the service whose text is another one; the whole view where
//!   [`crate::vpc::SimVpc::imds_view`] is asked.
//! * `ClockAhead`: a signature that EC2's face judged otherwise for it.

mod check;
mod kind;

use serde::{Deserialize, Serialize};

use crate::vpc::{Action, Caller, EniId, InstanceId, Micros, SubnetId};
pub use kind::FaultKind;
pub(crate) use kind::Reach;

/// Whom a fault hits. An absent or empty part does not narrow.
///
/// Instances, subnets and zones must be there when the fault is set. An ENI may be made later: of one that is not there
/// only the form of its id is judged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Calls of these actions.
    pub actions: Vec<Action>,
    /// Calls with the role of this instance, its attachments, or its IMDS.
    pub instance: Option<InstanceId>,
    /// Calls of the caller of this name.
    pub caller: Option<String>,
    /// Calls that name this ENI or its attachment; its attachments.
    pub eni: Option<EniId>,
    /// Calls that name this subnet or an ENI of it; attachments of its ENIs.
    pub subnet: Option<SubnetId>,
    /// The same for all subnets of this zone.
    pub zone: Option<String>,
    /// Calls that name this identifier, whatever it is of.
    pub resource: Option<String>,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// Whom.
    #[serde(default)]
    pub scope: Scope,
    /// The first so many calls that the scope covers pass unharmed, changed by it or not.
    #[serde(default)]
    pub skip: u32,
    /// Ends after so many hits; endless where absent.
    #[serde(default)]
    pub count: Option<u32>,
    /// Ends at this instant of the virtual clock; endless where absent.
    #[serde(default)]
    pub until: Option<Micros>,
    /// Chance per call that the scope covers, in thousandths.
    #[serde(default = "always")]
    pub permille: u32,
}

/// Why a fault cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this fault cannot be set: {0}")]
pub struct BadFault(pub String);

fn always() -> u32 {
    1000
}

impl Fault {
    /// Hits everyone, always, without end.
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, scope: Scope::default(), skip: 0, count: None, until: None, permille: always() }
    }

    /// Only calls of this action (and of those named before).
    #[must_use]
    pub fn on(mut self, action: Action) -> Self {
        self.scope.actions.push(action);
        self
    }

    /// Only this instance.
    #[must_use]
    pub fn of_instance(mut self, instance: &InstanceId) -> Self {
        self.scope.instance = Some(*instance);
        self
    }

    /// Only this ENI.
    #[must_use]
    pub fn of_eni(mut self, eni: EniId) -> Self {
        self.scope.eni = Some(eni);
        self
    }

    /// Only this subnet.
    #[must_use]
    pub fn of_subnet(mut self, subnet: SubnetId) -> Self {
        self.scope.subnet = Some(subnet);
        self
    }

    /// Only so many hits.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }

    /// Only up to this instant.
    #[must_use]
    pub fn until(mut self, until: Micros) -> Self {
        self.until = Some(until);
        self
    }

    /// Only after so many matching calls.
    #[must_use]
    pub fn skipping(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Only with this chance, in thousandths.
    #[must_use]
    pub fn with_permille(mut self, permille: u32) -> Self {
        self.permille = permille;
        self
    }
}

impl Scope {
    /// Whether a call of `action` by `caller` is meant, as far as those tell.
    pub(crate) fn covers_call(&self, action: Action, caller: &Caller) -> bool {
        (self.actions.is_empty() || self.actions.contains(&action))
            && (self.instance.is_none() || self.instance == caller.instance)
            && self.caller.as_ref().is_none_or(|name| *name == caller.name)
    }

    /// Whether the places that a call or an attachment is about are meant.
    pub(crate) fn covers_places(&self, places: &Places) -> bool {
        self.eni.is_none_or(|eni| places.enis.contains(&eni))
            && self.subnet.is_none_or(|subnet| places.subnets.contains(&subnet))
            && self.zone.as_ref().is_none_or(|zone| places.zones.contains(zone))
            && self.resource.as_ref().is_none_or(|id| places.named.contains(id))
    }

    /// Whether anything depends on the places.
    pub(crate) fn asks_for_places(&self) -> bool {
        self.eni.is_some() || self.subnet.is_some() || self.zone.is_some() || self.resource.is_some()
    }
}

/// What a call or an attachment is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) enis: Vec<EniId>,
    pub(crate) subnets: Vec<SubnetId>,
    pub(crate) zones: Vec<String>,
    /// Every identifier that the request names.
    pub(crate) named: Vec<String>,
}

/// Handle of a set fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);
