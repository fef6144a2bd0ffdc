//! Taking a stage down: one that is up, one that came up half, and what is left of one that was killed.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};

use crate::cgroups;
use crate::error::{Error, Result};
use crate::places::RunFolder;
use crate::process_id::ProcessId;
use crate::record::read_json;
use crate::state::{Keeper, State};

/// How long processes and cgroups may take to be gone after the kernel was told.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `down` has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// A stage that was running.
    Running,
    /// What a stage had left.
    Remains,
    /// Nothing.
    Nothing,
}

/// Ends a stage and removes all of it. Well if there is none.
pub fn down(run: &RunFolder) -> Result<Removed> {
    let hierarchies = cgroups::hierarchies()?;
    if !run.path().exists() && !cgroups::exists(&hierarchies, &run.cgroup()) {
        return Ok(Removed::Nothing);
    }
    let _lock = lock(run)?;
    let state: Option<State> = read_json(&run.state())?;
    let running = state.and_then(|state| state.keeper).is_some_and(|keeper| keeper.first.is_alive());
    clear(run)?;
    Ok(if running { Removed::Running } else { Removed::Remains })
}

/// One at a time brings a stage up or takes it down.
pub(crate) fn lock(run: &RunFolder) -> Result<Flock<File>> {
    let path = run.lock();
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io(format!("making {}", folder.display())))?;
    let file = File::create(&path).map_err(Error::io(format!("opening {}", path.display())))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => {
            Error::Refused(format!("somebody is bringing stage {:?} up or taking it down", run.name()))
        }
        errno => Error::Kernel { what: format!("locking {}", path.display()), errno },
    })
}

/// Ends what runs, and removes everything, the folder last.
pub(crate) fn clear(run: &RunFolder) -> Result<()> {
    end_all(run)?;
    match fs::remove_dir_all(run.path()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("removing {}", run.path().display()))(error))
        }
        _ => Ok(()),
    }
}

/// Ends what runs, and removes what is outside the folder.
pub(crate) fn end_all(run: &RunFolder) -> Result<()> {
    let (hierarchies, cgroup) = (cgroups::hierarchies()?, run.cgroup());
    let state: Option<State> = read_json(&run.state())?;
    // Whoever deletes the folder of a stage that is up, with the rest of `target`, leaves it nothing but its cgroup.
    let keeper =
        state.and_then(|state| state.keeper).or_else(|| keeper_of(&cgroups::members(&hierarchies, &cgroup)));
    if let Some(keeper) = keeper {
        // The kernel ends all others with the first, and lets it be gone when they are. Who made it then ends by itself.
        keeper.first.end(PATIENCE)?;
        keeper.outer.end(PATIENCE)?;
    }
    // Such as one that was to become the keeper, and was not written down.
    for process in cgroups::members(&hierarchies, &cgroup) {
        process.end(PATIENCE)?;
    }
    cgroups::remove(&hierarchies, &cgroup, PATIENCE)?;
    unmount_below(run.path())
}

/// All processes of a stage descend from one, which descends from none of them.
fn keeper_of(members: &[ProcessId]) -> Option<Keeper> {
    let is_member = |pid| members.iter().any(|member| member.pid == pid);
    let outer =
        members.iter().copied().find(|member| member.parent().is_some_and(|parent| !is_member(parent)))?;
    Some(Keeper { outer, first: outer.child()? })
}

/// The stage mounts in its own namespace only. What somebody else has mounted below its folder would be emptied with it.
fn unmount_below(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(Error::io("reading the mounts"))?;
    for at in below(&mounts, folder).iter().rev() {
        umount2(at.as_str(), MntFlags::MNT_DETACH).map_err(Error::kernel(format!("unmounting {at}")))?;
    }
    Ok(())
}

/// The mounts below a folder, in the order in which they were made.
fn below(mounts: &str, folder: &Path) -> Vec<String> {
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    places.filter(|place| Path::new(place).starts_with(folder)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_the_folder_are_unmounted() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /t/run/x/a tmpfs rw 0 0\ntmpfs /t/run/xy tmpfs rw 0 0\n";
        assert_eq!(below(mounts, Path::new("/t/run/x")), ["/t/run/x/a"]);
    }

    #[test]
    fn what_is_not_there_is_down() {
        let root = tempfile::tempdir().unwrap();
        let run = RunFolder::new(root.path(), "x").unwrap();
        assert_eq!(down(&run).unwrap(), Removed::Nothing);
        // A folder whose state was never written: nothing was made yet.
        fs::create_dir_all(run.path()).unwrap();
        assert_eq!(down(&run).unwrap(), Removed::Remains);
        assert!(!run.path().exists());
    }

    #[test]
    fn two_do_not_meet() {
        let root = tempfile::tempdir().unwrap();
        let run = RunFolder::new(root.path(), "x").unwrap();
        fs::create_dir_all(run.path()).unwrap();
        let held = lock(&run).unwrap();
        assert!(down(&run).unwrap_err().to_string().contains("somebody"));
        drop(held);
        down(&run).unwrap();
    }
}
