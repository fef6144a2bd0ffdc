//! Past states of the world, for the views that lag.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::model::World;
use super::time::Micros;

/// How far back a view can look. States share what did not change, so that each costs little.
pub(super) const HORIZON: Duration = Duration::from_mins(10);
/// No more states than this are kept; a view that wants an older one gets the oldest.
const MOST: usize = 2048;

/// States by the instant at which each began, the present one last. Never empty.
#[derive(Debug)]
pub(super) struct History {
    states: VecDeque<(Micros, Arc<World>)>,
}

impl History {
    pub(super) fn new(first: Arc<World>) -> Self {
        Self { states: VecDeque::from([(Micros::default(), first)]) }
    }

    /// The state from `now` on. Of several states at one instant only the last counts.
    pub(super) fn record(&mut self, now: Micros, world: Arc<World>) {
        match self.states.back_mut() {
            Some((at, state)) if *at == now => *state = world,
            _ => self.states.push_back((now, world)),
        }
        // The state that was in force at the horizon began before it, and must stay.
        let horizon = now.before(HORIZON).unwrap_or_default();
        while self.states.len() > MOST || self.states.get(1).is_some_and(|(at, _)| *at <= horizon) {
            self.states.pop_front();
        }
    }

    /// The state `ago` before `now`, or the oldest one kept.
    pub(super) fn state(&self, now: Micros, ago: Duration) -> &Arc<World> {
        &self.states[self.index(now, ago)].1
    }

    /// The states from `ago` before `now` up to the present, in order.
    pub(super) fn since(&self, now: Micros, ago: Duration) -> impl DoubleEndedIterator<Item = &Arc<World>> {
        self.states.range(self.index(now, ago)..).map(|(_, world)| world)
    }

    /// The states from `ago + further` before `now` up to the one `ago` before `now`, latest first.
    pub(super) fn before(
        &self,
        now: Micros,
        ago: Duration,
        further: Duration,
    ) -> impl Iterator<Item = &Arc<World>> {
        let (from, to) = (self.index(now, ago.saturating_add(further)), self.index(now, ago));
        self.states.range(from..=to).rev().map(|(_, world)| world)
    }

    fn index(&self, now: Micros, ago: Duration) -> usize {
        let moment = now.before(ago).unwrap_or_default();
        self.states.partition_point(|(at, _)| *at <= moment).saturating_sub(1)
    }
}
