//! Work beside the caller.

use std::future::Future;

/// Starts work that runs beside its caller, until it ends or the node does.
///
/// All that a node does in the background is started here, so that several nodes can live in one process and each can die
/// alone: whoever owns the spawner ends the node by ending what was started with it.
pub trait Spawner: Send + Sync + 'static {
    /// Starts it.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static);
}
