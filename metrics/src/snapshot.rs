//! What is told of, at one instant; and how many who ask share it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use holdfast_engine::Figures;
use holdfast_model::config::Config;
use holdfast_model::ledger::Ledger;
use holdfast_model::time::Now;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The engine is asked no more often than this, however many ask us.
const FRESH: Duration = Duration::from_secs(1);

/// Where what is told comes from. Each answer has a deadline of its own.
pub trait Source: Send + Sync + 'static {
    /// What holds now.
    fn snapshot(&self) -> impl Future<Output = Snapshot> + Send;

    /// A copy of the ledger, and when it was made; `None` while it is not open.
    fn ledger(&self) -> impl Future<Output = Option<(Ledger, Now)>> + Send;

    /// The settings that hold now.
    fn config(&self) -> Arc<Config>;
}

/// What holds at one instant. What is not known is not there.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// How the daemon stands.
    pub standing: Standing,
    /// `MAX_ENI`, where it is set.
    pub max_enis: Option<u32>,
    /// Bytes of the ledger's file.
    pub ledger_bytes: Option<u64>,
    /// What is followed of the cluster; `None` outside one.
    pub views: Option<Vec<ViewFigures>>,
}

/// How the daemon stands.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Its engine runs.
    Running(Box<Figures>),
    /// It refuses everybody: its ledger is not open.
    Refusing,
    /// Its engine has not answered in time.
    Silent,
}

impl Standing {
    pub(crate) fn figures(&self) -> Option<&Figures> {
        match self {
            Self::Running(figures) => Some(figures),
            Self::Refusing | Self::Silent => None,
        }
    }
}

/// Objects of the cluster that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewFigures {
    /// Which, in a word.
    pub name: &'static str,
    /// Whether all of them were ever read.
    pub complete: bool,
    /// For how long changes have not been heard of, while they are not.
    pub stale_for: Option<Duration>,
}

/// The last of something that is made on demand.
#[derive(Debug)]
pub(crate) struct Shared<T>(Mutex<Option<(Instant, Arc<T>)>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Shared<T> {
    /// The last one, or another when that is no longer fresh. Those who ask while one is made wait for it.
    pub(crate) async fn get(&self, make: impl Future<Output = T>) -> Arc<T> {
        let mut last = self.0.lock().await;
        if let Some((made, known)) = &*last
            && made.elapsed() < FRESH
        {
            return Arc::clone(known);
        }
        // Not kept while the next is made: there may be little room.
        *last = None;
        let made = Arc::new(make.await);
        *last = Some((Instant::now(), Arc::clone(&made)));
        made
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_one_is_made_in_a_second() {
        let (shared, made) = (Shared::default(), AtomicU32::new(0));
        let ask = || {
            shared.get(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                made.fetch_add(1, Ordering::SeqCst)
            })
        };
        let (first, second, third) = tokio::join!(ask(), ask(), ask());
        assert_eq!((*first, *second, *third), (0, 0, 0));
        tokio::time::sleep(FRESH * 8 / 10).await;
        assert_eq!(*ask().await, 0);
        tokio::time::sleep(FRESH * 3 / 10).await;
        assert_eq!(*ask().await, 1);
    }
}
