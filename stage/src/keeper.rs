//! The keeper: brings a stage up from inside its namespaces, and stays as the parent of all its processes.
//!
//! ```text
//!   up ── join ── unshare ── tend ── keep ── vpcsim
//!                   │         │       ├──── etcd, kube-apiserver, …           in the control plane's network
//!                   │         │       └──── unshare ── init, and per node containerd, kubelet, kube-proxy
//!                   │         └── the first process: takes orphans in, ends when the keeper ends
//!                   └── the namespaces: mounts, PIDs, network
//! ```
//!
//! It begins when it is told that it was written down, and ends when who brings it up is gone before all is there.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use crate::bring_up::BringUp;
use crate::error::{Error, Result};
use crate::places::{Places, RunFolder};
use crate::record::{read_json, write_json};
use crate::state::{GO, Live, STAY, State, Word};

/// How often it looks whether a part has ended.
const ROUND: Duration = Duration::from_millis(200);

/// Keeps the stage of this folder. Returns only if it cannot be brought up.
pub fn keep(root: &Path, name: &str, draw: &mut dyn FnMut() -> Result<String>) -> Result<()> {
    wait_for_go()?;
    let run = RunFolder::new(root, name)?;
    let outcome = bring_up(root, &run, draw);
    match outcome {
        Ok((mut up, live)) => {
            // If nobody listens any more, nobody tells us to stay either: see `wait_for_go`.
            drop(tell(&Word::Up));
            watch(&mut up, live, &run)
        }
        Err(error) => tell(&Word::Failed(crate::words_of(&error))),
    }
}

fn bring_up(
    root: &Path,
    run: &RunFolder,
    draw: &mut dyn FnMut() -> Result<String>,
) -> Result<(BringUp, Live)> {
    let state: State = read_json(&run.state())?
        .ok_or_else(|| Error::Refused(format!("{} is not there", run.state().display())))?;
    // What programs keep there is the stage's, and in memory.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .map_err(Error::kernel("mounting a file system in memory on /run"))?;
    let places = Places::new(root, &state.plan.release);
    let mut up = BringUp::new(&state, &places, run);
    let live = up.carry_out(draw, &mut |done| drop(tell(&Word::Done(done.to_owned()))))?;
    write_json(&run.live(), &live)?;
    Ok((up, live))
}

/// Notes who ends, for ever.
fn watch(up: &mut BringUp, mut live: Live, run: &RunFolder) -> Result<()> {
    loop {
        std::thread::sleep(ROUND);
        if up.crew.look()? {
            live.parts = up.crew.parts();
            // Fails when the folder was deleted: what runs is to be ended in order all the same.
            drop(write_json(&run.live(), &live));
        }
    }
}

/// Waits for the word; from then on the end of standard input, before the word to stay, ends this program.
fn wait_for_go() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(Error::io("waiting to begin"))?;
    if line.trim() != GO {
        return Err(Error::Refused("who brought the stage up is gone".to_owned()));
    }
    std::thread::spawn(|| {
        let mut lines = std::io::stdin().lock().lines();
        let told_to_stay = lines.any(|line| line.is_ok_and(|line| line == STAY));
        if !told_to_stay {
            std::process::exit(1);
        }
    });
    Ok(())
}

fn tell(word: &Word) -> Result<()> {
    let line = serde_json::to_string(word)
        .map_err(|source| Error::Garbled { what: "telling how far it is".to_owned(), source })?;
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::io("telling how far it is"))
}
