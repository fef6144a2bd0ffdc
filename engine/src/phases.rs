//! What an ADD spends its time on: waiting for an address, for the disk, for the kernel. Seen from the inputs that its
//! attachment takes, so that the way of a pod knows nothing of it.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::sandbox::SandboxKey;

use crate::attachment::{Input, Work};
use crate::tally::AddPhases;

/// A point on an ADD's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    Asked,
    Leased,
    Durable,
    Wired,
}

impl Point {
    /// The point that an input may be.
    pub(crate) fn of(input: &Input) -> Option<Self> {
        match input {
            Input::Add { .. } => Some(Self::Asked),
            Input::Leased { .. } => Some(Self::Leased),
            Input::LeaseDurable { .. } => Some(Self::Durable),
            Input::Wired(Ok(())) => Some(Self::Wired),
            _ => None,
        }
    }

    /// Whether an attachment that has taken the input is where it leads. Inputs that were meant for a state that is over
    /// lead nowhere.
    fn is_reached(self, work: Work) -> bool {
        match self {
            Self::Asked | Self::Wired => true,
            Self::Leased => work == Work::Leasing,
            Self::Durable => work == Work::Wiring,
        }
    }
}

/// ADDs under way, each with the last point that it has passed.
#[derive(Debug, Default)]
pub(crate) struct Phases {
    under_way: BTreeMap<SandboxKey, (Point, Duration)>,
    pub(crate) took: AddPhases,
}

impl Phases {
    /// An attachment took an input and is at this work now. `at` is an instant of one clock.
    pub(crate) fn passed(&mut self, sandbox: &SandboxKey, point: Point, work: Work, at: Duration) {
        if !point.is_reached(work) {
            return;
        }
        let Some(last) = self.under_way.get_mut(sandbox) else {
            if point == Point::Asked {
                self.under_way.insert(sandbox.clone(), (point, at));
            }
            return;
        };
        let phase = match (last.0, point) {
            (Point::Asked, Point::Leased) => &mut self.took.wait,
            (Point::Leased, Point::Durable) => &mut self.took.commit,
            (Point::Durable, Point::Wired) => &mut self.took.wire,
            _ => return,
        };
        phase.note(at.saturating_sub(last.1));
        *last = (point, at);
    }

    /// The ADD was answered.
    pub(crate) fn answered(&mut self, sandbox: &SandboxKey) {
        self.under_way.remove(sandbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::{Desk, sandbox};
    use holdfast_model::config::Config;

    #[test]
    fn each_phase_lasts_from_one_point_to_the_next() {
        let (mut phases, key) = (Phases::default(), sandbox("a"));
        let ms = Duration::from_millis;
        phases.passed(&key, Point::Asked, Work::Idle, ms(10));
        phases.passed(&key, Point::Asked, Work::Idle, ms(20));
        phases.passed(&key, Point::Leased, Work::Leasing, ms(110));
        phases.passed(&key, Point::Durable, Work::Leasing, ms(112));
        assert_eq!(phases.took.commit.count(), 0, "of an older commit");
        phases.passed(&key, Point::Durable, Work::Wiring, ms(115));
        phases.passed(&key, Point::Wired, Work::Idle, ms(116));
        phases.answered(&key);
        let AddPhases { wait, commit, wire } = &phases.took;
        assert_eq!((wait.sum(), commit.sum(), wire.sum()), (ms(100), ms(5), ms(1)));
        assert!(phases.under_way.is_empty());
        phases.passed(&key, Point::Wired, Work::Idle, ms(900));
        assert_eq!(phases.took.wire.count(), 1, "nobody had asked");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pods_way_has_each_phase_once_and_a_repeated_request_none() {
        let desk = Desk::serving(Config::default()).await;
        desk.add("a").await.unwrap();
        desk.add("a").await.unwrap();
        let adds = desk.figures().await.unwrap().tally.adds;
        assert_eq!((adds.wait.count(), adds.commit.count(), adds.wire.count()), (1, 1, 1));
    }
}
