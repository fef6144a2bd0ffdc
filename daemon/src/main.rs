//! `holdfast`, the node daemon: reads the configuration once, wires the rooms together, and serves the plugin.
//!
//! Start reading at [`run`]; [`settings`] says which settings there are, [`server`] what a plugin may ask, [`spool`] what
//! becomes of a DEL that no daemon heard.

#[cfg(not(target_os = "linux"))]
compile_error!("Holdfast configures the Linux kernel's network; it runs on Linux only");

mod admin;
mod aside;
mod backend;
mod clock;
mod cloud;
mod cluster;
mod controller;
mod downgrade;
mod dump;
mod eni_config_file;
mod install;
mod instance_types;
mod keeper;
mod keys;
mod limits;
mod logging;
mod metrics_helper;
mod pool;
mod pool_words;
mod removal;
mod rights;
mod run;
mod server;
mod settings;
mod spool;
mod state;
mod telling;
mod told;
mod troubles;
mod turns;
mod watched;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use holdfast_model::settings::ClusterSettings;

use crate::keeper::Keeper;
use crate::settings::Layers;

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
    /// Run the cluster's controller until SIGTERM or SIGINT: it restores the managed fields of the daemon's DaemonSet. Of several
    /// replicas one leads.
    Controller(controller::Objects),
    /// Run the cluster's metrics helper until SIGTERM or SIGINT: it adds every daemon's metrics up, and publishes them to CloudWatch.
    /// Settings: USE_CLOUDWATCH, USE_PROMETHEUS, METRIC_UPDATE_INTERVAL, AWS_CLUSTER_ID, AWS_REGION.
    MetricsHelper,
    /// Print the whole state as JSON, for a support ticket: from the running daemon, or from a copy of its ledger
    /// when none runs.
    Dump {
        /// Where the ledger is, when no daemon runs.
        #[arg(long, env = "HOLDFAST_LEDGER", default_value = "/var/lib/holdfast/ledger.redb")]
        ledger: PathBuf,
        /// The ledger as it is kept, for programs: its instants are milliseconds since the boot.
        #[arg(long)]
        raw: bool,
    },
    /// Say whether the daemon is alive: exit code 0 when its loop answers. Depends on nothing outside the node.
    Health,
    /// Print the settings that hold in the running daemon, whose word each is, and what the Amazon VPC CNI would use where that
    /// differs; without a daemon, what the environment says.
    Settings,
    /// Say what the pool of addresses aims at in the running daemon and why: what is held, how many are to be free and whose word
    /// that is, what was learned, and how much the subnets have left.
    Pool {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Say what instance types carry: ENIs, addresses, prefixes, branch ENIs, max pods for each way to give pods addresses, and the
    /// expressions that say so to nodeadm and Karpenter. Asks neither AWS nor a daemon.
    Limits(instance_types::Asked),
    /// Bring the ledger of a stopped daemon back to the format of the version before, so that that one takes over with
    /// all pods. To be run by this version, before the older one, or while it says that the ledger is too new for it.
    Downgrade {
        /// The older format's number, as the older version's log names it.
        #[arg(long, value_name = "SCHEMA")]
        to: u8,
        /// Where the ledger is.
        #[arg(long, env = "HOLDFAST_LEDGER", default_value = "/var/lib/holdfast/ledger.redb")]
        ledger: PathBuf,
    },
    /// Print the version.
    Version,
}

/// The program by which the Amazon VPC CNI's manifests probe, with an address and timeouts of that one's. Who carries our program
/// under that name, as the image does, has such a probe answered as by `holdfast health`.
const INCUMBENTS_PROBE: &str = "grpc-health-probe";

fn main() -> ExitCode {
    let called = std::env::args_os().next().map(PathBuf::from);
    let probed = called.is_some_and(|path| path.file_name().is_some_and(|name| name == INCUMBENTS_PROBE));
    let verb = if probed { Verb::Health } else { Cli::parse().verb };
    let outcome = match verb {
        Verb::Version => print(&format!("holdfast {}", env!("CARGO_PKG_VERSION"))),
        Verb::Settings => return print_settings(),
        Verb::Limits(asked) => instance_types::limits(&asked).and_then(|text| print(&text)),
        // These need the sockets' paths only; what else is wrong with the environment is the daemon's to say.
        Verb::Dump { ledger, raw } => {
            let read = read_settings();
            let form = if raw { state::Form::Raw } else { state::Form::Told };
            dump::dump(&read.config, &read.by_name, &ledger, form)
        }
        Verb::Pool { json } => pool::pool(&read_settings().config, json),
        Verb::Health => admin::health(&read_settings().config),
        Verb::Downgrade { to, ledger } => downgrade::downgrade(&ledger, to),
        Verb::Controller(objects) => {
            return with_log(false, |read, _level| controller::control(&read, objects));
        }
        Verb::MetricsHelper => return run_metrics_helper(),
        Verb::Run => {
            holdfast_datapath::share_one_heap();
            return with_log(true, |read, level| run::run(Keeper::new(environment, read, level)));
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// `holdfast metrics-helper`, unless its settings are wrong.
fn run_metrics_helper() -> ExitCode {
    match holdfast_metrics_helper::Settings::read(environment) {
        Ok(settings) => with_log(false, |read, _level| metrics_helper::help(&read, settings)),
        Err(wrong) => {
            for problem in wrong {
                complain(&format!("{problem}; it does not start with that"));
            }
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}

/// What runs until it is stopped. All that it says goes into its log. `of_a_node`: whether a node's settings are what it runs with.
fn with_log(
    of_a_node: bool,
    work: impl FnOnce(settings::Read, logging::Level) -> anyhow::Result<()>,
) -> ExitCode {
    let read = read_settings();
    let (log, level) = match logging::set_up(read.log_level, std::io::stderr().is_terminal()) {
        Ok(log) => log,
        Err(error) => {
            complain(&format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    for warning in read.warnings() {
        tracing::warn!("{warning}");
    }
    for problem in &read.refused {
        tracing::error!("{problem}; it does not start with that");
    }
    let code = if read.refused.is_empty() {
        let settings = of_a_node.then(|| serde_json::Value::Object(read.by_name.clone()).to_string());
        tracing::info!(version = env!("CARGO_PKG_VERSION"), settings, "starting");
        match work(read, level) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(error = %format!("{error:#}"), "it ends");
                ExitCode::FAILURE
            }
        }
    } else {
        ExitCode::from(BAD_CONFIGURATION)
    };
    drop(log);
    code
}

/// `holdfast settings`: those that hold in the daemon that runs, else what the environment says; with all that is wrong with that
/// said at once.
fn print_settings() -> ExitCode {
    let read = read_settings();
    let refused = read.refused.iter().map(ToString::to_string);
    for problem in read.warnings().into_iter().chain(refused) {
        complain(&problem);
    }
    if !read.refused.is_empty() {
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let printed = match admin::ask(&read.config, admin::SETTINGS) {
        Ok(Ok(held)) if held.get("unknown").is_none() => print_json(&held),
        Ok(Ok(_older)) => {
            complain("the daemon that runs is an older one: this is what its environment says");
            print_json(&read.by_name)
        }
        Ok(Err(nobody)) => {
            complain(&format!("{nobody}; this is what one would start with, without what the cluster says"));
            print_json(&read.by_name)
        }
        Err(stuck) => Err(stuck),
    };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn read_settings() -> settings::Read {
    settings::read(&Layers::new(environment, &ClusterSettings::default()))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
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
