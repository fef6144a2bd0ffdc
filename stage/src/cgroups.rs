//! Cgroups: the one thing of a stage that no namespace takes away with its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::process_id::ProcessId;

/// One mounted hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub at: PathBuf,
    /// What mounts it: `memory`, `cpu,cpuacct` or `none,name=systemd`.
    pub options: String,
}

/// What else stands among a mount's options.
const NOT_CONTROLLERS: [&str; 9] =
    ["rw", "ro", "nosuid", "nodev", "noexec", "relatime", "noatime", "xattr", "clone_children"];

/// The machine's hierarchies. An error: it has none of version 1.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/mounts").map_err(Error::io("reading /proc/mounts"))?;
    let found = parse(&mounts);
    if found.is_empty() {
        return Err(Error::Refused(
            "this machine mounts no cgroup hierarchy of version 1: nodes of a stage know no other yet"
                .to_owned(),
        ));
    }
    Ok(found)
}

fn parse(mounts: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let mut fields = line.split(' ');
        let (_, at, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let is_controller =
            |option: &&str| !NOT_CONTROLLERS.contains(option) && !option.starts_with("release_agent=");
        let controllers: Vec<&str> = options.split(',').filter(is_controller).collect();
        let named = controllers.iter().all(|controller| controller.starts_with("name="));
        let options = if named { format!("none,{}", controllers.join(",")) } else { controllers.join(",") };
        (kind == "cgroup" && !controllers.is_empty()).then(|| Hierarchy { at: at.into(), options })
    };
    mounts.lines().filter_map(hierarchy).collect()
}

/// Makes a cgroup of this path in each hierarchy; fine if it is there.
pub(crate) fn make(hierarchies: &[Hierarchy], path: &str) -> Result<()> {
    for hierarchy in hierarchies {
        let mut at = hierarchy.at.clone();
        for name in Path::new(path) {
            let above = at.clone();
            at.push(name);
            match fs::create_dir(&at) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(format!("making {}", at.display()))(error)),
            }
            // A fresh one of these has none, and takes nobody in.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                inherit(&above.join(file), &at.join(file))?;
            }
        }
    }
    Ok(())
}

fn inherit(from: &Path, to: &Path) -> Result<()> {
    let Ok(old) = fs::read_to_string(to) else { return Ok(()) };
    if !old.trim().is_empty() {
        return Ok(());
    }
    let copy = || fs::write(to, fs::read_to_string(from)?);
    copy().map_err(Error::io(format!("copying {} to {}", from.display(), to.display())))
}

/// Moves the calling process there; what it starts is there as well.
pub(crate) fn join(hierarchies: &[Hierarchy], path: &str) -> Result<()> {
    for hierarchy in hierarchies {
        let file = hierarchy.at.join(path).join("cgroup.procs");
        // Zero: whoever writes it, under whatever number.
        fs::write(&file, "0").map_err(Error::io(format!("writing {}", file.display())))?;
    }
    Ok(())
}

/// Whether there is a cgroup of this path in any hierarchy.
pub(crate) fn exists(hierarchies: &[Hierarchy], path: &str) -> bool {
    hierarchies.iter().any(|hierarchy| hierarchy.at.join(path).is_dir())
}

/// The processes in a cgroup and those below it.
pub(crate) fn members(hierarchies: &[Hierarchy], path: &str) -> Vec<ProcessId> {
    let mut open: Vec<PathBuf> = hierarchies.iter().map(|hierarchy| hierarchy.at.join(path)).collect();
    let mut found = Vec::new();
    while let Some(at) = open.pop() {
        let below = fs::read_dir(&at).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        open.extend(below.filter(|path| path.is_dir()));
        let file = at.join("cgroup.procs");
        let list = || fs::read_to_string(&file).unwrap_or_default();
        let listed = list();
        let processes = listed.lines().filter_map(|pid| ProcessId::of(pid.parse().ok()?));
        let processes: Vec<ProcessId> = processes.collect();
        // Who has its number and its start now, and is in the list after that as well, is the one that was listed.
        let again = list();
        found.extend(
            processes.into_iter().filter(|process| again.lines().any(|pid| pid == process.pid.to_string())),
        );
    }
    found
}

/// How much memory a cgroup holds, page cache left out.
pub(crate) fn memory(hierarchies: &[Hierarchy], path: &str) -> Option<u64> {
    let memory = hierarchies.iter().find(|hierarchy| hierarchy.options == "memory")?;
    let stat = fs::read_to_string(memory.at.join(path).join("memory.stat")).ok()?;
    stat.lines().find_map(|line| line.strip_prefix("total_rss ")?.parse().ok())
}

/// Removes a cgroup and those below it, where it is. Processes in it must have ended; the kernel takes a moment to notice.
pub(crate) fn remove(hierarchies: &[Hierarchy], path: &str, patience: Duration) -> Result<()> {
    let begun = Instant::now();
    for hierarchy in hierarchies {
        let at = hierarchy.at.join(path);
        loop {
            match remove_tree(&at) {
                Ok(()) => break,
                Err(error) if Errno::EBUSY as i32 == error.raw_os_error().unwrap_or_default() => {
                    if begun.elapsed() > patience {
                        return Err(Error::io(format!("removing {}", at.display()))(error));
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(Error::io(format!("removing {}", at.display()))(error)),
            }
        }
    }
    Ok(())
}

/// Depth first, folders only: the files in them are the kernel's.
fn remove_tree(at: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(at) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_from_other_mounts() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0\n\
                      cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,nodev,noexec,relatime,cpu,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,xattr,release_agent=/x,name=systemd 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let found: Vec<_> =
            parse(mounts).into_iter().map(|found| (found.at.display().to_string(), found.options)).collect();
        let expected =
            [("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"), ("/sys/fs/cgroup/systemd", "none,name=systemd")];
        assert_eq!(found, expected.map(|(at, options)| (at.to_owned(), options.to_owned())));
    }

    #[test]
    fn a_tree_is_removed_whole_and_an_absent_one_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let hierarchy = [Hierarchy { at: folder.path().to_owned(), options: "memory".to_owned() }];
        make(&hierarchy, "a/b").unwrap();
        make(&hierarchy, "a/c/d").unwrap();
        remove(&hierarchy, "a", Duration::ZERO).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        remove(&hierarchy, "a", Duration::ZERO).unwrap();
    }
}
