//! Reading every daemon's page: which pods are asked, how many at once, and for how long.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use holdfast_cluster::daemons::{self, DaemonPod};
use holdfast_cluster::{ApiFault, Cause, Door};
use tokio::time::{Instant, timeout, timeout_at};

use crate::figures::Figures;
use crate::turns::Turns;

/// Where a daemon serves its metrics.
const PORT: u16 = 61678;
/// A full node's page has a line for each address: about 100 kB.
const LARGEST_PAGE: usize = 1 << 20;
/// Pages that are read at once.
const AT_ONCE: usize = 32;
/// How long one page may take. A node that is away is heard of by nothing else.
const PATIENCE: Duration = Duration::from_secs(5);

/// What serves the daemons' list and pages.
pub trait Daemons: Send + Sync + 'static {
    /// All of the daemons' pods, or a fault: a part of them is none. With a deadline.
    fn pods(&self) -> impl Future<Output = Result<Vec<DaemonPod>, ApiFault>> + Send;
    /// What this pod's daemon tells. With a deadline.
    fn page(&self, pod: &str) -> impl Future<Output = Result<Bytes, ApiFault>> + Send;
}

/// By way of the API server, in one namespace.
pub struct ByApiServer {
    /// The connection.
    pub door: Door,
    /// The namespace.
    pub namespace: String,
}

impl Daemons for ByApiServer {
    async fn pods(&self) -> Result<Vec<DaemonPod>, ApiFault> {
        daemons::pods(&self.door, &self.namespace).await
    }

    async fn page(&self, pod: &str) -> Result<Bytes, ApiFault> {
        daemons::page(&self.door, &self.namespace, pod, PORT, "/metrics", LARGEST_PAGE).await
    }
}

/// The pod to ask on each node that has one, in the order of the nodes. All of a node's pods have its address, so two of them
/// would give one daemon's figures twice: while one follows another, the newer counts.
pub fn one_for_each_node(pods: Vec<DaemonPod>) -> Vec<DaemonPod> {
    let mut chosen: BTreeMap<String, DaemonPod> = BTreeMap::new();
    let rank = |pod: &DaemonPod| (!pod.leaving, pod.made.clone(), pod.name.clone());
    for pod in pods {
        let Some(node) = pod.node.clone().filter(|_| !pod.over) else { continue };
        match chosen.get(&node) {
            Some(other) if rank(other) > rank(&pod) => {}
            _ => drop(chosen.insert(node, pod)),
        }
    }
    chosen.into_values().collect()
}

/// What was read of the pages.
#[derive(Debug, Default)]
pub struct Read {
    /// Figures, with the uid of the pod that they are of.
    pub pages: Vec<(String, Figures)>,
    /// Of the pods whose pages were not read, or lack what every daemon tells: one, and why.
    pub missing: Option<(String, Why)>,
}

/// Why a page was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The same for what fails in the same way.
    pub class: Class,
    /// What to tell people.
    pub words: String,
}

/// What is in the way of a page. Of several that one is told that comes first here: it says more, and it is the same each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A right lacks.
    Rights,
    /// What came is no page of a daemon's.
    Page,
    /// The daemon does not know all that it should tell.
    Unknown,
    /// None came, of a node that is away or a daemon that hangs.
    Answer,
    /// The time for one round was over.
    Time,
}

/// Reads the pages of these pods, as many as can be had until the deadline, in the order that `turns` has.
pub async fn read(daemons: &impl Daemons, pods: &[DaemonPod], turns: &mut Turns, until: Instant) -> Read {
    let ask = async |pod: DaemonPod| {
        let figures = page(daemons, &pod.name).await;
        (pod, figures)
    };
    let in_turn = turns.order(pods.to_vec());
    let asked = stream::iter(in_turn.clone()).map(ask);
    let mut answers = std::pin::pin!(asked.buffer_unordered(AT_ONCE));
    let mut read = Read::default();
    let mut answered = 0;
    while let Ok(Some((pod, figures))) = timeout_at(until, answers.next()).await {
        answered += 1;
        turns.asked(&pod.uid, figures.is_ok());
        let why = match figures {
            Ok(figures) => {
                let why = figures.lacks().map(|metric| {
                    let words = format!("the daemon does not know its {metric} just now");
                    Why { class: Class::Unknown, words }
                });
                read.pages.push((pod.uid, figures));
                why
            }
            Err(why) => Some(why),
        };
        if let Some(why) = why
            && read.missing.as_ref().is_none_or(|(_, known)| why.class < known.class)
        {
            read.missing = Some((pod.name, why));
        }
    }
    // They were asked, and left no time for others.
    for pod in in_turn.iter().take(answered + AT_ONCE) {
        turns.did_not_tell(&pod.uid);
    }
    if answered < pods.len() && read.missing.is_none() {
        let words = format!("the time for one round was over after {answered} of {} pages", pods.len());
        read.missing = Some((String::new(), Why { class: Class::Time, words }));
    }
    read
}

async fn page(daemons: &impl Daemons, pod: &str) -> Result<Figures, Why> {
    let page = match timeout(PATIENCE, daemons.page(pod)).await {
        Ok(Ok(page)) => page,
        Ok(Err(fault)) => {
            let class = match fault.cause {
                Cause::Forbidden(_) | Cause::Unauthorized(_) => Class::Rights,
                Cause::Malformed(_) => Class::Page,
                _ => Class::Answer,
            };
            return Err(Why { class, words: fault.to_string() });
        }
        Err(_elapsed) => {
            return Err(Why { class: Class::Answer, words: format!("no page within {PATIENCE:?}") });
        }
    };
    let page = std::str::from_utf8(&page)
        .map_err(|error| Why { class: Class::Page, words: format!("the page is no text: {error}") })?;
    Figures::read(page).map_err(|error| Why { class: Class::Page, words: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TABLE;

    fn pod(name: &str, node: &str, made: &str) -> DaemonPod {
        DaemonPod {
            name: name.into(),
            uid: format!("uid-{name}"),
            node: (!node.is_empty()).then(|| node.to_owned()),
            over: false,
            leaving: false,
            made: made.into(),
        }
    }

    fn names(pods: Vec<DaemonPod>) -> Vec<String> {
        one_for_each_node(pods).into_iter().map(|pod| pod.name).collect()
    }

    #[test]
    fn a_node_is_asked_once() {
        let leaving = DaemonPod { leaving: true, ..pod("old", "n1", "2026-01-02T00:00:00Z") };
        let new = pod("new", "n1", "2026-01-01T00:00:00Z");
        assert_eq!(names(vec![leaving.clone(), new.clone()]), ["new"]);
        assert_eq!(names(vec![new.clone(), leaving.clone()]), ["new"]);
        assert_eq!(names(vec![leaving]), ["old"], "it may still answer");
        let newer = pod("newer", "n1", "2026-01-03T00:00:00Z");
        assert_eq!(names(vec![newer.clone(), new.clone()]), ["newer"]);
        assert_eq!(names(vec![new, newer]), ["newer"]);
    }

    #[test]
    fn who_has_no_daemon_is_not_counted() {
        let over = DaemonPod { over: true, ..pod("failed", "n1", "") };
        assert_eq!(
            names(vec![over, pod("pending", "", ""), pod("b", "n3", ""), pod("a", "n2", "")]),
            ["a", "b"]
        );
    }

    /// Answers by the pod's name.
    struct Fake;

    impl Daemons for Fake {
        async fn pods(&self) -> Result<Vec<DaemonPod>, ApiFault> {
            unreachable!("not asked here")
        }

        async fn page(&self, pod: &str) -> Result<Bytes, ApiFault> {
            match pod.split('-').next().unwrap() {
                "good" => Ok(whole()),
                "begins" => Ok(Bytes::from_static(b"awscni_eni_max 3\n")),
                "cut" => Ok(Bytes::from_static(b"awscni_eni_max 3")),
                "binary" => Ok(Bytes::from_static(b"\xff\n")),
                _ => std::future::pending().await,
            }
        }
    }

    fn whole() -> Bytes {
        let every = TABLE.iter().filter(|row| row.of_every_node);
        every.map(|row| format!("{} 3\n", row.metric)).collect::<Vec<_>>().concat().into()
    }

    fn pods(names: &[&str]) -> Vec<DaemonPod> {
        names.iter().map(|name| pod(name, name, "")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_costs_the_others_nothing() {
        let until = Instant::now() + Duration::from_secs(30);
        let read = read(
            &Fake,
            &pods(&["hangs-1", "good-1", "cut-1", "binary-1", "good-2"]),
            &mut Turns::default(),
            until,
        )
        .await;
        let mut uids: Vec<_> = read.pages.iter().map(|(uid, _)| uid.as_str()).collect();
        uids.sort_unstable();
        assert_eq!(uids, ["uid-good-1", "uid-good-2"]);
        assert!(read.missing.is_some());
        assert!(Instant::now() < until);
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_causes_always_the_same_is_told() {
        let until = Instant::now() + Duration::from_secs(30);
        let told = async |names: &[&str]| {
            let read = read(&Fake, &pods(names), &mut Turns::default(), until).await;
            read.missing.map(|(pod, why)| (pod, why.class))
        };
        assert_eq!(told(&["good-1"]).await, None);
        assert_eq!(
            told(&["begins-1", "hangs-1", "good-1"]).await,
            Some(("begins-1".to_owned(), Class::Unknown))
        );
        for names in [["hangs-1", "cut-1", "begins-1"], ["begins-1", "cut-1", "hangs-1"]] {
            assert_eq!(told(&names).await, Some(("cut-1".to_owned(), Class::Page)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_zone_that_hangs_does_not_keep_the_others_from_being_read() {
        // Names of one zone's nodes begin alike, so they stand together.
        let mut names: Vec<String> = (0..500).map(|at| format!("hangs-{at:03}")).collect();
        names.extend((0..500).map(|at| format!("good-{at:03}")));
        let all = pods(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut turns = Turns::default();
        let mut reads = Vec::new();
        for _round in 0..8 {
            let read = read(&Fake, &all, &mut turns, Instant::now() + Duration::from_secs(30)).await;
            assert!(read.missing.is_some());
            reads.push(read.pages.len());
        }
        // As many as hang are found to do so in three rounds; from then on they come last.
        assert_eq!(reads[3..], [500; 5], "{reads:?}");
        let nobody = read(&Fake, &[], &mut turns, Instant::now() + Duration::from_secs(30)).await;
        assert!(nobody.missing.is_none(), "nobody to ask");
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_is_over_says_so() {
        let all: Vec<String> = (0..100).map(|at| format!("hangs-{at}")).collect();
        let all = pods(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let read = read(&Fake, &all, &mut Turns::default(), Instant::now() + Duration::from_secs(4)).await;
        let (_, why) = read.missing.unwrap();
        assert_eq!(why.words, "the time for one round was over after 0 of 100 pages");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_cut_off_by_the_end_of_a_round_does_not_come_first_again() {
        let mut names: Vec<String> = (0..AT_ONCE).map(|at| format!("hangs-{at}")).collect();
        names.push("good-1".to_owned());
        let all = pods(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut turns = Turns::default();
        let mut reads = Vec::new();
        for _round in 0..3 {
            // The list took the rest of the time.
            let read = read(&Fake, &all, &mut turns, Instant::now() + PATIENCE / 2).await;
            reads.push(read.pages.len());
        }
        assert_eq!(reads, [0, 1, 1]);
    }
}
