//! Pods whose packets somebody else's rules or routes send elsewhere. All of ours may be in its place, so no look at the
//! host's network shows it; the kernel is asked for each pod's ways after such looks.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::chain;
use holdfast_model::host::LinkAlias;
use holdfast_model::sandbox::SandboxKey;
use holdfast_ports::{HostFault, HostNet};

use crate::engine::Engine;
use crate::event::Event;
use crate::timers;
use crate::world::World;

/// Between two times that all are asked for, in which hundreds of questions go to the kernel.
const EVERY: Duration = Duration::from_secs(10);

/// How soon what was found is asked for once more. Once may be by what was just being put right.
const AGAIN: Duration = Duration::from_secs(2);

/// What is found a second time within this is told: it lasts, or comes and goes all the time.
const REMEMBERED: Duration = Duration::from_secs(60);

impl<W: World> Engine<W> {
    /// After a look at the host's network. Of a pod that is being made, changed or taken away nothing is asked.
    pub(crate) fn look_for_the_diverted(&mut self) {
        let now = self.now().boottime;
        if self.diversions.asking {
            return;
        }
        if let Some(next) = self.diversions.next.filter(|next| *next > now) {
            timers::sooner(&mut self.timers.observe, next);
            return;
        }
        let leases = self.book.ledger().leases.values();
        let settled = leases.filter(|lease| self.is_settled(&lease.sandbox));
        let mut whose = BTreeMap::new();
        let mut pods = Vec::new();
        for lease in settled {
            for wiring in self.wirings(lease) {
                whose.insert(wiring.alias.clone(), lease.sandbox.clone());
                pods.push(wiring);
            }
        }
        self.diversions.asking = true;
        let host = self.ports.host.clone();
        self.beside(async move { Event::WaysAsked { whose, diverted: host.diverted(pods).await } });
    }

    /// The kernel has said where it sends these pods' packets.
    pub(crate) fn ways_asked(
        &mut self,
        whose: &BTreeMap<LinkAlias, SandboxKey>,
        diverted: Result<Vec<(LinkAlias, String)>, HostFault>,
    ) {
        let now = self.now().boottime;
        self.diversions.asking = false;
        self.diversions.next = Some(now.after(EVERY));
        let diverted = match diverted {
            Ok(diverted) => diverted,
            Err(fault) => {
                tracing::warn!(error = %chain(&fault), "where pods' packets go cannot be asked; trying again");
                return;
            }
        };
        let mut found: BTreeMap<SandboxKey, String> = BTreeMap::new();
        for (alias, words) in diverted {
            if let Some(sandbox) = whose.get(&alias).filter(|sandbox| self.is_settled(sandbox)) {
                found.entry(sandbox.clone()).or_insert(words);
            }
        }
        let suspected = &mut self.diversions.suspected;
        suspected.retain(|_, last| now.since(*last) <= REMEMBERED);
        let before = suspected.clone();
        suspected.extend(found.keys().map(|sandbox| (sandbox.clone(), now)));
        let told = |sandbox: &SandboxKey| before.contains_key(sandbox);
        if !found.keys().all(told) {
            let next = now.after(AGAIN);
            self.diversions.next = Some(next);
            timers::sooner(&mut self.timers.observe, next);
        }
        found.retain(|sandbox, _| told(sandbox));
        self.unreached.diverted = found;
        self.tell_who_is_unreached();
    }
}

#[cfg(test)]
mod tests {
    use holdfast_model::config::Config;

    use super::*;
    use crate::desk::{Desk, pass, sandbox};
    use crate::ready::Status;

    fn divert(desk: &Desk, container: &str) {
        let words = format!("packets from {container} do not go by table 2 but nowhere");
        desk.host.kernel().diverted.push((LinkAlias::of(&sandbox(container)), words));
        desk.host.drifts();
    }

    async fn cut_off(desk: &Desk) -> Vec<String> {
        desk.dump().await.unwrap().cut_off
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_whose_packets_somebody_sends_elsewhere_is_told_of_while_it_lasts() {
        let desk = Desk::serving(Config::default()).await;
        for container in ["a", "b"] {
            desk.add(container).await.unwrap();
        }
        pass(60).await;
        divert(&desk, "a");
        pass(15).await;
        let told = cut_off(&desk).await;
        assert!(told.len() == 1 && told[0].contains("do not go by table 2"), "{told:?}");
        let Ok(Status::Impaired(cause)) = desk.status().await else { panic!("all is said to be well") };
        assert!(cause.contains("packets from a do not go by table 2"), "{cause}");
        divert(&desk, "b");
        pass(15).await;
        assert_eq!(cut_off(&desk).await.len(), 2, "also the second");
        desk.host.kernel().diverted.clear();
        desk.host.drifts();
        pass(15).await;
        assert_eq!(cut_off(&desk).await, Vec::<String>::new());
    }

    /// Without a sign too, and what is over by the time that it is asked for again is nobody's affair.
    #[tokio::test(start_paused = true)]
    async fn it_is_asked_for_each_minute_and_believed_the_second_time() {
        let desk = Desk::serving(Config::default()).await;
        desk.add("a").await.unwrap();
        pass(60).await;
        let asked = || desk.host.kernel().ways_asked;
        let before = asked();
        pass(600).await;
        assert!((9..=12).contains(&(asked() - before)), "{} times in ten minutes", asked() - before);
        divert(&desk, "a");
        let before = asked();
        while asked() == before {
            pass(1).await;
        }
        assert_eq!(cut_off(&desk).await, Vec::<String>::new());
        desk.host.kernel().diverted.clear();
        pass(65).await;
        assert_eq!(cut_off(&desk).await, Vec::<String>::new());
    }

    /// Some program fights with another about a rule.
    #[tokio::test(start_paused = true)]
    async fn what_comes_and_goes_all_the_time_is_told_too() {
        let desk = Desk::serving(Config::default()).await;
        desk.add("a").await.unwrap();
        pass(60).await;
        let asked = || desk.host.kernel().ways_asked;
        // Whenever the kernel is asked the second time, all is well again.
        let mut told = 0;
        for _ in 0..4 {
            divert(&desk, "a");
            let before = asked();
            while asked() == before {
                pass(1).await;
            }
            told += cut_off(&desk).await.len();
            desk.host.kernel().diverted.clear();
            desk.host.drifts();
            pass(11).await;
        }
        assert_eq!(told, 3, "from the second time on");
    }

    /// Hundreds of questions go to the kernel each time.
    #[tokio::test(start_paused = true)]
    async fn however_often_something_changes_the_kernel_is_not_asked_more_often() {
        let desk = Desk::serving(Config::default()).await;
        desk.add("a").await.unwrap();
        pass(60).await;
        let before = desk.host.kernel().ways_asked;
        for _ in 0..60 {
            desk.host.drifts();
            pass(1).await;
        }
        let asked = desk.host.kernel().ways_asked - before;
        assert!((5..=7).contains(&asked), "{asked} times in a minute");
    }
}
