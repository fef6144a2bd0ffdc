//! The store: the file, and the transactions on it.

mod open;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use holdfast_migrations::{Row, StepError};
use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::{Change, Ledger};
use redb::{Database, ReadableDatabase};

use crate::durable::Durable;
use crate::error::{CommitError, Damage, ReadError};
use crate::fault::{Fault, guarded};
use crate::file::{self, Standing};
use crate::image::{self, examine};
use crate::options::{CommitObserver, OpenOptions};
use crate::schema::Schema;
use crate::tables::{self, Unwritable};

/// The ledger's file, open for writing by this process alone.
///
/// Dropping it closes the file in order, as [`Store::close`] does without telling of errors.
#[derive(Debug)]
pub struct Store {
    /// `None` since a commit failed. A failed write leaves it unknown what the disk holds (after a failed sync
    /// the kernel may show pages that will never reach the disk), so the file as it stands is not written again.
    database: Option<Database>,
    home: Home,
    durable: Durable,
    schema: Schema,
    /// The file's; the newest from the first row on that no older one says, until the next start.
    written: u8,
    journal_limit: u32,
    commits: Commits,
}

/// Where the bytes are.
#[derive(Debug)]
enum Home {
    File { path: PathBuf, _lock: File },
    Backend(Option<Reopen>),
}

/// Puts a new image in the place of a backend's, and opens it.
struct Reopen(Box<dyn Fn(Vec<u8>) -> Result<Database, Fault> + Send>);

impl std::fmt::Debug for Reopen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reopen")
    }
}

impl Home {
    /// For messages.
    fn name(&self) -> PathBuf {
        match self {
            Self::File { path, .. } => path.clone(),
            Self::Backend(_) => PathBuf::from("(backend)"),
        }
    }
}

/// Counts durable commits, and tells the observer.
struct Commits {
    next: u64,
    observer: Option<Arc<dyn CommitObserver>>,
}

impl std::fmt::Debug for Commits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Commits({})", self.next)
    }
}

impl Commits {
    fn observed<T>(&mut self, commit: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let number = self.next;
        self.next += 1;
        if let Some(observer) = &self.observer {
            observer.before(number);
        }
        let done = commit()?;
        if let Some(observer) = &self.observer {
            observer.after(number);
        }
        Ok(done)
    }
}

/// A store, and what it held.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// The ledger as it is on disk.
    pub ledger: Ledger,
    /// In what state the file was. For people: decide by the ledger. One that names no node
    /// ([`Ledger::node`] is `None`) is to be rebuilt from EC2 and the kernel, whatever this says: a crash just
    /// after a damaged file was set aside shows an intact, empty one at the next start.
    pub found: Found,
}

/// In what state the file was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There was none. Says nothing about whether pods run here.
    Fresh,
    /// Closed in order.
    Intact,
    /// Not closed in order (a crash, a kill), and whole: every acknowledged commit is there.
    Recovered,
    /// Brought to another schema: forward, or back to the oldest that says all there is.
    Migrated {
        /// The schema it had.
        from: u8,
        /// The file as it was.
        copy: PathBuf,
    },
    /// Not a ledger, or a damaged one. It was moved aside, unchanged, and an empty ledger stands in its place.
    SetAside {
        /// Where it is now.
        file: PathBuf,
        /// What is wrong with it.
        cause: Damage,
    },
}

/// What [`Store::inspect`] saw.
#[derive(Debug)]
pub struct Inspected {
    /// The ledger.
    pub ledger: Ledger,
    /// The newest journal entries, oldest first.
    pub journal: Vec<JournalEntry>,
    /// The schema of the file.
    pub schema: u8,
    /// Whether the file was closed in order.
    pub closed: bool,
}

impl Store {
    /// Makes the changes durable, all or none, in one transaction; no changes, no transaction.
    ///
    /// After an error the store is stopped: it is unknown whether the file holds the changes, and every further
    /// commit fails until [`Store::resume`].
    pub fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        let Some(database) = self.database.take() else {
            return Err(CommitError::Stopped { path: self.home.name() });
        };
        if !changes.is_empty() {
            let writes = tables::writes(changes).map_err(unwritable)?;
            let older = self.schema.written(&writes, self.written).map_err(|error| self.broken(&error))?;
            let (to, said) = match &older {
                Some(older) => (self.written, older.as_ref()),
                None => (self.schema.known, writes.as_slice()),
            };
            let (from, schema, limit) = (self.written, &self.schema, self.journal_limit);
            let committed = self.commits.observed(|| {
                guarded(|| {
                    let txn = tables::begin(&database)?;
                    if to != from {
                        tables::raise(&txn, from, schema)?;
                    }
                    tables::apply(&txn, to, said, limit)?;
                    Ok(txn.commit()?)
                })
            });
            if let Err(fault) = committed {
                // Closing may stumble over the same fault, and has nothing to save.
                guarded(|| Ok(database.close()?)).ok();
                return Err(self.refused(fault));
            }
            self.written = to;
            drop(older);
            self.durable.apply(writes);
        }
        self.database = Some(database);
        Ok(())
    }

    /// Makes a stopped store take changes again, and gives the ledger that the disk has now: what was acknowledged
    /// ([`Store::durable`]), and nothing of what failed. The journal is kept as far as the old file can be read.
    ///
    /// The file is written anew and takes the old one's place, so that nothing builds on pages that a failed
    /// sync may have lost. An error leaves the store stopped; it may be called again.
    pub fn resume(&mut self) -> Result<Ledger, CommitError> {
        let ledger = self.durable.ledger().map_err(|damage| self.refused(Fault::Damage(damage)))?;
        if self.database.is_some() {
            return Ok(ledger);
        }
        let mut rows = self.durable.rows();
        if let Home::File { path, .. } = &self.home {
            let journal = match file::look(path) {
                Ok(Standing::Bytes(bytes)) => examine(bytes, &self.schema)
                    .map_or_else(|_unusable| Vec::new(), |content| content.journal),
                _ => Vec::new(),
            };
            rows.extend(tables::journal_rows(&journal).map_err(unwritable)?);
        }
        let (written, rows) = self.schema.oldest(&rows).map_err(|error| self.broken(&error))?;
        let reopened = match &self.home {
            Home::File { path, .. } => self
                .commits
                .observed(|| file::install(path, written, &rows, None))
                .and_then(|()| file::open_in_place(path)),
            Home::Backend(Some(Reopen(reopen))) => {
                self.commits.observed(|| image::of_rows(written, &rows).and_then(reopen))
            }
            Home::Backend(None) => return Err(CommitError::Stopped { path: self.home.name() }),
        };
        match reopened {
            Ok(database) => {
                self.database = Some(database);
                self.written = written;
                Ok(ledger)
            }
            Err(fault) => Err(self.refused(fault)),
        }
    }

    /// The ledger as of the last successful commit, from memory.
    pub fn durable(&self) -> Result<Ledger, ReadError> {
        self.durable.ledger().map_err(|damage| ReadError::Damaged { path: self.home.name(), damage })
    }

    /// Reads the ledger from the database.
    pub fn load(&self) -> Result<Ledger, ReadError> {
        Ok(self.content(|database| tables::rows(&database.begin_read()?, self.written))?.0)
    }

    /// The newest `limit` journal entries, oldest first.
    pub fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, ReadError> {
        Ok(self.content(|database| tables::journal(&database.begin_read()?, self.written, limit))?.1)
    }

    /// Closes the file in order, so that the next start finds it [`Found::Intact`]. Nothing depends on it: a
    /// ledger that was not closed loses nothing.
    pub fn close(mut self) -> Result<(), CommitError> {
        match self.database.take() {
            None => Ok(()),
            Some(database) => guarded(|| Ok(database.close()?)).map_err(|fault| self.refused(fault)),
        }
    }

    /// What rows of the file add up to.
    fn content(
        &self,
        rows: impl FnOnce(&Database) -> Result<Vec<Row>, Fault>,
    ) -> Result<(Ledger, Vec<JournalEntry>), ReadError> {
        self.read(|database| {
            let newest = self.schema.newest(self.written, rows(database)?);
            Ok(tables::content_of(newest.map_err(|error| Damage::Broken(error.to_string()))?)?)
        })
    }

    fn broken(&self, error: &StepError) -> CommitError {
        CommitError::Broken { path: self.home.name(), reason: error.to_string() }
    }

    fn read<T>(&self, read: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, ReadError> {
        let path = self.home.name();
        let Some(database) = &self.database else {
            return Err(ReadError::Stopped { path });
        };
        guarded(|| read(database)).map_err(|fault| match fault {
            Fault::Io(source) => ReadError::Io { path, source },
            Fault::Damage(damage) => ReadError::Damaged { path, damage },
            Fault::Locked => ReadError::Locked { path },
        })
    }

    fn refused(&self, fault: Fault) -> CommitError {
        let path = self.home.name();
        match fault {
            Fault::Io(source) => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    CommitError::DiskFull { path, source }
                }
                io::ErrorKind::ReadOnlyFilesystem => CommitError::ReadOnly { path, source },
                _ => CommitError::Io { path, source },
            },
            Fault::Damage(damage) => CommitError::Broken { path, reason: damage.to_string() },
            Fault::Locked => CommitError::Broken { path, reason: "another process locked it".to_owned() },
        }
    }
}

/// Whether each of these changes makes a record that the ledger takes: to be asked of what comes from outside, before it
/// is submitted beside the changes of others, which would fail with it.
pub fn admits(changes: &[Change]) -> Result<(), CommitError> {
    tables::writes(changes).map(drop).map_err(unwritable)
}

fn unwritable(Unwritable { table, cause }: Unwritable) -> CommitError {
    CommitError::Record { table: table.name(), reason: cause.to_string() }
}

impl Commits {
    fn of(options: &OpenOptions) -> Self {
        Self { next: 0, observer: options.observer.clone() }
    }
}
