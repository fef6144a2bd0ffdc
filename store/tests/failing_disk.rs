//! A disk that fails in the middle of a commit: each kind of call refused in turn.

#![allow(clippy::unwrap_used, reason = "in a test, that is how it fails")]

mod sample;

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use holdfast_migrations::SCHEMA;
use holdfast_model::block::Block;
use holdfast_model::ids::EniId;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::BootTime;
use holdfast_store::{CommitError, Damage, Found, Medium, OpenError, ReadError, StorageBackend, Store};
use sample::{full_node, ledger_of, options, script};

/// A disk in memory whose writes or syncs begin to fail after a number of calls.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Calls that still succeed, once armed.
    left: Arc<AtomicI64>,
    armed: Arc<Mutex<Option<io::ErrorKind>>>,
}

impl Disk {
    fn fail_after(&self, calls: i64, with: io::ErrorKind) {
        self.left.store(calls, Ordering::SeqCst);
        *self.armed.lock().unwrap() = Some(with);
    }

    fn turn(&self) -> io::Result<()> {
        match *self.armed.lock().unwrap() {
            Some(kind) if self.left.fetch_sub(1, Ordering::SeqCst) <= 0 => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.copy_from_slice(&self.bytes.lock().unwrap()[at(offset)..][..out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.turn()?;
        self.bytes.lock().unwrap().resize(at(len), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.turn()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.turn()?;
        self.bytes.lock().unwrap()[at(offset)..][..data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[test]
fn any_refused_call_is_told_and_stops_the_store() {
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::Other];
    let mut refused = 0;
    for calls in 0..40 {
        let kind = kinds[usize::try_from(calls).unwrap() % kinds.len()];
        let disk = Disk::default();
        let mut store = Store::with_backend(disk.clone(), &options()).unwrap().store;
        let before = script(1, 2);
        for changes in &before {
            store.commit(changes).unwrap();
        }
        let before = ledger_of(before.iter().flatten());
        disk.fail_after(calls, kind);
        let Err(error) = store.commit(&full_node(110)) else {
            // More calls than a commit makes: it went through, and closing meets the failure.
            drop(store);
            continue;
        };
        refused += 1;
        let told = match &error {
            CommitError::DiskFull { source, .. }
            | CommitError::ReadOnly { source, .. }
            | CommitError::Io { source, .. } => source.kind(),
            other => panic!("{other:?}"),
        };
        assert_eq!(told, kind, "after {calls} calls");
        assert_eq!(matches!(error, CommitError::DiskFull { .. }), kind == io::ErrorKind::StorageFull);
        assert_eq!(matches!(error, CommitError::ReadOnly { .. }), kind == io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(store.durable().unwrap(), before, "what failed is not counted");
        assert!(matches!(store.commit(&full_node(1)), Err(CommitError::Stopped { .. })));
        assert!(matches!(store.load(), Err(ReadError::Stopped { .. })));
        assert!(matches!(store.journal(1), Err(ReadError::Stopped { .. })));
    }
    assert!(refused >= 3, "every call of a commit was refused once: {refused}");
}

impl Medium for Disk {
    type Backend = Self;

    fn open(&self) -> Self {
        self.clone()
    }

    fn replace(&self, bytes: Vec<u8>) -> io::Result<()> {
        self.turn()?;
        *self.bytes.lock().unwrap() = bytes;
        Ok(())
    }
}

impl Disk {
    fn mend(&self) {
        *self.armed.lock().unwrap() = None;
    }

    /// The bytes as they are now, on a disk of their own.
    fn copy(&self) -> Self {
        let bytes = self.bytes.lock().unwrap().clone();
        Self { bytes: Arc::new(Mutex::new(bytes)), ..Self::default() }
    }
}

#[test]
fn a_medium_that_works_again_gets_what_was_acknowledged() {
    let disk = Disk::default();
    let mut store = Store::on_medium(disk.clone(), &options()).unwrap().store;
    let kept = full_node(3);
    store.commit(&kept).unwrap();
    disk.fail_after(0, io::ErrorKind::Other);
    store.commit(&full_node(20)).unwrap_err();
    assert!(store.resume().is_err(), "it fails still");
    let Err(CommitError::Stopped { path }) = store.commit(&kept) else { panic!("it is stopped") };
    assert_eq!(path.to_str(), Some("(backend)"), "it has no path, and is named all the same");
    disk.mend();
    store.resume().unwrap();
    assert_eq!(store.load().unwrap(), ledger_of(&kept));
    let more = script(5, 1).remove(0);
    store.commit(&more).unwrap();
    drop(store);
    let again = Store::on_medium(disk, &options()).unwrap();
    assert_eq!((again.found, again.ledger), (Found::Intact, ledger_of(kept.iter().chain(&more))));
}

/// What made it a ledger of the newest schema is gone when it is written anew.
#[test]
fn a_medium_that_works_again_gets_the_oldest_schema_that_will_do() {
    let disk = Disk::default();
    let mut store = Store::on_medium(disk.clone(), &options()).unwrap().store;
    let prefix = Block::held("10.9.0.16/28".parse().unwrap(), EniId::new("eni-1"), BootTime(3));
    let mut changes = vec![Change::PutBlock(prefix.clone())];
    store.commit(&changes).unwrap();
    let gone = [Change::DropBlock(prefix.net)];
    store.commit(&gone).unwrap();
    disk.fail_after(0, io::ErrorKind::Other);
    store.commit(&full_node(20)).unwrap_err();
    disk.mend();
    store.resume().unwrap();
    store.commit(&full_node(3)).unwrap();
    changes.extend(gone.into_iter().chain(full_node(3)));
    assert_eq!(store.load().unwrap(), ledger_of(&changes));
}

#[test]
fn a_backend_is_opened_as_it_stands() {
    let disk = Disk::default();
    let opened = Store::with_backend(disk.clone(), &options()).unwrap();
    assert_eq!((opened.found, opened.ledger), (Found::Fresh, Ledger::default()));
    let mut store = opened.store;
    let changes = full_node(3);
    store.commit(&changes).unwrap();
    let killed = Store::with_backend(disk.copy(), &options()).unwrap();
    assert_eq!((killed.found, &killed.ledger), (Found::Recovered, &ledger_of(&changes)));
    store.close().unwrap();
    let closed = Store::with_backend(disk.copy(), &options()).unwrap();
    assert_eq!((closed.found, &closed.ledger), (Found::Intact, &ledger_of(&changes)));
}

#[test]
fn a_backend_of_a_newer_schema_is_refused() {
    let disk = Disk::default();
    Store::with_backend(disk.clone(), &options()).unwrap().store.close().unwrap();
    let database = redb::Builder::new().create_with_backend(disk.clone()).unwrap();
    let txn = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
    txn.open_table(meta).unwrap().insert("schema", [SCHEMA + 1].as_slice()).unwrap();
    // What it holds is not looked at.
    let node = redb::TableDefinition::<&[u8], &[u8]>::new("node");
    txn.open_table(node).unwrap().insert([0].as_slice(), [1, SCHEMA + 1, 0].as_slice()).unwrap();
    txn.commit().unwrap();
    drop(database);
    let refused = Store::with_backend(disk, &options()).unwrap_err();
    assert!(
        matches!(refused, OpenError::Newer { found, known: SCHEMA, .. } if found == SCHEMA + 1),
        "{refused}"
    );
}

/// A database with tables of whatever kind is somebody's; only one without any is fresh.
#[test]
fn another_programs_database_is_not_taken_for_an_empty_one() {
    for multimap in [false, true] {
        let disk = Disk::default();
        let database = redb::Builder::new().create_with_backend(disk.clone()).unwrap();
        let txn = database.begin_write().unwrap();
        if multimap {
            txn.open_multimap_table(redb::MultimapTableDefinition::<u64, u64>::new("theirs")).unwrap();
        } else {
            txn.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap();
        }
        txn.commit().unwrap();
        drop(database);
        let refused = Store::with_backend(disk, &options()).unwrap_err();
        assert!(matches!(refused, OpenError::Damaged(Damage::Foreign(_))), "{refused}");
    }
}

/// Nothing depends on a file being closed in order, and yet it is told when it was not.
#[test]
fn a_failure_while_closing_is_told() {
    let disk = Disk::default();
    let mut store = Store::with_backend(disk.clone(), &options()).unwrap().store;
    store.commit(&full_node(3)).unwrap();
    disk.fail_after(0, io::ErrorKind::Other);
    assert!(matches!(store.close(), Err(CommitError::Io { .. })));
}
