//! Instances that EC2 retires since their hardware fails.
//!
//! ```text
//! the fault is set: announced -> its time: stopping -> stopped, to start on other hardware
//!                            \-> the fault is cleared: called off
//!                            \-> somebody stops it before: on other hardware, so nothing is left to retire
//! ```
//! Facts: "Instance retirement" and "Scheduled events for your instances" of the EC2 user guide; every instance here is
//! backed by EBS, so it is stopped, not terminated.

use std::time::Duration;

use super::SimVpc;
use super::error::{ApiError, ErrorCode};
use super::ids::InstanceId;
use super::imds_view::RetirementNotice;
use super::op::Due;
use super::request::Caller;
use super::response::InstanceState;
use crate::fault::{BadFault, Fault, FaultId, FaultKind};

/// What an instance is told, and by which fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Retirement {
    pub(super) by: FaultId,
    pub(super) notice: RetirementNotice,
}

/// Which instance a fault retires, and after how long.
pub(super) fn of_fault(fault: &Fault) -> Option<(InstanceId, Duration)> {
    match fault.kind {
        FaultKind::InstanceRetires { after } => fault.scope.instance.map(|instance| (instance, after)),
        _ => None,
    }
}

impl SimVpc {
    /// Whether an instance can be retired.
    pub(super) fn can_retire(&self, instance: InstanceId) -> Result<(), BadFault> {
        let found = self.world.instance(&instance).map_err(|error| BadFault(error.to_string()))?;
        if found.state != InstanceState::Running {
            return Err(BadFault(format!(
                "{instance} is {}, and only what runs is retired",
                found.state.as_str()
            )));
        }
        match &found.retirement {
            Some(_) => Err(BadFault(format!("{instance} is to retire already"))),
            None => Ok(()),
        }
    }

    /// EC2 schedules it, and metadata tells from now on.
    pub(super) fn announce_retirement(&mut self, by: FaultId, instance: InstanceId, after: Duration) {
        let not_before = self.now.after(after);
        let announced = self.change(&Caller::named("ec2"), |change| {
            let event_id = change.ids.id("instance-event-");
            let notice = RetirementNotice { event_id, not_before };
            change.world.instance_mut(&instance)?.retirement = Some(Retirement { by, notice });
            Ok(())
        });
        // It was looked at a moment ago.
        drop(announced);
        self.schedule(after, Due::Retires(by));
        self.run_due(self.now);
    }

    /// The fault that announced it is cleared.
    pub(super) fn call_off_retirement(&mut self, by: FaultId) {
        let Some((instance, _)) = self.faults.get(by).and_then(of_fault) else { return };
        let called_off = self.change(&Caller::named("ec2"), |change| {
            let instance = change.world.instance_mut(&instance)?;
            match instance.retirement.take_if(|retirement| retirement.by == by) {
                Some(_) => Ok(()),
                None => Err(ApiError::new(ErrorCode::IncorrectState, "it has other hardware since")),
            }
        });
        drop(called_off);
    }

    /// Its time has come.
    pub(super) fn retire(&mut self, by: FaultId) {
        let Some((instance, _)) = self.faults.get(by).and_then(of_fault) else { return };
        let is_due = self.world.instances.get(&instance).is_some_and(|instance| {
            instance.state == InstanceState::Running
                && instance.retirement.as_ref().is_some_and(|retirement| retirement.by == by)
        });
        if is_due && self.stop_instance(&instance).is_ok() {
            self.faults.count_hit(by);
        }
        self.faults.clear(by);
    }
}
