//! One call from arrival to answer, and the passing of time.
//!
//! ```text
//! hook(before) -> lost? -> throttled, denied? -> dry run? -> error instead? -> instance ends?
//!              -> effect -> instance ends? -> error after? -> answer lost, late? -> log -> hook(after)
//! ```

use std::sync::Arc;

use super::error::{ApiError, CallError, ErrorCode};
use super::event::VpcEvent;
use super::faults::{Harm, throttled};
use super::hook::{CallPoint, Stage, Verdict};
use super::ids::{AttachmentId, EniId, InstanceId};
use super::log::{CallRecord, Outcome};
use super::model::{EniState, World};
use super::op::{Change, Due, Effect};
use super::request::{Call, Caller, Operation, Request, Response};
use super::response::AttachmentStatus;
use super::time::Micros;
use super::view::View;
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
        let mut harm = self.faults.hit(request.action(), caller);
        harm.request_lost |= self.hook.at(point(Stage::BeforeEffect)) == Verdict::Drop;
        let late_by = harm.late_by;
        let mut ended = self.attempt(caller, &request, harm);
        if self.hook.at(point(Stage::AfterEffect)) == Verdict::Drop && ended.outcome != Outcome::RequestLost {
            ended = Ended::dropped(Outcome::AnswerLost);
        }
        self.log.push(CallRecord {
            number,
            at: self.now,
            caller: caller.clone(),
            action: request.action(),
            request,
            outcome: ended.outcome,
        });
        Reply { request_id, result: ended.result, late_by }
    }

    fn attempt(&mut self, caller: &Caller, request: &Request, harm: Harm) -> Ended {
        if harm.request_lost {
            return Ended::dropped(Outcome::RequestLost);
        }
        let admitted = self.throttle.admit(request.action(), self.now);
        let refused = if admitted { harm.refused } else { Some(throttled()) };
        if let Some(error) = refused.or_else(|| request.dry_run.then(dry_run)).or(harm.instead) {
            return if harm.answer_lost { Ended::dropped(Outcome::AnswerLost) } else { Ended::error(error) };
        }
        self.terminate_all(&harm.terminate_before);
        let result = self.carry_out(caller, &request.operation);
        self.terminate_all(&harm.terminate_after);
        match (harm.answer_lost, harm.after, result) {
            (true, _, _) => Ended::dropped(Outcome::AnswerLost),
            (false, Some(error), _) | (false, None, Err(error)) => Ended::error(error),
            (false, None, Ok(response)) => Ended { result: Ok(response), outcome: Outcome::Done },
        }
    }

    fn terminate_all(&mut self, instances: &[InstanceId]) {
        for instance in instances {
            // A fault that names an unknown instance ends none.
            drop(self.terminate_instance(instance));
        }
    }

    fn carry_out(&mut self, caller: &Caller, operation: &Operation) -> Result<Response, ApiError> {
        let lag = self.config.timing.describe_lag.max(self.faults.describe_lag(operation.action(), caller));
        let world = self.history.state(self.now, lag);
        let view = View { world, account: &self.config.account_id };
        match view.describe(operation) {
            Some(answer) => answer,
            None => self.change(caller, |change| change.apply(operation)),
        }
    }

    /// Someone else changes something (F10): carried out at once, without faults, throttling, delay or log.
    pub fn foreign<C: Call>(&mut self, operation: C) -> Result<C::Output, ApiError> {
        let caller = Caller::named("foreign");
        let response = self.carry_out(&caller, &operation.into())?;
        Ok(C::output(response).expect("an operation is answered by its own response"))
    }

    /// Ends an instance (F09): its delete-on-termination ENIs go with it, the others become available. Ending an
    /// ended one again does nothing.
    pub fn terminate_instance(&mut self, instance: &InstanceId) -> Result<(), ApiError> {
        self.change(&Caller::named("ec2"), |change| change.terminate(instance))
    }

    /// Changes the state by `work`, or not at all when it fails, and lets the effects follow.
    pub(super) fn change<T>(
        &mut self,
        caller: &Caller,
        work: impl FnOnce(&mut Change<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut world = World::clone(&self.world);
        let mut change = Change {
            world: &mut world,
            now: self.now,
            caller,
            account: &self.config.account_id,
            timing: &self.config.timing,
            ids: &mut self.ids,
            choice: &mut self.choice,
            effects: Vec::new(),
        };
        let done = work(&mut change)?;
        let effects = change.effects;
        self.world = Arc::new(world);
        self.history.record(self.now, Arc::clone(&self.world));
        for effect in effects {
            self.follow(effect);
        }
        self.run_due(self.now);
        Ok(done)
    }

    fn follow(&mut self, effect: Effect) {
        match effect {
            Effect::Later(delay, due) => {
                self.due.insert((self.now.after(delay), self.next_due), due);
                self.next_due += 1;
            }
            Effect::Addresses(id) => self.tell(&id, |instance, eni| VpcEvent::AddressesChanged {
                instance,
                eni: eni.id.clone(),
                addresses: eni.addresses(),
            }),
            Effect::SourceDestCheck(id) => self.tell(&id, |instance, eni| VpcEvent::SourceDestCheckChanged {
                instance,
                eni: eni.id.clone(),
                enabled: eni.source_dest_check,
            }),
            Effect::Unplugged { attachment, instance, eni, mac } => {
                if self.visible.remove(&attachment) {
                    self.events.push(VpcEvent::Detached { instance, eni, mac });
                }
            }
            Effect::InstanceOver(instance) => self.events.push(VpcEvent::InstanceTerminated { instance }),
        }
    }

    /// Reports a change of an ENI that is visible in an instance.
    fn tell(&mut self, id: &EniId, event: impl FnOnce(InstanceId, &super::model::Eni) -> VpcEvent) {
        let Some(eni) = self.world.enis.get(id) else { return };
        if let Some(attachment) = eni.attachment().filter(|a| self.visible.contains(&a.attachment_id)) {
            self.events.push(event(attachment.instance_id.clone(), eni));
        }
    }

    /// Moves the virtual clock, carrying out what falls due on the way, in order. Never moves it back.
    pub fn advance_to(&mut self, now: Micros) {
        self.run_due(now);
        self.now = self.now.max(now);
        self.faults.expire(self.now);
    }

    /// When the next thing falls due by itself, if anything does.
    pub fn next_due(&self) -> Option<Micros> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    fn run_due(&mut self, until: Micros) {
        while let Some(entry) = self.due.first_entry() {
            let (at, _) = *entry.key();
            if at > until {
                return;
            }
            let due = entry.remove();
            self.now = self.now.max(at);
            self.come_due(due);
        }
    }

    fn come_due(&mut self, due: Due) {
        let system = Caller::named("ec2");
        if let Due::LinkAppears(id) = &due {
            self.show_link(id);
            return;
        }
        let done: Result<(), ApiError> = self.change(&system, |change| {
            match due {
                Due::Created(id) => {
                    let eni = change.world.eni_mut(&id)?;
                    if eni.state == EniState::Pending {
                        eni.state = EniState::Available;
                    }
                }
                Due::Attached(id) => change.move_attachment(&id, |state| match state {
                    EniState::Bound(attachment) if attachment.status == AttachmentStatus::Attaching => {
                        attachment.status = AttachmentStatus::Attached;
                    }
                    _ => {}
                })?,
                Due::Detached(id) => change.move_attachment(&id, |state| *state = EniState::Available)?,
                Due::Terminated(id) => change.finish_termination(&id),
                Due::LinkAppears(_) => {}
            }
            Ok(())
        });
        // What it was about may be gone by now: deleted, force-detached, ended with its instance.
        drop(done);
    }

    fn show_link(&mut self, id: &AttachmentId) {
        let Some((eni, attachment)) =
            self.world.eni_of_attachment(id).and_then(|eni| Some((eni, eni.attachment()?)))
        else {
            return;
        };
        if attachment.status == AttachmentStatus::Detaching {
            return;
        }
        self.events.push(VpcEvent::AttachmentVisible {
            instance: attachment.instance_id.clone(),
            eni: eni.id.clone(),
            mac: eni.mac,
            device_index: attachment.device_index,
            network_card: attachment.network_card_index,
            subnet: eni.subnet.clone(),
            addresses: eni.addresses(),
            source_dest_check: eni.source_dest_check,
        });
        self.visible.insert(id.clone());
    }
}

impl Change<'_> {
    /// Changes the state of the ENI that an attachment binds.
    fn move_attachment(
        &mut self,
        id: &AttachmentId,
        change: impl FnOnce(&mut EniState),
    ) -> Result<(), ApiError> {
        let eni = self.world.eni_of_attachment(id).map(|eni| eni.id.clone());
        let eni = eni.ok_or_else(|| ApiError::new(ErrorCode::AttachmentIdNotFound, id.as_str()))?;
        change(&mut self.world.eni_mut(&eni)?.state);
        Ok(())
    }
}

fn dry_run() -> ApiError {
    ApiError::new(ErrorCode::DryRunOperation, "Request would have succeeded, but DryRun flag is set.")
}
