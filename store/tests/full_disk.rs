//! A disk without space, and a disk that takes no writes: real ones, in a mount namespace of the test's thread.
//!
//! Needs root, and fails without it.

#![allow(clippy::unwrap_used, reason = "in a test, that is how it fails")]

mod sample;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use holdfast_model::ledger::Ledger;
use holdfast_store::{CommitError, Found, OpenError, Report, Store, Writer};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use sample::{full_node, ledger_of, options, script};
use tempfile::TempDir;

const SIZE: &str = "size=6m";

/// A small disk that only this thread, and those it starts, can see. If the test is killed, it goes with them.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Without this the folder below could not be removed.
        umount2(self.path(), MntFlags::MNT_DETACH).ok();
    }
}

fn small_disk() -> SmallDisk {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace: this test needs root");
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    let folder = tempfile::tempdir().unwrap();
    mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some(SIZE)).unwrap();
    SmallDisk(folder)
}

fn read_only(folder: &Path) {
    let nothing: Option<&str> = None;
    mount(nothing, folder, nothing, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, Some(SIZE)).unwrap();
}

/// Takes all space that is left.
fn fill(folder: &Path) {
    let mut ballast = fs::File::create(folder.join("ballast")).unwrap();
    for block in [65_536, 4096, 1] {
        loop {
            match ballast.write(&vec![1; block]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn make_room(folder: &Path) {
    fs::remove_file(folder.join("ballast")).unwrap();
}

/// Commits until the disk refuses; gives what was acknowledged before that.
fn commit_until_full(store: &mut Store, acknowledged: &mut Ledger) -> CommitError {
    for seed in 0..2000 {
        let changes: Vec<_> = script(seed, 30).into_iter().flatten().collect();
        match store.commit(&changes) {
            Ok(()) => acknowledged.apply_all(&changes),
            Err(error) => return error,
        }
    }
    panic!("a full disk took two thousand commits");
}

#[test]
fn a_full_disk_refuses_and_takes_again() {
    let disk = small_disk();
    let path = disk.path().join("ledger.redb");
    let mut store = Store::open(&path, &options()).unwrap().store;
    let mut acknowledged = Ledger::default();
    for changes in script(1, 3) {
        store.commit(&changes).unwrap();
        acknowledged.apply_all(&changes);
    }
    for _round in 0..3 {
        fill(disk.path());
        let refused = commit_until_full(&mut store, &mut acknowledged);
        assert!(matches!(refused, CommitError::DiskFull { .. }), "{refused:?}");
        assert!(refused.to_string().contains("full: free space"), "{refused}");
        assert!(matches!(store.commit(&script(1, 1)[0]), Err(CommitError::Stopped { .. })));
        let still = store.resume().unwrap_err();
        assert!(matches!(still, CommitError::DiskFull { .. }), "{still:?}");
        assert!(!disk.path().join("ledger.redb.new").exists(), "a failed attempt gives its space back");

        // A daemon that is killed now loses nothing either.
        let killed = tempfile::tempdir().unwrap();
        let copy = killed.path().join("ledger.redb");
        fs::copy(&path, &copy).unwrap();
        let opened = Store::open(&copy, &options()).unwrap();
        assert!(matches!(opened.found, Found::Recovered | Found::Intact), "{:?}", opened.found);
        drop(opened);

        make_room(disk.path());
        store.resume().unwrap();
        assert_eq!(store.load().unwrap(), acknowledged);
        for changes in script(2, 3) {
            store.commit(&changes).unwrap();
            acknowledged.apply_all(&changes);
        }
    }
    store.close().unwrap();
    let again = Store::open(&path, &options()).unwrap();
    assert_eq!((again.found, again.ledger), (Found::Intact, acknowledged));
}

#[test]
fn the_writer_reports_a_full_disk_and_resumes() {
    let disk = small_disk();
    let path = disk.path().join("ledger.redb");
    let (send, reports) = channel();
    let store = Store::open(&path, &options()).unwrap().store;
    let writer = Writer::spawn(store, move |report| send.send(report).unwrap()).unwrap();
    let next = || reports.recv_timeout(Duration::from_secs(20)).expect("a report");
    fill(disk.path());
    let mut acknowledged = Ledger::default();
    let cause = (0..2000)
        .find_map(|seed| {
            let changes: Vec<_> = script(seed, 30).into_iter().flatten().collect();
            writer.submit(changes.clone());
            match next() {
                Report::Committed { .. } => {
                    acknowledged.apply_all(&changes);
                    None
                }
                Report::Failed { cause, .. } => Some(cause),
                other => panic!("{other:?}"),
            }
        })
        .expect("the disk is full");
    assert!(matches!(&*cause, CommitError::DiskFull { .. }), "{cause}");
    writer.resume();
    assert!(matches!(next(), Report::NotResumed { .. }));
    make_room(disk.path());
    writer.resume();
    let Report::Resumed { ledger } = next() else { panic!() };
    assert_eq!(*ledger, acknowledged);
    writer.proceed();
    let changes = full_node(5);
    writer.submit(changes.clone());
    assert!(matches!(next(), Report::Committed { .. }));
    acknowledged.apply_all(&changes);
    writer.close().unwrap();
    assert_eq!(Store::open(&path, &options()).unwrap().ledger, acknowledged);
}

#[test]
fn starting_on_a_full_disk() {
    let disk = small_disk();
    let path = disk.path().join("ledger.redb");
    let changes = full_node(110);
    let mut store = Store::open(&path, &options()).unwrap().store;
    store.commit(&changes).unwrap();
    // What a kill leaves, and then the disk fills up.
    let killed = disk.path().join("killed.redb");
    fs::copy(&path, &killed).unwrap();
    fs::write(disk.path().join("killed.redb.lock"), "").unwrap();
    fill(disk.path());
    let opened = Store::open(&killed, &options()).unwrap();
    assert_eq!((opened.found, opened.ledger), (Found::Recovered, ledger_of(&changes)));

    // Nothing can be made.
    let refused = Store::open(&disk.path().join("other.redb"), &options()).unwrap_err();
    let OpenError::Io { remedy, .. } = &refused else { panic!("{refused:?}") };
    assert!(remedy.contains("free space"), "{refused}");

    // Nothing can be set aside, so it stays.
    let garbage = disk.path().join("garbage.redb");
    make_room(disk.path());
    fs::write(&garbage, "garbage").unwrap();
    fs::write(disk.path().join("garbage.redb.lock"), "").unwrap();
    fill(disk.path());
    let refused = Store::open(&garbage, &options()).unwrap_err();
    assert!(matches!(&refused, OpenError::Io { .. }), "{refused}");
    assert_eq!(fs::read(&garbage).unwrap(), b"garbage");
}

#[test]
fn a_read_only_disk_is_named_and_can_be_inspected() {
    let disk = small_disk();
    let path = disk.path().join("ledger.redb");
    let changes = full_node(10);
    let mut store = Store::open(&path, &options()).unwrap().store;
    store.commit(&changes).unwrap();
    store.close().unwrap();
    read_only(disk.path());
    let refused = Store::open(&path, &options()).unwrap_err();
    let OpenError::Io { remedy, .. } = &refused else { panic!("{refused:?}") };
    assert!(remedy.contains("read-only"), "{refused}");
    assert_eq!(Store::inspect(&path, 1).unwrap().ledger, ledger_of(&changes));
}
