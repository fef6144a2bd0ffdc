//! A disk that fails in the middle of a commit: each kind of call refused in turn.

#![allow(clippy::unwrap_used, reason = "in a test, that is how it fails")]

mod sample;

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use holdfast_store::{CommitError, ReadError, StorageBackend, Store};
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
        assert_eq!(store.durable(), &before, "what failed is not counted");
        assert!(matches!(store.commit(&full_node(1)), Err(CommitError::Stopped { .. })));
        assert!(matches!(store.load(), Err(ReadError::Stopped { .. })));
        assert!(matches!(store.journal(1), Err(ReadError::Stopped { .. })));
    }
    assert!(refused >= 3, "every call of a commit was refused once: {refused}");
}
