//! `holdfast`, the node daemon: reads the configuration once, wires the rooms together, and serves the plugin.
//!
//! Start reading at [`run`]; [`env`] says which settings there are, [`server`] what a plugin may ask.

#[cfg(not(target_os = "linux"))]
compile_error!("Holdfast configures the Linux kernel's network; it runs on Linux only");

mod admin;
mod clock;
mod cloud;
mod dump;
mod env;
mod logging;
mod run;
mod server;
mod spool;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code for a configuration that cannot be used (`EX_USAGE` of sysexits).
const BAD_CONFIGURATION: u8 = 64;

#[derive(Parser)]
#[command(
    name = "holdfast",
    version,
    about = "Gives every pod on an AWS node a real VPC address, and keeps that true.",
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
    let cli = Cli::parse();
    let outcome = match cli.verb {
        Verb::Version => {
            println!("holdfast {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Verb::Settings => match settings() {
            Ok(settings) => print_json(&settings),
            Err(code) => return code,
        },
        Verb::Dump { ledger } => settings_quietly().and_then(|config| dump::dump(&config, &ledger)),
        Verb::Health => settings_quietly().and_then(|config| admin::health(&config)),
        Verb::Run => match settings() {
            Ok(config) => run::run(config),
            Err(code) => return code,
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The configuration, with all that is wrong with it said at once.
fn settings() -> Result<holdfast_model::config::Config, ExitCode> {
    let read = env::read(|name| std::env::var(name).ok());
    for problem in &read.ignored {
        eprintln!("holdfast: {problem}; the default is used");
    }
    if read.refused.is_empty() {
        return Ok(read.config);
    }
    for problem in &read.refused {
        eprintln!("holdfast: {problem}");
    }
    Err(ExitCode::from(BAD_CONFIGURATION))
}

/// The configuration for verbs that only need paths.
fn settings_quietly() -> anyhow::Result<holdfast_model::config::Config> {
    Ok(env::read(|name| std::env::var(name).ok()).config)
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
