//! Objects of one kind, each with the states that it had: what a view that lags shows, object by object.
//!
//! A state is kept for [`HORIZON`] after it ended. Changes are made as one: [`Table::commit`] makes all of them the
//! present, [`Table::rollback`] none.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::time::Micros;

/// How far back any view can look. A lag beyond it is refused where it is asked for, never shortened.
pub const HORIZON: Duration = Duration::from_mins(10);

/// A state that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Past<T> {
    /// When it ended.
    until: Micros,
    /// `None`: the object did not exist.
    was: Option<Arc<T>>,
}

/// All objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table<K, T> {
    now: BTreeMap<K, Arc<T>>,
    /// By object, earliest first.
    past: BTreeMap<K, VecDeque<Past<T>>>,
    /// Which object's earliest past state ended when, in order of time.
    ended: VecDeque<(Micros, K)>,
    /// The objects of the change under way as they were before it.
    before: BTreeMap<K, Option<Arc<T>>>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), past: BTreeMap::new(), ended: VecDeque::new(), before: BTreeMap::new() }
    }
}

/// How one object came out of a commit.
#[derive(Debug)]
pub(super) struct Changed<T> {
    /// The state that is now kept among the past ones, if any.
    pub(super) kept: bool,
    /// What it was.
    pub(super) was: Option<Arc<T>>,
    /// What it is.
    pub(super) is: Option<Arc<T>>,
}

impl<K: Copy + Ord, T: Clone> Table<K, T> {
    /// The object as it is.
    pub(super) fn get(&self, id: &K) -> Option<&Arc<T>> {
        self.now.get(id)
    }

    /// The object as it was at an instant within [`HORIZON`].
    pub(super) fn at(&self, id: &K, moment: Micros) -> Option<&Arc<T>> {
        let past = self.past.get(id).and_then(|past| {
            let place = past.partition_point(|state| state.until <= moment);
            past.get(place)
        });
        match past {
            Some(state) => state.was.as_ref(),
            None => self.now.get(id),
        }
    }

    /// When the object changed within [`HORIZON`], earliest first.
    pub(super) fn changes(&self, id: K) -> impl Iterator<Item = Micros> + '_ {
        self.past.get(&id).into_iter().flatten().map(|state| state.until)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.now.len()
    }

    /// The states of the object that ended after `from` and until `to`, earliest first.
    pub(super) fn ended_within(&self, id: &K, from: Micros, to: Micros) -> impl Iterator<Item = &Arc<T>> {
        let past = self.past.get(id).into_iter().flatten();
        past.filter(move |state| state.until > from && state.until <= to)
            .filter_map(|state| state.was.as_ref())
    }

    /// The objects as they are, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Arc<T>)> {
        self.now.iter()
    }

    /// The ids of the objects that are there or were within [`HORIZON`], in order, from behind `after` on.
    pub(super) fn ids_ever(&self, after: Option<K>) -> impl Iterator<Item = K> + '_ {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut now = self.now.range((from, Bound::Unbounded)).map(|(id, _)| *id).peekable();
        let mut past = self.past.range((from, Bound::Unbounded)).map(|(id, _)| *id).peekable();
        std::iter::from_fn(move || match (now.peek(), past.peek()) {
            (Some(a), Some(b)) if a == b => {
                past.next();
                now.next()
            }
            (Some(a), Some(b)) if a > b => past.next(),
            (Some(_), _) => now.next(),
            (None, _) => past.next(),
        })
    }

    /// The ids of the objects that are there, in order, from behind `after` on.
    pub(super) fn ids(&self, after: Option<K>) -> impl Iterator<Item = K> + '_ {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.now.range((from, Bound::Unbounded)).map(|(id, _)| *id)
    }

    /// The object, to be changed.
    pub(super) fn edit(&mut self, id: &K) -> Option<&mut T> {
        let object = self.now.get_mut(id)?;
        self.before.entry(*id).or_insert_with(|| Some(Arc::clone(object)));
        Some(Arc::make_mut(object))
    }

    /// A new object, or a new state of one.
    pub(super) fn put(&mut self, id: K, object: T) {
        let was = self.now.insert(id, Arc::new(object));
        self.before.entry(id).or_insert(was);
    }

    /// Ends an object.
    pub(super) fn remove(&mut self, id: &K) -> Option<Arc<T>> {
        let was = self.now.remove(id)?;
        self.before.entry(*id).or_insert_with(|| Some(Arc::clone(&was)));
        Some(was)
    }

    /// Undoes the change under way.
    pub(super) fn rollback(&mut self) {
        for (id, was) in std::mem::take(&mut self.before) {
            match was {
                Some(object) => self.now.insert(id, object),
                None => self.now.remove(&id),
            };
        }
    }

    /// Makes the change under way the present from `now` on, and says what became of each of its objects.
    pub(super) fn commit(&mut self, now: Micros) -> Vec<Changed<T>> {
        let before = std::mem::take(&mut self.before);
        before
            .into_iter()
            .map(|(id, was)| {
                let past = self.past.entry(id).or_default();
                // What both came and went at this instant was seen by nobody.
                let kept = past.back().is_none_or(|last| last.until != now);
                if kept {
                    past.push_back(Past { until: now, was: was.clone() });
                    self.ended.push_back((now, id));
                }
                Changed { kept, was, is: self.now.get(&id).cloned() }
            })
            .collect()
    }

    /// Forgets the states that ended longer than [`HORIZON`] ago, and gives them.
    pub(super) fn forget(&mut self, now: Micros) -> Vec<Arc<T>> {
        let Some(horizon) = now.before(HORIZON) else { return Vec::new() };
        let mut forgotten = Vec::new();
        while let Some((_, id)) = self.ended.pop_front_if(|(until, _)| *until < horizon) {
            let Some(past) = self.past.get_mut(&id) else { continue };
            forgotten.extend(past.pop_front().and_then(|state| state.was));
            if past.is_empty() {
                self.past.remove(&id);
            }
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Micros {
        Micros(seconds * 1_000_000)
    }

    #[test]
    fn every_state_is_found_at_its_time_and_forgotten_after_the_horizon() {
        let mut table = Table::<u8, &str>::default();
        table.put(1, "first");
        table.commit(seconds(10));
        table.put(1, "unseen");
        table.commit(seconds(20));
        *table.edit(&1).unwrap() = "second";
        table.commit(seconds(20));
        table.remove(&1);
        table.commit(seconds(30));
        let at = |second| table.at(&1, seconds(second)).map(|text| **text);
        assert_eq!(
            [9, 10, 19, 20, 29, 30, 99].map(at),
            [None, Some("first"), Some("first"), Some("second"), Some("second"), None, None]
        );
        assert_eq!(table.ids_ever(None).collect::<Vec<_>>(), [1]);
        assert_eq!(table.ids(None).count(), 0);
        let forgotten = table.forget(seconds(629));
        assert_eq!(forgotten.len(), 1, "{forgotten:?}");
        table.forget(seconds(700));
        assert_eq!(table, Table::default());
    }

    #[test]
    fn what_is_rolled_back_never_was() {
        let mut table = Table::<u8, &str>::default();
        table.put(1, "kept");
        table.put(2, "removed");
        table.commit(seconds(1));
        let whole = table.clone();
        *table.edit(&1).unwrap() = "changed";
        *table.edit(&1).unwrap() = "changed again";
        table.remove(&2);
        table.put(2, "anew");
        table.put(3, "new");
        table.rollback();
        assert_eq!(table, whole);
    }

    #[test]
    fn ids_of_the_present_and_of_the_past_come_in_one_order() {
        let mut table = Table::<u8, ()>::default();
        for id in [1, 3, 5] {
            table.put(id, ());
        }
        table.commit(seconds(1));
        table.remove(&3);
        table.put(4, ());
        table.commit(seconds(2));
        assert_eq!(table.ids_ever(None).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert_eq!(table.ids_ever(Some(3)).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(table.ids(Some(1)).collect::<Vec<_>>(), [4, 5]);
    }
}
