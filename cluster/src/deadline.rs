//! How long is waited for the API server. The client under this crate sets no limit on reads, and would repeat by itself what
//! fails; here every wait has an end of ours, and nothing is repeated below the state machines that know why.

use std::future::Future;
use std::time::Duration;

use crate::fault::Cause;

/// Every limit of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For a connection.
    pub connect: Duration,
    /// For a whole answer: of a change, of a page of a list, and for the beginning of a watch.
    pub answer: Duration,
    /// For the next word of a watch. A server speaks about once a minute where nothing changes, so one that is silent for
    /// longer than two is gone, or something in between dropped the connection without a word, or the server waits for a
    /// version that it will not have for long: what is followed is listed anew.
    pub silence: Duration,
    /// How long the server is asked to let a watch last, at most.
    pub watch: Duration,
}

impl Deadlines {
    /// Those of a daemon.
    pub const USUAL: Self = Self {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(10),
        silence: Duration::from_secs(150),
        watch: Duration::from_secs(600),
    };
}

/// What comes of it within the limit.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Cause> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => Ok(done),
        Err(tokio::time::error::Elapsed { .. }) => Err(Cause::Silent(limit)),
    }
}
