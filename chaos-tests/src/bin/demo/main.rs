//! The demo: two nodes, a VPC in a box, the real daemon, the real plugin, real packets, and a daemon that is killed
//! in the middle of its work. Exit code 0 only if every promise held.
//!
//! Run by `./dev demo`, which puts it into mount, PID and network namespaces of its own as their first process: with
//! it everything ends, however it ends. Start reading at [`scenes`].

mod dice;
mod mode;
mod rests;
mod scenes;
mod stage;
mod summary;

use std::process::ExitCode;

use clap::Parser;
use holdfast_chaos_tests::report::Report;
use tokio::signal::unix::{SignalKind, signal};

/// What a shell reports for a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

use mode::Mode;

/// The whole life of pods' network on two nodes, with the daemon killed at random moments.
#[derive(Parser)]
struct Arguments {
    /// Chooses the moments at which the daemon is killed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Pods on each node, two at least.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u8).range(2..=12))]
    pods: u8,
    /// How often the daemon is killed in the middle of ADDs.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=6))]
    kills: u8,
    /// Out of what pods get their addresses.
    #[arg(long, value_enum, default_value_t = Mode::Secondary)]
    mode: Mode,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = obey_signals() {
        eprintln!("demo: {error:#}");
        return ExitCode::FAILURE;
    }
    let mut report = Report::begin(
        "Holdfast: pods' network on two nodes, the daemon killed while it works",
        scenes::STEPS,
    );
    match scenes::play(&mut report, &arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report.broken(&error);
            ExitCode::FAILURE
        }
    }
}

/// The first process of a PID namespace ignores the signals that it does not handle.
fn obey_signals() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        // The kernel ends what is left with us.
        std::process::exit(INTERRUPTED);
    })?;
    Ok(())
}
