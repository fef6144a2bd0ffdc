//! What the node's ports for watchers tell, put together out of those who know it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_metrics::{Introspection, Metrics, Record, Snapshot, Source, Standing, ViewFigures, http};
use holdfast_model::config::Config;
use holdfast_model::ledger::Ledger;
use holdfast_model::time::Now;
use holdfast_ports::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::aside;
use crate::backend::Backend;
use crate::clock::KernelClock;
use crate::cluster::Views;
use crate::settings::Read;

/// How long the engine may take. Its loop answers in milliseconds.
const ENGINE_PATIENCE: Duration = Duration::from_secs(2);

/// How long it may take to ask how large a file is.
const DISK_PATIENCE: Duration = Duration::from_millis(500);

/// Those who know.
pub(crate) struct Watched {
    backend: watch::Receiver<Backend>,
    settings: watch::Receiver<Arc<Read>>,
    views: Arc<Views>,
    clock: KernelClock,
    /// Whether a look at the ledger's file is under way: of a disk that hangs there is no second.
    looking: Arc<AtomicBool>,
}

impl Watched {
    pub(crate) fn new(
        backend: watch::Receiver<Backend>,
        settings: watch::Receiver<Arc<Read>>,
        views: Arc<Views>,
        clock: KernelClock,
    ) -> Self {
        Self { backend, settings, views, clock, looking: Arc::default() }
    }

    async fn standing(&self) -> Standing {
        let backend = self.backend.borrow().clone();
        let Backend::Engine(engine) = backend else { return Standing::Refusing };
        match tokio::time::timeout(ENGINE_PATIENCE, engine.figures()).await {
            Ok(Ok(figures)) => Standing::Running(Box::new(figures)),
            Ok(Err(_)) | Err(_) => Standing::Silent,
        }
    }

    async fn size(&self, path: PathBuf) -> Option<u64> {
        if self.looking.swap(true, Ordering::SeqCst) {
            return None;
        }
        let looking = Arc::clone(&self.looking);
        let look = aside::look(move || {
            let size = fs::metadata(path).map(|seen| seen.len()).ok();
            looking.store(false, Ordering::SeqCst);
            size
        });
        tokio::time::timeout(DISK_PATIENCE, look).await.ok().flatten().flatten()
    }

    fn cluster(&self, settings: &Read) -> Option<Vec<ViewFigures>> {
        settings.api_server.as_ref()?;
        Some(self.views.figures(settings.annotates, self.clock.now().boottime))
    }
}

impl Source for Watched {
    async fn snapshot(&self) -> Snapshot {
        let settings = Arc::clone(&self.settings.borrow());
        let size = self.size(settings.config.ledger.value.clone());
        let (standing, ledger_bytes) = tokio::join!(self.standing(), size);
        let views = self.cluster(&settings);
        Snapshot { standing, max_enis: settings.config.max_enis.value, ledger_bytes, views }
    }

    async fn ledger(&self) -> Option<(Ledger, Now)> {
        let backend = self.backend.borrow().clone();
        let Backend::Engine(engine) = backend else { return None };
        let ledger = tokio::time::timeout(ENGINE_PATIENCE, engine.ledger()).await.ok()?.ok()?;
        Some((ledger, self.clock.now()))
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.settings.borrow().config)
    }
}

/// Opens the ports that are wanted, until it is told to stop. Nothing waits for them.
pub(crate) fn serve(record: &Arc<Record>, watched: Watched, stop: &CancellationToken) {
    let ports = watched.settings.borrow().ports.clone();
    let watched = Arc::new(watched);
    if let Some(place) = ports.metrics {
        let site = Arc::new(Metrics::new(Arc::clone(record), Arc::clone(&watched)));
        tokio::spawn(http::serve("metrics", place, site, stop.clone()));
    }
    if let Some(place) = ports.introspection {
        let site = Arc::new(Introspection::new(watched));
        tokio::spawn(http::serve("introspection", place, site, stop.clone()));
    }
}
