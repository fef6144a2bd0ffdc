//! `holdfast run`: open the ledger, start the engine, serve the plugin, stop in order.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use holdfast_aws::{Imds, ImdsSettings};
use holdfast_datapath::Host;
use holdfast_engine::{Engine, EngineHandle, Ports};
use holdfast_model::config::Config;
use holdfast_store::{Found, OpenError, OpenOptions, Opened, Store};
use holdfast_wire::spool::Spool;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::clock::{self, KernelClock};
use crate::cloud::{RealWorld, RegionTeller, RegionalCloud};
use crate::server::Backend;
use crate::{admin, logging, server, spool};

/// How soon a ledger that could not be opened is tried again.
const LEDGER_RETRY: Duration = Duration::from_secs(5);

/// Runs the daemon until it is told to stop.
pub(crate) fn run(config: Config) -> anyhow::Result<()> {
    logging::set_up(
        std::env::var("AWS_VPC_K8S_CNI_LOGLEVEL").ok().as_deref(),
        std::io::stderr().is_terminal(),
    );
    // The loop's own work is small; EC2, the kernel and the disk have threads or waits of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .context("starting the runtime")?;
    runtime.block_on(serve(Arc::new(config)))
}

async fn serve(config: Arc<Config>) -> anyhow::Result<()> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %serde_json::to_string(&*config)?, "starting");
    let mut stop = Stop::new()?;
    let (backend, current) = watch::channel(Backend::Refusing("the daemon is starting".to_owned()));
    let spools = [Spool::new(&config.spool.value), Spool::beside(&config.socket.value)];

    // DELs must succeed even while the ledger cannot be opened: the plugin is told so, and leaves a tombstone.
    let mut serving = None;
    let opened = loop {
        match open_ledger(&config) {
            Ok(opened) => break opened,
            Err(error) => {
                let cause = chain(&error);
                tracing::error!(%cause, "the ledger cannot be opened; pods can be deleted, not added");
                backend.send_replace(Backend::Refusing(cause));
            }
        }
        if serving.is_none() {
            serving = Some(start_serving(&config, &current, &spools)?);
        }
        tokio::select! {
            () = tokio::time::sleep(LEDGER_RETRY) => {}
            () = stop.wait() => return Ok(()),
        }
    };
    tell_found(&opened.found);

    let (engine, handle) = build_engine(&config, opened)?;
    let engine = tokio::spawn(engine.run());
    // What was deleted while no daemon ran goes first: an address it holds may be asked for next.
    spool::drain(&spools, &handle).await;
    backend.send_replace(Backend::Engine(handle.clone()));
    if serving.is_none() {
        serving = Some(start_serving(&config, &current, &spools)?);
    }
    tracing::info!("serving");
    let watching = tokio::spawn(spool::watch(spools, handle.clone()));

    stop.wait().await;
    tracing::info!("stopping");
    watching.abort();
    drop(serving);
    handle.stop().await;
    engine.await.context("the engine ended badly")?;
    tracing::info!("stopped");
    Ok(())
}

fn open_ledger(config: &Config) -> Result<Opened, OpenError> {
    Store::open(&config.ledger.value, &OpenOptions::at(clock::wall()))
}

fn tell_found(found: &Found) {
    match found {
        Found::SetAside { file, cause } => tracing::error!(
            file = %file.display(),
            %cause,
            "the ledger was damaged and set aside; it is rebuilt from EC2 and the kernel"
        ),
        other => tracing::info!(found = ?other, "ledger"),
    }
}

fn build_engine(config: &Arc<Config>, opened: Opened) -> anyhow::Result<(Engine<RealWorld>, EngineHandle)> {
    let region = Arc::new(OnceLock::new());
    if let Some(node) = &opened.ledger.node {
        region.get_or_init(|| node.identity.region.clone());
    }
    let imds = Imds::new(ImdsSettings::default()).context("setting up the metadata client")?;
    let host = Host::new().context("opening the host's network")?;
    let ports = Ports::<RealWorld> {
        cloud: Arc::new(RegionalCloud::new(Arc::clone(&region))),
        metadata: Arc::new(RegionTeller::new(imds, region)),
        host: Arc::new(host),
        clock: Arc::new(KernelClock::new()?),
    };
    Engine::new(ports, Arc::clone(config), opened.store, false).context("starting the ledger's writer")
}

/// The sockets. They are closed, and their files removed, when this is dropped.
struct Serving {
    _plugin: server::Listening,
    _admin: server::Listening,
}

fn start_serving(
    config: &Arc<Config>,
    backend: &watch::Receiver<Backend>,
    spools: &[Spool; 2],
) -> anyhow::Result<Serving> {
    let plugin = server::listen(Arc::clone(config), backend.clone(), spools.clone())?;
    let admin = admin::listen(config, backend.clone())?;
    Ok(Serving { _plugin: plugin, _admin: admin })
}

/// SIGTERM or SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// An error and its sources, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
