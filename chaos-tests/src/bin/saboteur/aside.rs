//! A second process beside the real program: it does the harm, and ends with the program.

use std::os::unix::process::{CommandExt, parent_id};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::{Place, daemon, plugin, vpcsim};

/// The first argument of a process that is started for this.
pub(crate) const WORD: &str = "--aside";

/// Longer than any run.
const LONGEST: Duration = Duration::from_secs(600);

/// How often it looks.
const EVERY: Duration = Duration::from_millis(5);

/// Starts it, and becomes the real program.
pub(crate) fn become_real(
    place: &Place,
    called: &Path,
    what: &[&str],
    arguments: &[String],
    environment: &[(&str, &str)],
) -> anyhow::Error {
    let aside = Command::new(called)
        .args([WORD, &std::process::id().to_string()])
        .args(what)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    match aside {
        // Nobody waits for it: its parent is about to be another program.
        Ok(child) => drop(child),
        Err(error) => return error.into(),
    }
    let mut real = Command::new(place.real());
    real.args(arguments).envs(environment.iter().copied());
    real.exec().into()
}

/// The real program, seen from beside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Real {
    pid: u32,
    began: Instant,
}

impl Real {
    /// Waits a moment; whether the program still lives.
    pub(crate) fn lives(self) -> bool {
        std::thread::sleep(EVERY);
        parent_id() == self.pid && self.began.elapsed() < LONGEST
    }
}

pub(crate) fn run(place: &Place, arguments: &[String]) -> anyhow::Result<()> {
    let [pid, what @ ..] = arguments else { bail!("whose aside?") };
    let real = Real { pid: pid.parse()?, began: Instant::now() };
    match what {
        [part, rest @ ..] if part == "daemon" => daemon::aside(place, real, rest),
        [part, rest @ ..] if part == "vpcsim" => vpcsim::aside(place, real, rest),
        [part, netns, route @ ..] if part == "mend" => plugin::mend(netns, route),
        other => bail!("{other:?} is nothing to do"),
    }
}
