//! What can go wrong, by what the caller can do about it.

use std::io;
use std::path::PathBuf;

/// Why a file is not a ledger that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// It is not a redb database, or is cut off before its header ends.
    #[error("not a ledger file: {0}")]
    Foreign(String),
    /// It is far larger than a ledger grows.
    #[error("{size} bytes, more than any ledger ({most} bytes)")]
    TooLarge {
        /// Bytes found.
        size: u64,
        /// Bytes taken at most.
        most: u64,
    },
    /// The database's own structure or checksums are broken.
    #[error("the database is broken: {0}")]
    Broken(String),
    /// A record does not decode, or contradicts its key.
    #[error("a record in table {table} is broken: {reason}")]
    Record {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// The ledger could not be opened, and nothing on disk was lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A newer version wrote it. The file was not touched.
    #[error(
        "the ledger {path} has schema {found}, and this version knows up to {known}: \
         run the newer version again, or move the file away to rebuild the ledger from EC2 and the kernel"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u8,
        /// Ours.
        known: u8,
    },
    /// Another process has it open.
    #[error("the ledger {path} is in use by another process: stop the other daemon first")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Something that is not a plain file stands in its place.
    #[error("the ledger {path} is {kind}, not a plain file: move it away")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there, with its article.
        kind: &'static str,
    },
    /// The disk refused.
    #[error("cannot {action} {path}; {remedy}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What a person can do about it.
        remedy: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An older ledger could not be brought forward. It is unchanged.
    #[error(
        "the ledger {path} of schema {from} could not be brought to schema {to}: {reason}; \
         run the version that wrote it, or move the file away to rebuild the ledger from EC2 and the kernel"
    )]
    Migration {
        /// The file.
        path: PathBuf,
        /// Its schema.
        from: u8,
        /// Ours.
        to: u8,
        /// Which step failed on what.
        reason: String,
    },
    /// A ledger cannot be brought back to that schema. It is unchanged.
    #[error(
        "the ledger {path} is of schema {found}, and this version can bring it back as far as {oldest}, not to {to}"
    )]
    NoReturn {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u8,
        /// The one that was asked for.
        to: u8,
        /// The oldest that can be had.
        oldest: u8,
    },
    /// There is no ledger.
    #[error("there is no ledger at {path}")]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// A store on a backend of the caller's is damaged; there is no file to set aside.
    #[error("the ledger is damaged")]
    Damaged(#[source] Damage),
}

/// A commit did not happen, as far as the caller may assume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// No space, or no quota, left.
    #[error("the disk that holds the ledger {path} is full: free space on it")]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file system takes no writes.
    #[error(
        "the disk that holds the ledger {path} is read-only: remount it, and look for disk faults in dmesg"
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The disk failed in another way.
    #[error("writing the ledger {path} failed: look for disk faults in dmesg")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The database found itself broken while it was written.
    #[error("the ledger {path} was found broken while writing: {reason}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// A record is too large to be written.
    #[error("a record of table {table} is too large for the ledger: {reason}")]
    Record {
        /// The table.
        table: &'static str,
        /// What the codec said.
        reason: String,
    },
    /// An earlier commit failed, and [`Store::resume`](crate::Store::resume) has not been called since.
    #[error("the ledger {path} takes no changes since a commit failed")]
    Stopped {
        /// The file.
        path: PathBuf,
    },
}

/// A read failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The disk refused.
    #[error("reading the ledger {path} failed")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was read is not what was written.
    #[error("the ledger {path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        #[source]
        damage: Damage,
    },
    /// A newer version wrote it.
    #[error("the ledger {path} has schema {found}, and this version knows up to {known}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u8,
        /// Ours.
        known: u8,
    },
    /// A daemon has it open: ask that.
    #[error("the ledger {path} is in use: ask the running daemon")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// An earlier commit failed, and the store was not resumed since.
    #[error("the ledger {path} is closed since a commit failed")]
    Stopped {
        /// The file.
        path: PathBuf,
    },
}
