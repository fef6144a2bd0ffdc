//! What lists and watches look like on the wire, and what makes one of them whole.

use std::collections::BTreeMap;

use kube::core::Status;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::follow::{Event, Page};
use super::view::ObjectKey;
use crate::fault::{Cause, classify_status};
use crate::version::Version;

/// An object as it is read: only the fields that are used, everything else is passed over unread.
pub trait Trimmed: DeserializeOwned + Send + 'static {
    /// What is kept of it.
    type View: Clone + PartialEq + Send + Sync + 'static;

    /// Takes it apart.
    fn trim(self) -> (ObjectKey, Self::View);
    /// Its version.
    fn version(&self) -> &Version;
}

/// The metadata that is read of every object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Its namespace; empty for objects of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What tells it from another one of its name.
    pub uid: String,
    /// Its version.
    pub resource_version: Version,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Whether it is being deleted.
    #[serde(deserialize_with = "is_there")]
    pub deletion_timestamp: bool,
}

impl Meta {
    pub(super) fn key(&mut self) -> ObjectKey {
        ObjectKey { namespace: std::mem::take(&mut self.namespace), name: std::mem::take(&mut self.name) }
    }
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::<IgnoredAny>::deserialize(deserializer).map(|value| value.is_some())
}

/// A page of a list.
#[derive(Deserialize)]
#[serde(bound = "T: Trimmed")]
pub(crate) struct PageWire<T> {
    kind: String,
    metadata: ListMeta,
    // Must be there, and may be null.
    #[serde(deserialize_with = "items")]
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: Version,
    #[serde(default, rename = "continue")]
    continued: String,
    remaining_item_count: Option<u64>,
}

fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl<T: Trimmed> PageWire<T> {
    /// The page, if it is one: what is no list, has no version, or says that more is to come and not how to get it, is none.
    pub(crate) fn page(self) -> Result<Page<T::View>, Cause> {
        let Self { kind, metadata, items } = self;
        if !kind.ends_with("List") {
            return Err(Cause::Malformed(format!("a {kind} in the place of a list")));
        }
        if metadata.resource_version.is_empty() {
            return Err(Cause::Malformed("a list without a version".to_owned()));
        }
        let continued = Some(metadata.continued).filter(|token| !token.is_empty());
        if continued.is_none() && metadata.remaining_item_count.is_some_and(|remaining| remaining > 0) {
            return Err(Cause::Malformed("a list that ended before its end".to_owned()));
        }
        let items = items.into_iter().map(T::trim).collect();
        Ok(Page { items, version: metadata.resource_version, continued })
    }
}

/// A line of a watch.
#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE", bound = "T: Trimmed")]
enum LineWire<T> {
    Added(T),
    Modified(T),
    Deleted(T),
    Bookmark(Bookmark),
    Error(Status),
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: Meta,
}

/// What a line of a watch says.
pub(super) fn event<T: Trimmed>(line: &[u8]) -> Result<Event<T::View>, Cause> {
    let line: LineWire<T> = serde_json::from_slice(line)
        .map_err(|error| Cause::Malformed(format!("{error}: {}", crate::fault::excerpt(line))))?;
    let event = match line {
        LineWire::Added(object) | LineWire::Modified(object) => {
            let version = object.version().clone();
            let (key, view) = object.trim();
            Event::Applied { key, version, view }
        }
        LineWire::Deleted(object) => {
            let version = object.version().clone();
            Event::Deleted { key: object.trim().0, version }
        }
        LineWire::Bookmark(bookmark) => Event::Bookmark { version: bookmark.metadata.resource_version },
        LineWire::Error(status) => return Err(classify_status(status.code, None, &status)),
    };
    Ok(event)
}
