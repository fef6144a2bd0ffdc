//! Instances that EC2 retires since their hardware fails.
//!
//! ```text
//! the fault is set: announced -> its time: stopping -> stopped, to start on other hardware
//!                            \-> the fault is cleared: called off
//!                            \-> somebody stops it before: on other hardware, so nothing is left to retire
//! ```
//! Called off it is canceled, all other ends complete it: that one which somebody stopped before counts so too is assumed.
//! Metadata and `DescribeInstanceStatus` tell of what is over for a week.
//!
//! Facts: "Instance retirement" and "Scheduled events for your instances" of the EC2 user guide; every instance here is
//! backed by EBS, so it is stopped, not terminated. The week is botocore's of `InstanceStatusEvent`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SimVpc;
use super::error::{ApiError, ErrorCode};
use super::ids::InstanceId;
use super::model::Instance;
use super::op::Due;
use super::request::Caller;
use super::response::{InstanceState, InstanceStatusEvent};
use super::time::Micros;
use crate::fault::{BadFault, Fault, FaultId, FaultKind};

/// How long an event is told of after its end, and how many are at most.
const TOLD: Duration = Duration::from_hours(7 * 24);
const KEPT: usize = 100;

/// A scheduled event of EC2: the instance will be retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetirementNotice {
    /// `instance-event-…`.
    pub event_id: String,
    /// When, at the earliest; in the box just then.
    pub not_before: Micros,
}

impl RetirementNotice {
    /// What EC2 calls such an event, and says of it.
    pub const CODE: &str = "instance-retirement";
    /// In words.
    pub const DESCRIPTION: &str = "The instance is running on degraded hardware";
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetirementEnd {
    /// The instance is on other hardware, or over.
    Completed,
    /// It stays where it is.
    Canceled,
}

impl RetirementEnd {
    /// As metadata has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Canceled => "canceled",
        }
    }

    /// What is said of an event, with what became of it.
    pub fn description(self) -> String {
        let end = match self {
            Self::Completed => "Completed",
            Self::Canceled => "Canceled",
        };
        format!("[{end}] {}", RetirementNotice::DESCRIPTION)
    }
}

/// An event that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRetirement {
    /// What was announced.
    pub notice: RetirementNotice,
    /// What became of it.
    pub end: RetirementEnd,
    /// And when.
    pub at: Micros,
}

impl Instance {
    /// What was announced is over, if anything was.
    pub(super) fn end_retirement(&mut self, end: RetirementEnd, at: Micros) {
        let Some(Retirement { notice, .. }) = self.retirement.take() else { return };
        self.past_retirements.push(PastRetirement { notice, end, at });
        let surplus = self.past_retirements.len().saturating_sub(KEPT);
        self.past_retirements.drain(..surplus);
    }

    /// Events that are over and told of still, the latest first.
    pub(super) fn told_retirements(&self, now: Micros) -> impl Iterator<Item = &PastRetirement> {
        self.past_retirements.iter().rev().filter(move |past| now.since(past.at) < TOLD)
    }

    /// All events that EC2 tells of.
    pub(super) fn events(&self, now: Micros) -> Vec<InstanceStatusEvent> {
        let event = |notice: &RetirementNotice, description: String| InstanceStatusEvent {
            instance_event_id: notice.event_id.clone(),
            code: RetirementNotice::CODE.to_owned(),
            description,
            not_before: notice.not_before,
        };
        let scheduled = self
            .retirement
            .iter()
            .map(|retirement| event(&retirement.notice, RetirementNotice::DESCRIPTION.to_owned()));
        let over = self.told_retirements(now).map(|past| event(&past.notice, past.end.description()));
        scheduled.chain(over).collect()
    }
}

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
            let now = change.now;
            let instance = change.world.instance_mut(&instance)?;
            if instance.retirement.as_ref().is_none_or(|retirement| retirement.by != by) {
                return Err(ApiError::new(ErrorCode::IncorrectState, "it has other hardware since"));
            }
            instance.end_retirement(RetirementEnd::Canceled, now);
            Ok(())
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
