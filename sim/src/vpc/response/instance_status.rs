//! What `DescribeInstanceStatus` shows: whether an instance is well, and what EC2 is to do to it or did.

use serde::{Deserialize, Serialize};

use super::InstanceState;
use crate::vpc::ids::InstanceId;
use crate::vpc::time::Micros;

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Id.
    pub instance_id: InstanceId,
    /// Zone.
    pub availability_zone: String,
    /// Zone id, such as `usw2-az1`.
    pub availability_zone_id: String,
    /// State.
    #[serde(rename = "instanceState")]
    pub state: InstanceState,
    /// The scheduled one first, then those that are over, the latest first.
    #[serde(rename = "eventsSet", default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<InstanceStatusEvent>,
}

impl InstanceStatus {
    /// What both status checks say: EC2 makes them of running instances, and every one of the box is well.
    pub fn checks(&self) -> &'static str {
        if self.state == InstanceState::Running { "ok" } else { "not-applicable" }
    }

    /// What the one check of both says, where it is made.
    pub fn reachability(&self) -> Option<&'static str> {
        (self.state == InstanceState::Running).then_some("passed")
    }
}

/// An event that EC2 scheduled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatusEvent {
    /// `instance-event-…`.
    pub instance_event_id: String,
    /// `instance-retirement`.
    pub code: String,
    /// In words; begins with `[Completed]` or `[Canceled]` where it is over.
    pub description: String,
    /// When, at the earliest.
    pub not_before: Micros,
}
