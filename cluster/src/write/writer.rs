//! What to send next.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::time::{BootTime, Now};
use serde::Deserialize;

use super::bucket::{Bucket, Rate};
use super::condition::{self, ConditionChange};
use super::features::{self, FeaturesChange};
use super::held::Held;
use super::pod_ips::{Acknowledgements, PodIps};
use super::wanted::Wanted;
use super::warnings::{EventWrite, WarningId, Warnings};
use crate::asked::Kind;
use crate::fault::{ApiFault, Cause};
use crate::request::{PatchType, Prepared, create, patch};
use crate::version::Version;
use crate::watch::objects::{CniNodeView, NodeView, PodView};
use crate::watch::{Meta, ObjectKey, View};

/// A condition that flaps is written so often and no more.
const CONDITION: Rate = Rate { burst: 3, interval: Duration::from_secs(10) };

/// Who writes.
#[derive(Clone, Debug)]
pub struct WriterSettings {
    /// The own node's name.
    pub node: String,
    /// Which daemon of several, for people: its pod's name.
    pub instance: String,
}

/// What is known of what stands in the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The pods of this node.
    pub pods: &'a View<PodView>,
    /// The own node.
    pub node: &'a View<NodeView>,
    /// The own CNINode.
    pub cni_node: &'a View<CniNodeView>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, and say what came of it.
    Send(Box<Write>),
    /// Nothing may be sent before this instant, unless something changes.
    WaitUntil(BootTime),
    /// Everything stands as it should.
    Idle,
}

/// One write. Its request is the same however often it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    change: Change,
    at: Now,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    PodIps(PodIps),
    Condition(ConditionChange),
    Features(FeaturesChange),
    Event(EventWrite),
}

/// What a write was, for holding it back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Pod(ObjectKey, Box<str>),
    Condition(String),
    Features,
    Event(WarningId),
}

/// What is written, for a right that lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    PodIps,
    Condition,
    Features,
    NewEvent,
    CountedEvent,
}

/// What the server answers to a write.
#[derive(Debug, Deserialize)]
pub struct Written {
    metadata: Meta,
}

/// Says what to send next, and remembers what came of it. One write is under way at any time.
#[derive(Debug)]
pub struct Writer {
    settings: WriterSettings,
    pods: Acknowledgements,
    conditions: condition::Acknowledged,
    features: Version,
    warnings: Warnings,
    buckets: BTreeMap<String, Bucket>,
    targets: Held<Target>,
    sorts: Held<Sort>,
    server: Held<()>,
}

impl Writer {
    /// One that has written nothing yet: whatever was written before its start is seen.
    pub fn new(settings: WriterSettings) -> Self {
        Self {
            settings,
            pods: Acknowledgements::default(),
            conditions: condition::Acknowledged::default(),
            features: Version::default(),
            warnings: Warnings::default(),
            buckets: BTreeMap::new(),
            targets: Held::default(),
            sorts: Held::default(),
            server: Held::default(),
        }
    }

    /// What to do now. The node's own condition goes first, since schedulers act on it; warnings go last.
    pub fn next(&mut self, wanted: &Wanted, seen: Seen<'_>, now: &Now, random: u128) -> Step {
        self.settle(wanted, seen, now.boottime);
        let at = now.boottime;
        let mut soonest: Option<BootTime> = None;
        let server = self.server.ready(&(), None, at);
        let conditions = self.conditions.missing(wanted, seen.node).map(|change| {
            let bucket = self.buckets.get(&change.kind).copied().unwrap_or_default();
            (bucket.ready(CONDITION, at), Change::Condition(change))
        });
        let pods = self.pods.missing(wanted, seen.pods).map(|change| (at, Change::PodIps(change)));
        let features = features::missing(wanted, seen.cni_node, &self.features)
            .map(|change| (at, Change::Features(change)));
        let warnings = self.warnings.missing(&wanted.warnings, at, random);
        let warnings = warnings.into_iter().map(|(ready, write)| (ready, Change::Event(write)));
        let mut chosen = None;
        for (ready, change) in conditions.chain(pods).chain(features).chain(warnings) {
            let ready = ready
                .max(server)
                .max(self.sorts.ready(&change.sort(), None, at))
                .max(self.targets.ready(&change.target(), change.based_on(), at));
            if ready <= at {
                chosen = Some(change);
                break;
            }
            soonest = Some(soonest.map_or(ready, |soonest| soonest.min(ready)));
        }
        let Some(change) = chosen else {
            return soonest.map_or(Step::Idle, Step::WaitUntil);
        };
        match &change {
            Change::Condition(change) => {
                self.buckets.entry(change.kind.clone()).or_default().take(CONDITION, at);
            }
            Change::Event(write) => self.warnings.sending(write, at),
            Change::PodIps(_) | Change::Features(_) => {}
        }
        Step::Send(Box::new(Write { change, at: now.clone() }))
    }

    /// Forgets what is seen by now, over, or gone.
    fn settle(&mut self, wanted: &Wanted, seen: Seen<'_>, at: BootTime) {
        self.pods.settle(seen.pods);
        self.conditions.settle(seen.node.only());
        self.warnings.settle(&wanted.warnings, at);
        self.buckets.retain(|_, bucket| !bucket.is_full(at));
        self.targets.retain(|target| match target {
            Target::Pod(key, uid) => seen.pods.objects.get(key).is_some_and(|pod| pod.uid == *uid),
            Target::Condition(kind) => wanted.conditions.contains_key(kind),
            Target::Features => true,
            Target::Event(id) => wanted.warnings.contains_key(id),
        });
    }

    /// What came of it.
    pub fn done(&mut self, write: &Write, outcome: Result<&Written, &ApiFault>, now: BootTime, random: u128) {
        let (target, sort) = (write.change.target(), write.change.sort());
        let fault = match (outcome, &write.change) {
            (Ok(written), change) => {
                self.written(change, written.metadata.resource_version.clone(), write);
                None
            }
            (Err(fault), Change::Event(event)) => match fault.cause {
                // An answer was lost, and the event had been made. Or nothing can be told there: the namespace goes.
                Cause::Exists | Cause::Refused(_) => {
                    self.warnings.settled(event);
                    None
                }
                Cause::NotFound if !event.is_new => {
                    self.warnings.expired(event);
                    None
                }
                _ => Some(fault),
            },
            (Err(fault), _) => Some(fault),
        };
        let Some(ApiFault { cause, .. }) = fault else {
            self.targets.succeeded(&target);
            self.sorts.succeeded(&sort);
            self.server.succeeded(&());
            return;
        };
        match &write.change {
            Change::Condition(change) => {
                if let Some(bucket) = self.buckets.get_mut(&change.kind) {
                    bucket.give_back(CONDITION);
                }
            }
            Change::Event(event) => self.warnings.failed(event),
            Change::PodIps(_) | Change::Features(_) => {}
        }
        match cause {
            Cause::NotReached(_) | Cause::NotReady(_) | Cause::Busy { .. } | Cause::Unauthorized(_) => {
                self.server.failed(&(), cause, None, now, random);
            }
            // It may be the server, and it may be a hook that this object alone is shown to: others come first.
            Cause::Silent(_) | Cause::Broken(_) => {
                self.server.failed(&(), cause, None, now, random);
                self.targets.failed(&target, cause, None, now.after(Duration::from_secs(1)), random);
            }
            Cause::Failing { .. } => self.targets.failed(&target, cause, None, now, random),
            Cause::Forbidden(_) | Cause::NotServed => self.sorts.failed(&sort, cause, None, now, random),
            Cause::NotFound
            | Cause::Conflict(_)
            | Cause::Exists
            | Cause::Gone
            | Cause::Ahead(_)
            | Cause::Refused(_)
            | Cause::Malformed(_) => {
                self.targets.failed(&target, cause, write.change.based_on().cloned(), now, random);
            }
        }
    }

    fn written(&mut self, change: &Change, version: Version, write: &Write) {
        match change {
            Change::PodIps(change) => self.pods.written(change, version),
            Change::Condition(change) => self.conditions.written(change, version, write.at.wall),
            Change::Features(_) => self.features = version,
            Change::Event(event) => self.warnings.settled(event),
        }
    }

    /// The request that a write is.
    pub fn request(&self, write: &Write) -> Result<Prepared, ApiFault> {
        let wall = write.at.wall;
        match &write.change {
            Change::PodIps(change) => {
                let ObjectKey { namespace, name } = &change.key;
                patch(Kind::PODS, Some(namespace), name, None, PatchType::Json, text(&change.patch()))
            }
            Change::Condition(change) => {
                let body = text(&change.patch(wall));
                patch(Kind::NODES, None, &change.node, Some("status"), PatchType::Strategic, body)
            }
            Change::Features(change) => {
                patch(Kind::CNI_NODES, None, &change.name, None, PatchType::Merge, text(&change.patch()))
            }
            Change::Event(event) => {
                let body = text(&event.body(&self.settings.node, &self.settings.instance));
                if event.is_new {
                    return create(Kind::EVENTS, event.namespace(), body);
                }
                patch(Kind::EVENTS, Some(event.namespace()), &event.event, None, PatchType::Merge, body)
            }
        }
    }
}

impl Change {
    fn target(&self) -> Target {
        match self {
            Self::PodIps(change) => Target::Pod(change.key.clone(), change.uid.clone()),
            Self::Condition(change) => Target::Condition(change.kind.clone()),
            Self::Features(_) => Target::Features,
            Self::Event(event) => Target::Event(event.id.clone()),
        }
    }

    fn sort(&self) -> Sort {
        match self {
            Self::PodIps(_) => Sort::PodIps,
            Self::Condition(_) => Sort::Condition,
            Self::Features(_) => Sort::Features,
            Self::Event(event) if event.is_new => Sort::NewEvent,
            Self::Event(_) => Sort::CountedEvent,
        }
    }

    fn based_on(&self) -> Option<&Version> {
        match self {
            Self::PodIps(change) => Some(&change.based_on),
            Self::Condition(change) => Some(&change.based_on),
            Self::Features(change) => Some(&change.based_on),
            Self::Event(_) => None,
        }
    }
}

fn text(value: &serde_json::Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[cfg(test)]
#[path = "writer/tests.rs"]
mod tests;
