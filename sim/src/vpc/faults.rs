//! The faults in force, and which of them hit a call.

use std::sync::Arc;
use std::time::Duration;

use super::error::{ApiError, ErrorCode};
use super::ids::InstanceId;
use super::model::World;
use super::request::{Action, Caller};
use super::rng::Stream;
use super::time::Micros;
use crate::fault::{Fault, FaultId, FaultKind};

#[derive(Debug)]
struct Active {
    id: FaultId,
    /// With `skip` and `count` as they are left.
    fault: Fault,
    /// What IMDS showed when the fault was set, for `ImdsFrozen`.
    frozen: Arc<World>,
}

/// All faults in force.
#[derive(Debug)]
pub(super) struct Faults {
    active: Vec<Active>,
    next: u64,
    chance: Stream,
}

/// What the faults do to one call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Harm {
    pub(super) request_lost: bool,
    /// Instead of carrying it out, for a dry run too.
    pub(super) refused: Option<ApiError>,
    /// Instead of carrying it out, when it is meant.
    pub(super) instead: Option<ApiError>,
    pub(super) after: Option<ApiError>,
    pub(super) answer_lost: bool,
    pub(super) late_by: Duration,
    pub(super) terminate_before: Vec<InstanceId>,
    pub(super) terminate_after: Vec<InstanceId>,
}

impl Faults {
    pub(super) fn new(chance: Stream) -> Self {
        Self { active: Vec::new(), next: 1, chance }
    }

    pub(super) fn set(&mut self, fault: Fault, frozen: Arc<World>) -> FaultId {
        let id = FaultId(self.next);
        self.next += 1;
        self.active.push(Active { id, fault, frozen });
        id
    }

    pub(super) fn clear(&mut self, id: FaultId) -> bool {
        let before = self.active.len();
        self.active.retain(|active| active.id != id);
        self.active.len() < before
    }

    pub(super) fn clear_all(&mut self) {
        self.active.clear();
    }

    pub(super) fn list(&self) -> Vec<(FaultId, Fault)> {
        self.active.iter().map(|active| (active.id, active.fault.clone())).collect()
    }

    /// Drops the faults whose time is over.
    pub(super) fn expire(&mut self, now: Micros) {
        self.active.retain(|active| {
            active.fault.until.is_none_or(|until| now < until) && active.fault.count != Some(0)
        });
    }

    /// Draws what hits this call, and counts it.
    pub(super) fn hit(&mut self, action: Action, caller: &Caller) -> Harm {
        let mut harm = Harm::default();
        for active in &mut self.active {
            let fault = &mut active.fault;
            let applies =
                hits_calls(&fault.kind) && fault.scope.covers(action, caller) && fault.count != Some(0);
            if !applies {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if fault.permille < 1000 && self.chance.below(1000) >= u64::from(fault.permille) {
                continue;
            }
            fault.count = fault.count.map(|count| count - 1);
            harm.add(&fault.kind);
        }
        harm
    }

    /// How much longer than usual Describe calls of this caller lag. Lag hits whole periods, not single calls, so
    /// that it is no matter of counts or chance.
    pub(super) fn describe_lag(&self, action: Action, caller: &Caller) -> Duration {
        let lags = self.active.iter().filter(|active| active.fault.scope.covers(action, caller)).filter_map(
            |active| match active.fault.kind {
                FaultKind::DescribeLags { by } => Some(by),
                _ => None,
            },
        );
        lags.max().unwrap_or_default()
    }

    /// The IMDS faults of one instance, oldest first, with the state of the moment at which each was set.
    pub(super) fn of_imds<'a>(
        &'a self,
        instance: &'a InstanceId,
        now: Micros,
    ) -> impl Iterator<Item = (&'a FaultKind, &'a Arc<World>)> {
        self.active
            .iter()
            .filter(move |active| active.fault.until.is_none_or(|until| now < until))
            .filter(move |active| active.fault.scope.instance.as_ref().is_none_or(|only| only == instance))
            .map(|active| (&active.fault.kind, &active.frozen))
    }
}

/// Whether a fault of this kind is about single calls.
fn hits_calls(kind: &FaultKind) -> bool {
    match kind {
        FaultKind::ImdsOmitsEni { .. }
        | FaultKind::ImdsOmitsAddresses { .. }
        | FaultKind::ImdsRemembers { .. }
        | FaultKind::ImdsFrozen
        | FaultKind::ImdsLags { .. }
        | FaultKind::DescribeLags { .. } => false,
        FaultKind::AnswerLost
        | FaultKind::AnswerLate { .. }
        | FaultKind::RequestLost
        | FaultKind::Throttle
        | FaultKind::ErrorInstead { .. }
        | FaultKind::ErrorAfterEffect { .. }
        | FaultKind::Deny
        | FaultKind::TerminateBefore { .. }
        | FaultKind::TerminateAfter { .. } => true,
    }
}

impl Harm {
    fn add(&mut self, kind: &FaultKind) {
        match kind {
            FaultKind::RequestLost => self.request_lost = true,
            FaultKind::AnswerLost => self.answer_lost = true,
            FaultKind::AnswerLate { by } => self.late_by = self.late_by.max(*by),
            FaultKind::Throttle => {
                self.refused.get_or_insert_with(throttled);
            }
            FaultKind::Deny => {
                self.refused.get_or_insert_with(|| {
                    ApiError::new(
                        ErrorCode::UnauthorizedOperation,
                        "You are not authorized to perform this operation.",
                    )
                });
            }
            FaultKind::ErrorInstead { code, message } => {
                self.instead.get_or_insert_with(|| ApiError::new(code.clone(), message.clone()));
            }
            FaultKind::ErrorAfterEffect { code, message } => {
                self.after.get_or_insert_with(|| ApiError::new(code.clone(), message.clone()));
            }
            FaultKind::TerminateBefore { instance } => self.terminate_before.push(instance.clone()),
            FaultKind::TerminateAfter { instance } => self.terminate_after.push(instance.clone()),
            FaultKind::ImdsOmitsEni { .. }
            | FaultKind::ImdsOmitsAddresses { .. }
            | FaultKind::ImdsRemembers { .. }
            | FaultKind::ImdsFrozen
            | FaultKind::ImdsLags { .. }
            | FaultKind::DescribeLags { .. } => {}
        }
    }
}

/// EC2's answer to a caller that is too fast.
pub(super) fn throttled() -> ApiError {
    ApiError::new(ErrorCode::RequestLimitExceeded, "Request limit exceeded.")
}
