//! One call from arrival to answer.
//!
//! ```text
//! hook(before) -> lost, reset? -> throttled, denied? -> error instead? -> instance ends?
//!              -> effect (undone for a dry run) -> instance ends? -> error after? -> answer lost, reset, late? -> log
//!              -> hook(after) -> which faults hit?
//! ```

use std::time::Duration;

use super::error::{ApiError, CallError, ErrorCode};
use super::harm::{Blur, Garbled, Harm, throttled};
use super::hits::{Course, Reached};
use super::hook::{CallPoint, Stage, Verdict};
use super::ids::InstanceId;
use super::log::{CallRecord, Outcome};
use super::op::Change;
use super::request::{Call, Caller, Operation, Request, Response};
use super::response::InstanceState;
use super::view::{Ages, View};
use super::{Reply, SimVpc};

/// Answer and record of one call.
struct Ended {
    result: Result<Response, CallError>,
    outcome: Outcome,
}

impl Ended {
    fn error(error: ApiError) -> Self {
        Self { outcome: Outcome::Failed(error.code.clone()), result: Err(error.into()) }
    }

    fn dropped(outcome: Outcome) -> Self {
        Self { result: Err(CallError::Dropped), outcome }
    }
}

impl SimVpc {
    /// Carries out one request at the present instant, with faults, throttling and the log.
    pub fn serve(&mut self, caller: &Caller, request: impl Into<Request>) -> Reply {
        let request = request.into();
        self.calls += 1;
        let number = self.calls;
        let request_id = self.request_ids.uuid();
        let point = |stage| CallPoint { number, stage, caller, request: &request };
        self.faults.expire(self.now);
        let world = &self.world;
        let mut harm = self.faults.draw(request.action(), caller, || world.places(&request.operation));
        harm.request_lost |= self.hook.at(point(Stage::BeforeEffect)) == Verdict::Drop;
        let (late_by, garbled) = (harm.late_by, harm.garbled());
        let mut course = Course::default();
        let mut ended = self.attempt(caller, &request, &harm, &mut course);
        if matches!(garbled, Some(Garbled::Reset(_))) && ended.outcome != Outcome::RequestLost {
            ended.outcome = Outcome::AnswerLost;
        }
        if self.hook.at(point(Stage::AfterEffect)) == Verdict::Drop && ended.outcome != Outcome::RequestLost {
            ended = Ended::dropped(Outcome::AnswerLost);
        }
        for fault in &harm.drawn {
            let hit = course.is_hit_by(fault, &harm, &ended.result, request.action().is_read());
            self.faults.settle(fault.id, hit);
        }
        self.log.push(CallRecord {
            number,
            at: self.now,
            caller: caller.clone(),
            action: request.action(),
            request,
            outcome: ended.outcome,
        });
        Reply { request_id, result: ended.result, late_by, garbled }
    }

    fn attempt(&mut self, caller: &Caller, request: &Request, harm: &Harm, course: &mut Course) -> Ended {
        if harm.request_lost || harm.request_reset {
            return Ended::dropped(Outcome::RequestLost);
        }
        let admitted = self.throttle.admit(&request.operation, self.now);
        let instead = harm.instead.as_ref().filter(|_| !request.dry_run);
        let (reached, error) = match (admitted, &harm.refused, instead) {
            (false, _, _) => (Reached::Limits, Some(throttled())),
            (true, Some(error), _) => (Reached::Refusal, Some(error.clone())),
            (true, None, Some(error)) => (Reached::ErrorInstead, Some(error.clone())),
            (true, None, None) => (Reached::Rules, None),
        };
        course.reached = reached;
        if let Some(error) = error {
            return if harm.answer_lost { Ended::dropped(Outcome::AnswerLost) } else { Ended::error(error) };
        }
        course.ended_before = self.terminate_all(&harm.terminate_before);
        let young = self.too_young(&request.operation, harm.finds_older_than, course);
        let result = match young {
            Some(error) => Err(error),
            None if request.action().is_read() => self.show(request, harm, course),
            // What would be refused is refused; what would succeed leaves nothing.
            None if request.dry_run => self.try_out(caller, &request.operation).and_then(|()| Err(dry_run())),
            None => self.carry_out(caller, &request.operation, harm.gives_at_most, course),
        };
        course.ended_after = self.terminate_all(&harm.terminate_after);
        if let Some(error) = &harm.after {
            course.overrule(&result, error);
        }
        match (harm.answer_lost, &harm.after, result) {
            (true, _, _) => Ended::dropped(Outcome::AnswerLost),
            (false, Some(error), _) => Ended::error(error.clone()),
            (false, None, Err(error)) => Ended::error(error),
            (false, None, Ok(response)) => Ended { result: Ok(response), outcome: Outcome::Done },
        }
    }

    /// The error for an ENI that the part of EC2 which carries changes out does not know of yet.
    fn too_young(&self, operation: &Operation, than: Duration, course: &mut Course) -> Option<ApiError> {
        let moment = self.now.before(than).filter(|_| !than.is_zero())?;
        let named = self.world.places(operation).enis;
        let young = named.iter().find(|eni| self.world.enis.at(eni, moment).is_none())?;
        // One that is not there at all is not found in any case.
        course.too_young = self.world.enis.get(young).is_some();
        Some(ApiError::new(
            ErrorCode::NetworkInterfaceIdNotFound,
            format!("The networkInterface ID '{young}' does not exist"),
        ))
    }

    /// Gives those that were not at their end already.
    fn terminate_all(&mut self, instances: &[InstanceId]) -> Vec<InstanceId> {
        let mut ended = Vec::new();
        for instance in instances {
            let over = self.world.instances.get(instance).is_none_or(|instance| {
                matches!(instance.state, InstanceState::ShuttingDown | InstanceState::Terminated)
            });
            // A fault that names an unknown instance ends none.
            if !over && self.terminate_instance(instance).is_ok() {
                ended.push(*instance);
            }
        }
        ended
    }

    /// Answers a Describe call, as each of its faults in turn lets it be answered, to see which of them tell.
    fn show(&self, request: &Request, harm: &Harm, course: &mut Course) -> Result<Response, ApiError> {
        let answer = |blur: &Blur| {
            let answer = self.describe(&request.operation, blur.clone())?;
            if request.dry_run { Err(dry_run()) } else { Ok(answer) }
        };
        let mut blur = Blur::default();
        let mut shown = answer(&blur);
        for fault in &harm.drawn {
            if blur.add(fault) {
                let older = std::mem::replace(&mut shown, answer(&blur));
                if older != shown {
                    course.blurred_by.push(fault.id);
                }
            }
        }
        shown
    }

    /// What a Describe call shows, blurred as the box's timing and the faults have it.
    fn describe(&self, operation: &Operation, blur: Blur) -> Result<Response, ApiError> {
        let timing = &self.config.timing;
        let ages = Ages {
            blur: Blur { lag: timing.describe_lag.max(blur.lag), ..blur },
            jitter: timing.describe_jitter,
            draw: self.calls,
        };
        let view = View::blurred(&self.world, &self.config.account_id, self.now, &ages);
        let answer = view.describe(operation, self.config.large_account);
        answer.unwrap_or_else(|| {
            Err(ApiError::new(ErrorCode::InternalError, "a change is not a Describe call"))
        })
    }

    fn carry_out(
        &mut self,
        caller: &Caller,
        operation: &Operation,
        gives_at_most: Option<u32>,
        course: &mut Course,
    ) -> Result<Response, ApiError> {
        self.change(caller, |change| {
            change.gives_at_most = gives_at_most;
            let response = change.apply(operation)?;
            course.gave_fewer = change.gave_fewer;
            Ok(response)
        })
    }

    fn try_out(&mut self, caller: &Caller, operation: &Operation) -> Result<(), ApiError> {
        let tried = self.prepare(caller, |change| change.apply(operation)).map(|_| ());
        self.world.rollback();
        tried
    }

    /// Someone else changes something (F10): carried out at once, without faults, throttling, delay or log.
    pub fn foreign<C: Call>(&mut self, operation: C) -> Result<C::Output, ApiError> {
        let response = self.foreign_operation(&operation.into())?;
        Ok(C::output(response).expect("an operation is answered by its own response"))
    }

    /// [`SimVpc::foreign`] for an operation whose kind is known only now.
    pub fn foreign_operation(&mut self, operation: &Operation) -> Result<Response, ApiError> {
        let view = self.authoritative();
        match view.describe(operation, usize::MAX) {
            Some(answer) => answer,
            None => self.change(&Caller::named("foreign"), |change| change.apply(operation)),
        }
    }

    /// Does `work` on the state and leaves it to the caller to commit or to undo it.
    fn prepare<T>(
        &mut self,
        caller: &Caller,
        work: impl FnOnce(&mut Change<'_>) -> Result<T, ApiError>,
    ) -> Result<(T, Vec<super::op::Effect>), ApiError> {
        let mut change = Change {
            world: &mut self.world,
            now: self.now,
            caller,
            account: &self.config.account_id,
            timing: &self.config.timing,
            eni_quota: self.config.eni_quota,
            full_subnet: self.config.full_subnet,
            gives_at_most: None,
            gave_fewer: false,
            ids: &mut self.ids,
            choice: &mut self.choice,
            effects: Vec::new(),
        };
        let done = work(&mut change)?;
        Ok((done, change.effects))
    }

    /// Changes the state by `work`, or not at all when it fails, and lets the effects follow.
    pub(super) fn change<T>(
        &mut self,
        caller: &Caller,
        work: impl FnOnce(&mut Change<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        match self.prepare(caller, work) {
            Ok((done, effects)) => {
                self.world.commit(self.now);
                for effect in effects {
                    self.follow(effect);
                }
                self.run_due(self.now);
                Ok(done)
            }
            Err(error) => {
                self.world.rollback();
                Err(error)
            }
        }
    }
}

fn dry_run() -> ApiError {
    ApiError::new(ErrorCode::DryRunOperation, "Request would have succeeded, but DryRun flag is set.")
}
