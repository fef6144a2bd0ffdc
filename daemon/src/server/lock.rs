//! One daemon at a place: a lock beside its socket, held for life. The kernel lets it go with the process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Why the place cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another daemon lives there.
    #[error("{} is in use by another process: another daemon serves there; end it, or give this one another HOLDFAST_SOCKET", .0.display())]
    Held(PathBuf),
    /// The lock's file cannot be made.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A lock that is held.
pub(crate) struct Lock {
    path: PathBuf,
    held: Mutex<Flock<File>>,
}

impl Lock {
    /// Takes the lock beside a socket, and makes the folder that both lie in.
    pub(crate) fn beside(socket: &Path) -> Result<Self, LockError> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let held = Mutex::new(take(&path)?);
        Ok(Self { path, held })
    }

    /// Sees to it that the lock's file is still the one that is held: with its folder it may have been removed, and
    /// then another daemon could hold a newer one.
    pub(super) fn keep(&self) -> Result<(), LockError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let same = match (held.metadata(), fs::metadata(&self.path)) {
            (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
            _ => false,
        };
        if !same {
            *held = take(&self.path)?;
        }
        Ok(())
    }
}

fn take(path: &Path) -> Result<Flock<File>, LockError> {
    let failed = |source| LockError::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    Flock::lock(file.map_err(failed)?, FlockArg::LockExclusiveNonblock).map_err(
        |(_file, errno)| match errno {
            Errno::EWOULDBLOCK => LockError::Held(path.to_owned()),
            other => failed(other.into()),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("run/cni.sock");
        let first = Lock::beside(&socket).unwrap();
        assert!(matches!(Lock::beside(&socket), Err(LockError::Held(_))));
        first.keep().unwrap();
        drop(first);
        Lock::beside(&socket).unwrap();
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_taken_anew_unless_another_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("run/cni.sock");
        let first = Lock::beside(&socket).unwrap();
        fs::remove_dir_all(dir.path().join("run")).unwrap();
        first.keep().unwrap();
        assert!(matches!(Lock::beside(&socket), Err(LockError::Held(_))), "it is held under its name again");

        fs::remove_dir_all(dir.path().join("run")).unwrap();
        let second = Lock::beside(&socket).unwrap();
        assert!(matches!(first.keep(), Err(LockError::Held(_))));
        drop(second);
        first.keep().unwrap();
    }
}
