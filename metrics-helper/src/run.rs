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
            let round = looker.look(Instant::now() + each.max(SHORTEST_ROUND), &*clock).await;
            if let (Some(publisher), Some(round)) = (&mut publisher, &round) {
                publisher.publish(round).await;
            }
            latest.send_replace(round);
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
