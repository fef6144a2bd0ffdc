//! The file and its neighbours: the folder, the lock, fresh files put in place, old ones kept aside.
//!
//! ```text
//! ledger.redb                      the ledger
//! ledger.redb.lock                 locked by the process that has it open; never removed
//! ledger.redb.new                  being written; a leftover means nothing and is overwritten
//! ledger.redb.damaged-<wall ms>    set aside, unchanged
//! ledger.redb.schema-1-<wall ms>   as it was before it was brought forward
//! ```

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use holdfast_migrations::Row;
use redb::backends::FileBackend;
use redb::{Builder, Database};

use crate::error::{Damage, OpenError};
use crate::fault::{Fault, guarded};
use crate::image::{CACHE_BYTES, MOST_BYTES};
use crate::tables;

/// What a person can do about an error of the disk.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full: free space on it",
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only: remount it, and look for disk faults in dmesg"
        }
        io::ErrorKind::PermissionDenied => {
            "permission was denied: run as root, and look at the owner and mode of the file and its folder"
        }
        io::ErrorKind::NotADirectory => "a part of the path is not a folder",
        _ => "look for disk faults in dmesg",
    }
}

fn cannot(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { path: path.to_owned(), action, remedy: remedy(&source), source }
}

/// The path with something appended to its last part.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes the folder of the file, for root alone, if it is missing.
pub(crate) fn ensure_folder(path: &Path) -> Result<(), OpenError> {
    let folder = folder_of(path);
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .and_then(|()| sync_folder(folder_of(folder)))
        .map_err(cannot("make the folder", folder))
}

/// Holds the ledger for this process until dropped. The lock is on a file of its own, because the ledger itself
/// may be replaced under the same name.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let name = beside(path, ".lock");
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(cannot("open the lock", &name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(cannot("lock", &name)(error)),
    }
}

/// Whether another process holds the ledger. Changes nothing.
pub(crate) fn is_locked(path: &Path) -> bool {
    File::open(beside(path, ".lock"))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// What stands at the path.
pub(crate) enum Standing {
    Nothing,
    Bytes(Vec<u8>),
    Damaged(Damage),
    NotAFile(&'static str),
}

/// Looks at the path, and reads a plain file whole.
pub(crate) fn look(path: &Path) -> io::Result<Standing> {
    let seen = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Nothing),
        other => other?,
    };
    if seen.is_dir() {
        return Ok(Standing::NotAFile("a directory"));
    }
    if seen.is_symlink() {
        return Ok(Standing::NotAFile("a symbolic link"));
    }
    if !seen.is_file() {
        return Ok(Standing::NotAFile("a device, pipe or socket"));
    }
    if seen.len() > MOST_BYTES {
        return Ok(Standing::Damaged(Damage::TooLarge { size: seen.len(), most: MOST_BYTES }));
    }
    fs::read(path).map(Standing::Bytes)
}

/// Opens a file that was examined and found sound.
pub(crate) fn open_in_place(path: &Path) -> Result<Database, Fault> {
    guarded(|| Ok(Builder::new().set_cache_size(CACHE_BYTES).open(path)?))
}

/// Puts a fresh file with these rows in place, durably, in one step: at no instant is there no ledger or half
/// a one. What stood there before stays under the name `keep`, when one is given.
pub(crate) fn install(path: &Path, schema: u8, rows: &[Row], keep: Option<&Path>) -> Result<(), Fault> {
    let new = beside(path, ".new");
    let written = write_new(&new, schema, rows).and_then(|()| {
        if let Some(keep) = keep {
            // A second name for the old file, then the new one in its place. Where the file system has no
            // second names, two renames: a crash between them leaves no ledger, which is a fresh start.
            fs::hard_link(path, keep).or_else(|_no_links| fs::rename(path, keep)).map_err(Fault::Io)?;
        }
        fs::rename(&new, path).map_err(Fault::Io)?;
        sync_folder(folder_of(path)).map_err(Fault::Io)
    });
    if written.is_err() {
        // Gives back the space; if that fails too, the next attempt overwrites it.
        fs::remove_file(&new).ok();
    }
    written
}

fn write_new(new: &Path, schema: u8, rows: &[Row]) -> Result<(), Fault> {
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Fault::Io(error)),
        _ => {}
    }
    let file = fs::OpenOptions::new()
        .create_new(true)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(new)
        .map_err(Fault::Io)?;
    guarded(|| {
        let database =
            Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(FileBackend::new(file)?)?;
        let txn = tables::begin(&database)?;
        tables::found(&txn, schema, rows)?;
        txn.commit()?;
        Ok(database.close()?)
    })?;
    File::open(new).and_then(|file| file.sync_all()).map_err(Fault::Io)
}

/// A name beside the ledger that nothing has yet.
pub(crate) fn free_name(path: &Path, what: &str, wall_ms: u64) -> PathBuf {
    let mut name = beside(path, &format!(".{what}-{wall_ms}"));
    let mut again = 1;
    while fs::symlink_metadata(&name).is_ok() {
        name = beside(path, &format!(".{what}-{wall_ms}-{again}"));
        again += 1;
    }
    name
}

#[cfg(test)]
mod tests;
