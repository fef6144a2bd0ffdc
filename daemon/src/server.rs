//! The plugin's socket: one connection, one request, one answer (see `holdfast_wire::message`).

mod answer;
mod connection;
mod door;
mod lock;
mod peer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use holdfast_datapath::netns;
use holdfast_metrics::Record;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::aside::Held;
use crate::backend::Backend;
use crate::settings::Read;
use crate::spool::Spools;
use crate::troubles::Troubles;
pub(crate) use door::Door;
pub(crate) use lock::{Lock, LockError};

/// How often it is looked whether the socket's file still leads here. A look is one system call.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How soon accepting is tried again when it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Large requests read at once: only GC makes them, and a node has one runtime.
const LARGE_REQUESTS: usize = 4;

/// All that a connection needs to be served.
pub(crate) struct Desk {
    settings: watch::Receiver<Arc<Read>>,
    backend: watch::Receiver<Backend>,
    spools: Spools,
    /// Pods that got no network.
    troubles: Arc<Troubles>,
    /// What was answered.
    record: Arc<Record>,
    /// Connections served at once; more wait in the kernel's queue.
    room: usize,
    large: Semaphore,
    /// The host's own namespace, which no pod may have.
    host: Option<netns::Identity>,
}

impl Desk {
    /// A desk with room for this many clients at once. Called in the host's own network namespace.
    pub(crate) fn new(
        settings: watch::Receiver<Arc<Read>>,
        backend: watch::Receiver<Backend>,
        spools: Spools,
        troubles: Arc<Troubles>,
        record: Arc<Record>,
        room: usize,
    ) -> Self {
        let host = netns::current().and_then(|fd| netns::identity(&fd)).ok();
        let large = Semaphore::new(LARGE_REQUESTS);
        Self { settings, backend, spools, troubles, record, room, large, host }
    }

    /// The settings that hold now.
    pub(crate) fn settings(&self) -> Arc<Read> {
        Arc::clone(&self.settings.borrow())
    }

    /// Who answers, now and later.
    pub(crate) fn backend(&self) -> watch::Receiver<Backend> {
        self.backend.clone()
    }
}

/// A socket being served; dropping it shuts it.
pub(crate) struct Listening {
    door: Arc<Door>,
    open: CancellationToken,
    /// The task that accepts, and one for each connection.
    tasks: TaskTracker,
}

impl Listening {
    /// Where clients come in.
    pub(crate) fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door)
    }

    /// Takes no more connections, and removes the socket's file. Those that are served go on.
    pub(crate) fn shut(&self) {
        self.open.cancel();
        self.door.shut();
    }

    /// Waits until no connection is being served. Only a socket that was shut falls idle for good.
    pub(crate) async fn idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Serves the plugin.
pub(crate) fn listen(desk: &Arc<Desk>, lock: Arc<Lock>) -> anyhow::Result<Listening> {
    let desk = Arc::clone(desk);
    let path = desk.settings().config.socket.value.clone();
    serve(&path, lock, desk.room, move |stream| connection::serve(stream, Arc::clone(&desk)))
}

/// Binds a socket, in place of a dead one, and serves each connection on a task of its own, `room` at once.
pub(crate) fn serve<F, C>(
    path: &Path,
    lock: Arc<Lock>,
    room: usize,
    connection: C,
) -> anyhow::Result<Listening>
where
    F: Future<Output = ()> + Send + 'static,
    C: Fn(Held<UnixStream>) -> F + Send + 'static,
{
    let door = Arc::new(Door::new(path.to_owned(), lock));
    let listener = door.open().with_context(|| format!("listening on {}", path.display()))?;
    let (open, tasks) = (CancellationToken::new(), TaskTracker::new());
    let accepting = accept(listener, Arc::clone(&door), room, tasks.clone(), connection);
    tasks.spawn(open.clone().run_until_cancelled_owned(accepting));
    Ok(Listening { door, open, tasks })
}

/// Accepts, and sees to it that the socket's file leads here: what cleans `/run` takes those of live daemons along.
async fn accept<F, C>(
    mut listener: UnixListener,
    door: Arc<Door>,
    room: usize,
    tasks: TaskTracker,
    connection: C,
) where
    F: Future<Output = ()> + Send + 'static,
    C: Fn(Held<UnixStream>) -> F + Send + 'static,
{
    let room = Arc::new(Semaphore::new(room));
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let client = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            client = client => client,
            _ = look.tick() => {
                if let Some(anew) = door.open_again() {
                    // Whoever waits there may have sent something.
                    drop(Held::new(std::mem::replace(&mut listener, anew)));
                }
                continue;
            }
        };
        let Ok(permit) = permit else { return };
        match accepted {
            Ok((stream, _)) => {
                let served = connection(Held::new(stream));
                tasks.spawn(async move {
                    served.await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: serving those we have frees some.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
