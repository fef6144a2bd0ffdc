//! The loop: read all pages, add them up, tell what came of it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use holdfast_ports::Clock;
use holdfast_ports::monitoring::{InstanceTags, Monitoring};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tracing::{debug, info, warn};

use crate::daemons::{Daemons, one_for_each_node, read};
use crate::growth::Growth;
use crate::publish::Publisher;
use crate::round::Round;
use crate::told::Told;
use crate::turns::Turns;

/// The shortest time that a round has, however short the interval is: the time of a list and of a page that does not come.
const SHORTEST_ROUND: Duration = Duration::from_secs(20);

/// Looks at the cluster again and again until it is told to stop: publishes each round, and shows it in `latest`, which holds
/// nothing while the cluster cannot be seen.
pub async fn run<M: Monitoring, T: InstanceTags>(
    daemons: impl Daemons,
    mut publisher: Option<Publisher<M, T>>,
    latest: watch::Sender<Option<Round>>,
    each: Duration,
    clock: Arc<impl Clock>,
    stop: impl Future<Output = ()>,
) {
    let looking = async {
        let mut rounds = interval(each);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looker = Looker {
            daemons,
            growth: Growth::default(),
            turns: Turns::default(),
            told: Told::default(),
            told_of_pages: Told::default(),
        };
        loop {
            rounds.tick().await;
            let until = Instant::now() + each.max(SHORTEST_ROUND);
            let round = looker.look(until, &*clock).await;
            latest.send_replace(round.clone());
            if let (Some(publisher), Some(round)) = (&mut publisher, &round) {
                publisher.publish(round, until).await;
            }
        }
    };
    tokio::select! {
        () = stop => {}
        () = looking => {}
    }
}

/// Looks at the cluster.
struct Looker<D> {
    daemons: D,
    growth: Growth,
    turns: Turns,
    told: Told,
    told_of_pages: Told,
}

impl<D: Daemons> Looker<D> {
    /// One round; `None` when it is not known which daemons there are: of such a look nothing can be said, not even how much is
    /// missing.
    async fn look(&mut self, until: Instant, clock: &impl Clock) -> Option<Round> {
        let listed = match timeout_at(until, self.daemons.pods()).await {
            Ok(Ok(listed)) => listed,
            Ok(Err(fault)) => {
                let class = format!("{:?}", std::mem::discriminant(&fault.cause));
                if self.told.failed(class) {
                    warn!(%fault, "which daemons there are cannot be read; there are no figures until it can");
                }
                return None;
            }
            Err(_elapsed) => {
                if self.told.failed("time") {
                    warn!("the list of daemons took too long; there are no figures until it does not");
                }
                return None;
            }
        };
        if self.told.worked() {
            info!("which daemons there are can be read again");
        }
        self.growth.listed(&listed);
        let pods = one_for_each_node(listed);
        let at = clock.now().wall;
        let read = read(&self.daemons, &pods, &mut self.turns, until).await;
        let pages = read.pages.iter().map(|(uid, figures)| (uid.as_str(), figures));
        let round = Round::of(at, pods.len(), pages, &mut self.growth);
        match read.missing {
            Some((pod, why)) => {
                let missing = round.nodes.saturating_sub(round.read);
                if self.told_of_pages.failed(format!("{:?}", why.class)) {
                    warn!(
                        missing,
                        of = round.nodes,
                        pod,
                        why = why.words,
                        "the sums lack nodes whose daemon did not tell its metrics"
                    );
                }
            }
            None => {
                if self.told_of_pages.worked() {
                    info!(nodes = pods.len(), "every daemon tells its metrics again");
                }
            }
        }
        debug!(
            nodes = round.nodes,
            read = round.read,
            figures = round.figures.len(),
            "looked at the cluster"
        );
        Some(round)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};
    use std::sync::Mutex;

    use bytes::Bytes;
    use holdfast_cluster::ApiFault;
    use holdfast_cluster::daemons::DaemonPod;
    use holdfast_model::ids::BootId;
    use holdfast_model::time::{BootTime, Now, WallTime};
    use holdfast_ports::cloud::{CloudError, CloudFault};
    use holdfast_ports::monitoring::Data;

    use super::*;

    const EACH: Duration = Duration::from_secs(30);

    /// One daemon that answers at once.
    struct One;

    impl Daemons for One {
        async fn pods(&self) -> Result<Vec<DaemonPod>, ApiFault> {
            let pod = DaemonPod {
                name: "aws-node".to_owned(),
                uid: "uid".to_owned(),
                node: Some("node".to_owned()),
                over: false,
                leaving: false,
                made: String::new(),
            };
            Ok(vec![pod])
        }

        async fn page(&self, _pod: &str) -> Result<Bytes, ApiFault> {
            Ok(Bytes::from_static(b"awscni_eni_max 3\n"))
        }
    }

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Now {
            Now { boot: BootId::new("boot"), boottime: BootTime(0), wall: WallTime(0) }
        }

        fn random(&self) -> u128 {
            0
        }
    }

    /// Answers late: with these faults, then always taking what comes.
    #[derive(Clone, Default)]
    struct Slow {
        takes: Duration,
        faults: Arc<Mutex<VecDeque<CloudFault>>>,
        taken: Arc<Mutex<usize>>,
    }

    impl Monitoring for Slow {
        async fn publish(&self, _data: &Data) -> Result<(), CloudError> {
            if let Some(fault) = self.faults.lock().unwrap().pop_front() {
                return Err(CloudError { fault, code: String::new(), message: String::new() });
            }
            tokio::time::sleep(self.takes).await;
            *self.taken.lock().unwrap() += 1;
            Ok(())
        }
    }

    impl InstanceTags for Slow {
        async fn tags(&self, _keys: &[&str]) -> Result<BTreeMap<String, String>, CloudError> {
            unreachable!("the name is set")
        }
    }

    /// When each round is shown.
    async fn rounds(cloud_watch: Slow, count: usize) -> Vec<Duration> {
        let latest = watch::Sender::default();
        let mut shown = latest.subscribe();
        let publisher = Publisher::new(cloud_watch.clone(), cloud_watch, Some("prod".to_owned()));
        let looking = run(One, Some(publisher), latest, EACH, Arc::new(Still), std::future::pending());
        let looking = tokio::spawn(looking);
        let begun = Instant::now();
        let mut at = Vec::new();
        for _round in 0..count {
            shown.changed().await.unwrap();
            at.push(begun.elapsed());
        }
        looking.abort();
        at
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_seen_is_shown_although_cloudwatch_is_slow() {
        let at = rounds(Slow { takes: Duration::from_secs(10), ..Slow::default() }, 2).await;
        assert_eq!(at, [Duration::ZERO, EACH]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_for_cloudwatch_does_not_keep_rounds_from_their_time() {
        let faults = vec![CloudFault::Denied; 40];
        let cloud_watch = Slow {
            takes: Duration::from_secs(9),
            faults: Arc::new(Mutex::new(faults.into())),
            ..Slow::default()
        };
        let at = rounds(cloud_watch.clone(), 100).await;
        let gaps: Vec<_> = at.windows(2).map(|two| two[1].saturating_sub(two[0])).collect();
        assert!(gaps.iter().all(|gap| *gap < EACH + Duration::from_secs(10)), "{gaps:?}");
        assert!(*cloud_watch.taken.lock().unwrap() > 95, "what waited goes out all the same");
    }
}
