//! The simulated EC2: VPC networking as an in-memory state machine with a virtual clock.
//!
//! [`SimVpc`] is deterministic: equal seeds and equal sequences of calls give equal answers, ids and addresses
//! included. It does no IO, starts no thread and reads no clock; [`SimVpc::advance_to`] moves its time.

mod check;
mod describe;
pub mod error;
pub mod event;
mod faults;
mod filter;
mod history;
pub mod hook;
pub mod ids;
pub mod imds_view;
pub mod limits;
pub mod log;
mod model;
mod op;
pub mod request;
pub mod response;
mod rng;
mod serve;
mod setup;
mod shape;
mod subnet;
pub mod throttle;
pub mod time;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use check::Violation;
pub use error::{ApiError, CallError, ErrorCode};
pub use event::{EniAddresses, VpcEvent};
pub use ids::{AttachmentId, EniId, InstanceId, Mac, ReservationId, SecurityGroupId, SubnetId, VpcId};
pub use imds_view::{ImdsInterface, ImdsView};
pub use log::{CallLog, CallRecord, Outcome};
pub use request::{Action, Call, Caller, Filter, Operation, Request, Response, Tags};
pub use throttle::{Bucket, RequestLimits};
pub(crate) use time::millis;
pub use time::{Micros, Timing};
pub use view::View;

use crate::fault::{Fault, FaultId, FaultKind};
use faults::Faults;
use history::History;
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
}

impl Default for BoxConfig {
    fn default() -> Self {
        Self {
            region: "us-west-2".to_owned(),
            account_id: "123456789012".to_owned(),
            seed: 1,
            timing: Timing::default(),
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
}

/// The simulated service.
#[derive(Debug)]
pub struct SimVpc {
    config: BoxConfig,
    now: Micros,
    /// The present state; also the last one of `history`, except in the middle of a call.
    world: Arc<World>,
    history: History,
    ids: Stream,
    choice: Stream,
    request_ids: Stream,
    /// What falls due by itself, in order; the number keeps the order of things due at one instant.
    due: BTreeMap<(Micros, u64), Due>,
    next_due: u64,
    /// Attachments whose interface is in the instance.
    visible: BTreeSet<AttachmentId>,
    events: Vec<VpcEvent>,
    faults: Faults,
    throttle: Throttle,
    hook: HookSlot,
    log: CallLog,
    calls: u64,
}

impl SimVpc {
    /// An empty box at instant zero.
    pub fn new(config: BoxConfig) -> Self {
        let world = Arc::new(World::default());
        let stream = |purpose| Stream::new(config.seed, purpose);
        Self {
            now: Micros::default(),
            history: History::new(Arc::clone(&world)),
            world,
            ids: stream(1),
            choice: stream(2),
            request_ids: stream(3),
            due: BTreeMap::new(),
            next_due: 0,
            visible: BTreeSet::new(),
            events: Vec::new(),
            faults: Faults::new(stream(4)),
            throttle: Throttle::default(),
            hook: HookSlot::default(),
            log: CallLog::default(),
            calls: 0,
            config,
        }
    }

    /// Region, account, seed and delays.
    pub fn config(&self) -> &BoxConfig {
        &self.config
    }

    /// Changes the delays from now on; what is under way keeps its old ones.
    pub fn set_timing(&mut self, timing: Timing) {
        self.config.timing = timing;
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

    /// How long a face waits between receiving `request` and handing it to [`SimVpc::serve`].
    pub fn latency_of(&self, request: &Request) -> Duration {
        self.config.timing.latency_of(request)
    }

    /// [`SimVpc::serve`] with the answer typed, for code in the same process.
    pub fn call<C: Call>(&mut self, caller: &Caller, operation: C) -> Result<C::Output, CallError> {
        let response = self.serve(caller, operation.into()).result?;
        Ok(C::output(response).expect("an operation is answered by its own response"))
    }

    /// The state as it really is at this instant, whatever the faults.
    pub fn authoritative(&self) -> View<'_> {
        View { world: &self.world, account: &self.config.account_id }
    }

    /// What IMDS of an instance shows now; `None` for an unknown or ended instance.
    pub fn imds_view(&self, instance: &InstanceId) -> Option<ImdsView> {
        // A running instance always sees itself, however short its life and long the lag.
        let seen = |world: &Arc<World>| imds_view::observe(world, &self.config, instance);
        seen(&self.world)?;
        let faults: Vec<_> = self.faults.of_imds(instance, self.now).collect();
        let more_lag = faults.iter().filter_map(|(kind, _)| match kind {
            FaultKind::ImdsLags { by } => Some(*by),
            _ => None,
        });
        let lag = self.config.timing.imds_lag + more_lag.sum::<Duration>();
        let frozen = faults.iter().find(|(kind, _)| matches!(kind, FaultKind::ImdsFrozen));
        let mut view = match frozen.and_then(|(_, world)| seen(world)) {
            Some(view) => view,
            None => self.history.since(self.now, lag).find_map(seen)?,
        };
        for (kind, _) in &faults {
            match kind {
                FaultKind::ImdsRemembers { for_ } => {
                    self.history
                        .before(self.now, lag, *for_)
                        .filter_map(seen)
                        .for_each(|old| view.remember(old));
                }
                FaultKind::ImdsOmitsEni { eni } => view.omit_eni(eni.as_ref()),
                FaultKind::ImdsOmitsAddresses { eni } => view.omit_addresses(eni.as_ref()),
                _ => {}
            }
        }
        Some(view)
    }

    /// Sets a fault.
    pub fn set_fault(&mut self, fault: Fault) -> FaultId {
        let shown = Arc::clone(self.history.state(self.now, self.config.timing.imds_lag));
        self.faults.set(fault, shown)
    }

    /// Takes a fault away; false when it is not (or no longer) set.
    pub fn clear_fault(&mut self, id: FaultId) -> bool {
        self.faults.clear(id)
    }

    /// Takes all faults away.
    pub fn clear_faults(&mut self) {
        self.faults.clear_all();
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

    /// Takes the events that happened since the last time, in order.
    pub fn drain_events(&mut self) -> Vec<VpcEvent> {
        std::mem::take(&mut self.events)
    }
}
