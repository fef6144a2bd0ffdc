//! The node daemon as a crash test has it: the real engine, the real store on a real file, the real EC2 adapter, the real
//! datapath in the network namespace that it is started in. What the adapter sends, and the clock, go to the test at the
//! other end of stdin and stdout. It kills itself at its appointed step.

mod broken;
mod host;
mod line;
mod ports;
mod steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use holdfast_aws::{Ec2Cloud, Ec2Settings, Imds, ImdsSettings, Surroundings};
use holdfast_datapath::{Host, HostOptions, netns};
use holdfast_engine::{AddRequest, Engine, EngineHandle, Ports, RuntimeTasks, World};
use holdfast_model::lease::Lease;
use holdfast_model::sandbox::NetnsRef;
use holdfast_ports::Clock;
use holdfast_store::{OpenError, OpenOptions, Opened, Store};
use tokio::sync::{Notify, mpsc};

use crate::config;
use crate::daemon::broken::Broken;
use crate::daemon::host::CountedHost;
use crate::daemon::line::Line;
use crate::daemon::ports::{AskedWire, CountedCloud, ReadMetadata, ToldClock};
use crate::daemon::steps::Steps;
use crate::wire::{AddSandbox, Death, FromNode, ToNode};

/// For crash tests; started by them.
#[derive(Debug, Parser)]
struct Args {
    /// The ledger's file.
    #[arg(long)]
    ledger: PathBuf,
    /// Where the box is.
    #[arg(long)]
    region: String,
    /// How late it is: milliseconds since the node began.
    #[arg(long)]
    now: u64,
    /// The step at which to die, as JSON.
    #[arg(long)]
    death: Option<String>,
    /// What to do wrong.
    #[arg(long, env = broken::VARIABLE)]
    broken: Option<Broken>,
}

struct ToldWorld;

impl World for ToldWorld {
    type Cloud = CountedCloud;
    type Metadata = ReadMetadata;
    type Host = CountedHost;
    type Clock = ToldClock;
    type Spawner = RuntimeTasks;
}

pub(crate) use broken::VARIABLE as BROKEN;

/// What this program is called with to be the daemon.
pub(crate) const WORD: &str = "be-the-daemon";

/// How long the test may take to answer, in real time: in the node's own it takes none.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn main() -> ExitCode {
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn begin() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let args = Args::parse_from(std::env::args_os().skip(1));
    // As the daemon has it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let death: Option<Death> = args.death.map(|text| serde_json::from_str(&text)).transpose()?;
    tracing::info!(now = args.now, ?death, "a life begins");
    if let Some(broken) = args.broken {
        broken.start()?;
    }
    let line = Arc::new(Line::default());
    let steps = Arc::new(Steps::new(Arc::clone(&line), death));
    let clock = Arc::new(ToldClock::new(args.now)?);
    let ticked = Arc::new(Notify::new());
    let (sender, mut commands) = mpsc::unbounded_channel();
    {
        let (line, clock, ticked) = (Arc::clone(&line), Arc::clone(&clock), Arc::clone(&ticked));
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            line::listen(|message| match message {
                ToNode::Time(now) => {
                    clock.set(now);
                    ticked.notify_one();
                }
                ToNode::Http { question, .. } => line.answered(question, message),
                // Nobody takes commands any more once it stops.
                command => drop(sender.send(command)),
            });
        })?;
    }

    let options =
        OpenOptions { observer: Some(Arc::<Steps>::clone(&steps)), ..OpenOptions::at(clock.now().wall) };
    let opened = open_ledger(&args.ledger, &options)?;
    tracing::info!(found = ?opened.found, "ledger");
    let amid = Arc::clone(&steps);
    let host = Host::new(HostOptions {
        interrupt: Some(Arc::new(move |step| {
            amid.amid(&format!("wiring, coming to {step:?}"));
            Ok(())
        })),
        ..HostOptions::default()
    })?;
    host.ensure_forwarding().await?;
    let surroundings = Some(Surroundings {
        transport: Arc::new(AskedWire(Arc::clone(&line))),
        clock: Arc::<ToldClock>::clone(&clock),
    });
    let imds = ImdsSettings {
        deadline: PATIENCE,
        request_timeout: PATIENCE,
        surroundings: surroundings.clone(),
        ..ImdsSettings::default()
    };
    let ec2 = Ec2Settings { deadline: PATIENCE, surroundings, ..Ec2Settings::new(args.region, "killed") };
    let ports = Ports::<ToldWorld> {
        cloud: Arc::new(CountedCloud::new(Ec2Cloud::new(ec2).await, Arc::clone(&steps))),
        metadata: Arc::new(ReadMetadata::new(Imds::new(imds)?, Arc::clone(&steps))),
        host: Arc::new(CountedHost::new(host, steps, args.broken)),
        clock: Arc::clone(&clock),
        spawner: Arc::new(RuntimeTasks),
    };
    let (engine, handle) = Engine::new(ports, Arc::new(config(args.ledger)), opened.store)?;
    let running = tokio::spawn(engine.run());
    let looking = tokio::spawn(look(handle.clone(), clock, ticked, Arc::clone(&line)));
    while let Some(command) = commands.recv().await {
        match command {
            ToNode::Add { request, sandbox } => {
                let (handle, line) = (handle.clone(), Arc::clone(&line));
                tokio::spawn(async move {
                    let mut result = add(&handle, sandbox).await.map_err(|error| format!("{error:#}"));
                    if let (Some(broken), Ok(lease)) = (args.broken, &mut result) {
                        broken.tell(lease);
                    }
                    line.say(&FromNode::Added { request, result });
                });
            }
            ToNode::Del { request, sandbox } => {
                let (handle, line) = (handle.clone(), Arc::clone(&line));
                tokio::spawn(async move {
                    let done = handle.del(sandbox).await.is_ok();
                    line.say(&FromNode::Deleted { request, done });
                });
            }
            ToNode::Dump { request } => {
                let dump = handle.dump().await?;
                line.say(&FromNode::Dumped { request, ledger: Box::new(dump.ledger) });
            }
            ToNode::Stop => break,
            _answers => {}
        }
    }
    looking.abort();
    handle.stop().await;
    running.await.context("the engine ended badly")
}

/// As the daemon does: a ledger that is held is tried again. A process that was killed while it started another one
/// (the datapath runs `nft`) leaves its open files to that one for a moment.
fn open_ledger(path: &Path, options: &OpenOptions) -> anyhow::Result<Opened> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match Store::open(path, options) {
            Err(OpenError::Locked { .. }) if Instant::now() < until => {
                tracing::warn!("the ledger is held");
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => return opened.context("opening the ledger"),
        }
    }
}

async fn add(handle: &EngineHandle, sandbox: AddSandbox) -> anyhow::Result<Lease> {
    let netns = netns::open(&sandbox.netns)?;
    let inode = netns::identity(&netns)?.inode;
    let request = AddRequest {
        sandbox: sandbox.key,
        pod: sandbox.pod,
        netns: netns.into(),
        netns_ref: NetnsRef { path: sandbox.netns.display().to_string(), inode },
        host_veth: sandbox.host_veth,
        fallback_veth: sandbox.fallback_veth,
        further: None,
        mtu: 9001,
        trace: None,
        patience: None,
    };
    Ok(handle.add(request).await?)
}

/// The engine sleeps in real time; so each time the clock is moved it is made to look.
async fn look(handle: EngineHandle, clock: Arc<ToldClock>, ticked: Arc<Notify>, line: Arc<Line>) {
    loop {
        ticked.notified().await;
        let now = clock.millis();
        // Twice: the second comes after what the first one set off has begun.
        if handle.status().await.is_err() || handle.status().await.is_err() {
            return;
        }
        line.say(&FromNode::Looked(now));
    }
}
