//! The benchmarks, each on the real daemon, the real plugin, the real kernel and the real disk, in a VPC in a box.
//!
//! Run by `./dev bench WHAT`, which puts it into namespaces of its own. Compare ratios taken in one run rather than
//! figures of two machines. Ends badly when an aim is missed by more than its noise.

mod add;
mod aims;
mod burst;
mod contenders;
mod floor;
mod memory;
mod place;
mod recovery;
mod scale;
mod threads;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use serde_json::{Map, Value};

use aims::Aims;

/// Measures the daemon and its plugin.
#[derive(Parser)]
struct Arguments {
    /// Write the figures into this file, too.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Copy)]
enum What {
    /// ADD and DEL beside the reference plugin and the bare kernel.
    Add {
        /// Turns; in each, every contender does the same work.
        #[arg(long, default_value_t = 10)]
        rounds: usize,
    },
    /// 110 pods asked for at once on a fresh node, EC2 as slow as in life.
    Burst,
    /// From process start to the first served ADD, with 110 leased pods.
    Recovery {
        /// How often.
        #[arg(long, default_value_t = 10)]
        times: usize,
    },
    /// Resident memory with 110 pods.
    Memory,
    /// ADD and restart on the largest nodes, beside the same with ten pods.
    Scale {
        /// How often the node is filled and emptied.
        #[arg(long, default_value_t = 2)]
        rounds: usize,
    },
    /// All of them.
    All,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let kinds = match arguments.what {
        What::All => vec![What::Add { rounds: 10 }, What::Burst, What::Recovery { times: 10 }, What::Memory],
        one => vec![one],
    };
    // What else it does is in every figure.
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy = format!("a load of {}", load.split(' ').next().unwrap_or("?"));
    let mut aims = Aims::default();
    let mut figures = Map::new();
    for kind in kinds {
        let (name, value) = match kind {
            What::Add { rounds } => ("add", add::run(rounds, &mut aims)?),
            What::Burst => ("burst", burst::run(&mut aims)?),
            What::Recovery { times } => ("recovery", recovery::run(times, &mut aims)?),
            What::Memory => ("memory", memory::run(&mut aims)?),
            What::Scale { rounds } => ("scale", scale::run(rounds, &mut aims)?),
            What::All => continue,
        };
        figures.insert(name.to_owned(), value);
    }
    if let Some(file) = &arguments.json {
        let text = format!("{:#}\n", Value::Object(figures));
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
        println!("\nfigures written to {}", file.display());
    }
    aims.all_held().with_context(|| format!("aims were missed (before it began the machine had {busy})"))
}
