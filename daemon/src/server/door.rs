//! A socket's file: made, looked after, removed.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UnixListener;

use super::lock::{Lock, LockError};

/// Why a socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoorError {
    /// Its folder or file cannot be made.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Another daemon has the place.
    #[error(transparent)]
    Locked(#[from] LockError),
}

/// Where clients come in.
pub(crate) struct Door {
    path: PathBuf,
    lock: Arc<Lock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Which file we bound: another may be there by now.
    file: Option<(u64, u64)>,
    /// Why it cannot be bound again.
    failing: Option<String>,
}

impl Door {
    /// A door that is not open yet.
    pub(super) fn new(path: PathBuf, lock: Arc<Lock>) -> Self {
        Self { path, lock, state: Mutex::default() }
    }

    /// Binds the socket, in the place of what is there: whoever holds the lock is the only one that may live.
    pub(super) fn open(&self) -> Result<UnixListener, DoorError> {
        if let Some(parent) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        self.lock.keep()?;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = UnixListener::bind(&self.path)?;
        fs::set_permissions(&self.path, Permissions::from_mode(0o600))?;
        self.lock().file = file_of(&self.path);
        Ok(listener)
    }

    /// Binds the socket anew if its file is gone or another's. What is wrong is told once for each cause.
    pub(super) fn open_again(&self) -> Option<UnixListener> {
        if self.leads_here() {
            return None;
        }
        match self.open() {
            Ok(listener) => {
                self.lock().failing = None;
                tracing::warn!(
                    socket = %self.path.display(),
                    "the socket's file was removed or replaced by somebody; it is there again"
                );
                Some(listener)
            }
            Err(error) => {
                let cause = error.to_string();
                let mut state = self.lock();
                if state.failing.as_ref() != Some(&cause) {
                    tracing::error!(
                        socket = %self.path.display(),
                        cause,
                        "the socket's file was removed or replaced by somebody and cannot be made again: nobody reaches \
                         this daemon"
                    );
                    state.failing = Some(cause);
                }
                None
            }
        }
    }

    /// Why clients cannot come in, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        let gone = !self.leads_here();
        let failing = self.lock().failing.clone();
        gone.then(|| {
            let path = self.path.display();
            failing.map_or_else(
                || format!("the socket's file {path} was removed or replaced; it is about to be made again"),
                |cause| {
                    format!(
                        "the socket's file {path} was removed or replaced and cannot be made again: {cause}"
                    )
                },
            )
        })
    }

    /// Removes the file, if it is ours.
    pub(super) fn shut(&self) {
        if self.leads_here() {
            // What cannot be removed is a dead socket, which the next start replaces.
            drop(fs::remove_file(&self.path));
        }
        self.lock().file = None;
    }

    fn leads_here(&self) -> bool {
        let bound = self.lock().file;
        bound.is_some() && bound == file_of(&self.path)
    }

    /// Whoever panicked while it held the lock has left the state whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_of(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
