//! A plan is made and carried out: as in the engine all intents are opened first, then the answers come, in order.

use holdfast_model::cloud::{Api, CloudCall, CloudChange, CloudRead};
use holdfast_model::eni::EniSlot;
use holdfast_model::ids::{IntentId, SubnetId};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::Change;
use holdfast_model::limits::ToldLimits;
use holdfast_model::subnet::SubnetRecord;
use holdfast_model::time::BootTime;
use uuid::Uuid;

use crate::toy::{Fate, MOST_ROUNDS, Toy, subnet, writes};
use crate::{Fault, Outcome, Reading, Step, adopt, adopt_subnets, adopt_zone, call_of, open, plan, settle};

impl Toy {
    /// Looks, plans once and carries the plan out. False when there was nothing to do.
    pub(crate) fn round(&mut self) -> bool {
        self.rounds = (self.rounds.0 + 1, self.rounds.1 + 1);
        let ends = self.rounds.0 <= MOST_ROUNDS.0 && (self.rounds.1 <= MOST_ROUNDS.1 || self.life.is_some());
        assert!(ends, "it goes on for ever: {:?}", self.last);
        self.look();
        self.observed.note_unwanted(&self.ledger);
        self.learn();
        let made = self.with_desired(|desired| plan(desired, &self.ledger, &self.observed, &self.now));
        if self.life.is_none() {
            let again = self.with_desired(|desired| plan(desired, &self.ledger, &self.observed, &self.now));
            assert_eq!(made, again, "equal inputs, equal plans");
        }
        self.last = made.clone();
        self.observed.planned(made.leased(), &self.now);
        // As in the engine: all intents are opened first, then the answers come, in order.
        let mut sent = Vec::new();
        for step in &made.steps {
            match step {
                Step::Open(change) => {
                    self.next += 1;
                    let id = IntentId(Uuid::from_u128(u128::from(self.next)));
                    let changes = open(&self.ledger, &self.observed, change.clone(), id, &self.now)
                        .unwrap_or_else(|| panic!("the plan's own change is admitted: {change:?}"));
                    self.commit(&changes);
                    self.observed.sent(id, change.api(), &self.now);
                    sent.push(Step::Repeat(id));
                }
                Step::Repeat(id) => {
                    assert!(!self.observed.is_under_way(*id), "one call per intent at a time");
                    let change = &self.ledger.intents[id].change;
                    assert!(
                        !self.left.contains(id)
                            || !matches!(change, CloudChange::Assign { .. } | CloudChange::AttachEni { .. }),
                        "a second one would assign twice, or be refused: {change:?}"
                    );
                    let intent = self.ledger.intents[id].clone();
                    let api = intent.change.api();
                    if intent.sending == Sending::NeverSent {
                        self.commit(&[Change::PutIntent(Intent { sending: Sending::MaybeSent, ..intent })]);
                    }
                    self.observed.sent(*id, api, &self.now);
                    sent.push(step.clone());
                }
                Step::Read(read) => {
                    self.observed.read_began(read, &self.now);
                    sent.push(step.clone());
                }
                Step::AskLimits { .. } => {
                    self.observed.limits_asked(&self.now);
                    sent.push(step.clone());
                }
                Step::Leak(call) => {
                    self.observed.leak_asked(call, &self.now);
                    sent.push(step.clone());
                }
                Step::Tag { eni, .. } => {
                    self.observed.tagging_began(eni, &self.now);
                    sent.push(step.clone());
                }
                Step::SetUpEni(_) => sent.push(step.clone()),
                Step::Adjust(changes) => self.commit(changes),
            }
        }
        // What the plan changed in the ledger alone is what the next one goes on from.
        let adjusted = made.steps.iter().any(|step| matches!(step, Step::Adjust(_)));
        if !sent.is_empty() && !adjusted && self.life.is_none() {
            let busy = self.with_desired(|desired| plan(desired, &self.ledger, &self.observed, &self.now));
            let doubled = busy.steps.iter().any(|step| {
                matches!(
                    step,
                    Step::Open(CloudChange::CreateEni { .. } | CloudChange::Assign { .. }) | Step::Repeat(_)
                )
            });
            assert!(
                !doubled,
                "while a plan is under way nothing is asked for twice: {:?} then {busy:?}",
                made.steps
            );
        }
        let began = self.now.boottime;
        for step in sent {
            if !self.end(step, began) {
                self.restart();
                break;
            }
        }
        self.serve();
        self.assert_sound();
        !made.steps.is_empty()
    }

    /// A call's end; false when the process died.
    fn end(&mut self, step: Step, began: BootTime) -> bool {
        self.sleep(self.takes(&step));
        match step {
            Step::Repeat(id) => {
                let intent = self.ledger.intents[&id].clone();
                let fate = (self.fates)();
                if fate != Fate::NotSent {
                    self.left.insert(id);
                }
                if fate == Fate::KilledBefore {
                    return false;
                }
                let CloudCall::Change { change, token } = call_of(&intent) else { unreachable!() };
                let outcome = match fate {
                    Fate::Throttled => Outcome::NotCarriedOut {
                        fault: Fault::Throttled { retry_after: None },
                        cause: "slow".into(),
                    },
                    Fate::LostBefore => Outcome::Unknown { cause: "lost".into() },
                    Fate::NotSent => {
                        Outcome::NotCarriedOut { fault: Fault::NotSent, cause: "refused".into() }
                    }
                    Fate::Fine | Fate::Stale(_) => match self.cloud.perform(&change, &token) {
                        Ok(answer) => Outcome::Answered(answer),
                        Err(fault) => {
                            self.cloud.refused += 1;
                            Outcome::NotCarriedOut { fault, cause: "no".into() }
                        }
                    },
                    Fate::LostAfter | Fate::KilledBefore | Fate::KilledAfter => {
                        let _lost = self.cloud.perform(&change, &token);
                        Outcome::Unknown { cause: "lost".into() }
                    }
                };
                if fate == Fate::KilledAfter {
                    return false;
                }
                let settlement = settle(&self.ledger, id, &outcome, &self.now);
                let draw = self.draw();
                self.observed.settled(id, change.api(), &settlement, &self.now, draw);
                self.commit(&settlement.changes);
            }
            Step::Read(read) => {
                let age = match (self.fates)() {
                    Fate::Fine => 0,
                    Fate::Stale(seconds) => u64::from(seconds) * 1000,
                    Fate::KilledBefore | Fate::KilledAfter => return false,
                    fate @ (Fate::Throttled | Fate::LostBefore | Fate::LostAfter | Fate::NotSent) => {
                        let fault = (fate == Fate::NotSent).then_some(Fault::NotSent);
                        let draw = self.draw();
                        self.observed.read_failed(&read, began, fault, "lost", &self.now, draw);
                        return true;
                    }
                };
                self.read(&read, began, age);
            }
            Step::AskLimits { instance_type } => {
                self.cloud.calls.push(Api::DescribeInstanceTypes);
                match (self.fates)() {
                    Fate::KilledBefore | Fate::KilledAfter => return false,
                    Fate::Fine | Fate::Stale(_) if self.cloud.tells_limits => {
                        self.limits = Some(self.cloud.limits.clone());
                        let limits = self.cloud.limits.clone();
                        self.ledger.apply(&Change::PutTypeLimits(ToldLimits { instance_type, limits }));
                        self.observed.limits_told();
                    }
                    _ => {
                        let draw = self.draw();
                        self.observed.limits_untold(None, "lost", &self.now, draw);
                    }
                }
            }
            // Others leave nothing behind here.
            Step::Leak(_) => self.observed.leaks_listed(&self.ledger, &[], "", began),
            Step::Tag { eni, tags } => {
                let fate = (self.fates)();
                if fate == Fate::KilledBefore {
                    return false;
                }
                let reaches =
                    matches!(fate, Fate::Fine | Fate::Stale(_) | Fate::LostAfter | Fate::KilledAfter);
                let added = if reaches { self.cloud.tag(&eni, &tags) } else { Ok(()) };
                if fate == Fate::KilledAfter {
                    return false;
                }
                let fault = match fate {
                    Fate::Fine | Fate::Stale(_) => added.err().map(Some),
                    Fate::Throttled => Some(Some(Fault::Throttled { retry_after: None })),
                    Fate::NotSent => Some(Some(Fault::NotSent)),
                    _ => Some(None),
                };
                let draw = self.draw();
                match fault {
                    None => self.observed.tagged(&eni, &tags, &self.now),
                    Some(fault) => self.observed.untagged(&eni, fault, "no", &self.now, draw),
                }
            }
            Step::SetUpEni(wiring) => {
                self.observed.set_up_began(&wiring.eni);
                let late = self.cloud.links_late && wiring.slot != EniSlot::PRIMARY;
                if self.cloud.is_attached(&wiring.eni) && !late {
                    self.observed.set_up_done(&wiring.eni);
                } else {
                    self.observed.set_up_failed(&wiring.eni, "no", &self.now);
                }
            }
            Step::Open(_) | Step::Adjust(_) => unreachable!(),
        }
        true
    }

    pub(crate) fn read(&mut self, read: &CloudRead, began: BootTime, age_ms: u64) {
        if let CloudRead::ZoneSubnets { .. } = read {
            if self.cloud.denied.contains(&read.api()) {
                let draw = self.draw();
                self.observed.read_failed(read, began, Some(Fault::Denied), "no", &self.now, draw);
                return;
            }
            let shown = self.cloud.zone();
            self.observed.subnets_shown(read, &shown, began, &self.ledger);
            let changes = self
                .with_desired(|desired| adopt_zone(desired, &self.ledger, &self.observed, &shown, &self.now));
            self.commit(&changes);
            return;
        }
        let views = self.cloud.read(read, age_ms);
        if let CloudRead::Subnets { subnets } = read {
            let told = |id: &SubnetId| {
                let other = || self.cloud.others.get(id).map(subnet::ToySubnet::net);
                let ipv4 = Some(self.cloud.ranges.get(id).copied().or_else(other)?);
                Some(SubnetRecord { id: id.clone(), ipv4, ipv6: None })
            };
            let shown: Vec<SubnetRecord> = subnets.iter().filter_map(told).collect();
            let changes = adopt_subnets(&self.ledger, &shown);
            self.commit(&changes);
            self.observed.read_adopted(&self.ledger, Reading { read, views: &[], began });
            return;
        }
        let reading = Reading { read, views: &views, began };
        self.look();
        let changes =
            self.with_desired(|desired| adopt(desired, &self.ledger, &self.observed, reading, &self.now));
        self.observed.note_found(&self.ledger, &changes, began);
        let draw = self.draw();
        self.observed.note_taken(&self.ledger, &changes, &self.now, draw);
        self.commit(&changes);
        let again =
            self.with_desired(|desired| adopt(desired, &self.ledger, &self.observed, reading, &self.now));
        assert_eq!(writes(&again), Vec::<&Change>::new(), "adopting twice changes nothing");
        self.observed.read_adopted(&self.ledger, reading);
    }
}
