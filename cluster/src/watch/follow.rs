//! The machine that follows objects: it says what to ask for next, and what an answer means for what is known.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_model::time::BootTime;

use super::pause::Pauses;
use super::view::{ObjectKey, View};
use crate::fault::{ApiFault, Cause};
use crate::version::Version;

/// So many failures of a watch that are no outage, and its version is given up: the server does not go on from there.
const TRIES: u32 = 3;

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A page of the list.
    List {
        /// Where the page before left off.
        continued: Option<String>,
    },
    /// What changed since this version.
    Watch {
        /// Since when.
        version: Version,
    },
}

/// A page of a list, of which nothing lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<V> {
    /// Its objects.
    pub items: Vec<(ObjectKey, V)>,
    /// The version of the list.
    pub version: Version,
    /// Where the next page goes on. Nothing: this was the last one.
    pub continued: Option<String>,
}

/// A line of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<V> {
    /// Made or changed.
    Applied {
        /// Its name.
        key: ObjectKey,
        /// Its version.
        version: Version,
        /// What it is now.
        view: V,
    },
    /// Deleted, or not of the selection any more.
    Deleted {
        /// Its name.
        key: ObjectKey,
        /// The version at which it went.
        version: Version,
    },
    /// Nothing of the selection changed up to here.
    Bookmark {
        /// The version.
        version: Version,
    },
}

#[derive(Clone, Debug)]
enum State {
    Listing {
        continued: Option<String>,
        listed: BTreeSet<ObjectKey>,
    },
    Watching {
        version: Version,
        /// Whether the server took the watch on that is under way.
        open: bool,
        /// Whether it has said anything.
        heard: bool,
    },
}

/// The machine. What is known is the caller's; each input says whether it changed it.
#[derive(Clone, Debug)]
pub struct Follow {
    state: State,
    pauses: Pauses,
}

impl Default for Follow {
    fn default() -> Self {
        Self { state: list_anew(), pauses: Pauses::default() }
    }
}

fn list_anew() -> State {
    State::Listing { continued: None, listed: BTreeSet::new() }
}

impl Follow {
    /// What to ask for, once [`Follow::pause`] is over.
    pub fn next(&self) -> Next {
        match &self.state {
            State::Listing { continued, .. } => Next::List { continued: continued.clone() },
            State::Watching { version, .. } => Next::Watch { version: version.clone() },
        }
    }

    /// How long to wait before that, given random bits.
    pub fn pause(&self, random: u128) -> Duration {
        self.pauses.next(random)
    }

    /// A page came. What it shows is known from now on; what no page of a whole list shows is not any more.
    pub fn page<V: PartialEq>(&mut self, page: Page<V>, view: &mut View<V>) -> bool {
        let State::Listing { continued, listed } = &mut self.state else {
            return false;
        };
        self.pauses.succeeded();
        let mut changed = false;
        for (key, item) in page.items {
            listed.insert(key.clone());
            changed |= apply(view, key, item);
        }
        if page.continued.is_some() {
            *continued = page.continued;
            return changed;
        }
        let known = view.objects.len();
        view.objects.retain(|key, _| listed.contains(key));
        changed |= known != view.objects.len();
        changed |= !std::mem::replace(&mut view.complete, true);
        changed |= view.stale.take().is_some();
        self.state = State::Watching { version: page.version, open: false, heard: false };
        changed
    }

    /// The server took the watch on.
    pub fn listening<V>(&mut self, view: &mut View<V>) -> bool {
        if let State::Watching { open, heard, .. } = &mut self.state {
            (*open, *heard) = (true, false);
        }
        view.stale.take().is_some()
    }

    /// A line came. An error is a reason to end the watch and goes to [`Follow::failed`].
    pub fn event<V: PartialEq>(&mut self, event: Event<V>, view: &mut View<V>) -> Result<bool, Cause> {
        let State::Watching { version: at, heard, .. } = &mut self.state else {
            return Ok(false);
        };
        let (version, changed) = match event {
            Event::Applied { key, version, view: item } => (version, apply(view, key, item)),
            Event::Deleted { key, version } => (version, view.objects.remove(&key).is_some()),
            // The store was set back, and goes on from there without what we have seen: nobody will ever say so of the
            // objects that are lost with it.
            Event::Bookmark { version } if version < *at => {
                return Err(Cause::Ahead(format!("it is at {version}, and {at} was seen")));
            }
            Event::Bookmark { version } => (version, false),
        };
        if version.is_empty() {
            return Err(Cause::Malformed("an event without a version".to_owned()));
        }
        *at = version;
        *heard = true;
        self.pauses.succeeded();
        Ok(changed)
    }

    /// The watch came to its end, which each one does.
    pub fn ended(&mut self) {
        let State::Watching { open, heard, .. } = &mut self.state else { return };
        *open = false;
        if !std::mem::replace(heard, false) {
            // One that ends before it says a word is no end in order, and the next one may fare the same.
            self.pauses.failed(&Cause::Broken(String::new()));
        }
    }

    /// A request failed, or a watch broke. All that was known stays known.
    pub fn failed<V>(&mut self, fault: ApiFault, now: BootTime, view: &mut View<V>) {
        if let (State::Watching { open: true, .. }, Cause::Silent(_)) = (&self.state, &fault.cause) {
            // A watch where nothing happens has a word each minute all the same. Where none comes the connection is gone, or
            // the server waits for a version that its store, set back, is far from: only a list tells which, and whether
            // there is trouble.
            self.state = list_anew();
            return;
        }
        self.pauses.failed(&fault.cause);
        let given_up = match &fault.cause {
            Cause::Gone | Cause::Ahead(_) | Cause::Malformed(_) => true,
            // What it would say to a list it says here too.
            Cause::Forbidden(_) => false,
            cause => !cause.is_outage() && self.pauses.failures() >= TRIES,
        };
        match &mut self.state {
            _ if given_up => self.state = list_anew(),
            State::Watching { open, heard, .. } => (*open, *heard) = (false, false),
            State::Listing { .. } => {}
        }
        // The server's own words, and no trouble: the next request settles it.
        if matches!(fault.cause, Cause::Gone) && view.stale.is_none() && self.pauses.failures() == 1 {
            return;
        }
        view.fail(fault, now);
    }
}

fn apply<V: PartialEq>(view: &mut View<V>, key: ObjectKey, item: V) -> bool {
    if view.objects.get(&key) == Some(&item) {
        return false;
    }
    view.objects.insert(key, item);
    true
}

#[cfg(test)]
#[path = "follow/tests.rs"]
mod tests;
