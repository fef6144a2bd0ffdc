//! How long a runtime waited for its answers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

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

    /// The ADDs and the DELs since it was last asked.
    pub(crate) fn take(&self) -> (Waits, Waits) {
        let mut inner = self.lock();
        (std::mem::take(&mut inner.adds), std::mem::take(&mut inner.dels))
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
