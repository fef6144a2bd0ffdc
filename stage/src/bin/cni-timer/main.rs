//! `cni-timer`: stands in a node's folder of plugins under the name of a plugin, runs the real one, which is in the folder
//! `timed` beside it, and writes down how long that took. So two plugins are measured alike, from where the runtime stands.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Context as _;

/// One line for each call: the plugin, the verb, nanoseconds.
const LOG: &str = "/run/cni-timer.log";

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("cni-timer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<u8> {
    let this = std::env::current_exe().context("the path of this program")?;
    let name = this.file_name().context("this program has no name")?.to_owned();
    let real = this.with_file_name("timed").join(&name);
    let began = Instant::now();
    let status = Command::new(&real).status().with_context(|| format!("running {}", real.display()))?;
    let took = began.elapsed().as_nanos();
    let verb = std::env::var("CNI_COMMAND").unwrap_or_default();
    let line = format!("{} {verb} {took}\n", name.to_string_lossy());
    let log = OpenOptions::new().create(true).append(true).open(LOG);
    log.and_then(|mut log| log.write_all(line.as_bytes())).context("writing its time down")?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}
