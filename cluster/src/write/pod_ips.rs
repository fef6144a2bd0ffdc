//! The annotation that tells a pod's address.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::wanted::{PodId, Wanted};
use crate::version::Version;
use crate::watch::objects::{POD_IPS, PodView};
use crate::watch::{ObjectKey, View};

/// What an annotation should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodIps {
    pub(super) key: ObjectKey,
    pub(super) uid: Box<str>,
    /// Whether the pod has annotations at all.
    annotated: bool,
    /// What it is now.
    old: Option<Box<str>>,
    /// What it should be.
    new: String,
    /// The version at which it was seen so.
    pub(super) based_on: Version,
}

/// What was written and is not seen yet.
#[derive(Clone, Debug)]
struct Acknowledged {
    uid: Box<str>,
    version: Version,
    value: String,
}

/// What was written and is not seen yet, by pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Acknowledgements(BTreeMap<ObjectKey, Acknowledged>);

impl Acknowledgements {
    pub(super) fn written(&mut self, write: &PodIps, version: Version) {
        let acknowledged = Acknowledged { uid: write.uid.clone(), version, value: write.new.clone() };
        self.0.insert(write.key.clone(), acknowledged);
    }

    /// Forgets what is seen by now, or gone.
    pub(super) fn settle(&mut self, pods: &View<PodView>) {
        self.0.retain(|key, acknowledged| {
            pods.objects
                .get(key)
                .is_some_and(|pod| pod.uid == acknowledged.uid && pod.version < acknowledged.version)
        });
    }

    /// The annotations that are not what they should be. A pod that is not seen yet is left for when it is, and one that is
    /// being deleted is left alone.
    pub(super) fn missing<'a>(
        &'a self,
        wanted: &'a Wanted,
        pods: &'a View<PodView>,
    ) -> impl Iterator<Item = PodIps> + 'a {
        let addresses = wanted.pod_ips.as_ref();
        let seen = pods.objects.iter().filter(|(_, pod)| !pod.deleting);
        seen.filter_map(move |(key, pod)| {
            let runtime_uid = pod.runtime_uid.as_ref().unwrap_or(&pod.uid).to_string();
            let address = addresses?.get(&PodId { key: key.clone(), runtime_uid });
            let acknowledged = self.0.get(key).filter(|it| it.uid == pod.uid && pod.version < it.version);
            let (old, based_on) = match acknowledged {
                Some(it) => (Some(it.value.clone().into_boxed_str()), &it.version),
                None => (pod.pod_ips.clone(), &pod.version),
            };
            let new = match (address, old.as_deref()) {
                (Some(address), _) => address.to_string(),
                (None, None | Some("")) => return None,
                (None, Some(_)) => String::new(),
            };
            if old.as_deref() == Some(&new) {
                return None;
            }
            let annotated = pod.annotated || acknowledged.is_some();
            Some(PodIps {
                key: key.clone(),
                uid: pod.uid.clone(),
                annotated,
                old,
                new,
                based_on: based_on.clone(),
            })
        })
    }
}

impl PodIps {
    /// The change, and what must be so for it.
    pub(super) fn patch(&self) -> Value {
        let mut steps = vec![json!({"op": "test", "path": "/metadata/uid", "value": self.uid})];
        if self.annotated {
            let path = format!("/metadata/annotations/{}", POD_IPS.replace('~', "~0").replace('/', "~1"));
            // The test of what is not there is one for null.
            steps.push(json!({"op": "test", "path": path, "value": self.old}));
            steps.push(json!({"op": "add", "path": path, "value": self.new}));
        } else {
            steps.push(json!({"op": "test", "path": "/metadata/annotations", "value": null}));
            steps.push(json!({"op": "add", "path": "/metadata/annotations", "value": {POD_IPS: self.new}}));
        }
        Value::Array(steps)
    }
}
