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
    /// Of the pods whose pages were not read: one, and why.
    pub missing: Option<(String, Why)>,
}

/// Why a page was not read: the class, by which it is told once, and the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The same for what fails in the same way.
    pub class: &'static str,
    /// What to tell people.
    pub words: String,
}

/// Reads the pages of these pods, as many as can be had until the deadline, beginning with the one at `first`: where there is not
/// enough time for all, it is not always the same that are left out.
pub async fn read(daemons: &impl Daemons, pods: &[DaemonPod], first: usize, until: Instant) -> Read {
    let mut in_turn = pods.to_vec();
    in_turn.rotate_left(first.checked_rem(pods.len()).unwrap_or(0));
    let ask = async |pod: DaemonPod| {
        let figures = page(daemons, &pod.name).await;
        (pod, figures)
    };
    let asked = stream::iter(in_turn).map(ask);
    let mut answers = std::pin::pin!(asked.buffer_unordered(AT_ONCE));
    let mut read = Read::default();
    let mut answered = 0;
    while let Ok(Some((pod, figures))) = timeout_at(until, answers.next()).await {
        answered += 1;
        match figures {
            Ok(figures) => read.pages.push((pod.uid, figures)),
            // A right that lacks says more than a node that is away.
            Err(why)
                if read
                    .missing
                    .as_ref()
                    .is_none_or(|(_, known)| !is_of_rights(known) && is_of_rights(&why)) =>
            {
                read.missing = Some((pod.name, why));
            }
            Err(_) => {}
        }
    }
    if answered < pods.len() && read.missing.is_none() {
        let words = format!("the time for one round was over after {answered} of {} pages", pods.len());
        read.missing = Some((String::new(), Why { class: "time", words }));
    }
    read
}

const NOT_ALLOWED: &str = "rights";

fn is_of_rights(why: &Why) -> bool {
    why.class == NOT_ALLOWED
}

async fn page(daemons: &impl Daemons, pod: &str) -> Result<Figures, Why> {
    let page = match timeout(PATIENCE, daemons.page(pod)).await {
        Ok(Ok(page)) => page,
        Ok(Err(fault)) => {
            let class = match fault.cause {
                Cause::Forbidden(_) | Cause::Unauthorized(_) => NOT_ALLOWED,
                Cause::Malformed(_) => "page",
                _ => "answer",
            };
            return Err(Why { class, words: fault.to_string() });
        }
        Err(_elapsed) => {
            return Err(Why { class: "answer", words: format!("no page within {PATIENCE:?}") });
        }
    };
    let page = std::str::from_utf8(&page)
        .map_err(|error| Why { class: "page", words: format!("the page is no text: {error}") })?;
    Figures::read(page).map_err(|error| Why { class: "page", words: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

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
                "good" => Ok(Bytes::from_static(b"awscni_eni_max 3\n")),
                "cut" => Ok(Bytes::from_static(b"awscni_eni_max 3")),
                "binary" => Ok(Bytes::from_static(b"\xff\n")),
                _ => std::future::pending().await,
            }
        }
    }

    fn pods(names: &[&str]) -> Vec<DaemonPod> {
        names.iter().map(|name| pod(name, name, "")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_costs_the_others_nothing() {
        let until = Instant::now() + Duration::from_secs(30);
        let read = read(&Fake, &pods(&["hangs-1", "good-1", "cut-1", "binary-1", "good-2"]), 0, until).await;
        let mut uids: Vec<_> = read.pages.iter().map(|(uid, _)| uid.as_str()).collect();
        uids.sort_unstable();
        assert_eq!(uids, ["uid-good-1", "uid-good-2"]);
        assert!(read.missing.is_some());
        assert!(Instant::now() < until);
    }

    #[tokio::test(start_paused = true)]
    async fn when_time_is_over_others_are_left_out_each_time() {
        let mut names: Vec<String> = (0..200).map(|at| format!("hangs-{at}")).collect();
        names.push("good-1".to_owned());
        let all = pods(&names.iter().map(String::as_str).collect::<Vec<_>>());
        // In 12 s two or three times as many as at once can be asked.
        let until = |seconds| Instant::now() + Duration::from_secs(seconds);
        let late = read(&Fake, &all, 0, until(12)).await;
        assert_eq!(late.pages.len(), 0);
        let early = read(&Fake, &all, 190 + 201, until(12)).await;
        assert_eq!(early.pages.len(), 1);
        assert!(read(&Fake, &[], 7, until(12)).await.missing.is_none(), "nobody to ask");
    }
}
