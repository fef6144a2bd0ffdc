//! The simulated EC2: VPC networking as an in-memory state machine with a virtual clock.
//!
//! [`SimVpc`] is deterministic: equal seeds and equal sequences of calls give equal answers, ids and addresses
//! included. It does no IO, starts no thread and reads no clock; [`SimVpc::advance_to`] moves its time.

mod calls;
mod can_hit;
mod check;
mod describe;
mod due;
pub mod error;
pub mod event;
mod family;
mod faults;
mod filter;
mod forgotten;
mod harm;
mod hits;
pub mod hook;
pub mod ids;
pub mod imds_view;
mod index;
pub mod limits;
pub mod log;
mod model;
mod op;
mod places;
pub mod request;
pub mod response;
mod retirement;
mod rng;
mod serve;
mod setup;
mod shape;
mod space;
mod table;
mod tally;
pub mod throttle;
pub mod time;
mod tokens;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use calls::Ticket;
pub use check::Violation;
pub use error::{ApiError, CallError, ErrorCode};
pub use event::{EniAddresses, VpcEvent};
pub use forgotten::Forgotten;
pub use harm::{Garbled, ImdsHarm};
pub use ids::{AttachmentId, EniId, InstanceId, Mac, ReservationId, SecurityGroupId, SubnetId, VpcId};
pub use imds_view::{ImdsInterface, ImdsView};
pub use log::{CallLog, CallRecord, Outcome};
pub use request::{Action, Call, Caller, Filter, Operation, Request, Response, Tags};
pub use retirement::{PastRetirement, RetirementEnd, RetirementNotice};
pub use space::{FullSubnet, ReservationKind};
pub use table::HORIZON;
pub use throttle::{Bucket, RequestLimits};
pub(crate) use time::millis;
pub use time::{Micros, Timing};
pub use view::View;

use crate::fault::{BadFault, Fault, FaultId, FaultKind};
use calls::Calls;
use event::Events;
use faults::{Faults, Frozen};
use hook::{Hook, HookSlot};
use model::World;
use op::Due;
use rng::Stream;
use throttle::Throttle;

/// What a box is made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoxConfig {
    /// Region, such as `us-west-2`.
    pub region: String,
    /// Account that owns everything, 12 digits.
    pub account_id: String,
    /// Seed of ids, MACs, address choice and chance.
    pub seed: u64,
    /// Delays.
    pub timing: Timing,
    /// ENIs that the account may have in the region; 5,000 is EC2's default quota.
    pub eni_quota: usize,
    /// An account with more ENIs than this cannot be listed in one answer.
    pub large_account: usize,
    /// What a full subnet answers.
    pub full_subnet: FullSubnet,
}

impl Default for BoxConfig {
    fn default() -> Self {
        Self {
            region: "us-west-2".to_owned(),
            account_id: "123456789012".to_owned(),
            seed: 1,
            timing: Timing::default(),
            eni_quota: 5000,
            large_account: 1000,
            full_subnet: FullSubnet::default(),
        }
    }
}

/// A subnet to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetSpec {
    /// In which VPC.
    pub vpc: VpcId,
    /// In which zone, such as `us-west-2a`.
    pub availability_zone: String,
    /// IPv4 block, inside a block of the VPC; `None` for an IPv6-only subnet.
    pub ipv4: Option<Ipv4Net>,
    /// IPv6 /64, inside the VPC's block.
    pub ipv6: Option<Ipv6Net>,
    /// Tags.
    pub tags: Tags,
}

/// An instance to be started, with its primary ENI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Type, one of [`limits::instance_types`].
    pub instance_type: String,
    /// Subnet of the primary ENI.
    pub subnet: SubnetId,
    /// Groups of the primary ENI; the VPC's default group where empty.
    pub security_groups: Vec<SecurityGroupId>,
    /// First address, chosen where absent.
    pub private_ip: Option<std::net::Ipv4Addr>,
    /// IPv6 addresses of the primary ENI, chosen.
    pub ipv6_address_count: u32,
    /// Tags of the instance.
    pub tags: Tags,
}

/// The answer to one request, for a face that speaks a wire protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// In the form of a UUID.
    pub request_id: String,
    /// The answer, an error, or a closed connection.
    pub result: Result<Response, CallError>,
    /// To be waited after the effect, before the answer is sent (zero without a fault).
    pub late_by: Duration,
    /// What becomes of the answer on its way.
    pub garbled: Option<Garbled>,
}

/// What metadata shows.
#[derive(Debug)]
pub(crate) struct ImdsLooks {
    /// Without any fault.
    pub(crate) unharmed: ImdsView,
    /// With this fault and all older ones, oldest first.
    pub(crate) harmed: Vec<(FaultId, ImdsView)>,
}

/// The simulated service.
#[derive(Debug)]
pub struct SimVpc {
    config: BoxConfig,
    now: Micros,
    world: World,
    ids: Stream,
    choice: Stream,
    request_ids: Stream,
    /// What falls due by itself, in order; the number keeps the order of things due at one instant.
    due: BTreeMap<(Micros, u64), Due>,
    next_due: u64,
    /// Something that fell due is being carried out.
    is_running_due: bool,
    under_way: Calls,
    /// Attachments whose interface is in the instance.
    visible: BTreeSet<AttachmentId>,
    events: Events,
    faults: Faults,
    throttle: Throttle,
    hook: HookSlot,
    log: CallLog,
    calls: u64,
}

/// A box that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a view that lags {0:?} cannot be had: {1:?} are kept; shorten a delay, a lag or a memory")]
pub struct TooOld(Duration, Duration);

impl SimVpc {
    /// An empty box at instant zero.
    ///
    /// # Panics
    /// The timing lags more than [`HORIZON`].
    pub fn new(config: BoxConfig) -> Self {
        let stream = |purpose| Stream::new(config.seed, purpose);
        let mut vpc = Self {
            now: Micros::default(),
            world: World::default(),
            ids: stream(1),
            choice: stream(2),
            request_ids: stream(3),
            due: BTreeMap::new(),
            next_due: 0,
            is_running_due: false,
            under_way: Calls::default(),
            visible: BTreeSet::new(),
            events: Events::default(),
            faults: Faults::new(stream(4)),
            throttle: Throttle::default(),
            hook: HookSlot::default(),
            log: CallLog::default(),
            calls: 0,
            config,
        };
        vpc.set_timing(vpc.config.timing.clone()).expect("a timing that can be kept");
        vpc
    }

    /// Region, account, seed and delays.
    pub fn config(&self) -> &BoxConfig {
        &self.config
    }

    /// Changes the delays from now on; what is under way keeps its old ones. Errors: a lag that cannot be kept,
    /// with those of the faults in force.
    pub fn set_timing(&mut self, timing: Timing) -> Result<(), TooOld> {
        let faults: Vec<Fault> = self.faults().into_iter().map(|(_, fault)| fault).collect();
        can_hit::keeps(&timing, &faults)?;
        self.config.timing = timing;
        Ok(())
    }

    /// Sets the account's request limits, with full buckets. There are none at first.
    pub fn set_request_limits(&mut self, limits: RequestLimits) {
        self.throttle = Throttle::new(limits);
    }

    /// Sets or removes the hook around the effect of each call (F01).
    pub fn set_hook(&mut self, hook: Option<Hook>) {
        self.hook = HookSlot(hook);
    }

    /// The virtual clock.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// [`SimVpc::serve`] with the answer typed, for code in the same process.
    pub fn call<C: Call>(&mut self, caller: &Caller, operation: C) -> Result<C::Output, CallError> {
        let reply = self.serve(caller, operation.into());
        if let Some(Garbled::Reset(_)) = reply.garbled {
            return Err(CallError::Dropped);
        }
        let response = reply.result?;
        Ok(C::output(response).expect("an operation is answered by its own response"))
    }

    /// The state as it really is at this instant, whatever the faults.
    pub fn authoritative(&self) -> View<'_> {
        View::of(&self.world, &self.config.account_id, self.now)
    }

    /// What IMDS of an instance shows now; `None` for an unknown, ended or stopped instance.
    pub fn imds_view(&mut self, instance: &InstanceId) -> Option<ImdsView> {
        let looks = self.imds_looks(instance)?;
        let mut shown = looks.unharmed;
        for (fault, look) in looks.harmed {
            if look != shown {
                self.faults.count_hit(fault);
            }
            shown = look;
        }
        Some(shown)
    }

    /// The same as each fault in turn lets it be, for a face that shows a part of it and tells what hit.
    pub(crate) fn imds_looks(&self, instance: &InstanceId) -> Option<ImdsLooks> {
        let faults = self.faults.of_imds_view(*instance, self.now);
        let unharmed = self.imds_look(*instance, &[])?;
        let harmed = faults.iter().zip(1..).filter_map(|((fault, _, _), older)| {
            let look = self.imds_look(*instance, faults.get(..older)?)?;
            Some((*fault, look))
        });
        let harmed = harmed.collect();
        Some(ImdsLooks { unharmed, harmed })
    }

    /// Counts a hit of a fault, which its face saw.
    pub(crate) fn count_hit(&mut self, fault: FaultId) {
        self.faults.count_hit(fault);
    }

    fn imds_look(&self, instance: InstanceId, faults: &[faults::OfImdsView]) -> Option<ImdsView> {
        let (world, config, now) = (&self.world, &self.config, self.now);
        let seen = |moment| imds_view::observe(world, config, instance, moment);
        // A running instance always sees itself, however short its life and long the lag.
        let present = seen(now)?;
        let more_lag = faults.iter().filter_map(|(_, kind, _)| match kind {
            FaultKind::ImdsLags { by } => Some(*by),
            _ => None,
        });
        let lag = config.timing.imds_lag + more_lag.sum::<Duration>();
        let moment = now.before(lag).unwrap_or_default();
        let frozen = faults.iter().find(|(_, kind, _)| matches!(kind, FaultKind::ImdsFrozen));
        let mut view = match frozen.and_then(|(_, _, view)| view.clone()) {
            Some(view) => view,
            None => seen(moment).unwrap_or(present),
        };
        for (_, kind, _) in faults {
            match kind {
                FaultKind::ImdsRemembers { for_ } => {
                    let from = moment.before(*for_).unwrap_or_default();
                    for changed in imds_view::changes(world, instance, from, moment).into_iter().rev() {
                        if let Some(old) = changed.before(Duration::from_micros(1)).and_then(seen) {
                            view.remember(old);
                        }
                    }
                }
                FaultKind::ImdsOmitsEni { eni } => view.omit_eni(eni.as_ref()),
                FaultKind::ImdsOmitsAddresses { eni } => view.omit_addresses(eni.as_ref()),
                _ => {}
            }
        }
        Some(view)
    }

    /// What the faults do to one request to the metadata service of an instance, for its face. `path` is without
    /// version and leading slash.
    pub fn imds_harm(&mut self, instance: &InstanceId, path: &str) -> ImdsHarm {
        self.faults.expire(self.now);
        self.faults.of_imds_request(*instance, path)
    }

    /// How far ahead EC2's clock is of a caller's, and by which fault. Whether it tells, its face sees.
    pub(crate) fn clock_ahead(&mut self, caller: &Caller) -> Option<(FaultId, Duration)> {
        self.faults.expire(self.now);
        self.faults.clock_ahead(caller)
    }

    /// Sets a fault. Errors: what is asked for cannot be done, or can never hit.
    pub fn set_fault(&mut self, fault: Fault) -> Result<FaultId, BadFault> {
        let fault = Fault { kind: fault.kind.spelt(), ..fault };
        fault.check()?;
        self.can_hit(&fault)?;
        let retires = retirement::of_fault(&fault);
        if let Some((instance, _)) = retires {
            self.can_retire(instance)?;
        }
        let mut frozen = Frozen::new();
        if fault.kind == FaultKind::ImdsFrozen {
            let all: Vec<InstanceId> = match fault.scope.instance {
                Some(instance) => vec![instance],
                None => self.world.instances.ids(None).collect(),
            };
            let moment = self.now.before(self.config.timing.imds_lag).unwrap_or_default();
            let seen = |instance, moment| imds_view::observe(&self.world, &self.config, instance, moment);
            frozen = all
                .into_iter()
                .filter_map(|instance| {
                    Some((instance, seen(instance, moment).or_else(|| seen(instance, self.now))?))
                })
                .collect();
        }
        let id = self.faults.set(fault, frozen);
        if let Some((instance, after)) = retires {
            self.announce_retirement(id, instance, after);
        }
        Ok(id)
    }

    /// How often each fault has hit, of those in force and of the latest ten thousand that were set.
    pub fn fault_hits(&self) -> &BTreeMap<FaultId, u64> {
        self.faults.tally().hits()
    }

    /// Takes a fault away; false when it is not (or no longer) set.
    pub fn clear_fault(&mut self, id: FaultId) -> bool {
        self.call_off_retirement(id);
        self.faults.clear(id)
    }

    /// Takes all faults away.
    pub fn clear_faults(&mut self) {
        for (id, _) in self.faults() {
            self.clear_fault(id);
        }
    }

    /// The faults in force, oldest first, with what is left of their counts.
    pub fn faults(&self) -> Vec<(FaultId, Fault)> {
        self.faults.list()
    }

    /// The log of calls.
    pub fn log(&self) -> &CallLog {
        &self.log
    }

    /// The log of calls, to reset it.
    pub fn log_mut(&mut self) -> &mut CallLog {
        &mut self.log
    }

    /// Takes the events that happened since they were last taken, in order.
    pub fn drain_events(&mut self) -> Vec<VpcEvent> {
        self.events.take()
    }

    /// The same for one instance.
    pub fn drain_events_of(&mut self, instance: &InstanceId) -> Vec<VpcEvent> {
        self.events.take_of(*instance)
    }
}
