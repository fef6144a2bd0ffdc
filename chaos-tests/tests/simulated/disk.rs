//! A disk that a dead process cannot write to, that forgets what was not synced when the power goes, and that can be
//! full.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_model::ledger::Ledger;
use holdfast_model::time::WallTime;
use holdfast_store::{Medium, OpenOptions, StorageBackend, Store};
use redb::{Database, TableDefinition};

use crate::steps::Steps;

#[derive(Debug, Default)]
struct Image {
    /// What a running system reads.
    seen: Vec<u8>,
    /// What is left when the power goes.
    synced: Vec<u8>,
    /// What changed since the last sync: ranges of `seen`.
    unsynced: Vec<std::ops::Range<usize>>,
    /// Nothing more fits.
    full: bool,
    /// It takes no commit, and says nothing.
    stuck: bool,
    /// What was durable before the last commit, where somebody wants it.
    before: Option<Vec<u8>>,
}

impl Image {
    fn sync(&mut self) {
        self.synced.resize(self.seen.len(), 0);
        for range in self.unsynced.drain(..) {
            let end = range.end.min(self.seen.len());
            let start = range.start.min(end);
            self.synced[start..end].copy_from_slice(&self.seen[start..end]);
        }
    }
}

/// The disk itself; it outlives the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    image: Arc<Mutex<Image>>,
}

impl Disk {
    /// As a process sees it.
    pub(crate) fn of(&self, steps: &Steps) -> DiskOf {
        DiskOf { disk: self.clone(), steps: steps.clone() }
    }

    /// Nothing more fits, or something does again.
    pub(crate) fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// It hangs, or goes on.
    pub(crate) fn set_stuck(&self, stuck: bool) {
        self.lock().stuck = stuck;
    }

    /// Whether it hangs.
    pub(crate) fn is_stuck(&self) -> bool {
        self.lock().stuck
    }

    /// Another disk with what is durable on this one.
    pub(crate) fn copy(&self) -> Self {
        Self::holding(self.lock().synced.clone())
    }

    fn holding(durable: Vec<u8>) -> Self {
        let image = Image { seen: durable.clone(), synced: durable, ..Image::default() };
        Self { image: Arc::new(Mutex::new(image)) }
    }

    /// From now on what was durable before the last commit is kept.
    pub(crate) fn keep_one_commit_back(&self) {
        let image = &mut *self.lock();
        image.before = Some(image.synced.clone());
    }

    /// A commit begins.
    pub(crate) fn begin_commit(&self) {
        let image = &mut *self.lock();
        if let Some(before) = &mut image.before {
            before.clone_from(&image.synced);
        }
    }

    /// Another disk with what was durable on this one before its last commit.
    pub(crate) fn one_commit_back(&self) -> Self {
        let bytes = self.lock().before.clone().expect("it was kept");
        Self::holding(bytes)
    }

    /// Every so many bytes one is another: of whatever is on it, something is hit.
    pub(crate) fn damage(&self, every: usize) {
        let image = &mut *self.lock();
        for byte in image.seen.iter_mut().skip(every / 2).step_by(every) {
            *byte ^= 0x55;
        }
        image.synced.clone_from(&image.seen);
    }

    /// A version of this schema has written it.
    pub(crate) fn set_schema(&self, schema: u8) {
        let database = Database::builder().create_with_backend(self.of(&Steps::default()));
        let database = database.expect("it is a ledger");
        let txn = database.begin_write().expect("nobody else writes");
        let meta = TableDefinition::<&str, &[u8]>::new("meta");
        let insert = |mut table: redb::Table<'_, &str, &[u8]>| {
            table.insert("schema", [schema].as_slice()).map(drop).expect("the table takes it");
        };
        insert(txn.open_table(meta).expect("every ledger has it"));
        txn.commit().expect("the disk has room");
    }

    /// The power goes: only what was synced is left.
    pub(crate) fn lose_power(&self) {
        let image = &mut *self.lock();
        image.seen.clone_from(&image.synced);
        image.unsynced.clear();
    }

    /// The ledger that a start would find if the power went now.
    pub(crate) fn ledger_after_power_cut(&self) -> Ledger {
        let disk = self.copy();
        let options = OpenOptions::at(WallTime(0));
        Store::on_medium(disk.of(&Steps::default()), &options).expect("a synced image opens").ledger
    }

    fn lock(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The disk as one process sees it.
#[derive(Debug, Clone)]
pub(crate) struct DiskOf {
    disk: Disk,
    steps: Steps,
}

impl DiskOf {
    fn has_room(&self) -> io::Result<()> {
        if self.disk.lock().full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Medium for DiskOf {
    type Backend = Self;

    fn open(&self) -> Self {
        self.clone()
    }

    fn replace(&self, bytes: Vec<u8>) -> io::Result<()> {
        self.has_room()?;
        if !self.steps.is_dead() {
            let mut image = self.disk.lock();
            *image = Image { seen: bytes.clone(), synced: bytes, ..Image::default() };
        }
        Ok(())
    }
}

impl StorageBackend for DiskOf {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.disk.lock();
        let start = offset as usize;
        let bytes = image.seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !self.steps.is_dead() {
            self.disk.lock().seen.resize(len as usize, 0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.has_room()?;
        if !self.steps.is_dead() {
            self.disk.lock().sync();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.has_room()?;
        if !self.steps.is_dead() {
            let mut image = self.disk.lock();
            let start = offset as usize;
            let end = start + data.len();
            if image.seen.len() < end {
                image.seen.resize(end, 0);
            }
            image.seen[start..end].copy_from_slice(data);
            image.unsynced.push(start..end);
        }
        Ok(())
    }
}
