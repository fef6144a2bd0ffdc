//! Power cuts: the ledger survives the loss of everything that was not synced.
//!
//! A disk in memory remembers every write, every change of length, and every sync. After a script of commits has
//! run on it, the test takes the power away at every sync, in several ways: nothing that was not synced arrived;
//! all of it did; each write arrived or not, or only some of its 512-byte sectors did, at random. Each image is
//! then opened as a file, as the daemon would.

#![allow(clippy::unwrap_used, reason = "in a test, that is how it fails")]

mod sample;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use holdfast_model::ledger::{Change, Ledger};
use holdfast_store::{CommitObserver, Found, OpenOptions, StorageBackend, Store};
use sample::{Dice, ledger_of, options, script};

const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Event {
    Write {
        offset: usize,
        data: Vec<u8>,
    },
    SetLen(usize),
    Sync,
    /// The store said that this many commits are durable.
    Acknowledged(usize),
}

/// A disk that remembers.
#[derive(Clone, Debug, Default)]
struct Disk {
    now: Arc<Mutex<Vec<u8>>>,
    past: Arc<Mutex<Vec<Event>>>,
}

impl Disk {
    fn note(&self, event: Event) {
        self.past.lock().unwrap().push(event);
    }
}

fn bytes(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.now.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.copy_from_slice(&self.now.lock().unwrap()[bytes(offset)..][..out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.now.lock().unwrap().resize(bytes(len), 0);
        self.note(Event::SetLen(bytes(len)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(Event::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.now.lock().unwrap()[bytes(offset)..][..data.len()].copy_from_slice(data);
        self.note(Event::Write { offset: bytes(offset), data: data.to_vec() });
        Ok(())
    }
}

/// What becomes of the writes after the last sync.
#[derive(Clone, Debug)]
enum Fate {
    Lost,
    Arrived,
    Some(Dice),
    Torn(Dice),
}

impl Fate {
    fn arrives(&mut self) -> bool {
        match self {
            Self::Lost => false,
            Self::Arrived => true,
            Self::Some(dice) | Self::Torn(dice) => dice.coin(),
        }
    }
}

fn write(image: &mut [u8], offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        // It lies in a part that the file only has if its new length arrived: then it is lost with it.
        let kept = image.len().saturating_sub(offset).min(data.len());
        if kept > 0 {
            image[offset..offset + kept].copy_from_slice(&data[..kept]);
        }
        return;
    }
    image[offset..end].copy_from_slice(data);
}

fn put(image: &mut Vec<u8>, event: &Event, fate: &mut Fate) {
    match event {
        Event::SetLen(len) => {
            if fate.arrives() {
                image.resize(*len, 0);
            }
        }
        Event::Write { offset, data } if matches!(fate, Fate::Torn(_)) => {
            let mut done = 0;
            while done < data.len() {
                // Up to the next sector's edge.
                let part = (SECTOR - (offset + done) % SECTOR).min(data.len() - done);
                if fate.arrives() {
                    write(image, offset + done, &data[done..done + part]);
                }
                done += part;
            }
        }
        Event::Write { offset, data } => {
            if fate.arrives() {
                write(image, *offset, data);
            }
        }
        Event::Sync | Event::Acknowledged(_) => {}
    }
}

/// The disk when the power goes just before event `cut`: all that the last sync before it covers, and of the rest
/// what fate lets arrive.
fn image(past: &[Event], cut: usize, mut fate: Fate) -> Vec<u8> {
    let synced = past[..cut].iter().rposition(|event| matches!(event, Event::Sync)).unwrap_or(0);
    let mut image = Vec::new();
    for event in &past[..synced] {
        put(&mut image, event, &mut Fate::Arrived);
    }
    for event in &past[synced..cut] {
        put(&mut image, event, &mut fate);
    }
    image
}

/// Marks acknowledgements in the disk's past.
struct Mark(Disk);

impl CommitObserver for Mark {
    fn before(&self, _n: u64) {}

    fn after(&self, n: u64) {
        // Number 0 makes the empty ledger.
        self.0.note(Event::Acknowledged(usize::try_from(n).unwrap()));
    }
}

/// Runs the script on a recording disk; gives its past, and the states after each commit, the empty one first.
fn record(script: &[Vec<Change>]) -> (Vec<Event>, Vec<Ledger>) {
    let disk = Disk::default();
    let observer: Arc<dyn CommitObserver> = Arc::new(Mark(disk.clone()));
    let options = OpenOptions { observer: Some(observer), journal_limit: 6, ..options() };
    let mut store = Store::with_backend(disk.clone(), &options).unwrap().store;
    let mut states = vec![Ledger::default()];
    for (at, changes) in script.iter().enumerate() {
        store.commit(changes).unwrap();
        states.push(ledger_of(script[..=at].iter().flatten()));
    }
    store.close().unwrap();
    let past = disk.past.lock().unwrap().clone();
    (past, states)
}

/// The promise, for one image.
fn hold_to_it(path: &Path, image: &[u8], acknowledged: Option<usize>, states: &[Ledger], what: &str) {
    fs::write(path, image).unwrap();
    let opened = Store::open(path, &options()).unwrap();
    let Some(acknowledged) = acknowledged else {
        // Not even the empty ledger was acknowledged: anything goes, as long as it opens and claims nothing.
        assert!(opened.ledger == Ledger::default() || opened.ledger == states[1], "{what}");
        return;
    };
    assert!(
        matches!(opened.found, Found::Recovered | Found::Intact),
        "{what}: {acknowledged} commits were acknowledged, and the file is {:?}",
        opened.found
    );
    // All that was acknowledged; at most the one under way besides; nothing in between.
    let may = &states[acknowledged..states.len().min(acknowledged + 2)];
    assert!(may.contains(&opened.ledger), "{what}: not the state after commit {acknowledged} or the next");
    assert_eq!(opened.store.load().unwrap(), opened.ledger, "{what}");
}

#[test]
fn the_ledger_survives_a_power_cut_at_every_sync() {
    let mut script = script(7, 14);
    // One commit that grows the file.
    script.insert(9, sample::full_node(110));
    script.extend(sample::full_node(3).chunks(3).map(<[Change]>::to_vec));
    let (past, states) = record(&script);

    // Just before each sync, when most is at stake, and just after each acknowledgement, when least may be lost.
    let cuts: BTreeSet<usize> = past
        .iter()
        .enumerate()
        .filter_map(|(at, event)| match event {
            Event::Sync => Some(at),
            Event::Acknowledged(_) => Some(at + 1),
            _ => None,
        })
        .chain([past.len()])
        .collect();
    let syncs = past.iter().filter(|event| matches!(event, Event::Sync)).count();
    assert!(syncs > script.len(), "each commit syncs: {syncs} syncs in {} commits", script.len());

    let folder = sample::quick_folder();
    let mut images = 0;
    for cut in cuts {
        let acknowledged = past[..cut].iter().rev().find_map(|event| match event {
            Event::Acknowledged(commits) => Some(*commits),
            _ => None,
        });
        let fates = [Fate::Lost, Fate::Arrived]
            .into_iter()
            .chain((0..3).map(|seed| Fate::Some(Dice(cut as u64 * 31 + seed))))
            .chain((0..4).map(|seed| Fate::Torn(Dice(cut as u64 * 37 + seed))));
        for fate in fates {
            let what = format!("power cut before event {cut} of {}, {fate:?}", past.len());
            let path = folder.path().join(format!("ledger-{images}.redb"));
            hold_to_it(&path, &image(&past, cut, fate), acknowledged, &states, &what);
            images += 1;
            for entry in fs::read_dir(folder.path()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    }
    println!("{syncs} syncs, {images} images");
    assert!(images >= syncs * 9);
}
