//! `vpcsim`: a VPC in a box, as a program.
//!
//! `vpcsim up --scenario FILE` makes it, prints how to use it, and stays until SIGINT, SIGTERM or `vpcsim down`.

mod admin;
mod control;
mod description;
mod down;
mod enter;
mod node;
mod run_dir;
mod site;
mod up;
mod vpc;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use run_dir::RunDir;

/// A VPC in a box: a simulated EC2 and IMDS, and a real network between its nodes' namespaces.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a box and stays in the foreground with it. Needs root, if only of a user namespace.
    Up {
        /// The scenario, a TOML file.
        #[arg(long)]
        scenario: PathBuf,
        /// Prints one line of JSON in place of text; the same is in the file box.json of the box's folder, which
        /// appears when the box is ready.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Stops a box and removes what it made, also after its process was killed. Well if there is none.
    Down {
        /// Seconds that the box gets to stop by itself before it is killed.
        #[arg(long, default_value_t = 15)]
        patience: u64,
        #[command(flatten)]
        which: Which,
    },
    /// Prints a node's environment as lines for a shell. AWS clients take their credentials from metadata.
    Env {
        /// Which node.
        node: String,
        /// Adds access keys that last, for clients that cannot ask metadata.
        #[arg(long)]
        static_keys: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Runs a command in a node's namespace and with its environment.
    Exec {
        #[command(flatten)]
        which: Which,
        /// Gives it access keys that last, for clients that cannot ask metadata.
        #[arg(long)]
        static_keys: bool,
        /// Which node.
        node: String,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Adds, stops, starts, reboots, disturbs or removes nodes of a running box.
    Node {
        #[command(flatten)]
        which: Which,
        #[command(subcommand)]
        request: node::Verb,
    },
    /// Adds subnets and blocks to the VPC of a running box.
    Vpc {
        #[command(flatten)]
        which: Which,
        #[command(subcommand)]
        request: vpc::Verb,
    },
    /// Asks a running box, or changes it from outside. Prints JSON.
    Admin {
        #[command(flatten)]
        which: Which,
        #[command(subcommand)]
        request: admin::Request,
    },
}

/// Which box.
#[derive(Debug, Args)]
struct Which {
    /// Name of the box.
    #[arg(long, default_value = "default")]
    name: String,
    /// Where boxes keep their folders.
    #[arg(long, default_value = run_dir::DEFAULT)]
    run_dir: PathBuf,
}

impl Which {
    fn folder(&self) -> anyhow::Result<RunDir> {
        RunDir::new(&self.run_dir, &self.name)
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .init();
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vpcsim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Up { scenario, json, which } => {
            up::up(&which.folder()?, &which.name, &scenario, json).map(|()| ExitCode::SUCCESS)
        }
        Command::Down { patience, which } => {
            down::down(&which.folder()?, Duration::from_secs(patience)).map(|()| ExitCode::SUCCESS)
        }
        Command::Env { node, static_keys, which } => {
            enter::env(&which.folder()?.description()?, &node, static_keys).map(|()| ExitCode::SUCCESS)
        }
        Command::Exec { which, static_keys, node, command } => {
            // Returns only if it fails.
            Err(enter::exec(&which.folder()?.description()?, &node, static_keys, &command))
        }
        Command::Node { which, request } => {
            control::send(&which.folder()?, &request.try_into()?).map(|()| ExitCode::SUCCESS)
        }
        Command::Vpc { which, request } => {
            control::send(&which.folder()?, &request.into()).map(|()| ExitCode::SUCCESS)
        }
        Command::Admin { which, request } => admin::send(&which.folder()?, request),
    }
}

/// Prints a line. A reader that went away is no reason to fail.
fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
