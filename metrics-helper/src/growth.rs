//! By how much counters grew since the last look, pod by pod: a daemon that starts anew, a node that comes or goes and one that
//! did not answer in between are each told from the others' growth.

use std::collections::{BTreeMap, BTreeSet};

use crate::figures::{Figures, Seen};

/// What was seen of one pod's counters.
#[derive(Clone, Debug, Default)]
struct Known {
    /// `None`: there, and never seen as a number.
    counters: BTreeMap<&'static str, Option<f64>>,
    summaries: BTreeMap<(&'static str, String), Seen>,
}

/// What was seen of every pod's.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    /// By the pod's uid. A pod that was there before the first look has none until it is read.
    known: BTreeMap<String, Known>,
    /// All pods at the last look; `None` before the first one.
    listed: Option<BTreeSet<String>>,
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
    /// A whole list of pods was read. One that the list before did not have was made since: its counters began at nothing. Those
    /// that are gone are forgotten.
    pub fn listed(&mut self, pods: BTreeSet<String>) {
        if let Some(before) = &self.listed {
            for new in pods.difference(before) {
                self.known.entry(new.clone()).or_default();
            }
        }
        self.known.retain(|uid, _| pods.contains(uid));
        self.listed = Some(pods);
    }

    /// A pod's page was read.
    pub fn read(&mut self, uid: &str, figures: &Figures) -> Grown {
        let Some(known) = self.known.get_mut(uid) else {
            let mut known = Known::default();
            known.take(figures);
            self.known.insert(uid.to_owned(), known);
            return Grown::default();
        };
        let mut grown = Grown::default();
        for (metric, value) in &figures.counters {
            // A counter that is not on a page that was read has not counted yet.
            let before = known.counters.get(metric).copied().unwrap_or(Some(0.0));
            if let (Some(now), Some(before)) = (*value, before) {
                // Less than before: the process is another one, which has counted so far.
                grown.counters.insert(metric, if now < before { now } else { now - before });
            }
        }
        for ((metric, labels), now) in &figures.summaries {
            let before = known.summaries.get(&(*metric, labels.clone())).copied().unwrap_or_default();
            let before = if now.count < before.count { Seen::default() } else { before };
            let since = Seen { count: now.count - before.count, sum: now.sum - before.sum };
            let mean = since.sum / since.count;
            if since.count > 0.0 && mean.is_finite() && mean >= 0.0 {
                let largest = grown.means.entry(metric).or_insert(mean);
                *largest = largest.max(mean);
            }
        }
        known.take(figures);
        grown
    }
}

impl Known {
    /// What is not on the page has not counted since the process began; what is there and no number stays as it was.
    fn take(&mut self, figures: &Figures) {
        self.counters.retain(|metric, _| figures.counters.contains_key(metric));
        for (metric, value) in &figures.counters {
            let known = self.counters.entry(metric).or_default();
            *known = value.or(*known);
        }
        self.summaries.clone_from(&figures.summaries);
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

    fn listed(growth: &mut Growth, pods: &[&str]) {
        growth.listed(pods.iter().map(ToString::to_string).collect());
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
    }

    #[test]
    fn a_counter_that_appears_began_at_nothing_and_one_that_is_unknown_waits() {
        let mut growth = Growth::default();
        listed(&mut growth, &["a"]);
        growth.read("a", &page("awscni_eni_max 3\n"));
        assert_eq!(grew(&mut growth, "a", &adds(2)), Some(2.0));
        assert_eq!(grew(&mut growth, "a", &page(&format!("{ADDS} NaN\n"))), None);
        assert_eq!(grew(&mut growth, "a", &adds(6)), Some(4.0));
        listed(&mut growth, &["a", "b"]);
        growth.listed = None;
        listed(&mut growth, &["a", "b", "c"]);
        assert_eq!(grew(&mut growth, "c", &page(&format!("{ADDS} NaN\n"))), None);
        assert_eq!(grew(&mut growth, "c", &adds(500)), None, "it was never seen");
        assert_eq!(grew(&mut growth, "c", &adds(501)), Some(1.0));
        // A new process has none on its page until it counts.
        assert_eq!(grew(&mut growth, "a", &page("awscni_eni_max 3\n")), None);
        assert_eq!(grew(&mut growth, "a", &adds(7)), Some(7.0));
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
    }
}
