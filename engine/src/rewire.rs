//! A pod that lives and whose link somebody took away, and with it all that the pod had: it gets the same again. At once
//! the first time; whoever takes it away again and again has the pod wired at growing distances.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::chain;
use holdfast_model::sandbox::SandboxKey;
use holdfast_model::time::BootTime;
use holdfast_planner as planner;
use holdfast_ports::{HostFault, HostNet};

use crate::attachment::Input;
use crate::engine::Engine;
use crate::event::Event;
use crate::timers::{self, STUBBORN_RETRY};
use crate::verify::same_netns;
use crate::world::World;

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
    fn begun(&mut self, sandbox: &SandboxKey, now: BootTime) {
        self.last.retain(|_, last| now.since(last.at) < LASTED);
        let last = self.last.entry(sandbox.clone()).or_insert(Last { at: now, in_a_row: 0 });
        *last = Last { at: now, in_a_row: last.in_a_row.saturating_add(1) };
    }
}

impl<W: World> Engine<W> {
    pub(crate) fn rewire(&mut self, sandbox: &SandboxKey) {
        let now = self.now().boottime;
        let Some(lease) = self.book.ledger().leases.get(sandbox) else { return };
        self.rewirings.begun(sandbox, now);
        if !self.is_told_of(sandbox) {
            tracing::warn!(%sandbox, pod = %lease.pod, "the pod lives and its link is gone; it is wired anew");
        }
        let (wirings, seen) = (self.wirings(lease), lease.netns.clone());
        let (host, sandbox) = (self.ports.host.clone(), sandbox.clone());
        self.beside(async move {
            let wire = async {
                let netns = same_netns(&*host, &seen).await?;
                for wiring in wirings {
                    host.wire_pod(wiring, netns.clone()).await?;
                }
                Ok(())
            };
            let result = wire.await;
            Event::Rewired { sandbox, result }
        });
    }

    pub(crate) fn rewired(&mut self, sandbox: &SandboxKey, result: Result<(), HostFault>) {
        let now = self.now();
        match &result {
            Ok(()) => {
                tracing::info!(%sandbox, "the pod is wired anew");
                self.link_is_back(sandbox);
                self.book.commit_lazily(planner::rewired(self.book.ledger(), sandbox, &now));
            }
            Err(fault) => self.link_stays_away(sandbox, &chain(fault)),
        }
        self.drive(sandbox, Input::Rewired(result));
        // Not at once: whoever takes its link away may do so again and again.
        timers::sooner(&mut self.timers.observe, now.boottime.after(STUBBORN_RETRY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_taken_away_again_and_again_is_put_back_at_growing_distances() {
        let sandbox =
            SandboxKey { container_id: "c".into(), ifname: "eth0".into(), network: "aws-cni".into() };
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
        let other = SandboxKey { container_id: "d".into(), ..sandbox.clone() };
        assert_eq!(rewirings.rests_until(&other, now), None, "each pod has its own");
        now = now.after(LASTED);
        rewirings.begun(&sandbox, now);
        assert_eq!(rewirings.rests_until(&sandbox, now), Some(now.after(PAUSES.0)), "it had lasted");
    }
}
