//! Opening: what becomes of whatever stands in the ledger's place.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_migrations::{Row, StepError, bring_back};
use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::Ledger;
use holdfast_model::time::WallTime;
use redb::{Builder, ReadableDatabase, StorageBackend};

use super::{Commits, Found, Home, Inspected, Opened, Reopen, Store};
use crate::durable::Durable;
use crate::error::{Damage, OpenError, ReadError};
use crate::fault::{Fault, guarded};
use crate::file::{self, Standing};
use crate::image::{self, CACHE_BYTES, Content, Rows, Unusable, examine};
use crate::options::{Medium, OpenOptions};
use crate::schema::Schema;
use crate::tables::{self, Unwritable};

impl Store {
    /// Opens the ledger at `path`, or makes one: folder 0700, file 0600, all names synced.
    ///
    /// A file that holds no usable ledger is moved aside and replaced by an empty one; one of another schema than the
    /// oldest that says what it holds is brought to that, the file as it was kept beside it. Whatever bytes the file holds, this neither panics nor
    /// loses them. An error means that the file was not changed.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Opened, OpenError> {
        Self::open_as(path, options, &Schema::current())
    }

    pub(crate) fn open_as(path: &Path, options: &OpenOptions, schema: &Schema) -> Result<Opened, OpenError> {
        file::ensure_folder(path)?;
        let lock = file::lock(path)?;
        let mut opening = Opening { path, options, schema, commits: Commits::of(options) };
        let examined = match file::look(path).map_err(|error| opening.error_of("read", error))? {
            Standing::Nothing => {
                let written = opening.install(&[], &[], None)?;
                return opening.finish(lock, Ledger::default(), Vec::new(), written, Found::Fresh);
            }
            Standing::Bytes(bytes) => examine(bytes, schema),
            Standing::Damaged(damage) => Err(Unusable::Damaged(damage)),
            Standing::NotAFile(kind) => return Err(OpenError::NotAFile { path: path.to_owned(), kind }),
        };
        match examined {
            Ok(Content { schema: from, closed, ledger, journal }) => {
                let rows = opening.rows_of(&ledger)?;
                let to = schema.of(&rows).map_err(|error| opening.unsayable(&error))?;
                let found = if from != to {
                    Found::Migrated { from, copy: opening.replace(from, to, &rows, journal)? }
                } else if closed {
                    Found::Intact
                } else {
                    Found::Recovered
                };
                opening.finish(lock, ledger, rows, to, found)
            }
            Err(Unusable::Damaged(cause)) => {
                let (written, file) = opening.set_aside(&cause)?;
                let found = Found::SetAside { file, cause };
                opening.finish(lock, Ledger::default(), Vec::new(), written, found)
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
    /// tests. There is nothing beside a backend, so damage is an error, a file stays in the schema that it has, and a
    /// stopped store cannot be resumed.
    pub fn with_backend(backend: impl StorageBackend, options: &OpenOptions) -> Result<Opened, OpenError> {
        let all = Schema::current();
        let known = all.known;
        let name = Home::Backend(None).name();
        let mut commits = Commits::of(options);
        let repaired = Arc::new(AtomicBool::new(false));
        let repairing = Arc::clone(&repaired);
        let broken = |error: StepError| Damage::Broken(error.to_string());
        let fresh = all.of(&[]).map_err(|error| OpenError::Damaged(broken(error)))?;
        let opened = guarded(|| {
            let database = Builder::new()
                .set_cache_size(CACHE_BYTES)
                .set_repair_callback(move |_| repairing.store(true, Ordering::Relaxed))
                .create_with_backend(backend)?;
            let schema = tables::schema_of(&database.begin_read()?)?;
            if schema.is_none() {
                commits.observed(|| {
                    let txn = tables::begin(&database)?;
                    tables::found(&txn, fresh, &[])?;
                    Ok(txn.commit()?)
                })?;
            }
            if schema.is_some_and(|schema| schema > known) {
                return Ok((database, Ledger::default(), schema));
            }
            let rows = tables::rows(&database.begin_read()?, schema.unwrap_or(fresh))?;
            let rows = all.newest(schema.unwrap_or(fresh), rows).map_err(broken)?;
            Ok((database, tables::content_of(rows)?.0, schema))
        });
        let (database, ledger, found) = opened.map_err(|fault| match fault {
            Fault::Damage(damage) => OpenError::Damaged(damage),
            Fault::Locked => OpenError::Locked { path: name.clone() },
            Fault::Io(source) => {
                OpenError::Io { path: name.clone(), action: "open", remedy: file::remedy(&source), source }
            }
        })?;
        if let Some(found) = found.filter(|found| *found > known) {
            return Err(OpenError::Newer { path: name, found, known });
        }
        let rows = tables::rows_of(&ledger).map_err(|unwritable| {
            OpenError::Damaged(tables::bad(unwritable.table, unwritable.cause.to_string()))
        })?;
        let store = Self {
            database: Some(database),
            home: Home::Backend(None),
            durable: Durable::of(rows),
            schema: all,
            written: found.unwrap_or(fresh),
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
        let mut opening = Opening { path, options: &options, schema, commits: Commits::of(&options) };
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
        let oldest = schema.steps.iter().map(|step| step.from).min().unwrap_or(found);
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
}

/// The steps of opening a file that change something on disk.
struct Opening<'a> {
    path: &'a Path,
    options: &'a OpenOptions,
    schema: &'a Schema,
    commits: Commits,
}

impl Opening<'_> {
    fn rows_of(&self, ledger: &Ledger) -> Result<Vec<Row>, OpenError> {
        tables::rows_of(ledger).map_err(|unwritable| self.unwritable(&unwritable))
    }

    /// Puts a file with this content in place; what stood there is kept under the name given. Gives its schema.
    fn install(
        &mut self,
        rows: &[Row],
        journal: &[JournalEntry],
        keep: Option<&Path>,
    ) -> Result<u8, OpenError> {
        let journal = tables::journal_rows(journal).map_err(|unwritable| self.unwritable(&unwritable))?;
        let all: Vec<Row> = rows.iter().cloned().chain(journal).collect();
        let (to, said) = self.schema.oldest(&all).map_err(|error| self.unsayable(&error))?;
        let path = self.path;
        self.commits.observed(|| file::install(path, to, &said, keep)).map_err(|fault| self.error(fault))?;
        Ok(to)
    }

    /// Puts an empty ledger in the place of a damaged file; gives its schema and that file's new name.
    fn set_aside(&mut self, cause: &Damage) -> Result<(u8, PathBuf), OpenError> {
        let aside = file::free_name(self.path, "damaged", self.options.now.0);
        let what = format!("found the ledger damaged ({cause}); moved it to {}", aside.display());
        let written = self.install(&[], &[JournalEntry { at: self.options.now, what }], Some(&aside))?;
        Ok((written, aside))
    }

    /// Puts what a file of another schema holds in its place; gives the name under which that file is kept.
    fn replace(
        &mut self,
        from: u8,
        to: u8,
        rows: &[Row],
        mut journal: Vec<JournalEntry>,
    ) -> Result<PathBuf, OpenError> {
        let copy = file::free_name(self.path, &format!("schema-{from}"), self.options.now.0);
        let what = format!("brought the ledger from schema {from} to {to}; it was {}", copy.display());
        journal.push(JournalEntry { at: self.options.now, what });
        self.install(rows, &journal, Some(&copy))?;
        Ok(copy)
    }

    /// Opens the file in place, now that it is known to be sound.
    fn finish(
        self,
        lock: File,
        ledger: Ledger,
        rows: Vec<Row>,
        written: u8,
        found: Found,
    ) -> Result<Opened, OpenError> {
        let database = file::open_in_place(self.path).map_err(|fault| self.error(fault))?;
        let store = Store {
            database: Some(database),
            home: Home::File { path: self.path.to_owned(), _lock: lock },
            durable: Durable::of(rows),
            schema: self.schema.clone(),
            written,
            journal_limit: self.options.journal_limit,
            commits: self.commits,
        };
        Ok(Opened { store, ledger, found })
    }

    fn unsayable(&self, error: &StepError) -> OpenError {
        self.error(Fault::Io(io::Error::other(error.to_string())))
    }

    fn unwritable(&self, unwritable: &Unwritable) -> OpenError {
        self.error(Fault::Io(io::Error::other(unwritable.cause.to_string())))
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
