//! When pods were wired anew: at once the first time, and at growing distances where somebody takes their links away again
//! and again.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::sandbox::SandboxKey;
use holdfast_model::time::BootTime;

/// The first and the longest distance between two wirings of one pod.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A link that lasted so long was not taken away again and again.
const LASTED: Duration = Duration::from_secs(600);

/// When pods were wired anew.
#[derive(Default)]
pub(crate) struct Rewirings {
    last: BTreeMap<SandboxKey, Last>,
}

#[derive(Clone, Copy)]
struct Last {
    at: BootTime,
    in_a_row: u32,
}

impl Last {
    fn next(self) -> BootTime {
        let doublings = self.in_a_row.saturating_sub(1).min(10);
        self.at.after((PAUSES.0 * 2_u32.pow(doublings)).min(PAUSES.1))
    }
}

impl Rewirings {
    /// When the pod may be wired anew, if not now.
    pub(crate) fn rests_until(&self, sandbox: &SandboxKey, now: BootTime) -> Option<BootTime> {
        self.last.get(sandbox).map(|last| last.next()).filter(|next| *next > now)
    }

    /// The pod is being wired anew.
    pub(crate) fn begun(&mut self, sandbox: &SandboxKey, now: BootTime) {
        self.last.retain(|_, last| now.since(last.at) < LASTED);
        let last = self.last.entry(sandbox.clone()).or_insert(Last { at: now, in_a_row: 0 });
        *last = Last { at: now, in_a_row: last.in_a_row.saturating_add(1) };
    }
}

#[cfg(test)]
mod tests {
    use holdfast_model::sandbox::SandboxNames;

    use super::*;

    #[test]
    fn a_link_that_is_taken_away_again_and_again_is_put_back_at_growing_distances() {
        let sandbox = SandboxKey::from(SandboxNames {
            container_id: "c".into(),
            ifname: "eth0".into(),
            network: "aws-cni".into(),
        });
        let (mut rewirings, mut now, mut pauses) = (Rewirings::default(), BootTime(1_000), Vec::new());
        assert_eq!(rewirings.rests_until(&sandbox, now), None, "the first time at once");
        for _ in 0..9 {
            rewirings.begun(&sandbox, now);
            let next = rewirings.rests_until(&sandbox, now).unwrap();
            pauses.push(next.since(now).as_secs());
            now = next;
            assert_eq!(rewirings.rests_until(&sandbox, now), None);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let other = SandboxKey::from(SandboxNames { container_id: "d".into(), ..(*sandbox).clone() });
        assert_eq!(rewirings.rests_until(&other, now), None, "each pod has its own");
        rewirings.begun(&sandbox, now);
        now = now.after(LASTED);
        rewirings.begun(&sandbox, now);
        assert_eq!(rewirings.rests_until(&sandbox, now), Some(now.after(PAUSES.0)), "it had lasted");
    }
}
