//! kubelet's messages: of each pod the few fields that are used, by hand, since the whole of it is thousands of fields of generated
//! code.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use crate::watch::ObjectKey;
use crate::watch::objects::PodView;
use crate::{Cause, Version};

#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchPodsEvent {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) pod: Bytes,
}

/// `v1.Pod`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Pod {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<Metadata>,
}

/// `meta.v1.ObjectMeta`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
    #[prost(string, tag = "5")]
    pub(super) uid: String,
    #[prost(string, tag = "6")]
    pub(super) resource_version: String,
    #[prost(message, optional, tag = "9")]
    pub(super) deletion_timestamp: Option<Time>,
    #[prost(btree_map = "string, string", tag = "12")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// `meta.v1.Time`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Time {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
}

pub(super) const ADDED: i32 = 1;
pub(super) const MODIFIED: i32 = 2;
pub(super) const DELETED: i32 = 3;
pub(super) const INITIAL_SYNC_COMPLETE: i32 = 4;

/// What kubelet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodEvent {
    /// There is this pod, new or changed.
    Applied {
        /// Its name.
        key: ObjectKey,
        /// What it is.
        pod: PodView,
    },
    /// It is gone.
    Deleted {
        /// Its name.
        key: ObjectKey,
        /// Its id.
        uid: String,
    },
    /// All pods were named.
    AllNamed,
}

/// What a message says. One of a kind that is not known says nothing.
pub(super) fn event(message: Bytes) -> Result<Option<PodEvent>, Cause> {
    let malformed = |error: prost::DecodeError| Cause::Malformed(error.to_string());
    let event = WatchPodsEvent::decode(message).map_err(malformed)?;
    match event.kind {
        INITIAL_SYNC_COMPLETE => return Ok(Some(PodEvent::AllNamed)),
        ADDED | MODIFIED | DELETED => {}
        _ => return Ok(None),
    }
    let metadata = Pod::decode(event.pod).map_err(malformed)?.metadata.unwrap_or_default();
    if metadata.name.is_empty() || metadata.uid.is_empty() {
        return Err(Cause::Malformed("a pod without a name or an id".to_owned()));
    }
    let key = ObjectKey::new(metadata.namespace, metadata.name);
    if event.kind == DELETED {
        return Ok(Some(PodEvent::Deleted { key, uid: metadata.uid }));
    }
    let is_deleting = metadata.deletion_timestamp.is_some();
    let pod = PodView::new(
        metadata.uid,
        Version::new(metadata.resource_version),
        metadata.annotations,
        is_deleting,
    );
    Ok(Some(PodEvent::Applied { key, pod }))
}
