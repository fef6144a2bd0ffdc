//! Conditions of the own node.

use std::collections::BTreeMap;

use holdfast_model::time::WallTime;
use serde_json::{Value, json};

use super::wanted::Wanted;
use crate::version::Version;
use crate::watch::View;
use crate::watch::objects::{ConditionView, NodeView};

/// Whether it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionStatus {
    /// It is.
    True,
    /// It is not.
    False,
    /// Nobody knows.
    Unknown,
}

impl ConditionStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether it is so.
    pub status: ConditionStatus,
    /// In one word.
    pub reason: String,
    /// For people. What changes all the time does not belong here: each change is a write.
    pub message: String,
}

/// A condition that is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConditionChange {
    pub(super) kind: String,
    pub(super) node: String,
    uid: String,
    pub(super) based_on: Version,
    old: Option<ConditionView>,
    new: Option<Condition>,
}

/// What was written and is not seen yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Acknowledged {
    uid: String,
    version: Version,
    conditions: BTreeMap<String, Option<ConditionView>>,
}

impl Acknowledged {
    pub(super) fn written(&mut self, change: &ConditionChange, version: Version, at: WallTime) {
        if self.uid != change.uid {
            *self = Self { uid: change.uid.clone(), ..Self::default() };
        }
        self.version = version;
        self.conditions.insert(change.kind.clone(), change.view(at));
    }

    /// Forgets what is seen by now.
    pub(super) fn settle(&mut self, node: Option<&NodeView>) {
        if node.is_none_or(|node| node.uid != self.uid || node.version >= self.version) {
            *self = Self::default();
        }
    }

    /// The conditions that are not what they should be.
    pub(super) fn missing<'a>(
        &'a self,
        wanted: &'a Wanted,
        nodes: &'a View<NodeView>,
    ) -> impl Iterator<Item = ConditionChange> + 'a {
        let node = nodes.objects.iter().next();
        wanted.conditions.iter().filter_map(move |(kind, new)| {
            let (name, node) = node?;
            let is_newer = self.uid == node.uid && node.version < self.version;
            let old = match self.conditions.get(kind).filter(|_| is_newer) {
                Some(written) => written.as_ref(),
                None => node.conditions.get(kind),
            };
            let stands = match (old, new) {
                (None, None) => true,
                (Some(old), Some(new)) => {
                    old.status == new.status.as_str()
                        && old.reason == new.reason
                        && old.message == new.message
                }
                _ => false,
            };
            let based_on = if is_newer { &self.version } else { &node.version };
            (!stands).then(|| ConditionChange {
                kind: kind.clone(),
                node: name.name.clone(),
                uid: node.uid.clone(),
                based_on: based_on.clone(),
                old: old.cloned(),
                new: new.clone(),
            })
        })
    }
}

impl ConditionChange {
    fn view(&self, at: WallTime) -> Option<ConditionView> {
        let new = self.new.as_ref()?;
        let status = new.status.as_str();
        let kept = self.old.as_ref().filter(|old| old.status == status);
        let since = kept.and_then(|old| old.last_transition_time.clone());
        Some(ConditionView {
            status: status.to_owned(),
            reason: new.reason.clone(),
            message: new.message.clone(),
            last_transition_time: since.or_else(|| Some(at.to_string())),
        })
    }

    /// The change, and what must be so for it.
    pub(super) fn patch(&self, at: WallTime) -> Value {
        let entry = match self.view(at) {
            Some(view) => json!({
                "type": self.kind,
                "status": view.status,
                "reason": view.reason,
                "message": view.message,
                "lastHeartbeatTime": at.to_string(),
                "lastTransitionTime": view.last_transition_time,
            }),
            None => json!({"$patch": "delete", "type": self.kind}),
        };
        json!({
            "metadata": {"uid": self.uid, "resourceVersion": self.based_on},
            "status": {"conditions": [entry]},
        })
    }
}
