//! `holdfast`, the node daemon: reads the configuration once, wires the rooms together, and serves the plugin.
//!
//! Start reading at [`run`]; [`env`] says which settings there are, [`server`] what a plugin may ask, [`spool`] what
//! becomes of a DEL that no daemon heard.

#[cfg(not(target_os = "linux"))]
compile_error!("Holdfast configures the Linux kernel's network; it runs on Linux only");

mod admin;
mod clock;
mod cloud;
mod dump;
mod env;
mod limits;
mod logging;
mod run;
mod server;
mod spool;
mod turns;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use holdfast_model::config::Config;

/// Exit code for a configuration that cannot be used (`EX_USAGE` of sysexits).
const BAD_CONFIGURATION: u8 = 64;

#[derive(Parser)]
#[command(
    name = "holdfast",
    version,
    about = "Gives every pod on an AWS node a real VPC address, and keeps that true. Linux only.",
    after_help = "Settings come from the environment, under the names that the Amazon VPC CNI uses \
                  (WARM_ENI_TARGET, WARM_IP_TARGET, ...); `holdfast settings` lists them with their values."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the daemon until SIGTERM or SIGINT.
    Run,
    /// Print the whole state as JSON, for a support ticket: from the running daemon, or from a copy of its ledger
    /// when none runs.
    Dump {
        /// Where the ledger is, when no daemon runs.
        #[arg(long, env = "HOLDFAST_LEDGER", default_value = "/var/lib/holdfast/ledger.redb")]
        ledger: PathBuf,
    },
    /// Say whether the daemon is alive: exit code 0 when its loop answers. Depends on nothing outside the node.
    Health,
    /// Print the settings that the daemon would run with, and where each comes from.
    Settings,
    /// Print the version.
    Version,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Version => print(&format!("holdfast {}", env!("CARGO_PKG_VERSION"))),
        Verb::Settings => match settings() {
            Ok(config) => print_json(&config),
            Err(code) => return code,
        },
        // These need the sockets' paths only; what else is wrong with the environment is the daemon's to say.
        Verb::Dump { ledger } => dump::dump(&read_settings().config, &ledger),
        Verb::Health => admin::health(&read_settings().config),
        Verb::Run => match settings() {
            Ok(config) => run::run(config),
            Err(code) => return code,
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn read_settings() -> env::Read {
    env::read(|name| std::env::var(name).ok())
}

/// The configuration, with all that is wrong with it said at once.
fn settings() -> Result<Config, ExitCode> {
    let read = read_settings();
    for problem in &read.ignored {
        complain(&format!("{problem}; the default is used"));
    }
    for problem in &read.unsupported {
        complain(&format!("{problem}; it has no effect"));
    }
    for problem in &read.refused {
        complain(&problem.to_string());
    }
    if read.refused.is_empty() { Ok(read.config) } else { Err(ExitCode::from(BAD_CONFIGURATION)) }
}

fn complain(text: &str) {
    // A reader that went away is no reason to panic, here and below.
    drop(writeln!(std::io::stderr(), "holdfast: {text}"));
}

/// Prints text; a reader that went away (`holdfast dump | head`) has seen what it wanted.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}
