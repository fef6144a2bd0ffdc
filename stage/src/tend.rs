//! Two small programs on the way into a stage.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::cgroups;
use crate::error::{Error, Result};

/// Moves into a cgroup, in every hierarchy, and becomes the command.
pub fn join(cgroup: &str, command: &[OsString]) -> Result<Infallible> {
    let [program, arguments @ ..] = command else {
        return Err(Error::Refused("no command".to_owned()));
    };
    cgroups::join(&cgroups::hierarchies()?, cgroup)?;
    Err(Error::io(format!("running {}", program.display()))(Command::new(program).args(arguments).exec()))
}

/// The first process of a PID namespace: starts the command, takes in what loses its parent, and ends when the
/// command does, and with it all others.
pub fn tend(command: &[OsString]) -> Result<()> {
    let [program, arguments @ ..] = command else {
        return Err(Error::Refused("no command".to_owned()));
    };
    let mut child = Command::new(program);
    let child = child.args(arguments).spawn();
    let child = child.map_err(Error::io(format!("running {}", program.display())))?;
    take_orphans_in(i32::try_from(child.id()).ok().map(Pid::from_raw))
}

/// What has lost its parent in this PID namespace becomes a child of its first process, which has to see it off. Returns
/// when the child that matters, if one does, has ended.
pub(crate) fn take_orphans_in(matters: Option<Pid>) -> Result<()> {
    let mut ended = SigSet::empty();
    ended.add(Signal::SIGCHLD);
    ended.thread_block().map_err(Error::kernel("blocking SIGCHLD"))?;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => {
                ended.wait().map_err(Error::kernel("waiting for SIGCHLD"))?;
            }
            Ok(status) if status.pid().is_some() && status.pid() == matters => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Kernel { what: "waiting for orphans".to_owned(), errno }),
        }
    }
}
