//! How long a runtime waited for its answers, and how often EC2 was called meanwhile.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// The longest that an ADD is held, and the answer that it is given then.
const ADD_TAKES: Duration = Duration::from_secs(61);

/// After this an ADD or DEL will never be answered.
const NEVER: Duration = Duration::from_secs(15 * 60);

/// An address that was a pod's is nobody's for so long: the default.
const REST: Duration = Duration::from_secs(30);

/// The longest that a DEL takes, whatever the disk does.
const DEL_TAKES: Duration = Duration::from_secs(3);

/// Calls of EC2 while a node settles and pods come in a burst.
const CALLS: u64 = 40;

/// More of them for each minute.
const CALLS_A_MINUTE: u64 = 4;

/// Whether a node calls EC2 too often.
pub(crate) fn too_many_calls(calls: usize, time: Duration) -> Option<String> {
    let most = CALLS + CALLS_A_MINUTE * time.as_secs() / 60;
    (calls as u64 > most).then(|| format!("{calls} calls of EC2 in {time:?}"))
}

/// The answers to one node's runtime.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answered {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    names: BTreeMap<String, u32>,
    adds: Waits,
    dels: Waits,
    /// When a pod's address was given up.
    freed: BTreeMap<IpAddr, Instant>,
    /// Addresses that were given again too soon, or in the place of another.
    wrong: Vec<String>,
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
        let answer = timeout(NEVER, answer).await.expect("an ADD was never answered");
        self.lock().adds.count(answer.is_ok(), begun.elapsed());
        answer
    }

    /// A DEL.
    pub(crate) async fn del<T, E>(&self, answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let begun = Instant::now();
        let answer = timeout(NEVER, answer).await.expect("a DEL was never answered");
        self.lock().dels.count(answer.is_ok(), begun.elapsed());
        answer
    }

    /// A pod has this address from now on.
    pub(crate) fn gives(&self, address: IpAddr) {
        let mut inner = self.lock();
        let since = inner.freed.remove(&address).map(|freed| freed.elapsed());
        if let Some(since) = since.filter(|since| *since < REST) {
            inner.wrong.push(format!("{address} was given again {since:?} after a pod had it"));
        }
    }

    /// The same ADD is answered with another address.
    pub(crate) fn answers_differently(&self, container: &str, first: IpAddr, then: IpAddr) {
        self.lock().wrong.push(format!("{container} was answered with {first}, and then with {then}"));
    }

    /// A pod that had this address has gone, at this instant at the earliest.
    pub(crate) fn frees(&self, address: IpAddr, at: Instant) {
        self.lock().freed.insert(address, at);
    }

    /// What was answered too late, or given too soon.
    pub(crate) fn faults(&self) -> Vec<String> {
        let inner = self.lock();
        let waited = [("an ADD", inner.adds, ADD_TAKES), ("a DEL", inner.dels, DEL_TAKES)];
        let late = waited.into_iter().filter(|(_, waits, bound)| waits.longest > *bound);
        let late = late.map(|(what, waits, _)| format!("{what} was answered after {:?}", waits.longest));
        late.chain(inner.wrong.iter().cloned()).collect()
    }

    /// The ADDs up to now; from here on they are counted anew.
    pub(crate) fn take_adds(&self) -> Waits {
        std::mem::take(&mut self.lock().adds)
    }

    /// A pod of this name comes.
    pub(crate) fn sees_name(&self, name: &str) {
        *self.lock().names.entry(name.to_owned()).or_default() += 1;
    }

    /// Whether several pods of this name came up to now.
    pub(crate) fn is_common(&self, name: &str) -> bool {
        self.lock().names.get(name).is_some_and(|pods| *pods > 1)
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
