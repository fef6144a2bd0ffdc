//! A disk in memory.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::WallTime;
use holdfast_store::{Medium, OpenOptions, Opened, StorageBackend, Store};

/// A disk in memory that refuses while it is told to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    refuses: Arc<AtomicBool>,
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl Disk {
    /// From now on it refuses what changes it, or takes it again.
    pub(crate) fn refuses(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    fn copy(&self) -> Self {
        let bytes = self.bytes.lock().unwrap().clone();
        Self { bytes: Arc::new(Mutex::new(bytes)), ..Self::default() }
    }

    /// As the next start would find it.
    pub(crate) fn open_anew(&self) -> Opened {
        Store::with_backend(self.copy(), &OpenOptions::at(WallTime(0))).unwrap()
    }

    /// What the next start would find.
    pub(crate) fn ledger(&self) -> Ledger {
        self.open_anew().ledger
    }

    /// What a kill at this instant leaves, if the last thing that was done are these changes.
    pub(crate) fn killed(&self, last: &[Change]) -> Self {
        let copy = self.copy();
        let mut store = Store::with_backend(copy.clone(), &OpenOptions::at(WallTime(0))).unwrap().store;
        store.commit(last).unwrap();
        drop(store);
        copy
    }

    fn turn(&self) -> io::Result<()> {
        if self.refuses.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
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
