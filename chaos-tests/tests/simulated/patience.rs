//! How long a runtime waited for its answers, and how often EC2 was called meanwhile.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The longest that an ADD is held, and the answer that it is given then.
const ADD_TAKES: Duration = Duration::from_secs(61);

/// The longest that a DEL takes, whatever the disk does.
const DEL_TAKES: Duration = Duration::from_secs(3);

/// Calls of EC2 while a node settles and pods come in a burst.
const CALLS: f64 = 40.0;

/// More of them for each minute.
const CALLS_A_MINUTE: f64 = 4.0;

/// Whether a node calls EC2 too often.
pub(crate) fn too_many_calls(calls: usize, time: Duration) -> Option<String> {
    let most = CALLS + CALLS_A_MINUTE * time.as_secs_f64() / 60.0;
    (calls as f64 > most).then(|| format!("{calls} calls of EC2 in {time:?}"))
}

/// The answers to one node's runtime.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answered {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    names: BTreeSet<String>,
    adds: Waits,
    dels: Waits,
}

/// One kind of question.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waits {
    /// How often the answer was yes.
    pub(crate) served: u32,
    /// How often it was no.
    pub(crate) refused: u32,
    /// The longest time to an answer.
    pub(crate) longest: Duration,
}

impl Answered {
    /// An ADD, from its question to its answer.
    pub(crate) async fn add<T, E>(&self, answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let begun = Instant::now();
        let answer = answer.await;
        self.lock().adds.count(answer.is_ok(), begun.elapsed());
        answer
    }

    /// A DEL.
    pub(crate) async fn del<T, E>(&self, answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let begun = Instant::now();
        let answer = answer.await;
        self.lock().dels.count(answer.is_ok(), begun.elapsed());
        answer
    }

    /// What was answered too late.
    pub(crate) fn late(&self) -> Vec<String> {
        let inner = self.lock();
        let waited = [("an ADD", inner.adds, ADD_TAKES), ("a DEL", inner.dels, DEL_TAKES)];
        let late = waited.into_iter().filter(|(_, waits, bound)| waits.longest > *bound);
        late.map(|(what, waits, _)| format!("{what} was answered after {:?}", waits.longest)).collect()
    }

    /// The ADDs up to now; from here on they are counted anew.
    pub(crate) fn take_adds(&self) -> Waits {
        std::mem::take(&mut self.lock().adds)
    }

    /// A pod of this name comes; whether there was one before.
    pub(crate) fn sees_name(&self, name: &str) -> bool {
        !self.lock().names.insert(name.to_owned())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waits {
    fn count(&mut self, served: bool, waited: Duration) {
        *if served { &mut self.served } else { &mut self.refused } += 1;
        self.longest = self.longest.max(waited);
    }
}
