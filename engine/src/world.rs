//! The world as the engine sees it: one bundle of ports.

use std::sync::Arc;

use holdfast_ports::{Clock, Cloud, HostNet, Metadata, Spawner};

/// The ports of a node. The daemon bundles the real ones, a test its own.
pub trait World: Send + Sync + 'static {
    /// EC2.
    type Cloud: Cloud;
    /// Instance metadata.
    type Metadata: Metadata;
    /// The host's network.
    type Host: HostNet;
    /// Time and randomness.
    type Clock: Clock;
    /// Work in the background.
    type Spawner: Spawner;
}

/// The ports themselves. Cheap to clone: every task gets its own handle.
pub struct Ports<W: World> {
    /// EC2.
    pub cloud: Arc<W::Cloud>,
    /// Instance metadata.
    pub metadata: Arc<W::Metadata>,
    /// The host's network.
    pub host: Arc<W::Host>,
    /// Time and randomness.
    pub clock: Arc<W::Clock>,
    /// Work in the background.
    pub spawner: Arc<W::Spawner>,
}

impl<W: World> Clone for Ports<W> {
    fn clone(&self) -> Self {
        Self {
            cloud: Arc::clone(&self.cloud),
            metadata: Arc::clone(&self.metadata),
            host: Arc::clone(&self.host),
            clock: Arc::clone(&self.clock),
            spawner: Arc::clone(&self.spawner),
        }
    }
}

/// Tasks of the runtime that the engine runs on: for a process that is one node and ends with it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuntimeTasks;

impl Spawner for RuntimeTasks {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(work);
    }
}
