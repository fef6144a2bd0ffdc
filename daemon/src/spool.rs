//! Tombstones: DELs that no daemon was there to hear.
//!
//! ```text
//!   plugin ──put──> spool ──list──> find again, del, remove   while running, once a second, and before serving
//!                     └────────────> find, del, remove, add   when the same sandbox is added
//! ```
//!
//! A tombstone that is there when an ADD of its sandbox begins is older than it, and is carried out first; one that
//! comes later is newer, and undoes it. Finding, carrying out and removing are one turn of the sandbox, which the
//! ADD hands to the engine within its own: so no tombstone is ever carried out twice with an ADD in between.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use holdfast_engine::{Deleted, EngineHandle};
use holdfast_model::config::Config;
use holdfast_model::sandbox::SandboxKey;
use holdfast_wire::ids;
use holdfast_wire::spool::{Listing, Spool};
use holdfast_wire::tombstone::Tombstone;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::keys::key_of;
use crate::turns::{Turn, Turns};

/// How often the spools are looked at while the daemon runs: a plugin may have lost its patience with us.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Temporary files of plugins that died are removed after this time.
const LITTER_AGE: Duration = Duration::from_secs(600);

/// Tombstones carried out side by side.
const SIDE_BY_SIDE: usize = 256;

/// How long one tombstone may take. The engine answers in milliseconds unless disk or kernel are stuck; then it stays
/// where it is, and the next look takes it up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a tombstone is not gone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotSettled {
    /// The spool cannot be read or changed.
    #[error("the spool {} cannot be used", dir.display())]
    Spool {
        /// Which.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The pod's network is gone, and the disk does not take the release: the tombstone remembers it.
    #[error("an earlier release of this sandbox cannot be written to the ledger")]
    Owed,
    /// The engine is stopping or stuck: the tombstone stays for the next look, or the next start.
    #[error("an earlier release of this sandbox has not ended yet")]
    Unfinished,
}

/// The directories in which plugins leave tombstones, best first.
#[derive(Clone)]
pub(crate) struct Spools {
    places: Arc<[Spool; 2]>,
    turns: Turns,
}

impl Spools {
    /// Those of this configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let places = [Spool::new(&config.spool.value), Spool::beside(&config.socket.value)];
        Self { places: Arc::new(places), turns: Turns::default() }
    }

    /// Carries out all that is there. Returns in bounded time; what could not be carried out stays.
    pub(crate) async fn drain(&self, engine: &EngineHandle) {
        for place in 0..self.places.len() {
            let dir = self.places[place].dir().to_owned();
            match self.on_disk(move |places| places[place].list()).await {
                Ok(listing) => self.carry_out_all(listing, engine).await,
                Err(error) => tracing::error!(spool = %dir.display(), %error, "the spool cannot be read"),
            }
        }
    }

    async fn carry_out_all(&self, listing: Listing, engine: &EngineHandle) {
        for aside in &listing.set_aside {
            tracing::error!(file = %aside.path.display(), reason = aside.reason, "not a tombstone; set aside");
        }
        for (file, reason) in &listing.kept {
            tracing::warn!(file = %file.display(), reason, "a tombstone that cannot be carried out is kept");
        }
        for some in listing.tombstones.chunks(SIDE_BY_SIDE) {
            let mut running = JoinSet::new();
            for tombstone in some {
                let (this, engine, sandbox) = (self.clone(), engine.clone(), tombstone.sandbox.clone());
                running.spawn(async move {
                    let turn = this.turns.take(&key_of(&sandbox)).await;
                    // The list may be older than an ADD of this sandbox: what counts is what is there now.
                    this.settle_in(&turn, &sandbox, &engine).await
                });
            }
            for ended in running.join_all().await {
                // What the disk refuses, the engine tells.
                if let Err(error) = ended.or_else(|error| match error {
                    NotSettled::Owed => Ok(()),
                    other => Err(other),
                }) {
                    tracing::error!(error = %holdfast_model::chain(&error), "a DEL in the spool is still to be carried out");
                }
            }
        }
    }

    /// Before an ADD: a tombstone of the very same sandbox is older than it, and goes first. The ADD is to be handed
    /// to the engine before the turn is dropped.
    pub(crate) async fn settle(
        &self,
        sandbox: &ids::SandboxKey,
        engine: &EngineHandle,
    ) -> Result<Turn, NotSettled> {
        let turn = self.turns.take(&key_of(sandbox)).await;
        self.settle_in(&turn, sandbox, engine).await?;
        Ok(turn)
    }

    async fn settle_in(
        &self,
        _turn: &Turn,
        sandbox: &ids::SandboxKey,
        engine: &EngineHandle,
    ) -> Result<(), NotSettled> {
        let (name, of) = (sandbox.clone(), |spool: &Spool| spool.dir().to_owned());
        let found = self.on_disk(move |places| {
            for spool in places {
                match spool.find(&name) {
                    Ok(Some(tombstone)) => return Ok(Some(tombstone)),
                    Ok(None) => {}
                    // A file in the directory's place holds no tombstone.
                    Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                    Err(source) => return Err(NotSettled::Spool { dir: of(spool), source }),
                }
            }
            Ok(None)
        });
        let Some(tombstone) = found.await? else { return Ok(()) };
        let key = key_of(&tombstone.sandbox);
        release(&key, &tombstone, engine).await?;
        let name = sandbox.clone();
        self.on_disk(move |places| {
            // In both: the plugin may have found the first one full, and later free again.
            places.iter().try_for_each(|spool| match spool.remove(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(()),
                Err(source) => Err(NotSettled::Spool { dir: of(spool), source }),
                Ok(()) => Ok(()),
            })
        })
        .await
    }

    /// Looks again and again, for as long as it is let. What was begun is carried through: it is cut off between two looks
    /// only.
    pub(crate) async fn watch(self, engine: EngineHandle, stopping: CancellationToken) {
        let swept = self.on_disk(|places| {
            for spool in places {
                if let Err(error) = spool.sweep(SystemTime::now(), LITTER_AGE) {
                    tracing::warn!(spool = %spool.dir().display(), %error, "old temporary files cannot be removed");
                }
            }
        });
        swept.await;
        while stopping.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            self.drain(&engine).await;
        }
    }

    /// Works on the directories beside the loop: a disk that hangs holds up nobody else.
    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce(&[Spool; 2]) -> T + Send + 'static) -> T {
        let places = Arc::clone(&self.places);
        match spawn_blocking(move || work(&places)).await {
            Ok(done) => done,
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        }
    }
}

async fn release(key: &SandboxKey, tombstone: &Tombstone, engine: &EngineHandle) -> Result<(), NotSettled> {
    tracing::debug!(sandbox = %key, reason = tombstone.reason, "carrying out a DEL that was left in the spool");
    match tokio::time::timeout(PATIENCE, engine.del(key.clone())).await {
        Ok(Ok(Deleted::Durable)) => Ok(()),
        Ok(Ok(Deleted::Owed)) => Err(NotSettled::Owed),
        Ok(Err(_)) | Err(_) => Err(NotSettled::Unfinished),
    }
}
