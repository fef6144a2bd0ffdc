//! The directory of [`Tombstone`]s: written by plugins, drained by the daemon.
//!
//! A tombstone is whole or absent, and durable once [`Spool::put`] returns: written beside its place, synced,
//! renamed, and the directory synced. Files that cannot be read as one are set aside under another name and
//! reported, never deleted: each may be an address that is to be released.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;

use crate::ids::SandboxKey;
use crate::tombstone::{Tombstone, TombstoneError};

/// Real tombstones have a few hundred bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Names tried for a file that is set aside.
const MAX_ASIDE: u32 = 1000;

/// Start of the names of files that are being written.
const TEMPORARY: &str = ".tmp-";

/// A spool directory. It is made when the first tombstone is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    dir: PathBuf,
}

/// What a spool holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// To be carried out, in the order of their file names.
    pub tombstones: Vec<Tombstone>,
    /// Files that are no tombstones; they have been renamed and will not be listed again.
    pub set_aside: Vec<Aside>,
    /// Files that could not be read or set aside, or are of a newer version. They stay, and are listed again.
    pub kept: Vec<(PathBuf, String)>,
}

/// A file that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

impl Spool {
    /// The spool in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The second-best spool, for a host whose disk is full or read-only: beside the daemon's socket.
    ///
    /// It is in memory, which loses nothing: a reboot ends all sandboxes, and a daemon that sees a new boot releases
    /// every lease anyway.
    pub fn beside(socket: &Path) -> Self {
        Self::new(socket.parent().unwrap_or(Path::new("/")).join("spool"))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes `tombstone` durable, in place of an earlier one of the same sandbox.
    ///
    /// `writer` tells writers apart that work at the same time: the process id.
    pub fn put(&self, tombstone: &Tombstone, writer: u32) -> io::Result<()> {
        self.make_dir()?;
        let name = Tombstone::file_name(&tombstone.sandbox);
        let temporary = self.dir.join(format!("{TEMPORARY}{writer}-{name}"));
        let written = self.write(&temporary, &self.dir.join(name), &tombstone.to_bytes());
        if written.is_err() {
            // Best effort: the error that counts is the first, and leftovers are swept.
            drop(fs::remove_file(&temporary));
        }
        written
    }

    /// All tombstones. A spool that does not exist is empty.
    ///
    /// The list ages: by the time one is carried out, an ADD of the same sandbox may have done so already and leased
    /// anew. Whoever drains asks [`Self::find`] again at the moment of acting, in turn with ADDs of that sandbox, and
    /// then acts and removes; a tombstone put between the two says the same and loses nothing.
    pub fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(listing),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name());
        }
        names.sort();
        for name in names {
            let path = self.dir.join(&name);
            if Path::new(&name).extension().is_none_or(|e| e != "json") || is_temporary(&name) {
                continue;
            }
            match read(&path) {
                // Its own name: one put under another would not be found by `find`, nor go away with `remove`.
                Ok(tombstone) if *Tombstone::file_name(&tombstone.sandbox) == *name => {
                    listing.tombstones.push(tombstone);
                }
                Ok(_) => {
                    set_aside(&path, "its name is not that of its sandbox".to_owned(), &mut listing);
                }
                // Removed since the directory was read: another reader was faster.
                Err(ReadError::Io(e)) if e.kind() == io::ErrorKind::NotFound => {}
                Err(ReadError::Io(e)) => listing.kept.push((path, e.to_string())),
                Err(ReadError::Tombstone(e @ TombstoneError::Newer(_))) => {
                    listing.kept.push((path, e.to_string()));
                }
                Err(ReadError::Tombstone(TombstoneError::Malformed(e))) => {
                    set_aside(&path, e.to_string(), &mut listing);
                }
                Err(ReadError::NotOurs(reason)) => set_aside(&path, reason.to_owned(), &mut listing),
            }
        }
        Ok(listing)
    }

    /// The tombstone of one sandbox, at the cost of one failed open when there is none.
    ///
    /// For ADD: a tombstone of the very sandbox that is being added must be carried out first, or it would
    /// release the new lease. What cannot be read is left to [`Self::list`].
    pub fn find(&self, sandbox: &SandboxKey) -> io::Result<Option<Tombstone>> {
        match read(&self.dir.join(Tombstone::file_name(sandbox))) {
            Ok(tombstone) => Ok((tombstone.sandbox == *sandbox).then_some(tombstone)),
            Err(ReadError::Io(e)) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Err(_) => Ok(None),
        }
    }

    /// Removes a sandbox's tombstone once it has been carried out durably. None there is fine.
    ///
    /// Not synced: one that comes back after a power cut is carried out again, to no effect.
    pub fn remove(&self, sandbox: &SandboxKey) -> io::Result<()> {
        match fs::remove_file(self.dir.join(Tombstone::file_name(sandbox))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Removes what plugins left that were killed while writing: temporary files last changed more than `age`
    /// before `now`. Their DEL has not succeeded, so the runtime repeats it. Gives how many there were.
    pub fn sweep(&self, now: SystemTime, age: Duration) -> io::Result<usize> {
        let mut swept = 0;
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(e),
        };
        for entry in entries {
            let entry = entry?;
            let old = |changed| now.duration_since(changed).is_ok_and(|since| since > age);
            if is_temporary(&entry.file_name())
                && entry.metadata().and_then(|m| m.modified()).is_ok_and(old)
                && fs::remove_file(entry.path()).is_ok()
            {
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn make_dir(&self) -> io::Result<()> {
        let missing = self.dir.ancestors().take_while(|dir| !dir.is_dir()).count();
        if missing == 0 {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        // A directory that a power cut takes away takes its files along.
        for parent in self.dir.ancestors().skip(1).take(missing) {
            sync_dir(parent)?;
        }
        Ok(())
    }

    fn write(&self, temporary: &Path, place: &Path, bytes: &[u8]) -> io::Result<()> {
        let options = || {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            options
        };
        let mut file = match options().open(temporary) {
            // Left by a killed process whose id is in use again.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(temporary)?;
                options().open(temporary)?
            }
            opened => opened?,
        };
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(temporary, place)?;
        sync_dir(&self.dir)
    }
}

fn set_aside(path: &Path, reason: String, listing: &mut Listing) {
    for n in 0..MAX_ASIDE {
        let mut aside = path.as_os_str().to_owned();
        aside.push(if n == 0 { ".bad".to_owned() } else { format!(".bad.{n}") });
        let aside = PathBuf::from(aside);
        if aside.symlink_metadata().is_ok() {
            continue;
        }
        match fs::rename(path, &aside) {
            Ok(()) => listing.set_aside.push(Aside { path: aside, reason }),
            Err(e) => {
                listing.kept.push((path.to_owned(), format!("{reason}; setting it aside failed: {e}")));
            }
        }
        return;
    }
    listing.kept.push((path.to_owned(), format!("{reason}; there is no free name to set it aside")));
}

enum ReadError {
    Io(io::Error),
    NotOurs(&'static str),
    Tombstone(TombstoneError),
}

fn read(path: &Path) -> Result<Tombstone, ReadError> {
    // Neither follows a link nor waits for a pipe.
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(e) if e.raw_os_error() == Some(nix::libc::ELOOP) => {
            return Err(ReadError::NotOurs("it is a link"));
        }
        opened => opened.map_err(ReadError::Io)?,
    };
    if !file.metadata().map_err(ReadError::Io)?.is_file() {
        return Err(ReadError::NotOurs("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ReadError::NotOurs("it is too large"));
    }
    Tombstone::from_bytes(&bytes).map_err(ReadError::Tombstone)
}

fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
