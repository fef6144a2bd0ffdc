//! How a store is opened.

use std::fmt;
use std::io;
use std::sync::Arc;

use holdfast_model::time::WallTime;
use redb::StorageBackend;

/// Journal entries kept unless told otherwise.
pub const JOURNAL_LIMIT: u32 = 4096;

/// Told of each durable commit, on the thread that makes it. For crash tests: a harness counts the calls and
/// kills the process in one of them.
pub trait CommitObserver: Send + Sync + 'static {
    /// The `n`th durable commit of this process, counted from zero, is about to be made: nothing of it is on disk.
    fn before(&self, n: u64);
    /// It is durable, and nobody was told yet.
    fn after(&self, n: u64);
}

/// Something other than a file to keep a ledger on: for crash tests.
pub trait Medium: Send + 'static {
    /// One way into it.
    type Backend: StorageBackend;

    /// Opens it as it stands.
    fn open(&self) -> Self::Backend;

    /// Puts other bytes in the place of all that is there, durably, in one step.
    fn replace(&self, bytes: Vec<u8>) -> io::Result<()>;
}

/// How a store is opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// The wall clock: names set-aside files and copies, and dates the store's own journal entries.
    pub now: WallTime,
    /// How many journal entries are kept; the oldest is dropped by the transaction that exceeds it.
    pub journal_limit: u32,
    /// Watches commits.
    pub observer: Option<Arc<dyn CommitObserver>>,
}

impl OpenOptions {
    /// The ordinary options at this wall time.
    pub fn at(now: WallTime) -> Self {
        Self { now, journal_limit: JOURNAL_LIMIT, observer: None }
    }
}

impl fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("now", &self.now)
            .field("journal_limit", &self.journal_limit)
            .field("observed", &self.observer.is_some())
            .finish()
    }
}
