//! `holdfast run`: open the ledger, start the engine, serve the plugin, stop in order.
//!
//! ```text
//!   start ──> open ledger ──> engine ──> drain spools ──> sockets ──> serving ──SIGTERM──> sockets shut ──> engine
//!                │ cannot be opened                                                        stopped ──> answers out
//!                └─> sockets, refusing with the cause; tried again every few seconds
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use holdfast_aws::{Imds, ImdsSettings};
use holdfast_datapath::{Host, HostOptions};
use holdfast_engine::{Engine, EngineHandle, Ports, RuntimeTasks};
use holdfast_metrics::{Calls, Counted, Record};
use holdfast_model::chain;
use holdfast_model::config::Config;
use holdfast_store::{Found, OpenError, OpenOptions, Opened, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::clock::{self, KernelClock};
use crate::cloud::{RealWorld, Region, RegionTeller, RegionalCloud};
use crate::keeper::Keeper;
use crate::removal::Removal;
use crate::server::{Desk, Listening, Lock, LockError};
use crate::spool::Spools;
use crate::troubles::Troubles;
use crate::watched::{self, Watched};
use crate::{admin, cluster, eni_config_file, install, limits, rights, server};

/// How soon a ledger that could not be opened is tried again.
const LEDGER_RETRY: Duration = Duration::from_secs(2);

/// How soon one that another process holds is tried again: an update hands over within moments.
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// A ledger is opened in milliseconds, or found to be another process's. After this long the disk is stuck, and plugins
/// are told so.
const SLOW_OPENING: Duration = Duration::from_secs(5);

/// How long a stop waits for answers to be taken.
const ANSWERS_OUT: Duration = Duration::from_secs(2);

/// Runs the daemon until it is told to stop.
pub(crate) fn run(keeper: Keeper) -> anyhow::Result<()> {
    let began = Instant::now();
    rights::tell_what_lacks();
    let room = limits::connections();
    // The loop's own work is small; EC2, the kernel and the disk have threads or waits of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
        .context("starting the runtime")?;
    let served = runtime.block_on(serve(keeper, room, began));
    // A disk that hangs must not keep the process.
    runtime.shutdown_background();
    served
}

async fn serve(mut keeper: Keeper, room: usize, began: Instant) -> anyhow::Result<()> {
    let config = Arc::clone(&keeper.current().borrow().config);
    let stopping = stop_on_signal()?;
    let (backend, current) = watch::channel(Backend::Refusing("the daemon is starting".to_owned()));
    let spools = Spools::new(&config);
    let troubles = Arc::new(Troubles::default());
    let (record, views) =
        (Arc::new(Record::new(env!("CARGO_PKG_VERSION"))), Arc::new(cluster::Views::default()));
    let watched = Watched::new(current.clone(), keeper.current(), Arc::clone(&views), KernelClock::new()?);
    let desk = Desk::new(
        keeper.current(),
        current,
        spools.clone(),
        Arc::clone(&troubles),
        Arc::clone(&record),
        room,
    );
    let desk = Arc::new(desk);

    // Before anything is touched: where another daemon serves, this one has no business, whatever its ledger.
    let places = tokio::select! {
        places = Places::take(&config) => places?,
        () = stopping.cancelled() => return Ok(()),
    };
    watched::serve(&record, watched, &stopping);
    let mut serving = None;
    let opened = tokio::select! {
        opened = open_ledger(&config, &backend, &desk, &places, &mut serving) => opened?,
        () = stopping.cancelled() => return Ok(()),
    };
    tell_found(&opened.found);

    // What the cluster said last holds until it is heard again.
    let settings = keeper.hear(&opened.ledger.settings, &[]);
    let (engine, handle) = build_engine(&settings.config, opened, Arc::clone(&record.calls)).await?;
    let mut engine = tokio::spawn(engine.run());
    // What was deleted while no daemon ran goes first: an address it holds may be asked for next.
    spools.drain(&handle).await;
    backend.send_replace(Backend::Engine(handle.clone()));
    let serving = match serving {
        Some(serving) => serving,
        None => Serving::start(&desk, &places)?,
    };
    tracing::info!("serving");
    record.served_after.set(began.elapsed()).ok();
    tokio::spawn(spools.watch(handle.clone(), stopping.clone()));
    let removal = Removal::default();
    if let Some(place) = settings.api_server.clone() {
        let clock = Arc::new(KernelClock::new()?);
        let joined = cluster::join(place, clock, keeper, handle.clone(), troubles, removal.clone(), views);
        tokio::spawn(joined);
    } else if let Some(file) = settings.eni_config_file.clone() {
        tokio::spawn(eni_config_file::go_by(file, keeper, handle.clone()));
    }
    let installed = tokio::spawn(install::keep(settings.install.clone(), stopping.clone()));

    let ended = tokio::select! {
        () = stopping.cancelled() => None,
        ended = &mut engine => Some(ended),
    };
    if let Some(ended) = ended {
        // Only by a defect. A fresh process recovers from the ledger, so this one ends with words.
        ended.context("the engine ended badly")?;
        anyhow::bail!("the engine ended although nobody stopped it");
    }
    tracing::info!("stopping");
    if removal.is_sure() {
        // Before the plugin finds nobody: from then on the runtime knows of no network, and the node is not ready for pods.
        drop(installed.await);
        install::withdraw(&settings.install).await;
    }
    serving.shut();
    handle.stop().await;
    engine.await.context("the engine ended badly")?;
    serving.answers_out(ANSWERS_OUT).await;
    tracing::info!("stopped");
    Ok(())
}

/// Opens the ledger, however long that takes. Until then plugins are told why: a DEL then leaves a tombstone and
/// succeeds, an ADD fails with the cause.
async fn open_ledger(
    config: &Arc<Config>,
    backend: &watch::Sender<Backend>,
    desk: &Arc<Desk>,
    places: &Places,
    serving: &mut Option<Serving>,
) -> anyhow::Result<Opened> {
    let mut told = String::new();
    loop {
        let path = config.ledger.value.clone();
        let open = move || Store::open(&path, &OpenOptions::at(clock::wall()));
        let mut opening = spawn_blocking(open);
        let in_time = tokio::time::timeout(SLOW_OPENING, &mut opening).await;
        let opened = if let Ok(opened) = in_time {
            opened
        } else {
            let cause = "the ledger's disk does not answer".to_owned();
            tracing::error!(%cause, "until it does, pods can be deleted, not added");
            backend.send_replace(Backend::Refusing(cause));
            if serving.is_none() {
                *serving = Some(Serving::start(desk, places)?);
            }
            opening.await
        };
        let error = match opened.context("opening the ledger")? {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let cause = chain(&error);
        // Once for each cause, not every few seconds.
        if told != cause {
            tracing::error!(%cause, "the ledger cannot be opened; until then pods can be deleted, not added");
            told.clone_from(&cause);
        }
        let pause = if matches!(error, OpenError::Locked { .. }) {
            // Another daemon has it, and serves: its socket is not to be taken away.
            LOCK_RETRY
        } else {
            backend.send_replace(Backend::Refusing(cause));
            if serving.is_none() {
                *serving = Some(Serving::start(desk, places)?);
            }
            LEDGER_RETRY
        };
        tokio::time::sleep(pause).await;
    }
}

fn tell_found(found: &Found) {
    match found {
        Found::SetAside { file, cause } => tracing::error!(
            file = %file.display(),
            %cause,
            "the ledger was damaged and set aside; it is rebuilt from EC2 and the kernel"
        ),
        Found::Migrated { from, copy } => tracing::info!(
            from,
            copy = %copy.display(),
            "the ledger was brought to another format, the oldest that says all it holds"
        ),
        other => tracing::info!(found = ?other, "ledger"),
    }
}

async fn build_engine(
    config: &Arc<Config>,
    opened: Opened,
    calls: Arc<Calls>,
) -> anyhow::Result<(Engine<RealWorld>, EngineHandle)> {
    let region = Region::default();
    if let Some(node) = &opened.ledger.node {
        region.tell(&node.identity.region);
    }
    let imds = Imds::new(ImdsSettings::default()).context("setting up the metadata client")?;
    let options = HostOptions { proc_sys: Some(config.proc_sys.value.clone()), ..HostOptions::default() };
    let host = Host::new(options).context("opening the host's network")?;
    if let Err(fault) = host.ensure_forwarding().await {
        // A node whose image sees to it needs no right of ours.
        tracing::error!(error = %chain(&fault), "IPv4 forwarding is off: pods reach nothing");
    }
    let ports = Ports::<RealWorld> {
        cloud: Arc::new(Counted::new(RegionalCloud::new(region.clone()), calls)),
        metadata: Arc::new(RegionTeller::new(imds, region)),
        host: Arc::new(host),
        clock: Arc::new(KernelClock::new()?),
        spawner: Arc::new(RuntimeTasks),
    };
    Engine::new(ports, Arc::clone(config), opened.store).context("starting the ledger's writer")
}

/// The sockets' places, which are ours alone for as long as this process lives.
struct Places {
    plugin: Arc<Lock>,
    admin: Arc<Lock>,
}

impl Places {
    /// Waits until no other daemon has them.
    async fn take(config: &Config) -> anyhow::Result<Self> {
        let both = || {
            let plugin = Lock::beside(&config.socket.value)?;
            let admin = Lock::beside(&admin::path(config))?;
            Ok(Self { plugin: Arc::new(plugin), admin: Arc::new(admin) })
        };
        let mut told = false;
        loop {
            match both() {
                Err(error @ LockError::Held(_)) => {
                    if !told {
                        tracing::error!(%error, "waiting until that one ends");
                        told = true;
                    }
                    tokio::time::sleep(LOCK_RETRY).await;
                }
                other => return other.context("taking the sockets' place"),
            }
        }
    }
}

/// The sockets. They are shut, and their files removed, when this is dropped.
struct Serving {
    plugin: Listening,
    admin: Listening,
}

impl Serving {
    fn start(desk: &Arc<Desk>, places: &Places) -> anyhow::Result<Self> {
        let plugin = server::listen(desk, Arc::clone(&places.plugin))?;
        let admin = admin::listen(desk, Arc::clone(&places.admin), plugin.door())?;
        Ok(Self { plugin, admin })
    }

    /// Takes no more questions.
    fn shut(&self) {
        self.plugin.shut();
        self.admin.shut();
    }

    /// Waits until those who have asked have their answer.
    async fn answers_out(&self, patience: Duration) {
        if tokio::time::timeout(patience, self.plugin.idle()).await.is_err() {
            tracing::info!("some clients did not take their answer");
        }
    }
}

/// Cancelled by SIGTERM or SIGINT.
pub(crate) fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = CancellationToken::new();
    let told = stopping.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(stopping)
}
