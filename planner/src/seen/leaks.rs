//! What this process has seen of ENIs that ended instances have left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_model::cloud::{EniView, TAG_CLUSTER, TAG_CREATED_AT, TAG_INSTANCE};
use holdfast_model::eni::EniKind;
use holdfast_model::ids::{EniId, InstanceId};
use holdfast_model::leak::LeakCall;
use holdfast_model::refusal::Refusal;
use holdfast_model::time::{BootTime, Now};

use crate::orphan::is_kept;
use crate::seen::{OWNER, TAG_OWNER};

/// Longer than a node that lives leaves an ENI unattached.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(3600);
/// As many are looked after at once; what is left comes with the next round.
const MOST: usize = 100;

/// What this process has seen of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// When this process began to see EC2.
    pub(crate) begun: Option<BootTime>,
    pub(crate) listed: Option<BootTime>,
    pub(crate) found: BTreeMap<EniId, Found>,
    /// Which instances there were, and when that was asked.
    pub(crate) known: Option<(BootTime, BTreeSet<InstanceId>)>,
    pub(crate) under_way: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) instance: InstanceId,
    /// RFC 3339, which sorts by age; as others may have written it.
    pub(crate) created: String,
    pub(crate) since: BootTime,
    pub(crate) last: BootTime,
}

impl Found {
    /// For long enough, as reads have shown it.
    pub(crate) fn has_hung(&self) -> bool {
        self.last.since(self.since) >= DEAD_AFTER
    }
}

impl Leaks {
    /// EC2 was read.
    pub(crate) fn begin(&mut self, at: BootTime) {
        self.begun.get_or_insert(at);
    }

    /// A call is being sent.
    pub(crate) fn asked(&mut self) {
        self.under_way = true;
    }

    /// A list was answered.
    pub(crate) fn shown(&mut self, views: &[EniView], cluster: &str, me: &InstanceId, began: BootTime) {
        self.under_way = false;
        self.listed = Some(began);
        let confirms = !self.found.is_empty();
        let ours: BTreeMap<&EniId, Found> =
            views.iter().filter_map(|view| Some((&view.id, found(view, cluster, me, began)?))).collect();
        self.found.retain(|id, known| {
            let again = ours.get(id).filter(|again| again.instance == known.instance);
            known.last = began;
            again.is_some()
        });
        if !confirms {
            let mut oldest: Vec<(&EniId, Found)> = ours.into_iter().collect();
            oldest.sort_by(|(a, one), (b, other)| (&one.created, a).cmp(&(&other.created, b)));
            self.found = oldest.into_iter().take(MOST).map(|(id, found)| (id.clone(), found)).collect();
        }
    }

    /// Instances were asked for, and these are there. A view without ourselves is none of this account's.
    pub(crate) fn lived(&mut self, there: &BTreeSet<InstanceId>, me: &InstanceId, began: BootTime) {
        self.under_way = false;
        if there.contains(me) {
            self.found.retain(|_, found| !there.contains(&found.instance));
            self.known = Some((began, there.clone()));
        } else {
            self.found.clear();
        }
    }

    /// One was deleted, or is not there.
    pub(crate) fn gone(&mut self, eni: &EniId) {
        self.under_way = false;
        self.found.remove(eni);
    }

    /// A call failed. What EC2 refuses is not asked for again before they are looked for anew.
    pub(crate) fn failed(&mut self, call: &LeakCall, cause: &Refusal, now: &Now) {
        self.under_way = false;
        if cause.is_outage() {
            return;
        }
        match call {
            LeakCall::Delete { eni } if !matches!(cause, Refusal::Denied { .. }) => {
                self.found.remove(eni);
            }
            LeakCall::Instances { .. } | LeakCall::Delete { .. } => self.found.clear(),
            LeakCall::List { .. } => {
                self.found.clear();
                self.listed = Some(now.boottime);
            }
        }
    }
}

/// What speaks for an ENI's being one of them; `None`: something does not.
fn found(view: &EniView, cluster: &str, me: &InstanceId, at: BootTime) -> Option<Found> {
    let tag = |key: &str| view.tags.get(key).map(String::as_str);
    let instance = tag(TAG_INSTANCE).filter(|id| id.starts_with("i-") && *id != me.as_str())?;
    let ours = view.attachment.is_none()
        && view.kind == EniKind::Standard
        && tag(TAG_CLUSTER) == Some(cluster)
        && tag(TAG_OWNER) == Some(OWNER)
        && !is_kept(view);
    ours.then(|| Found {
        instance: InstanceId::new(instance),
        created: tag(TAG_CREATED_AT).unwrap_or_default().to_owned(),
        since: at,
        last: at,
    })
}
