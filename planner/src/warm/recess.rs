//! By how much more was in use a while ago.

use std::collections::VecDeque;
use std::time::Duration;

use holdfast_model::time::BootTime;

/// What was in use within this time may be in use again: twice the Horizontal Pod Autoscaler's window before it scales down,
/// since a change in EC2 costs an account more than a pod costs a node.
pub(super) const REMEMBERED: Duration = Duration::from_secs(600);
const MINUTE: u64 = 60_000;

/// The most that was in use in each minute in which that changed, oldest first. In a minute without an entry nothing changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recess {
    most: VecDeque<(u64, u32)>,
    used: Option<u32>,
}

impl Recess {
    pub(super) fn see(&mut self, used: u32, now: BootTime) {
        let minute = now.0 / MINUTE;
        // A minute begins with what the last one ended with.
        let most = self.used.map_or(used, |before| before.max(used));
        match self.most.back_mut() {
            Some(last) if last.0 >= minute => last.1 = last.1.max(most),
            _ if self.used == Some(used) => {}
            _ => self.most.push_back((minute, most)),
        }
        self.used = Some(used);
        while self.most.front().is_some_and(|(minute, _)| ends(*minute) <= now) {
            self.most.pop_front();
        }
    }

    pub(super) fn depth(&self, now: BootTime) -> u32 {
        let counts = self.most.iter().filter(|(minute, _)| ends(*minute) > now);
        let used = self.used.unwrap_or(0);
        counts.map(|(_, most)| most.saturating_sub(used)).max().unwrap_or(0)
    }

    /// When it is less deep without anybody's doing.
    pub(super) fn falls_at(&self, now: BootTime) -> Option<BootTime> {
        let deep = self.most.iter().filter(|(minute, most)| ends(*minute) > now && Some(*most) > self.used);
        deep.map(|(minute, _)| ends(*minute)).min()
    }
}

/// From when on a minute is not remembered.
fn ends(minute: u64) -> BootTime {
    BootTime(minute.saturating_add(1).saturating_mul(MINUTE)).after(REMEMBERED)
}
