//! EC2: carries out what the planner decides, and brings back what came of it.

use std::collections::BTreeMap;

use holdfast_model::chain;
use holdfast_model::cloud::{CloudAnswer, CloudCall, CloudRead, EniView};
use holdfast_model::ids::{EniId, InstanceId, IntentId};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::Change;
use holdfast_model::limits::{InstanceLimits, ToldLimits};
use holdfast_model::refusal::Refusal;
use holdfast_model::time::{BootTime, Now};
use holdfast_planner::{self as planner, Desired, Fault, Outcome, Reading, Step};
use holdfast_ports::{Clock, Cloud, CloudError, CloudFault, HostFault, HostNet, Metadata, MetadataError};

use crate::book::Then;
use crate::engine::Engine;
use crate::event::Event;
use crate::world::World;

impl<W: World> Engine<W> {
    /// Plans, and sets off what the plan says.
    pub(crate) fn plan(&mut self, now: &Now) {
        self.observed.note_unwanted(self.book.ledger());
        let desired = Desired { config: &self.config, limits: self.book.ledger().limits() };
        planner::learn(&desired, self.book.ledger(), &mut self.observed, now);
        let plan = planner::plan(&self.desired(), self.book.ledger(), &self.observed, now);
        self.observed.planned(plan.leased(), now);
        for (pool, report) in &plan.reports {
            let before = self.reports.get(pool);
            if before.is_none_or(|before| report.refusal != before.refusal)
                && let Some(cause) = &report.refusal
            {
                // Every start begins so; if it lasts, what was asked in vain has been told.
                if matches!(cause, Refusal::NotReady | Refusal::NotReadYet) {
                    tracing::debug!(%pool, %cause, "the pool does not grow yet");
                } else {
                    tracing::warn!(%pool, %cause, "the pool does not grow");
                }
            }
            if before.is_none_or(|before| report.without != before.without)
                && let Some(cause) = &report.without
            {
                tracing::warn!(%pool, %cause, "the pool makes do without");
            }
        }
        self.reports = plan.reports;
        self.timers.plan = plan.next_look;
        for step in plan.steps {
            self.carry_out(step, now);
        }
    }

    fn carry_out(&mut self, step: Step, now: &Now) {
        match step {
            Step::Open(change) => {
                let (id, api) = (self.draw_intent_id(now), change.api());
                if let Some(changes) = planner::open(self.book.ledger(), &self.observed, change, id, now) {
                    if let Err(error) = holdfast_store::admits(&changes) {
                        // With it all that is committed beside it would fail. What it is made of does not change by itself.
                        let cause = chain(&error);
                        tracing::error!(?api, cause, "EC2 is not called: the ledger cannot keep what for");
                        let draw = self.draw();
                        self.observed.unkeepable(api, &cause, now, draw);
                        return;
                    }
                    self.observed.sent(id, api, now);
                    self.book.commit(changes, Then::Send(id));
                }
            }
            Step::Repeat(id) => self.repeat(id, now),
            Step::Read(CloudRead::InstanceEnis { instance }) if self.config.metadata_only.value => {
                self.ask_metadata(instance, now);
            }
            Step::Read(read) => {
                tracing::info!(?read, why = ?self.observed.why_read(&read, self.book.ledger()), "reading EC2");
                self.observed.read_began(&read, now);
                let (cloud, began) = (self.ports.cloud.clone(), now.boottime);
                self.beside(async move {
                    let result = cloud.perform(&CloudCall::Read(read.clone())).await;
                    Event::Read { read, began, result }
                });
            }
            Step::Leak(call) => self.ask_leak(call, now),
            Step::Tag { eni, tags } => {
                self.observed.tagging_began(&eni, now);
                tracing::info!(%eni, ?tags, "tagging");
                let cloud = self.ports.cloud.clone();
                self.beside(async move {
                    let result =
                        cloud.perform(&CloudCall::Tag { eni: eni.clone(), tags: tags.clone() }).await;
                    Event::Tagged { eni, tags, result }
                });
            }
            Step::AskLimits { instance_type } => {
                self.observed.limits_asked(now);
                let cloud = self.ports.cloud.clone();
                self.beside(async move {
                    let result = cloud.limits_of(&instance_type).await;
                    Event::Limits { instance_type, result }
                });
            }
            Step::SetUpEni(wiring) => {
                self.observed.set_up_began(&wiring.eni);
                let host = self.ports.host.clone();
                self.beside(async move {
                    let eni = wiring.eni.clone();
                    let result = host.set_up_eni(wiring).await;
                    Event::EniSetUp { eni, result }
                });
            }
            Step::Adjust(changes) => self.book.commit(changes, Then::Nothing),
        }
    }

    /// Sends the call of an open intent again. That a call which never left leaves now has to be durable before it does.
    fn repeat(&mut self, id: IntentId, now: &Now) {
        let Some(intent) = self.book.ledger().intents.get(&id) else { return };
        let api = intent.change.api();
        if intent.sending == Sending::NeverSent {
            let sending = Change::PutIntent(Intent { sending: Sending::MaybeSent, ..intent.clone() });
            self.observed.sent(id, api, now);
            self.book.commit(vec![sending], Then::Send(id));
        } else {
            self.observed.sent_again(id, api, now);
            self.send(id);
        }
    }

    fn draw_intent_id(&self, now: &Now) -> IntentId {
        let mut random = [0; 10];
        random.copy_from_slice(&self.ports.clock.random().to_le_bytes()[..10]);
        IntentId(uuid::Builder::from_unix_timestamp_millis(now.wall.0, &random).into_uuid())
    }

    /// The intent is durable: send its call.
    pub(crate) fn send(&mut self, id: IntentId) {
        let Some(intent) = self.book.ledger().intents.get(&id) else {
            self.observed.given_up(id);
            return;
        };
        if !planner::may_leave(&self.desired(), self.book.ledger(), &self.observed, intent, &self.now()) {
            // It stays open, and the next plan reads first.
            self.observed.given_up(id);
            return;
        }
        let call = planner::call_of(intent);
        tracing::info!(intent = %id, api = ?call.api(), "calling EC2");
        let cloud = self.ports.cloud.clone();
        self.beside(async move {
            let result = cloud.perform(&call).await;
            Event::Changed { intent: id, result }
        });
    }

    pub(crate) fn cloud_changed(&mut self, id: IntentId, result: Result<CloudAnswer, CloudError>) {
        let now = self.now();
        let Some(intent) = self.book.ledger().intents.get(&id) else {
            self.observed.given_up(id);
            return;
        };
        let api = intent.change.api();
        let outcome = match result {
            Ok(answer) => Outcome::Answered(answer),
            Err(error) => {
                let cause = error.to_string();
                tracing::warn!(intent = %id, ?api, %cause, "EC2 call failed");
                match fault_of(error.fault) {
                    Some(fault) => Outcome::NotCarriedOut { fault, cause },
                    None => Outcome::Unknown { cause },
                }
            }
        };
        let settlement = planner::settle(self.book.ledger(), id, &outcome, &now);
        self.observed.settled(id, api, &settlement, &now, self.draw());
        self.book.commit(settlement.changes, Then::Nothing);
    }

    pub(crate) fn cloud_read(
        &mut self,
        read: &CloudRead,
        began: BootTime,
        result: Result<CloudAnswer, CloudError>,
    ) {
        let now = self.now();
        match result {
            Ok(_) if self.book.failing().is_some() => {
                // It cannot be kept, so it does not count.
                self.observed.read_failed(
                    read,
                    began,
                    None,
                    "the ledger cannot be written",
                    &now,
                    self.draw(),
                );
            }
            Ok(CloudAnswer::Enis(views)) => {
                let reading = Reading { read, views: &views, began };
                let changes =
                    planner::adopt(&self.desired(), self.book.ledger(), &self.observed, reading, &now);
                self.tally.found.note(self.book.ledger(), &changes);
                self.observed.note_found(self.book.ledger(), &changes, began);
                let draw = self.draw();
                self.observed.note_taken(self.book.ledger(), &changes, &now, draw);
                self.book.commit(changes, Then::Nothing);
                self.observed.read_adopted(self.book.ledger(), reading);
                if !self.observed.traces.is_empty() {
                    // Sandboxes wait for their leases, and may have been shown their addresses.
                    self.observe();
                }
            }
            Ok(CloudAnswer::Subnets(shown)) => {
                let changes = planner::adopt_subnets(self.book.ledger(), &shown);
                self.book.commit(changes, Then::Nothing);
                self.observed.read_adopted(self.book.ledger(), Reading { read, views: &[], began });
                self.observe();
            }
            Ok(CloudAnswer::ZoneSubnets(shown)) => {
                self.observed.subnets_shown(read, &shown, began, self.book.ledger());
                let changes =
                    planner::adopt_zone(&self.desired(), self.book.ledger(), &self.observed, &shown, &now);
                self.book.commit(changes, Then::Nothing);
                self.observe();
            }
            Ok(other) => {
                let cause = format!("a read was answered with {other:?}");
                self.observed.read_failed(read, began, Some(Fault::Rejected), &cause, &now, self.draw());
            }
            Err(error) => {
                let cause = error.to_string();
                tracing::warn!(?read, %cause, "EC2 read failed");
                self.observed.read_failed(read, began, fault_of(error.fault), &cause, &now, self.draw());
            }
        }
    }

    /// The metadata service is read in EC2's place.
    fn ask_metadata(&mut self, instance: InstanceId, now: &Now) {
        let read = CloudRead::InstanceEnis { instance: instance.clone() };
        tracing::info!(why = ?self.observed.why_read(&read, self.book.ledger()), "reading the metadata service");
        self.observed.read_began(&read, now);
        let (metadata, began) = (self.ports.metadata.clone(), now.boottime);
        self.beside(async move {
            let result = metadata.enis(&instance).await;
            Event::ReadMetadata { read, began, result }
        });
    }

    /// Its word counts only while EC2's is not to be had: it is no proof beside that.
    pub(crate) fn metadata_read(
        &mut self,
        read: &CloudRead,
        began: BootTime,
        result: Result<Vec<EniView>, MetadataError>,
    ) {
        let fault =
            |code: &str, message| CloudError { fault: CloudFault::Unknown, code: code.to_owned(), message };
        let answer = match result {
            Ok(_) if !self.config.metadata_only.value => {
                Err(fault("Outdated", "EC2 is to be asked by now".to_owned()))
            }
            Ok(views) => Ok(CloudAnswer::Enis(views)),
            Err(error) => Err(fault("NoMetadata", chain(&error))),
        };
        let told = answer.is_ok();
        self.cloud_read(read, began, answer);
        if told {
            // The subnets' ranges, which nobody else tells.
            self.ask_hint();
        }
    }

    pub(crate) fn eni_tagged(
        &mut self,
        eni: &EniId,
        tags: &BTreeMap<String, String>,
        result: Result<CloudAnswer, CloudError>,
    ) {
        let now = self.now();
        match result {
            Ok(_) => self.observed.tagged(eni, tags, &now),
            Err(error) => {
                let cause = error.to_string();
                tracing::warn!(%eni, %cause, "an ENI was not tagged");
                self.observed.untagged(eni, fault_of(error.fault), &cause, &now, self.draw());
            }
        }
    }

    /// What was told is kept: the next process needs no EC2 to know it. Losing it costs asking again.
    pub(crate) fn limits_answered(
        &mut self,
        instance_type: String,
        result: Result<InstanceLimits, CloudError>,
    ) {
        match result {
            Ok(limits) => {
                tracing::info!(%instance_type, ?limits, "EC2 told what this instance type can carry");
                self.observed.limits_told();
                self.book.commit_lazily(vec![Change::PutTypeLimits(ToldLimits { instance_type, limits })]);
                self.book.flush();
            }
            Err(error) => {
                let (now, cause) = (self.now(), error.to_string());
                tracing::warn!(
                    %cause,
                    "what this instance type can carry is not known: nothing is asked of EC2 until it is"
                );
                self.observed.limits_untold(fault_of(error.fault), &cause, &now, self.draw());
            }
        }
    }

    pub(crate) fn eni_set_up(&mut self, eni: EniId, result: Result<(), HostFault>) {
        self.note_settings(result.as_ref().err());
        match result {
            Ok(()) => {
                tracing::info!(%eni, "ENI is set up");
                self.observed.set_up_done(&eni);
            }
            Err(fault) => {
                let error = chain(&fault);
                // Right after an attachment the link is not there yet: that is no news.
                let is_early = matches!(fault, HostFault::LinkMissing { .. });
                self.tally.failed_set_ups += u64::from(!is_early);
                let (now, first) = (self.now(), !self.observed.set_up_rests.contains_key(&eni));
                if self.observed.set_up_failed(&eni, &error, &now) {
                    tracing::warn!(%eni, error, "an ENI is out of service: others are attached instead");
                } else if first && !is_early {
                    tracing::warn!(%eni, error, "ENI set-up failed; trying again");
                } else {
                    tracing::debug!(%eni, error, "ENI cannot be set up yet");
                }
            }
        }
    }

    /// Random bits that spread pauses.
    pub(crate) fn draw(&self) -> u64 {
        self.ports.clock.random() as u64
    }
}

/// The planner's word for a fault; `None` when the outcome is unknown.
pub(crate) fn fault_of(fault: CloudFault) -> Option<Fault> {
    Some(match fault {
        CloudFault::Throttled { retry_after } => Fault::Throttled { retry_after },
        CloudFault::SubnetFull => Fault::SubnetFull,
        CloudFault::NoFreeBlock => Fault::NoFreeBlock,
        CloudFault::AddressLimit => Fault::AddressLimit,
        CloudFault::AttachmentLimit => Fault::AttachmentLimit,
        CloudFault::SlotTaken => Fault::SlotTaken,
        CloudFault::EniQuota => Fault::EniQuota,
        CloudFault::NotFound => Fault::NotFound,
        CloudFault::Conflict => Fault::Conflict,
        CloudFault::TokenMismatch => Fault::TokenMismatch,
        CloudFault::Denied => Fault::Denied,
        CloudFault::Credentials(fault) => Fault::Credentials(fault),
        CloudFault::Rejected => Fault::Rejected,
        CloudFault::NotSent => Fault::NotSent,
        CloudFault::Unknown => return None,
    })
}
