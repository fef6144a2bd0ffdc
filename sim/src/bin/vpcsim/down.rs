//! `vpcsim down`.

use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Pid;

use crate::run_dir::{Claim, Lock, RunDir};

/// How long a killed process takes to let its lock go.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// Stops the box if it lives, and removes its folder.
pub(crate) fn down(folder: &RunDir, patience: Duration) -> anyhow::Result<()> {
    let claim = match folder.lock(false)? {
        Lock::Taken(claim) => claim,
        Lock::Busy => match stop(folder, patience)? {
            Some(claim) => claim,
            None => return Ok(()),
        },
        // Killed between making the folder and its lock, or nothing at all.
        Lock::Absent if folder.path().exists() => match folder.claim()? {
            Some(claim) => claim,
            None => bail!("a box is starting in {} right now", folder.path().display()),
        },
        Lock::Absent => return Ok(()),
    };
    folder.remove(claim)
}

/// Asks a living box to stop, kills it if it does not, and returns the lock; `None` when the box took its folder along.
fn stop(folder: &RunDir, patience: Duration) -> anyhow::Result<Option<Claim>> {
    let mut asked = None;
    if let Waited::Over(claim) = wait(folder, patience, || ask(folder, &mut asked))? {
        return Ok(claim);
    }
    let Some((_connection, process)) = asked else {
        bail!("the box in {} neither listens nor ends", folder.path().display());
    };
    eprintln!("vpcsim: process {process} does not stop; killing it");
    kill(process, Signal::SIGKILL).with_context(|| format!("kill process {process}"))?;
    match wait(folder, AFTER_KILL, || Ok(()))? {
        Waited::Over(claim) => Ok(claim),
        Waited::StillThere => {
            bail!("process {process} was killed and still holds {}", folder.path().display())
        }
    }
}

/// Connects to the box's stop socket, once, and remembers whose it is. A box that is just starting does not listen
/// yet, one that is just ending does no more: neither is an error.
fn ask(folder: &RunDir, asked: &mut Option<(UnixStream, Pid)>) -> anyhow::Result<()> {
    if asked.is_some() {
        return Ok(());
    }
    match UnixStream::connect(folder.stop_socket()) {
        Ok(stream) => {
            // The kernel gives the id as it is in our PID namespace, and of the process that listens: no recycled one.
            let peer = getsockopt(&stream, sockopt::PeerCredentials).context("ask who listens")?;
            if peer.pid() <= 0 {
                bail!("the box in {} runs outside of our PID namespace", folder.path().display());
            }
            *asked = Some((stream, Pid::from_raw(peer.pid())));
        }
        Err(error) => tracing::debug!(%error, "nobody listens"),
    }
    Ok(())
}

enum Waited {
    Over(Option<Claim>),
    StillThere,
}

fn wait(
    folder: &RunDir,
    patience: Duration,
    mut meanwhile: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Waited> {
    let begun = Instant::now();
    loop {
        match folder.lock(false)? {
            Lock::Taken(claim) => return Ok(Waited::Over(Some(claim))),
            Lock::Absent if !folder.path().exists() => return Ok(Waited::Over(None)),
            // Its folder goes after its lock, and a box that is left alone in between may be killed with it.
            Lock::Busy | Lock::Absent if begun.elapsed() > patience => return Ok(Waited::StillThere),
            Lock::Busy | Lock::Absent => {}
        }
        meanwhile()?;
        sleep(Duration::from_millis(10));
    }
}
