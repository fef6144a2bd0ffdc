//! Whose page is asked for first, where there is not enough time for all.
//!
//! A daemon that hangs takes its place among those that are asked at once for as long as is waited for it. So those that did not
//! tell their page come last, and cost those that do nothing. Among equals whoever was asked longest ago comes first: nobody is
//! left out each time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use holdfast_cluster::daemons::DaemonPod;

/// What came of asking, by the pod's uid.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    round: u64,
    asked: BTreeMap<String, Asked>,
}

/// The last time that one was asked.
#[derive(Clone, Copy, Debug)]
struct Asked {
    round: u64,
    told: bool,
}

impl Turns {
    /// A round begins: these in the order in which they are to be asked. Those that are not among them are forgotten.
    pub fn order(&mut self, mut pods: Vec<DaemonPod>) -> Vec<DaemonPod> {
        self.round += 1;
        let there: BTreeSet<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
        self.asked.retain(|uid, _| there.contains(uid.as_str()));
        // Who was never asked may answer.
        let never = Asked { round: 0, told: true };
        pods.sort_by_key(|pod| {
            let asked = self.asked.get(&pod.uid).unwrap_or(&never);
            (Reverse(asked.told), asked.round)
        });
        pods
    }

    /// This one was asked in this round, and told its page or did not.
    pub fn asked(&mut self, uid: &str, told: bool) {
        self.asked.insert(uid.to_owned(), Asked { round: self.round, told });
    }

    /// This one was asked in this round, which is over: if it has not told its page by now, it did not.
    pub fn did_not_tell(&mut self, uid: &str) {
        if self.asked.get(uid).is_none_or(|asked| asked.round < self.round) {
            self.asked(uid, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> DaemonPod {
        DaemonPod {
            name: uid.into(),
            uid: uid.into(),
            node: None,
            over: false,
            leaving: false,
            made: String::new(),
        }
    }

    fn order(turns: &mut Turns, uids: &[&str]) -> Vec<String> {
        turns.order(uids.iter().map(|uid| pod(uid)).collect()).into_iter().map(|pod| pod.uid).collect()
    }

    #[test]
    fn who_hangs_comes_last_and_who_waited_longest_first() {
        let mut turns = Turns::default();
        let all = ["a", "b", "c", "d", "e"];
        assert_eq!(order(&mut turns, &all), all);
        turns.asked("a", true);
        turns.asked("b", false);
        turns.asked("c", false);
        // The time was over before `d` and `e`.
        assert_eq!(order(&mut turns, &all), ["d", "e", "a", "b", "c"]);
        for uid in ["d", "e", "a"] {
            turns.asked(uid, true);
        }
        turns.asked("b", false);
        assert_eq!(order(&mut turns, &all), ["a", "d", "e", "c", "b"]);
        turns.asked("c", true);
        assert_eq!(order(&mut turns, &all), ["a", "d", "e", "c", "b"], "it tells its page again");
        order(&mut turns, &["a"]);
        assert_eq!(turns.asked.len(), 1, "who is gone is forgotten");
    }
}
