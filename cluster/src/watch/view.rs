//! What is known, for those who use it.

use std::collections::BTreeMap;
use std::fmt;

use holdfast_model::time::BootTime;

use crate::fault::ApiFault;

/// An object's name. Objects of the whole cluster have an empty namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// Of an object in a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// What is known of a selection of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<V> {
    /// What was seen, and not proven gone since.
    pub objects: BTreeMap<ObjectKey, V>,
    /// Whether a whole list was ever read: until then, what lacks here may exist.
    pub complete: bool,
    /// Why what is known may be old. Nothing while changes are heard of as they come.
    pub stale: Option<Staleness>,
}

/// Since when changes are not heard of, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// When the first of the failures since the last word came.
    pub since: BootTime,
    /// The last of them.
    pub fault: ApiFault,
}

impl<V> Default for View<V> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), complete: false, stale: None }
    }
}

impl<V> View<V> {
    /// The one object of a selection by name.
    pub fn only(&self) -> Option<&V> {
        self.objects.values().next()
    }

    /// Whether there surely was none of this name when the last list was read, and none was heard of since.
    pub fn surely_lacks(&self, key: &ObjectKey) -> bool {
        self.complete && !self.objects.contains_key(key)
    }

    /// What is known may be old from now on, or since an earlier failure.
    pub(crate) fn fail(&mut self, fault: ApiFault, now: BootTime) {
        let since = self.stale.as_ref().map_or(now, |stale| stale.since);
        self.stale = Some(Staleness { since, fault });
    }
}
