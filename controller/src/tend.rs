//! When to write to the DaemonSet, and when to look at it: a state machine without a clock and without a connection.

use std::time::Duration;

use holdfast_cluster::watch::objects::ConfigMapView;
use holdfast_cluster::watch::{Pauses, View};
use holdfast_cluster::{Cause, Version};
use holdfast_model::time::BootTime;

use crate::decide::{Write, decide};
use crate::desired::{NoDesired, desired};
use crate::kept::Kept;
use crate::pace::Pace;
use crate::renders::Renders;
use crate::seen::DaemonSetView;
use crate::table::RENDER;

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write this.
    Send(Write),
    /// Read the DaemonSet itself, whatever the watch says.
    Look,
    /// Nothing before this instant, unless something changes.
    WaitUntil(BootTime),
}

/// What a look of its own has shown.
#[derive(Clone, Debug)]
enum Looked {
    /// Nothing that the watch has not shown since.
    Not,
    /// That there is none.
    None,
    /// This.
    At(DaemonSetView),
}

/// Which object, and at which version.
type Shown = (String, Version);

fn shown(seen: &DaemonSetView) -> Shown {
    (seen.uid.clone(), seen.version.clone())
}

/// Tends the DaemonSet.
#[derive(Clone, Debug)]
pub struct Tender {
    /// The longest time without a look of its own.
    look_each: Duration,
    look_at: Option<BootTime>,
    /// What was read by a look. Counts where it is newer than what the watch has shown, and until that shows something else.
    looked: Looked,
    /// What the watch showed when that was begun.
    looked_over: Option<Shown>,
    /// What it showed last.
    shown: Option<Shown>,
    /// The version that was written last: nothing older is decided from.
    written: Option<Version>,
    renders: Renders,
    /// What the server makes of what was rendered.
    kept: Kept,
    pace: Pace,
    failed: Pauses,
    not_before: BootTime,
    /// Why nothing can be restored, as it was last told.
    told: Option<NoDesired>,
}

impl Tender {
    /// Looks by itself that often.
    pub fn new(look_each: Duration) -> Self {
        Self {
            look_each,
            look_at: None,
            looked: Looked::Not,
            looked_over: None,
            shown: None,
            written: None,
            renders: Renders::default(),
            kept: Kept::default(),
            pace: Pace::default(),
            failed: Pauses::default(),
            not_before: BootTime(0),
            told: None,
        }
    }

    /// What to do. Who does not lead keeps up, so that it knows where things stand when it does, and writes nothing.
    pub fn next(
        &mut self,
        map: &View<ConfigMapView>,
        seen: &View<DaemonSetView>,
        leads: bool,
        now: BootTime,
    ) -> Step {
        self.shown = seen.only().map(shown);
        let look_at = *self.look_at.get_or_insert(now.after(self.look_each));
        let due = self.due(map, seen, now);
        let look = if leads { look_at } else { now.after(self.look_each) };
        match due {
            Some((at, write)) if leads && at <= now => Step::Send(write),
            _ if leads && look_at <= now => Step::Look,
            Some((at, _)) if leads => Step::WaitUntil(at.min(look)),
            _ => Step::WaitUntil(look),
        }
    }

    /// Why nothing can be restored, when that has changed.
    pub fn news(&mut self, map: &View<ConfigMapView>) -> Option<NoDesired> {
        let trouble = desired(map).err().filter(|trouble| *trouble != NoDesired::NotRead);
        let changed = trouble != self.told;
        self.told.clone_from(&trouble);
        trouble.filter(|_| changed)
    }

    /// What is to be written, and from when on.
    fn due(
        &mut self,
        map: &View<ConfigMapView>,
        seen: &View<DaemonSetView>,
        now: BootTime,
    ) -> Option<(BootTime, Write)> {
        let seen = self.newest(seen)?.clone();
        let desired = desired(map).ok()?;
        let annotation = seen.object.pointer("/metadata/annotations").and_then(|all| all.get(RENDER));
        let settled = self.renders.ready(&desired.render, annotation.and_then(|value| value.as_str()), now);
        self.kept.of(&desired.render);
        let write = decide(&desired, &seen, &self.kept)?;
        Some((settled.max(self.pace.ready(write.drifted.keys(), now)).max(self.not_before), write))
    }

    /// The DaemonSet as it was seen last; nothing while that is older than what was written.
    fn newest<'s>(&'s self, seen: &'s View<DaemonSetView>) -> Option<&'s DaemonSetView> {
        let watched = seen.only();
        let is_overtaken = watched.map(shown) != self.looked_over;
        let newest = match (&self.looked, watched) {
            (Looked::Not, watched) => watched?,
            (Looked::At(looked), Some(watched)) if looked.uid == watched.uid => {
                if looked.version > watched.version { looked } else { watched }
            }
            (_, watched) if is_overtaken => watched?,
            (Looked::At(looked), _) => looked,
            (Looked::None, _) => return None,
        };
        let is_old = self.written.as_ref().is_some_and(|written| newest.version < *written);
        (!is_old).then_some(newest)
    }

    /// A look has shown it, or that there is none.
    pub fn looked(&mut self, outcome: Result<DaemonSetView, Cause>, now: BootTime) {
        self.look_at = Some(now.after(self.look_each));
        match outcome {
            Ok(view) => {
                // The truth, also of a store that was set back.
                self.written = self.written.take().filter(|written| *written <= view.version);
                self.saw(Looked::At(view));
            }
            Err(Cause::NotFound) => self.saw(Looked::None),
            // The next look tells; the watch goes on meanwhile.
            Err(_) => {}
        }
    }

    /// The watch may have gone on while it was looked.
    fn saw(&mut self, looked: Looked) {
        self.looked = looked;
        self.looked_over.clone_from(&self.shown);
    }

    /// A write succeeded, or not.
    pub fn wrote(&mut self, write: &Write, outcome: Result<Version, &Cause>, now: BootTime, random: u128) {
        self.pace.take(write.drifted.keys(), now);
        match outcome {
            Ok(version) => {
                self.failed.succeeded();
                self.not_before = BootTime(0);
                if version == write.based_on {
                    self.kept.learn(write);
                }
                self.written = Some(version);
                if let Some(render) = &write.render {
                    self.renders.made(render);
                }
            }
            Err(cause) => {
                self.failed.failed(cause);
                self.not_before = now.after(self.failed.next(random));
                // What was decided from is not what is there: the watch will show it, and a look does if it does not.
                if matches!(cause, Cause::Conflict(_) | Cause::NotFound) || cause.outcome_unknown() {
                    self.look_at = Some(self.not_before);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "tend/tests.rs"]
mod tests;
