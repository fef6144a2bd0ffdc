//! The folder of a box: what others find it by, and the lock that tells whether it lives.
//!
//! ```text
//! /run/vpcsim/NAME/lock         held as long as the box's process lives, however it ends
//!                  stop.sock    a connection here asks it to stop
//!                  control.sock takes and answers one request for its nodes, as JSON
//!                  admin.sock   HTTP, see holdfast_sim::admin
//!                  netns/NODE   links to namespaces that the process holds open
//!                  box.json     its description; appears last
//! ```
//! The namespaces die with the process, so this folder is all that a killed box leaves.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use holdfast_sim::scenario::is_name;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::description::Description;

/// Where boxes keep their folders unless told otherwise.
pub(crate) const DEFAULT: &str = "/run/vpcsim";

/// A unix socket's path must fit 108 bytes, its closing zero included.
const LONGEST_SOCKET_PATH: usize = 107;

/// The folder of one box, there or not.
#[derive(Debug, Clone)]
pub(crate) struct RunDir {
    base: PathBuf,
    path: PathBuf,
}

/// The lock on a folder. Whoever has it may change the folder.
#[derive(Debug)]
pub(crate) struct Claim(#[expect(dead_code, reason = "held, not read: it unlocks when dropped")] Flock<File>);

impl RunDir {
    pub(crate) fn new(base: &Path, name: &str) -> anyhow::Result<Self> {
        if !is_name(name) {
            bail!("{name:?} is no name for a box: want at most 40 of a-z, A-Z, 0-9 and -");
        }
        // Others read the paths from elsewhere.
        let base = std::path::absolute(base).with_context(|| format!("run folder {}", base.display()))?;
        let this = Self { path: base.join(name), base };
        let socket = this.control_socket();
        if socket.as_os_str().len() > LONGEST_SOCKET_PATH {
            bail!("{} is too long for a socket's path: choose a shorter --run-dir", socket.display());
        }
        Ok(this)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.path.join("admin.sock")
    }

    pub(crate) fn stop_socket(&self) -> PathBuf {
        self.path.join("stop.sock")
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    pub(crate) fn netns(&self, name: &str) -> PathBuf {
        self.path.join("netns").join(name)
    }

    /// Makes the folder and takes its lock; what a killed box left in it is removed. `None`: a living box has it.
    pub(crate) fn claim(&self) -> anyhow::Result<Option<Claim>> {
        for _ in 0..100 {
            std::fs::create_dir_all(&self.path)
                .with_context(|| format!("make {} (--run-dir chooses another place)", self.path.display()))?;
            match self.lock(true)? {
                Lock::Taken(claim) => {
                    self.clear(false)?;
                    return Ok(Some(claim));
                }
                Lock::Busy => return Ok(None),
                // Another process was just removing it.
                Lock::Absent => {}
            }
        }
        bail!("{} is made and removed all the time", self.path.display())
    }

    /// Tries for the lock; makes its file only if asked to.
    pub(crate) fn lock(&self, create: bool) -> anyhow::Result<Lock> {
        let path = self.path.join("lock");
        let file = match OpenOptions::new().write(true).create(create).truncate(false).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::Absent),
            other => other.with_context(|| format!("open {}", path.display()))?,
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // Locked, but removed since it was opened: it is nobody's lock any more.
            Ok(lock) => match std::fs::metadata(&path) {
                Ok(now) if lock.metadata().is_ok_and(|then| then.ino() == now.ino()) => {
                    Ok(Lock::Taken(Claim(lock)))
                }
                _ => Ok(Lock::Absent),
            },
            Err((_, Errno::EWOULDBLOCK)) => Ok(Lock::Busy),
            Err((_, errno)) => Err(errno).with_context(|| format!("lock {}", path.display())),
        }
    }

    /// Links a namespace's name to the file that it is held by.
    pub(crate) fn link_netns(&self, name: &str, held: &Path) -> anyhow::Result<()> {
        let link = self.netns(name);
        std::fs::create_dir_all(self.path.join("netns"))
            .and_then(|()| symlink(held, &link))
            .with_context(|| format!("make {}", link.display()))
    }

    /// Takes such a link away.
    pub(crate) fn unlink_netns(&self, name: &str) -> anyhow::Result<()> {
        let link = self.netns(name);
        std::fs::remove_file(&link).with_context(|| format!("remove {}", link.display()))
    }

    /// Publishes the description, whole from the first instant.
    pub(crate) fn publish(&self, json: &str) -> anyhow::Result<()> {
        let (new, path) = (self.path.join("box.json.new"), self.path.join("box.json"));
        std::fs::write(&new, format!("{json}\n"))
            .and_then(|()| std::fs::rename(&new, &path))
            .with_context(|| format!("write {}", path.display()))
    }

    /// What the running box says about itself.
    pub(crate) fn description(&self) -> anyhow::Result<Description> {
        let path = self.path.join("box.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("read {}: is the box up, and ready?", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))
    }

    /// Removes the folder; the lock is let go with it.
    pub(crate) fn remove(&self, claim: Claim) -> anyhow::Result<()> {
        self.clear(true)?;
        drop(claim);
        if self.base == Path::new(DEFAULT) {
            // Ours as well, unless another box is in it.
            match std::fs::remove_dir(&self.base) {
                Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                    tracing::debug!(%error, "{} stays", self.base.display());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the files that boxes make, by name: a foreign file in the folder stops it rather than be lost.
    fn clear(&self, whole: bool) -> anyhow::Result<()> {
        let mut files: Vec<PathBuf> = ["box.json", "box.json.new", "admin.sock", "stop.sock", "control.sock"]
            .iter()
            .map(|file| self.path.join(file))
            .collect();
        let netns = self.path.join("netns");
        for entry in netns.read_dir().into_iter().flatten() {
            let entry = entry.with_context(|| format!("read {}", netns.display()))?;
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                files.push(entry.path());
            }
        }
        let remove = |file: PathBuf| {
            absent_is_fine(std::fs::remove_file(&file)).with_context(|| format!("remove {}", file.display()))
        };
        files.into_iter().try_for_each(remove)?;
        absent_is_fine(std::fs::remove_dir(&netns)).with_context(|| format!("remove {}", netns.display()))?;
        if whole {
            // Last: as long as it is there, somebody is at it.
            remove(self.path.join("lock"))?;
            absent_is_fine(std::fs::remove_dir(&self.path))
                .with_context(|| format!("remove {}", self.path.display()))?;
        }
        Ok(())
    }
}

/// How a try for the lock ended.
#[derive(Debug)]
pub(crate) enum Lock {
    /// It is ours.
    Taken(Claim),
    /// A living box has it.
    Busy,
    /// There is none.
    Absent,
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
