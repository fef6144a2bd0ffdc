//! By how much counters grew since the last look, pod by pod and series by series: a daemon that starts anew, a node that comes or
//! goes and one that did not answer in between are each told from the others' growth.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_cluster::daemons::DaemonPod;

use crate::figures::{Figures, MOST_SERIES, Seen, Series};

/// What was seen of one pod's counters.
#[derive(Clone, Debug, Default)]
struct Known {
    counters: BTreeMap<Series, f64>,
    /// Counters that are there, and were never seen as a number.
    unseen: BTreeSet<&'static str>,
    summaries: BTreeMap<Series, Seen>,
}

/// What was seen of every pod's.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    /// By the pod's uid. A pod that was there before the first look has none until it is read.
    known: BTreeMap<String, Known>,
    /// The newest pods so far; `None` before the first look.
    newest: Option<Newest>,
}

/// The pods that were made last of all that were ever listed.
#[derive(Clone, Debug, Default)]
struct Newest {
    /// When: in whole seconds, by the API server's clock.
    made: String,
    /// Those of that second.
    uids: BTreeSet<String>,
}

/// What one pod's counters say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grown {
    /// By how much each grew. None for what cannot be told: there is nothing to compare it with yet.
    pub counters: BTreeMap<&'static str, f64>,
    /// The largest mean of each summary, of what came since.
    pub means: BTreeMap<&'static str, f64>,
}

impl Growth {
    /// A list of pods was read. Of one that was made after all that were listed before, the counters began at nothing since. One
    /// that a list before left out is none: nothing is known of it, as of those that the first list had. Those that are gone are
    /// forgotten.
    pub fn listed(&mut self, pods: &[DaemonPod]) {
        let before = self.newest.clone();
        for pod in pods {
            if before.as_ref().is_some_and(|before| before.is_older_than(pod)) {
                self.known.entry(pod.uid.clone()).or_default();
            }
            self.newest.get_or_insert_default().note(pod);
        }
        self.newest.get_or_insert_default();
        let there: BTreeSet<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
        self.known.retain(|uid, _| there.contains(uid.as_str()));
    }

    /// A pod's page was read.
    pub fn read(&mut self, uid: &str, figures: &Figures) -> Grown {
        let Some(known) = self.known.get_mut(uid) else {
            let mut known = Known::default();
            known.take(figures);
            self.known.insert(uid.to_owned(), known);
            return Grown::default();
        };
        if known.is_of_another_process(figures) {
            known.forget_what_is_not_on(figures);
        }
        let mut grown = Grown::default();
        for (series, now) in &figures.counters {
            if known.unseen.contains(series.0) {
                continue;
            }
            let before = known.counters.get(series).copied().unwrap_or(0.0);
            // Less than before: the process is another one, which has counted so far.
            *grown.counters.entry(series.0).or_default() += if *now < before { *now } else { now - before };
        }
        for (series, now) in &figures.summaries {
            let before = known.summaries.get(series).copied().unwrap_or_default();
            let before = if now.count < before.count { Seen::default() } else { before };
            let since = Seen { count: now.count - before.count, sum: now.sum - before.sum };
            let mean = since.sum / since.count;
            if since.count > 0.0 && mean.is_finite() && mean >= 0.0 {
                let largest = grown.means.entry(series.0).or_insert(mean);
                *largest = largest.max(mean);
            }
        }
        known.take(figures);
        grown
    }
}

impl Newest {
    fn is_older_than(&self, pod: &DaemonPod) -> bool {
        pod.made > self.made || (pod.made == self.made && !self.uids.contains(&pod.uid))
    }

    fn note(&mut self, pod: &DaemonPod) {
        if pod.made > self.made {
            self.made.clone_from(&pod.made);
            self.uids.clear();
        }
        if pod.made == self.made {
            self.uids.insert(pod.uid.clone());
        }
    }
}

impl Known {
    /// Whether something has counted less than before.
    fn is_of_another_process(&self, figures: &Figures) -> bool {
        let counters = figures
            .counters
            .iter()
            .any(|(series, now)| self.counters.get(series).is_some_and(|before| now < before));
        let summaries = figures
            .summaries
            .iter()
            .any(|(series, now)| self.summaries.get(series).is_some_and(|before| now.count < before.count));
        counters || summaries
    }

    /// In another process that has not counted yet.
    fn forget_what_is_not_on(&mut self, figures: &Figures) {
        self.counters.retain(|series, _| figures.counters.contains_key(series));
        self.summaries.retain(|series, _| figures.summaries.contains_key(series));
    }

    /// What is not on the page stays as it was: a daemon that is busy does not know all that it has counted. So does what is there
    /// and no number.
    fn take(&mut self, figures: &Figures) {
        for (series, now) in &figures.counters {
            self.unseen.remove(series.0);
            self.counters.insert(series.clone(), *now);
        }
        for metric in &figures.unknown {
            if !self.counters.keys().any(|(known, _)| known == metric) {
                self.unseen.insert(metric);
            }
        }
        self.summaries.extend(figures.summaries.iter().map(|(series, seen)| (series.clone(), *seen)));
        // Series that come and go without end are no daemon's.
        if self.counters.len() > MOST_SERIES {
            self.counters.retain(|series, _| figures.counters.contains_key(series));
        }
        if self.summaries.len() > MOST_SERIES {
            self.summaries.retain(|series, _| figures.summaries.contains_key(series));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDS: &str = "awscni_add_ip_req_count";
    const LATENCY: &str = "awscni_aws_api_latency_ms";

    fn page(text: &str) -> Figures {
        Figures::read(text).unwrap()
    }

    fn adds(count: u32) -> Figures {
        page(&format!("{ADDS} {count}\n"))
    }

    /// Each made at the second of its name's length; that is so of a replacement too.
    fn pod(uid: &str) -> DaemonPod {
        DaemonPod {
            name: format!("of-{uid}"),
            uid: uid.to_owned(),
            node: Some("node".to_owned()),
            over: false,
            leaving: false,
            made: format!("2026-01-01T00:00:{:02}Z", uid.len()),
        }
    }

    fn listed(growth: &mut Growth, pods: &[&str]) {
        growth.listed(&pods.iter().map(|uid| pod(uid)).collect::<Vec<_>>());
    }

    fn grew(growth: &mut Growth, uid: &str, figures: &Figures) -> Option<f64> {
        growth.read(uid, figures).counters.get(ADDS).copied()
    }

    #[test]
    fn growth_is_counted_from_the_first_look_on() {
        let mut growth = Growth::default();
        listed(&mut growth, &["a"]);
        assert_eq!(grew(&mut growth, "a", &adds(1000)), None, "what came before is of another time");
        assert_eq!(grew(&mut growth, "a", &adds(1000)), Some(0.0));
        assert_eq!(grew(&mut growth, "a", &adds(1007)), Some(7.0));
    }

    #[test]
    fn a_daemon_that_starts_anew_takes_nothing_from_the_others() {
        let mut growth = Growth::default();
        listed(&mut growth, &["a", "b"]);
        growth.read("a", &adds(1000));
        growth.read("b", &adds(10));
        assert_eq!(grew(&mut growth, "a", &adds(3)), Some(3.0), "in the same pod");
        assert_eq!(grew(&mut growth, "b", &adds(15)), Some(5.0));
        // In another pod, as an upgrade has it.
        listed(&mut growth, &["c", "b"]);
        assert_eq!(grew(&mut growth, "c", &adds(4)), Some(4.0));
        assert_eq!(growth.known.len(), 2, "who is gone is forgotten");
    }

    #[test]
    fn who_did_not_answer_is_counted_when_it_does() {
        let mut growth = Growth::default();
        listed(&mut growth, &["a", "b"]);
        growth.read("a", &adds(10));
        listed(&mut growth, &["a", "b", "new"]);
        listed(&mut growth, &["a", "b", "new"]);
        assert_eq!(grew(&mut growth, "a", &adds(16)), Some(6.0));
        assert_eq!(grew(&mut growth, "new", &adds(5)), Some(5.0), "it was made since the first look");
        assert_eq!(grew(&mut growth, "b", &adds(500)), None, "it was there before, and never read");
        listed(&mut growth, &["a", "b", "new"]);
        assert_eq!(grew(&mut growth, "new", &adds(6)), Some(1.0));
    }

    #[test]
    fn a_counter_that_appears_began_at_nothing_and_one_that_is_unknown_waits() {
        let mut growth = Growth::default();
        listed(&mut growth, &["a"]);
        growth.read("a", &page("awscni_eni_max 3\n"));
        assert_eq!(grew(&mut growth, "a", &adds(2)), Some(2.0));
        assert_eq!(grew(&mut growth, "a", &page(&format!("{ADDS} NaN\n"))), None);
        assert_eq!(grew(&mut growth, "a", &adds(6)), Some(4.0));
        growth.newest = None;
        listed(&mut growth, &["a", "c"]);
        assert_eq!(grew(&mut growth, "c", &page(&format!("{ADDS} NaN\n"))), None);
        assert_eq!(grew(&mut growth, "c", &adds(500)), None, "it was never seen");
        assert_eq!(grew(&mut growth, "c", &adds(501)), Some(1.0));
        // A new process may have none on its page until it counts.
        let errors = |count: u32| format!("awscni_ec2api_error_count {count}\n");
        growth.read("a", &page(&format!("{ADDS} 6\n{}", errors(3))));
        assert_eq!(grew(&mut growth, "a", &page(&errors(1))), None);
        assert_eq!(grew(&mut growth, "a", &adds(7)), Some(7.0));
    }

    #[test]
    fn a_pod_that_a_list_left_out_is_not_a_new_one() {
        let mut growth = Growth::default();
        listed(&mut growth, &["a", "bb"]);
        growth.read("a", &adds(1000));
        growth.read("bb", &adds(50));
        listed(&mut growth, &[]);
        listed(&mut growth, &["a", "bb", "cc"]);
        assert_eq!(grew(&mut growth, "a", &adds(1003)), None);
        assert_eq!(grew(&mut growth, "bb", &adds(53)), None, "not even the newest of all");
        assert_eq!(grew(&mut growth, "cc", &adds(2)), Some(2.0), "made in the same second, and never listed");
        assert_eq!(grew(&mut growth, "a", &adds(1004)), Some(1.0));
        // Nor is any other one of the newest second.
        listed(&mut growth, &["a", "bb", "cc"]);
        listed(&mut growth, &["a"]);
        listed(&mut growth, &["a", "bb", "cc"]);
        assert_eq!(grew(&mut growth, "bb", &adds(60)), None);
        assert_eq!(grew(&mut growth, "cc", &adds(60)), None);
        // Of a cluster that had none at first all are new.
        let mut growth = Growth::default();
        listed(&mut growth, &[]);
        listed(&mut growth, &["a"]);
        assert_eq!(grew(&mut growth, "a", &adds(3)), Some(3.0));
    }

    #[test]
    fn another_process_is_told_by_its_summaries_too() {
        let calls = |count: u32| page(&format!("{LATENCY}_count {count}\n"));
        let mut growth = Growth::default();
        listed(&mut growth, &["a"]);
        growth.read("a", &page(&format!("{ADDS} 6\n{LATENCY}_count 4\n")));
        growth.read("a", &calls(4));
        growth.read("a", &calls(5));
        assert_eq!(grew(&mut growth, "a", &adds(8)), Some(2.0), "left out for a while");
        growth.read("a", &calls(1));
        assert_eq!(grew(&mut growth, "a", &adds(9)), Some(9.0));
    }

    #[test]
    fn series_without_end_are_not_all_remembered() {
        let mut growth = Growth::default();
        listed(&mut growth, &["a"]);
        let series = |metric: &str, at: usize| format!("{metric}{{api=\"{at}\"}} 1\n");
        let mut most = (0, 0);
        for at in 0..MOST_SERIES {
            let three = [3 * at, 3 * at + 1, 3 * at + 2].map(|at| {
                series("awscni_aws_api_error_count", at) + &series(&format!("{LATENCY}_count"), at)
            });
            growth.read("a", &page(&three.concat()));
            let known = &growth.known["a"];
            most = (most.0.max(known.counters.len()), most.1.max(known.summaries.len()));
        }
        // Three fit in no more.
        assert_eq!(most, (MOST_SERIES - 2, MOST_SERIES - 2));
    }

    #[test]
    fn means_are_of_what_came_since() {
        let latency = |series: &[(&str, u32, u32)]| {
            let line = |(api, count, sum): &(&str, u32, u32)| {
                format!("{LATENCY}_sum{{api=\"{api}\"}} {sum}\n{LATENCY}_count{{api=\"{api}\"}} {count}\n")
            };
            page(&series.iter().map(line).collect::<String>())
        };
        let mean = |growth: &mut Growth, figures| growth.read("a", &figures).means.get(LATENCY).copied();
        let mut growth = Growth::default();
        listed(&mut growth, &["a"]);
        assert_eq!(mean(&mut growth, latency(&[("A", 2, 2000)])), None);
        assert_eq!(mean(&mut growth, latency(&[("A", 2, 2000)])), None, "no call, no latency");
        assert_eq!(mean(&mut growth, latency(&[("A", 4, 2300), ("B", 1, 90)])), Some(150.0));
        assert_eq!(mean(&mut growth, latency(&[("A", 1, 40), ("B", 1, 90)])), Some(40.0), "a new process");
        // What no clock can have measured is no latency.
        assert_eq!(mean(&mut growth, latency(&[("A", 2, 10)])), None, "more calls in less time");
        assert_eq!(mean(&mut growth, latency(&[("A", 2, 90)])), None, "time without a call");
        assert_eq!(mean(&mut growth, latency(&[("A", 3, 90)])), Some(0.0));
    }

    #[test]
    fn what_a_daemon_cannot_tell_for_a_moment_is_not_counted_anew() {
        // As of a daemon whose engine is silent: what the engine counts is not on the page.
        let whole = |set_ups: u32| {
            page(&format!(
                "{ADDS} 9\nawscni_force_removed_ips 4\nawscni_ipamd_error_count{{fn=\"decreaseIPPool\"}} 50\n\
                 awscni_ipamd_error_count{{fn=\"increaseIPPoolsetupENIFailed\"}} {set_ups}\n"
            ))
        };
        let silent = page(&format!("{ADDS} 9\nawscni_ipamd_error_count{{fn=\"decreaseIPPool\"}} 50\n"));
        let mut growth = Growth::default();
        listed(&mut growth, &["a"]);
        growth.read("a", &whole(7));
        let nothing = growth.read("a", &silent);
        assert!(nothing.counters.values().all(|grown| *grown == 0.0), "{nothing:?}");
        let again = growth.read("a", &whole(8));
        let errors = again.counters.get("awscni_ipamd_error_count");
        assert_eq!((again.counters.get("awscni_force_removed_ips"), errors), (Some(&0.0), Some(&1.0)));
    }
}
