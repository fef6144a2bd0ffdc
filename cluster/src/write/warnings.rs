//! Warnings, as events on the objects that they are about.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::time::{BootTime, WallTime};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::bucket::{Bucket, Rate};
use crate::watch::ObjectKey;

/// What a warning is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Regarding {
    /// A pod of this node.
    Pod {
        /// Its name.
        key: ObjectKey,
        /// Its id; events are shown with the pod by it.
        uid: Option<String>,
    },
    /// The own node.
    Node,
}

/// One warning: of one reason about one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WarningId {
    /// What it is about.
    pub regarding: Regarding,
    /// In one word, such as `MissingIAMPermissions`.
    pub reason: String,
}

/// What a warning says, and how often it had cause to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What was tried, in one word.
    pub action: String,
    /// The cause, for people. A new one is a new event.
    pub message: String,
    /// How often so far: it only ever grows while the warning stands.
    pub count: u32,
    /// The first time.
    pub first: WallTime,
    /// The last time.
    pub last: WallTime,
}

/// Of one object, so that a pod that is tried again each few seconds is told of once a minute.
const OF_ONE: Rate = Rate { burst: 4, interval: Duration::from_secs(60) };
/// Of all: a full node refuses many pods at once.
const OF_ALL: Rate = Rate { burst: 25, interval: Duration::from_secs(2) };
/// What the server takes, in bytes.
const LONGEST_NOTE: usize = 1024;
const LONGEST_NAME: usize = 253;

/// What was told of a warning.
#[derive(Clone, Debug)]
struct Told {
    event: String,
    message: String,
    /// The count that stands there; nothing until the event was made.
    count: Option<u32>,
}

/// What was told so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Warnings {
    told: BTreeMap<WarningId, Told>,
    of_one: BTreeMap<Regarding, Bucket>,
    of_all: Bucket,
}

/// An event to be made or counted up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventWrite {
    pub(super) id: WarningId,
    warning: Warning,
    pub(super) event: String,
    pub(super) is_new: bool,
}

impl Warnings {
    /// Forgets what is over.
    pub(super) fn settle(&mut self, wanted: &BTreeMap<WarningId, Warning>, now: BootTime) {
        self.told.retain(|id, _| wanted.contains_key(id));
        self.of_one.retain(|_, bucket| !bucket.is_full(now));
    }

    /// The warnings that are not told as they stand, each with the instant from which it may be sent. The random bits make the
    /// name of a new event, which it keeps however often it is tried.
    pub(super) fn missing(
        &mut self,
        wanted: &BTreeMap<WarningId, Warning>,
        now: BootTime,
        random: u128,
    ) -> Vec<(BootTime, EventWrite)> {
        let mut missing = Vec::new();
        for (place, (id, warning)) in wanted.iter().enumerate() {
            let is_told = self.told.get(id).is_some_and(|told| told.message == warning.message);
            if !is_told {
                let suffix = (random ^ (place as u128)) & u128::from(u64::MAX);
                let event = name(id.object().unwrap_or("node"), &format!(".{suffix:016x}"));
                self.told.insert(id.clone(), Told { event, message: warning.message.clone(), count: None });
            }
            let Some(told) = self.told.get(id) else { continue };
            if told.count.is_some_and(|count| count >= warning.count) {
                continue;
            }
            let of_one = self.of_one.get(&id.regarding).copied().unwrap_or_default();
            let ready = of_one.ready(OF_ONE, now).max(self.of_all.ready(OF_ALL, now));
            let write = EventWrite {
                id: id.clone(),
                warning: warning.clone(),
                event: told.event.clone(),
                is_new: told.count.is_none(),
            };
            missing.push((ready, write));
        }
        missing
    }

    /// It is being sent.
    pub(super) fn sending(&mut self, write: &EventWrite, now: BootTime) {
        self.of_one.entry(write.id.regarding.clone()).or_default().take(OF_ONE, now);
        self.of_all.take(OF_ALL, now);
    }

    /// It was sent and not done. The next try waits for what failed, and takes its turn anew: an outage would use up the turns of
    /// an object that nothing was told of.
    pub(super) fn failed(&mut self, write: &EventWrite) {
        if let Some(bucket) = self.of_one.get_mut(&write.id.regarding) {
            bucket.give_back(OF_ONE);
        }
        self.of_all.give_back(OF_ALL);
    }

    /// It stands there, or never will.
    pub(super) fn settled(&mut self, write: &EventWrite) {
        if let Some(told) = self.told.get_mut(&write.id).filter(|told| told.event == write.event) {
            told.count = Some(write.warning.count);
        }
    }

    /// The event that was to be counted up is not there any more: they are kept for an hour.
    pub(super) fn expired(&mut self, write: &EventWrite) {
        self.told.remove(&write.id);
    }
}

impl WarningId {
    fn object(&self) -> Option<&str> {
        match &self.regarding {
            Regarding::Pod { key, .. } => Some(&key.name),
            Regarding::Node => None,
        }
    }
}

impl EventWrite {
    /// The namespace that the event is in.
    pub(super) fn namespace(&self) -> &str {
        match &self.id.regarding {
            Regarding::Pod { key, .. } => &key.namespace,
            // Where events about objects without a namespace are looked for.
            Regarding::Node => "default",
        }
    }

    fn series(&self) -> Value {
        json!({"count": self.warning.count, "lastObservedTime": micro(self.warning.last)})
    }

    /// The whole event, or what counts it up.
    pub(super) fn body(&self, node: &str, instance: &str) -> Value {
        // One that was observed once is no series yet.
        let series = if self.warning.count < 2 { Value::Null } else { self.series() };
        if !self.is_new {
            return json!({"series": series});
        }
        let regarding = match &self.id.regarding {
            Regarding::Pod { key, uid } => json!({
                "apiVersion": "v1", "kind": "Pod", "namespace": key.namespace, "name": key.name, "uid": uid,
            }),
            // `kubectl describe node` looks for those whose uid is the name, as kubelet's are.
            Regarding::Node => json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": node}),
        };
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": self.event, "namespace": self.namespace()},
            "type": "Warning",
            "reason": self.id.reason,
            "action": self.warning.action,
            "note": cut(&self.warning.message),
            "regarding": regarding,
            "eventTime": micro(self.warning.first),
            "series": series,
            "reportingController": "holdfast",
            "reportingInstance": instance,
        })
    }
}

/// As the server reads it: with six places.
fn micro(at: WallTime) -> MicroTime {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    MicroTime(Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX))
}

/// An event is called as its object, for people, and as nothing else is. The name of an object may have as many characters as
/// that of an event, and no part of one ends in a dash.
fn name(object: &str, suffix: &str) -> String {
    let mut end = object.len().min(LONGEST_NAME - suffix.len());
    while !object.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", object[..end].trim_end_matches(['.', '-']))
}

/// As much of it as the server takes.
fn cut(message: &str) -> &str {
    let mut end = message.len().min(LONGEST_NOTE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}
