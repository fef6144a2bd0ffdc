//! A day of a node's pods, in virtual time: which ADDs find a free address, and how many are free meanwhile.
//!
//! The planner is the one that ships, and EC2 is the toy's with delays: an arrival in the midst of a call is served, or waits, at its
//! own instant. The calls of one plan are made one after the other here, and nothing is planned before the last is answered, which
//! is slower than the engine is.

mod plot;
mod tests;
pub(crate) mod trace;
mod yields;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::Peekable;
use std::time::Duration;
use std::vec::IntoIter;

use holdfast_model::block::BlockState;
use holdfast_model::cloud::Api;
use holdfast_model::sandbox::SandboxKey;
use holdfast_model::time::BootTime;

use crate::toy::{Step, Toy};
use trace::{Event, Trace};

/// What is looked at in between.
const LONGEST_LOOK: u64 = 10_000;
/// How far apart two points of a plot are.
const POINTS_EVERY: u64 = 300_000;

/// What came of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) adds: u32,
    /// ADDs that found no free address.
    pub(crate) waited: u32,
    /// The longest that one has waited.
    pub(crate) longest: Duration,
    /// Free addresses, on the average of time.
    pub(crate) spares: f64,
    /// Calls that changed what the node has.
    pub(crate) changes: usize,
}

/// The figures of one instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) at: Duration,
    pub(crate) leased: u32,
    pub(crate) free: u32,
}

/// What happens to a toy while time passes.
pub(crate) struct Life {
    events: Peekable<IntoIter<(u64, Event)>>,
    began: BootTime,
    sandboxes: BTreeMap<u32, SandboxKey>,
    /// Pods that wait, and since when.
    in_line: VecDeque<(u32, BootTime)>,
    figures: Figures,
    /// Free addresses times milliseconds.
    weighed: u64,
    points: Vec<Point>,
    gone: BTreeSet<u32>,
}

impl Toy {
    /// How long a step takes.
    pub(crate) fn takes(&self, step: &Step) -> Duration {
        let ms = if self.life.is_none() {
            150
        } else {
            match step.api(&self.ledger) {
                Some(Api::CreateNetworkInterface) => 2500,
                Some(Api::AttachNetworkInterface) => 1500,
                Some(Api::AssignPrivateIpAddresses | Api::UnassignPrivateIpAddresses) => 1200,
                Some(_) => 400,
                // A link appears, and is set up.
                None => 2000,
            }
        };
        Duration::from_millis(ms)
    }

    /// Lives through a day.
    pub(crate) fn live(&mut self, trace: &Trace) -> (Figures, Vec<Point>) {
        let events: Vec<(u64, Event)> = trace.events.clone();
        let began = self.now.boottime;
        self.cloud.calls.clear();
        self.life = Some(Life {
            events: events.into_iter().peekable(),
            began,
            sandboxes: BTreeMap::new(),
            in_line: VecDeque::new(),
            figures: Figures::default(),
            weighed: 0,
            points: Vec::new(),
            gone: BTreeSet::new(),
        });
        let end = began.after(trace.lasts);
        while self.now.boottime < end {
            if self.round() {
                continue;
            }
            let life = self.life.as_mut().unwrap();
            let event = life.events.peek().map(|(at, _)| BootTime(began.0 + at));
            let next = [event, self.last.next_look].into_iter().flatten().min().unwrap_or(end).min(end);
            let wait = next.since(self.now.boottime);
            self.sleep(wait.max(Duration::from_millis(1)));
            self.serve();
        }
        let life = self.life.take().unwrap();
        let mut figures = life.figures;
        let lasted = self.now.boottime.since(began);
        figures.spares = Duration::from_millis(life.weighed).as_secs_f64() / lasted.as_secs_f64();
        let changes = |api: &Api| {
            !matches!(api, Api::DescribeNetworkInterfaces | Api::DescribeSubnets | Api::DescribeInstanceTypes)
        };
        figures.changes = self.cloud.calls.iter().filter(|api| changes(api)).count();
        (figures, life.points)
    }

    /// Time passes, and what happens meanwhile.
    pub(crate) fn live_through(&mut self, by: u64) {
        let until = self.now.boottime.0 + by;
        while self.now.boottime.0 < until {
            let life = self.life.as_mut().unwrap();
            let began = life.began.0;
            let next = life.events.peek().map_or(u64::MAX, |(at, _)| began + at);
            let now = self.now.boottime.0;
            let to = next.clamp(now, until).min(now + LONGEST_LOOK);
            self.weigh(to - now);
            self.now.boottime.0 = to;
            self.now.wall.0 += to - now;
            self.cloud.at = self.now.wall.0;
            if next <= to {
                let (_, event) = self.life.as_mut().unwrap().events.next().unwrap();
                self.happens(event);
            }
        }
        self.rounds.0 = 0;
    }

    fn weigh(&mut self, span: u64) {
        let free = self.count_free();
        let leased = u32::try_from(self.ledger.leases.len()).unwrap();
        let now = self.now.boottime;
        let life = self.life.as_mut().unwrap();
        life.weighed += u64::from(free) * span;
        let at = now.since(life.began);
        if at.as_millis() >= u128::from(POINTS_EVERY) * life.points.len() as u128 {
            life.points.push(Point { at, leased, free });
        }
    }

    fn count_free(&self) -> u32 {
        let held = self.ledger.blocks.values().filter(|block| block.state == BlockState::Held);
        let free = held.map(|block| {
            let used = self.ledger.uses_in(block.net).filter(|(_, what)| !what.is_over(&self.now)).count();
            block.unit().addresses() - u32::try_from(used).unwrap()
        });
        free.sum()
    }

    fn happens(&mut self, event: Event) {
        let now = self.now.boottime;
        let life = self.life.as_mut().unwrap();
        match event {
            Event::Come(pod) => {
                life.figures.adds += 1;
                life.in_line.push_back((pod, now));
                self.set_waiting(self.waiting() + 1);
                self.serve();
                let life = self.life.as_mut().unwrap();
                life.figures.waited += u32::from(life.in_line.iter().any(|(other, _)| *other == pod));
            }
            Event::Gone(pod) => match life.sandboxes.remove(&pod) {
                Some(sandbox) => self.delete(&sandbox),
                // Its ADD goes on: the runtime sends a DEL after it.
                None => drop(life.gone.insert(pod)),
            },
        }
        self.learn();
    }

    /// An ADD was served: the one that has waited longest.
    pub(crate) fn was_served(&mut self, sandbox: &SandboxKey) {
        let now = self.now.boottime;
        let Some(life) = &mut self.life else { return };
        let (pod, since) = life.in_line.pop_front().unwrap();
        life.figures.longest = life.figures.longest.max(now.since(since));
        if life.gone.remove(&pod) {
            self.delete(sandbox);
        } else {
            life.sandboxes.insert(pod, sandbox.clone());
        }
    }
}
