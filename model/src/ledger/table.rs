//! A table of the ledger: a map that everybody may read and only [`Ledger::apply`](super::Ledger::apply) may write.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::{Serialize, Serializer};

/// Records by key. Reads as the [`BTreeMap`] that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Table<K: Ord, V>(BTreeMap<K, V>);

impl<K: Ord, V> Table<K, V> {
    pub(super) fn put(&mut self, key: K, record: V) {
        self.0.insert(key, record);
    }

    pub(super) fn take(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }
}

impl<K: Ord, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, V> Deref for Table<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.0
    }
}

impl<'a, K: Ord, V> IntoIterator for &'a Table<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = std::collections::btree_map::Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// JSON wants text as keys, so a table under other keys is written as a list.
pub(super) fn values<K: Ord, V: Serialize, S: Serializer>(
    table: &Table<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(table.values())
}
