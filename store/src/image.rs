//! Reading a ledger file without touching it: its bytes are examined in memory.
//!
//! Opening a redb file for writing changes it (repair, a flag in the header). A newer ledger must not be
//! changed, a damaged one is evidence, and one that another process may still be reading for support is not
//! ours. So every file is first opened as a copy in memory, with all checksums verified and every record
//! decoded; only a file that passed is opened in place.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_migrations::{Row, StepError};
use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::Ledger;
use redb::{Builder, DatabaseError, ReadableDatabase, StorageBackend};

use crate::error::Damage;
use crate::fault::{Fault, guarded};
use crate::schema::Schema;
use crate::tables;

/// No ledger file is larger. A full ring of the longest journal entries is under 5 MiB, and redb's
/// copy-on-write holds the live data at most a few times.
pub(crate) const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// redb's own page cache, in memory or on disk. The engine holds the ledger; this is for the pages that a
/// transaction touches.
pub(crate) const CACHE_BYTES: usize = 1024 * 1024;

/// A sound ledger file's content, brought to the current schema.
#[derive(Debug)]
pub(crate) struct Content {
    /// The schema it was written under.
    pub(crate) schema: u8,
    /// Whether it was closed in order.
    pub(crate) closed: bool,
    pub(crate) ledger: Ledger,
    pub(crate) journal: Vec<JournalEntry>,
}

/// Why a file's content is not usable.
#[derive(Debug)]
pub(crate) enum Unusable {
    Newer(u8),
    Damaged(Damage),
    /// Sound, and no way leads from there to the current schema.
    Stuck {
        from: u8,
        reason: String,
    },
}

/// A sound ledger file's rows, of the schema that it was written under.
pub(crate) struct Rows {
    pub(crate) schema: u8,
    pub(crate) rows: Vec<Row>,
}

/// Examines the bytes of a file.
pub(crate) fn examine(bytes: Vec<u8>, schema: &Schema) -> Result<Content, Unusable> {
    let (closed, Rows { schema: found, rows }) = sound(bytes, schema.known)?;
    // Of a schema that is written today a row that means nothing is damage; of an older one the way from there may be at
    // fault, and the file is good.
    let unusable = |damage: Damage| {
        if schema.is_written(found) {
            Unusable::Damaged(damage)
        } else {
            Unusable::Stuck { from: found, reason: damage.to_string() }
        }
    };
    let rows = match schema.newest(found, rows) {
        Ok(rows) => rows,
        Err(StepError::Record(reason)) => return Err(unusable(Damage::Broken(reason))),
        Err(error) => return Err(Unusable::Stuck { from: found, reason: error.to_string() }),
    };
    let (ledger, journal) = tables::content_of(rows).map_err(unusable)?;
    Ok(Content { schema: found, closed, ledger, journal })
}

/// The rows in the bytes of a file.
pub(crate) fn rows_of(bytes: Vec<u8>, known: u8) -> Result<Rows, Unusable> {
    Ok(sound(bytes, known)?.1)
}

/// Whether the file was closed in order, and its rows.
fn sound(bytes: Vec<u8>, known: u8) -> Result<(bool, Rows), Unusable> {
    if bytes.is_empty() {
        return Err(Unusable::Damaged(Damage::Empty));
    }
    let image = Image::new(bytes);
    let (closed, schema, rows) = guarded(|| read(&image, known)).map_err(|fault| {
        Unusable::Damaged(match fault {
            Fault::Damage(damage) => damage,
            // Nothing but the bytes can be at fault in memory: a read past their end, a header that is none.
            Fault::Io(error) => Damage::Foreign(error.to_string()),
            Fault::Locked => Damage::Broken("locked in memory".to_owned()),
        })
    })?;
    match rows {
        Some(rows) => Ok((closed, Rows { schema, rows })),
        None => Err(Unusable::Newer(schema)),
    }
}

/// The bytes of a file with these rows, closed in order.
pub(crate) fn of_rows(schema: u8, rows: &[Row]) -> Result<Vec<u8>, Fault> {
    let image = Image::new(Vec::new());
    guarded(|| {
        let database = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(image.clone())?;
        let txn = tables::begin(&database)?;
        tables::found(&txn, schema, rows)?;
        txn.commit()?;
        Ok(database.close()?)
    })?;
    image.with(|bytes| Ok(std::mem::take(bytes))).map_err(Fault::Io)
}

/// Whether it was closed in order, its schema, and its rows unless the schema is newer than `known`.
fn read(image: &Image, known: u8) -> Result<(bool, u8, Option<Vec<Row>>), Fault> {
    // A read-only open refuses a file that was not closed in order, and tells nothing else apart reliably.
    let closed = match Builder::new().set_cache_size(CACHE_BYTES).open_read_only_with_backend(image.clone()) {
        Ok(database) => {
            database.close()?;
            true
        }
        Err(DatabaseError::RepairAborted) => false,
        Err(error) => return Err(error.into()),
    };
    let database = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(image.clone())?;
    let txn = database.begin_read()?;
    let schema = tables::schema_of(&txn)?
        .ok_or_else(|| Fault::from(Damage::Foreign("a redb database without tables".to_owned())))?;
    let rows = (schema <= known).then(|| tables::rows(&txn, schema)).transpose()?;
    Ok((closed, schema, rows))
}

/// A file in memory. Clones share it.
#[derive(Clone)]
struct Image(Arc<Mutex<Vec<u8>>>);

impl Image {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(bytes)))
    }

    fn with<T>(&self, operation: impl FnOnce(&mut Vec<u8>) -> io::Result<T>) -> io::Result<T> {
        operation(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Image")
    }
}

/// The range of `length` bytes at `offset`, when the file has it.
fn range(file: &[u8], offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
    usize::try_from(offset)
        .ok()
        .and_then(|start| Some(start..start.checked_add(length)?))
        .filter(|range| range.end <= file.len())
        .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early"))
}

impl StorageBackend for Image {
    fn len(&self) -> io::Result<u64> {
        self.with(|file| Ok(file.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|file| {
            let range = range(file, offset, out.len())?;
            out.copy_from_slice(&file[range]);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|file| {
            // A header that lies about the size must not be able to take the machine's memory.
            if len > 2 * MOST_BYTES {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "it wants to grow beyond any ledger",
                ));
            }
            file.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|file| {
            let range = range(file, offset, data.len())?;
            file[range].copy_from_slice(data);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
