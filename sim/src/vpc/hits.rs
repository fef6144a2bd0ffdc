//! Which of the faults that were drawn for a call hit it: those without which it would have gone otherwise.

use super::error::{ApiError, CallError};
use super::harm::{Drawn, Garbled, Harm};
use super::ids::InstanceId;
use super::request::Response;
use crate::fault::{FaultId, FaultKind};

/// How far a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reached {
    /// It did not arrive.
    #[default]
    Nothing,
    /// EC2's own request limits, which held it.
    Limits,
    /// A fault that refused it.
    Refusal,
    /// A fault that gave an error instead of carrying it out.
    ErrorInstead,
    /// EC2's rules.
    Rules,
}

/// What happened to a call on its way.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) reached: Reached,
    /// Instances that ran until a fault ended them just before.
    pub(super) ended_before: Vec<InstanceId>,
    /// The same just after.
    pub(super) ended_after: Vec<InstanceId>,
    /// It did not find an ENI that is there.
    pub(super) too_young: bool,
    /// It gave fewer addresses than it was asked for.
    pub(super) gave_fewer: bool,
    /// The faults that changed what EC2 would show, each beside the older ones.
    pub(super) blurred_by: Vec<FaultId>,
    /// Its result was another one than the error that followed.
    pub(super) overruled: bool,
}

impl Course {
    /// Whether a fault hit the call of this course and result. `reads` where it could have changed nothing anyway.
    pub(super) fn is_hit_by(
        &self,
        fault: &Drawn,
        harm: &Harm,
        result: &Result<Response, CallError>,
        reads: bool,
    ) -> bool {
        let garbled = harm.garbled();
        let arrived = self.reached != Reached::Nothing;
        let answered = !matches!(result, Err(CallError::Dropped));
        // An answer that nobody sees is no other one.
        let seen = answered && matches!(garbled, None | Some(Garbled::Truncated(_)));
        let matters = seen || !reads;
        match &fault.kind {
            FaultKind::RequestReset => true,
            FaultKind::RequestLost => !harm.request_reset,
            FaultKind::AnswerLost => arrived && harm.answer_reset != Some(0),
            FaultKind::AnswerReset { keep } => arrived && harm.answer_reset == Some(*keep),
            FaultKind::AnswerLate { by } => harm.late_by == *by,
            FaultKind::AnswerTruncated { keep } => answered && garbled == Some(Garbled::Truncated(*keep)),
            FaultKind::AnswerReplaced { status, body } => {
                let this = Garbled::Replaced { status: *status, body: body.clone() };
                answered && garbled == Some(this)
            }
            FaultKind::Throttle | FaultKind::Deny => self.reached == Reached::Refusal && matters,
            FaultKind::ErrorInstead { .. } => self.reached == Reached::ErrorInstead && matters,
            FaultKind::ErrorAfterEffect { .. } => self.overruled && seen,
            FaultKind::TerminateBefore { instance } => self.ended_before.contains(instance),
            FaultKind::TerminateAfter { instance } => self.ended_after.contains(instance),
            FaultKind::ChangesLag { by } => self.too_young && harm.finds_older_than == *by,
            FaultKind::FewerAddresses { most } => self.gave_fewer && harm.gives_at_most == Some(*most),
            FaultKind::DescribeLags { .. }
            | FaultKind::DescribeOmitsEni { .. }
            | FaultKind::DescribeOmitsAddress { .. }
            | FaultKind::ShortPages { .. } => {
                self.blurred_by.contains(&fault.id) && seen && harm.after.is_none()
            }
            FaultKind::AttachHangs
            | FaultKind::DetachHangs
            | FaultKind::LinkLate { .. }
            | FaultKind::LinkNever
            | FaultKind::ClockAhead { .. }
            | FaultKind::InstanceRetires { .. }
            | FaultKind::ImdsOmitsEni { .. }
            | FaultKind::ImdsOmitsAddresses { .. }
            | FaultKind::ImdsRemembers { .. }
            | FaultKind::ImdsFrozen
            | FaultKind::ImdsLags { .. }
            | FaultKind::ImdsAway
            | FaultKind::ImdsRequestReset { .. }
            | FaultKind::ImdsAnswerReset { .. }
            | FaultKind::ImdsStatus { .. }
            | FaultKind::ImdsLate { .. }
            | FaultKind::ImdsTokenRefused
            | FaultKind::ImdsExpiredCredentials => false,
        }
    }

    /// The error that a fault lets follow the effect.
    pub(super) fn overrule(&mut self, result: &Result<Response, ApiError>, error: &ApiError) {
        self.overruled = result.as_ref().err() != Some(error);
    }
}
