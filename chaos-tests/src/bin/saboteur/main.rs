//! Stands in the place of a program, runs it, and spoils what it does: see `holdfast_chaos_tests::sabotage`.
//!
//! What it is to do is in the files beside the name that it is called by. It fails loudly where it cannot: a sabotage
//! that does nothing would make a judge look blind.

mod aside;
mod daemon;
mod plugin;
mod vpcsim;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

/// The files beside the name that it was called by.
#[derive(Debug)]
struct Place(PathBuf);

impl Place {
    fn real(&self) -> PathBuf {
        self.0.join("real")
    }

    /// The sabotage's name.
    fn how(&self) -> anyhow::Result<String> {
        let file = self.0.join("how");
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    }

    /// Harm was done.
    fn hit(&self, what: &str) -> anyhow::Result<()> {
        let file = File::options().create(true).append(true).open(self.0.join("hits"));
        Ok(file?.write_all(format!("{what}\n").as_bytes())?)
    }

    /// The first to come with this name, among all processes and times.
    fn is_first(&self, name: &str) -> bool {
        File::create_new(self.0.join(name)).is_ok()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("saboteur: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let called = PathBuf::from(std::env::args_os().next().context("a program has a name")?);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let place = Place(called.parent().map(Path::to_owned).context("it is called by its path")?);
    if let [word, rest @ ..] = arguments.as_slice()
        && word == aside::WORD
    {
        return aside::run(&place, rest).map(|()| ExitCode::SUCCESS);
    }
    match called.file_name().and_then(|name| name.to_str()) {
        Some("aws-cni") => plugin::run(&place),
        Some("holdfast") => daemon::run(&place, &called, &arguments),
        Some("vpcsim") => vpcsim::run(&place, &called, &arguments),
        other => anyhow::bail!("{other:?} is no program of ours"),
    }
}
