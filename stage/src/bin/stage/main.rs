//! `stage`: a real Kubernetes cluster on one machine. Run by `./dev stage`.

mod conformance;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use holdfast_stage::{
    Chart, Holdfast, NodeInit, Place, Places, Plan, Plugin, Programs, Release, Removed, RunFolder, build,
    command_in, down, go_of, place_of, status, up,
};

/// A real Kubernetes cluster on one machine, its nodes on the simulated VPC.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// The repository: its module files, and the folder `target` in which everything is made.
    #[arg(long, global = true, default_value = ".")]
    root: PathBuf,
    /// Another release than the newest, such as 1.35: for `build` and `up`.
    #[arg(long, global = true, env = "HOLDFAST_STAGE_RELEASE")]
    release: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds the cluster's programs that are not built yet, and packs its images.
    Build,
    /// Brings a stage up. Needs root.
    Up(UpArguments),
    /// Says what a stage is now.
    Status(Which),
    /// Ends a stage and removes all of it, also what is left of one that was killed. Well if there is none.
    Down(Which),
    /// Runs kubectl as the cluster's administrator.
    Kubectl {
        #[command(flatten)]
        which: Which,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs a command in all namespaces of a node, or in the network of the control plane.
    Exec {
        #[command(flatten)]
        which: Which,
        /// `node-a`, `node-b` and so on, or `control-plane`.
        node: String,
        /// The command.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Runs Kubernetes' own conformance tests of networking on stages of its own. Needs root.
    Conformance(conformance::Arguments),
    /// Keeps a stage: started by `up`.
    #[command(hide = true)]
    Keep {
        /// Its name.
        name: String,
    },
    /// The first process of a PID namespace.
    #[command(hide = true)]
    Tend {
        /// What it starts.
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
    /// The first process of a node.
    #[command(hide = true)]
    Init {
        /// What the node is to be.
        order: PathBuf,
    },
    /// Becomes a command in a cgroup.
    #[command(hide = true)]
    Join {
        /// The cgroup.
        cgroup: String,
        /// The command.
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// The stage's name.
    #[arg(long, default_value = "default")]
    name: String,
}

#[derive(Debug, Args)]
struct UpArguments {
    #[command(flatten)]
    which: Which,
    /// Builds first what is not built yet.
    #[arg(long)]
    build: bool,
    /// How many nodes.
    #[arg(long, default_value_t = 2)]
    nodes: u8,
    /// The pods' network.
    #[arg(long, value_enum, default_value_t = Network::Holdfast)]
    plugin: Network,
    /// The nodes' instance type.
    #[arg(long = "type", default_value = "m5.xlarge")]
    instance_type: String,
    #[command(flatten)]
    programs: ProgramArguments,
}

#[derive(Debug, Args)]
struct ProgramArguments {
    /// The simulated VPC.
    #[arg(long, env = "HOLDFAST_BIN_VPCSIM")]
    vpcsim: PathBuf,
    /// Holdfast's daemon.
    #[arg(long, env = "HOLDFAST_BIN_DAEMON")]
    daemon: Option<PathBuf>,
    /// Holdfast's CNI plugin.
    #[arg(long, env = "HOLDFAST_BIN_PLUGIN")]
    cni: Option<PathBuf>,
    /// With `--plugin chart`: Helm.
    #[arg(long, env = "HOLDFAST_BIN_HELM")]
    helm: Option<PathBuf>,
    /// With `--plugin chart`: the archive of Holdfast's image.
    #[arg(long, env = "HOLDFAST_IMAGE")]
    image: Option<PathBuf>,
    /// With `--plugin chart`: a file of values, as given to Helm; may be given several times.
    #[arg(long)]
    values: Vec<PathBuf>,
}

impl ProgramArguments {
    /// Parts are started elsewhere, by the same paths.
    fn absolute(self, root: &Path) -> anyhow::Result<Programs> {
        let absolute = |path: PathBuf| {
            std::path::absolute(&path).with_context(|| format!("the path {}", path.display()))
        };
        let holdfast = self.daemon.zip(self.cni).map(|(daemon, plugin)| -> anyhow::Result<_> {
            Ok(Holdfast { daemon: absolute(daemon)?, plugin: absolute(plugin)? })
        });
        let values: Vec<PathBuf> = self.values.into_iter().map(absolute).collect::<Result<_, _>>()?;
        let chart = self.helm.zip(self.image).map(|(helm, image)| -> anyhow::Result<_> {
            let folder = root.join("deploy/chart/holdfast");
            Ok(Chart { helm: absolute(helm)?, folder, image: absolute(image)?, values })
        });
        Ok(Programs {
            stage: std::env::current_exe().context("the path of this program")?,
            vpcsim: absolute(self.vpcsim)?,
            holdfast: holdfast.transpose()?,
            chart: chart.transpose()?,
        })
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Network {
    /// The reference plugin.
    Ptp,
    /// Holdfast, as processes of the nodes.
    Holdfast,
    /// Holdfast, installed by its chart.
    Chart,
}

impl From<Network> for Plugin {
    fn from(network: Network) -> Self {
        match network {
            Network::Ptp => Self::Ptp,
            Network::Holdfast => Self::Holdfast,
            Network::Chart => Self::Chart,
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("stage: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let root = std::path::absolute(&cli.root).context("the repository")?;
    let folder = |which: &Which| RunFolder::new(&root, &which.name);
    match cli.command {
        Command::Build => build_all(&root, cli.release.as_deref())?,
        Command::Up(arguments) => bring_up(&root, cli.release.as_deref(), arguments)?,
        Command::Status(which) => println!("stage {:?}: {}", which.name, status(&folder(&which)?)?),
        Command::Down(which) => take_down(&folder(&which)?)?,
        Command::Kubectl { which, arguments } => {
            let argv = [vec!["kubectl".to_owned()], arguments].concat();
            return become_or_wait(&root, &folder(&which)?, &Place::Control, &argv);
        }
        Command::Exec { which, node, command } => {
            return become_or_wait(&root, &folder(&which)?, &place_of(&node), &command);
        }
        Command::Conformance(arguments) => {
            ensure!(nix::unistd::geteuid().is_root(), "containers need root: run this as root");
            conformance::run(&root, cli.release.as_deref(), arguments)?;
        }
        Command::Keep { name } => holdfast_stage::keep(&root, &name, &mut draw)?,
        Command::Tend { command } => holdfast_stage::tend(&command)?,
        Command::Init { order } => {
            let text = std::fs::read(&order).with_context(|| format!("reading {}", order.display()))?;
            let order: NodeInit = serde_json::from_slice(&text).context("understanding the order")?;
            holdfast_stage::init(&order)?;
        }
        Command::Join { cgroup, command } => match holdfast_stage::join(&cgroup, &command)? {},
    }
    Ok(ExitCode::SUCCESS)
}

fn build_all(root: &Path, release: Option<&str>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let release = Release::read(&go_of(root), release)?;
    let places = Places::new(root, &release);
    build::build(&places, &release, &mut |what| say(begun, what))?;
    let place = places.bin();
    println!(
        "Kubernetes {} and containerd {} are in {}",
        release.kubernetes,
        release.containerd,
        place.display()
    );
    Ok(())
}

fn bring_up(root: &Path, release: Option<&str>, arguments: UpArguments) -> anyhow::Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "containers need root: run this as root");
    if arguments.build {
        build_all(root, release)?;
    }
    let begun = Instant::now();
    let release = Release::read(&go_of(root), release)?;
    let (plugin, programs) = (arguments.plugin.into(), arguments.programs.absolute(root)?);
    let plan = Plan::new(release, arguments.nodes, &arguments.instance_type, plugin, programs)?;
    let name = &arguments.which.name;
    up(root, name, &plan, &mut |what| say(begun, what))?;
    say(begun, &format!("stage {name:?} is up"));
    println!("try: ./dev stage kubectl --name {name} -- get nodes -o wide");
    Ok(())
}

fn take_down(run: &RunFolder) -> anyhow::Result<()> {
    let begun = Instant::now();
    let what = match down(run)? {
        Removed::Running => "is down",
        Removed::Remains => "did not run; what it had left is removed",
        Removed::Nothing => "is not there",
    };
    say(begun, &format!("stage {:?} {what}", run.name()));
    Ok(())
}

fn become_or_wait(root: &Path, run: &RunFolder, place: &Place, argv: &[String]) -> anyhow::Result<ExitCode> {
    let status = command_in(root, run, place, argv)?.status().context("entering the stage")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn say(begun: Instant, what: &str) {
    println!("[{:6.1} s] {what}", begun.elapsed().as_secs_f64());
}

/// A secret that nobody guesses.
fn draw() -> holdfast_stage::Result<String> {
    let drawn = std::fs::read_to_string("/proc/sys/kernel/random/uuid");
    drawn.map(|text| text.trim().to_owned()).map_err(holdfast_stage::Error::io("drawing a token"))
}
