//! The store: the file, and the transactions on it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_migrations::bring_back;
use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::WallTime;
use redb::{Builder, Database, ReadableDatabase, StorageBackend};

use crate::error::{CommitError, Damage, OpenError, ReadError};
use crate::fault::{Fault, guarded};
use crate::file::{self, Standing};
use crate::image::{self, CACHE_BYTES, Content, Rows, Schema, Unusable, examine};
use crate::options::{CommitObserver, Medium, OpenOptions};
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
    durable: Ledger,
    schema: u8,
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
    /// Brought forward from an older schema.
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
    /// Opens the ledger at `path`, or makes one: folder 0700, file 0600, all names synced.
    ///
    /// A file that holds no usable ledger is moved aside and replaced by an empty one; an older schema is
    /// brought forward, the old file kept beside it. Whatever bytes the file holds, this neither panics nor
    /// loses them. An error means that the file was not changed.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Opened, OpenError> {
        Self::open_as(path, options, &Schema::current())
    }

    pub(crate) fn open_as(path: &Path, options: &OpenOptions, schema: &Schema) -> Result<Opened, OpenError> {
        file::ensure_folder(path)?;
        let lock = file::lock(path)?;
        let mut opening = Opening { path, options, known: schema.known, commits: Commits::of(options) };
        let examined = match file::look(path).map_err(|error| opening.error_of("read", error))? {
            Standing::Nothing => {
                opening.install(&Ledger::default(), &[], None)?;
                return opening.finish(lock, Ledger::default(), Found::Fresh);
            }
            Standing::Bytes(bytes) => examine(bytes, schema),
            Standing::Damaged(damage) => Err(Unusable::Damaged(damage)),
            Standing::NotAFile(kind) => return Err(OpenError::NotAFile { path: path.to_owned(), kind }),
        };
        match examined {
            Ok(Content { schema: from, ledger, journal, .. }) if from != schema.known => {
                let copy = opening.replace_older(from, &ledger, journal)?;
                opening.finish(lock, ledger, Found::Migrated { from, copy })
            }
            Ok(Content { closed, ledger, .. }) => {
                let found = if closed { Found::Intact } else { Found::Recovered };
                opening.finish(lock, ledger, found)
            }
            Err(Unusable::Damaged(cause)) => {
                let aside = opening.set_aside(&cause)?;
                opening.finish(lock, Ledger::default(), Found::SetAside { file: aside, cause })
            }
            Err(Unusable::Newer(found)) => {
                Err(OpenError::Newer { path: path.to_owned(), found, known: schema.known })
            }
            Err(Unusable::Stuck { from, reason }) => {
                Err(OpenError::Migration { path: path.to_owned(), from, to: schema.known, reason })
            }
        }
    }

    /// Opens the ledger on a medium of the caller's as [`Store::with_backend`] does; a stopped store can be resumed,
    /// and forgets its journal then.
    pub fn on_medium<M: Medium>(medium: M, options: &OpenOptions) -> Result<Opened, OpenError> {
        let mut opened = Self::with_backend(medium.open(), options)?;
        opened.store.home = Home::Backend(Some(Reopen(Box::new(move |bytes| {
            medium.replace(bytes).map_err(Fault::Io)?;
            guarded(|| Ok(Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(medium.open())?))
        }))));
        Ok(opened)
    }

    /// Opens the ledger on a backend of the caller's, in place, or makes one on an empty backend. For crash
    /// tests. There is nothing beside a backend, so damage is an error, older schemas are refused as damage,
    /// and a stopped store cannot be resumed.
    pub fn with_backend(backend: impl StorageBackend, options: &OpenOptions) -> Result<Opened, OpenError> {
        let known = holdfast_migrations::SCHEMA;
        let name = Home::Backend(None).name();
        let mut commits = Commits::of(options);
        let repaired = Arc::new(AtomicBool::new(false));
        let repairing = Arc::clone(&repaired);
        let opened = guarded(|| {
            let database = Builder::new()
                .set_cache_size(CACHE_BYTES)
                .set_repair_callback(move |_| repairing.store(true, Ordering::Relaxed))
                .create_with_backend(backend)?;
            let schema = tables::schema_of(&database.begin_read()?)?;
            if schema.is_none() {
                commits.observed(|| {
                    let txn = tables::begin(&database)?;
                    tables::found(&txn, known, &[])?;
                    Ok(txn.commit()?)
                })?;
            }
            if schema.is_some_and(|schema| schema > known) {
                return Ok((database, Ledger::default(), schema));
            }
            let (ledger, _journal) = tables::content_of(tables::rows(&database.begin_read()?, known)?)?;
            Ok((database, ledger, schema))
        });
        let (database, durable, found) = opened.map_err(|fault| match fault {
            Fault::Damage(damage) => OpenError::Damaged(damage),
            Fault::Locked => OpenError::Locked { path: name.clone() },
            Fault::Io(source) => {
                OpenError::Io { path: name.clone(), action: "open", remedy: file::remedy(&source), source }
            }
        })?;
        if let Some(found) = found.filter(|found| *found > known) {
            return Err(OpenError::Newer { path: name, found, known });
        }
        let ledger = durable.clone();
        let store = Self {
            database: Some(database),
            home: Home::Backend(None),
            durable,
            schema: known,
            journal_limit: options.journal_limit,
            commits,
        };
        let found = match found {
            None => Found::Fresh,
            Some(_) if repaired.load(Ordering::Relaxed) => Found::Recovered,
            Some(_) => Found::Intact,
        };
        Ok(Opened { store, ledger, found })
    }

    /// Brings the ledger at `path` back to an older schema, for a return to the version that writes that: with all its
    /// leases, rests and intents. The file as it was is kept beside it, and its name given; `None`: it is of that
    /// schema already. Refused while a daemon has it open, and when it holds what the older schema cannot say. An error
    /// means that the file was not changed.
    pub fn bring_back(path: &Path, to: u8, now: WallTime) -> Result<Option<PathBuf>, OpenError> {
        Self::bring_back_as(path, to, now, &Schema::current())
    }

    pub(crate) fn bring_back_as(
        path: &Path,
        to: u8,
        now: WallTime,
        schema: &Schema,
    ) -> Result<Option<PathBuf>, OpenError> {
        let _lock = file::lock(path)?;
        let options = OpenOptions::at(now);
        let mut opening = Opening { path, options: &options, known: to, commits: Commits::of(&options) };
        let bytes = match file::look(path).map_err(|error| opening.error_of("read", error))? {
            Standing::Bytes(bytes) => bytes,
            Standing::Nothing => return Err(OpenError::Missing { path: path.to_owned() }),
            Standing::NotAFile(kind) => return Err(OpenError::NotAFile { path: path.to_owned(), kind }),
            Standing::Damaged(damage) => return Err(OpenError::Damaged(damage)),
        };
        let stuck = |from, reason| OpenError::Migration { path: path.to_owned(), from, to, reason };
        let Rows { schema: found, rows } =
            image::rows_of(bytes, schema.known).map_err(|unusable| match unusable {
                Unusable::Damaged(damage) => OpenError::Damaged(damage),
                Unusable::Newer(found) => {
                    OpenError::Newer { path: path.to_owned(), found, known: schema.known }
                }
                Unusable::Stuck { from, reason } => stuck(from, reason),
            })?;
        let oldest = schema.steps.iter().map(|step| step.from).max().unwrap_or(found);
        if found == to {
            return Ok(None);
        }
        if to > found || to < oldest {
            return Err(OpenError::NoReturn { path: path.to_owned(), found, to, oldest });
        }
        let rows =
            bring_back(&schema.steps, found, to, rows).map_err(|error| stuck(found, error.to_string()))?;
        let copy = file::free_name(path, &format!("schema-{found}"), now.0);
        opening
            .commits
            .observed(|| file::install(path, to, &rows, Some(&copy)))
            .map_err(|fault| opening.error(fault))?;
        Ok(Some(copy))
    }

    /// Reads the ledger at `path`, and its newest `journal_limit` journal entries, without changing anything on
    /// disk: the file is examined in memory. Refused while a daemon has it open.
    pub fn inspect(path: &Path, journal_limit: usize) -> Result<Inspected, ReadError> {
        if file::is_locked(path) {
            return Err(ReadError::Locked { path: path.to_owned() });
        }
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        let damaged = |damage| ReadError::Damaged { path: path.to_owned(), damage };
        let bytes = match file::look(path).map_err(io)? {
            Standing::Bytes(bytes) => bytes,
            Standing::Nothing => return Err(io(io::ErrorKind::NotFound.into())),
            Standing::NotAFile(kind) => return Err(io(io::Error::other(format!("it is {kind}")))),
            Standing::Damaged(damage) => return Err(damaged(damage)),
        };
        let schema = Schema::current();
        match examine(bytes, &schema) {
            Ok(Content { schema, closed, ledger, mut journal }) => {
                let journal = journal.split_off(journal.len().saturating_sub(journal_limit));
                Ok(Inspected { ledger, journal, schema, closed })
            }
            Err(Unusable::Damaged(damage)) => Err(damaged(damage)),
            Err(Unusable::Stuck { reason, .. }) => Err(damaged(Damage::Broken(reason))),
            Err(Unusable::Newer(found)) => {
                Err(ReadError::Newer { path: path.to_owned(), found, known: schema.known })
            }
        }
    }

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
            let (schema, limit) = (self.schema, self.journal_limit);
            let committed = self.commits.observed(|| {
                guarded(|| {
                    let txn = tables::begin(&database)?;
                    tables::apply(&txn, schema, &writes, limit)?;
                    Ok(txn.commit()?)
                })
            });
            if let Err(fault) = committed {
                // Closing may stumble over the same fault, and has nothing to save.
                guarded(|| Ok(database.close()?)).ok();
                return Err(self.refused(fault));
            }
            self.durable.apply_all(changes);
        }
        self.database = Some(database);
        Ok(())
    }

    /// Makes a stopped store take changes again. Afterwards the disk holds exactly [`Store::durable`]: what was
    /// acknowledged, and nothing of what failed. The journal is kept as far as the old file can be read.
    ///
    /// The file is written anew and takes the old one's place, so that nothing builds on pages that a failed
    /// sync may have lost. An error leaves the store stopped; it may be called again.
    pub fn resume(&mut self) -> Result<(), CommitError> {
        if self.database.is_some() {
            return Ok(());
        }
        let reopened = match &self.home {
            Home::File { path, .. } => {
                let journal = match file::look(path) {
                    Ok(Standing::Bytes(bytes)) => examine(bytes, &Schema::current())
                        .map_or_else(|_unusable| Vec::new(), |content| content.journal),
                    _ => Vec::new(),
                };
                let rows = tables::rows_of(&self.durable, &journal).map_err(unwritable)?;
                self.commits
                    .observed(|| file::install(path, self.schema, &rows, None))
                    .and_then(|()| file::open_in_place(path))
            }
            Home::Backend(Some(Reopen(reopen))) => {
                let rows = tables::rows_of(&self.durable, &[]).map_err(unwritable)?;
                self.commits.observed(|| image::of_rows(self.schema, &rows).and_then(reopen))
            }
            Home::Backend(None) => return Err(CommitError::Stopped { path: self.home.name() }),
        };
        match reopened {
            Ok(database) => {
                self.database = Some(database);
                Ok(())
            }
            Err(fault) => Err(self.refused(fault)),
        }
    }

    /// The ledger as of the last successful commit, from memory.
    pub fn durable(&self) -> &Ledger {
        &self.durable
    }

    /// Reads the ledger from the database.
    pub fn load(&self) -> Result<Ledger, ReadError> {
        let schema = self.schema;
        self.read(|database| Ok(tables::content_of(tables::rows(&database.begin_read()?, schema)?)?.0))
    }

    /// The newest `limit` journal entries, oldest first.
    pub fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, ReadError> {
        self.read(|database| tables::journal(&database.begin_read()?, self.schema, limit))
    }

    /// Closes the file in order, so that the next start finds it [`Found::Intact`]. Nothing depends on it: a
    /// ledger that was not closed loses nothing.
    pub fn close(mut self) -> Result<(), CommitError> {
        match self.database.take() {
            None => Ok(()),
            Some(database) => guarded(|| Ok(database.close()?)).map_err(|fault| self.refused(fault)),
        }
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

/// The steps of opening a file that change something on disk.
struct Opening<'a> {
    path: &'a Path,
    options: &'a OpenOptions,
    known: u8,
    commits: Commits,
}

impl Opening<'_> {
    /// Puts a file with this content in place; what stood there is kept under the name given.
    fn install(
        &mut self,
        ledger: &Ledger,
        journal: &[JournalEntry],
        keep: Option<&Path>,
    ) -> Result<(), OpenError> {
        let rows = tables::rows_of(ledger, journal)
            .map_err(|unwritable| self.error(Fault::Io(io::Error::other(unwritable.cause.to_string()))))?;
        let (path, known) = (self.path, self.known);
        self.commits.observed(|| file::install(path, known, &rows, keep)).map_err(|fault| self.error(fault))
    }

    /// Puts an empty ledger in the place of a damaged file; gives that file's new name.
    fn set_aside(&mut self, cause: &Damage) -> Result<PathBuf, OpenError> {
        let aside = file::free_name(self.path, "damaged", self.options.now.0);
        let what = format!("found the ledger damaged ({cause}); moved it to {}", aside.display());
        self.install(&Ledger::default(), &[JournalEntry { at: self.options.now, what }], Some(&aside))?;
        Ok(aside)
    }

    /// Puts what came of an older file in its place; gives the name under which the old file is kept.
    fn replace_older(
        &mut self,
        from: u8,
        ledger: &Ledger,
        mut journal: Vec<JournalEntry>,
    ) -> Result<PathBuf, OpenError> {
        let copy = file::free_name(self.path, &format!("schema-{from}"), self.options.now.0);
        let what =
            format!("brought the ledger from schema {from} to {}; it was {}", self.known, copy.display());
        journal.push(JournalEntry { at: self.options.now, what });
        self.install(ledger, &journal, Some(&copy))?;
        Ok(copy)
    }

    /// Opens the file in place, now that it is known to be sound.
    fn finish(self, lock: File, durable: Ledger, found: Found) -> Result<Opened, OpenError> {
        let database = file::open_in_place(self.path).map_err(|fault| self.error(fault))?;
        let ledger = durable.clone();
        let store = Store {
            database: Some(database),
            home: Home::File { path: self.path.to_owned(), _lock: lock },
            durable,
            schema: self.known,
            journal_limit: self.options.journal_limit,
            commits: self.commits,
        };
        Ok(Opened { store, ledger, found })
    }

    fn error(&self, fault: Fault) -> OpenError {
        match fault {
            Fault::Locked => OpenError::Locked { path: self.path.to_owned() },
            Fault::Io(source) => self.error_of("write", source),
            Fault::Damage(damage) => self.error_of("open", io::Error::other(damage.to_string())),
        }
    }

    fn error_of(&self, action: &'static str, source: io::Error) -> OpenError {
        OpenError::Io { path: self.path.to_owned(), action, remedy: file::remedy(&source), source }
    }
}
