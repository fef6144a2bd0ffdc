//! What was committed is what is read, in the same process and after opening again.

#![allow(clippy::unwrap_used, reason = "in a test, that is how it fails")]

mod sample;

use std::os::unix::fs::MetadataExt;

use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::Change;
use holdfast_store::{CommitError, Found, OpenOptions, Store};
use proptest::prelude::*;
use sample::{NOW, full_node, journal_of, ledger_of, options, script};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_script_reads_back(seed in any::<u64>(), commits in 1_usize..20) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.redb");
        let script = script(seed, commits);
        let mut opened = Store::open(&path, &options()).unwrap();
        for changes in &script {
            opened.store.commit(changes).unwrap();
        }
        let expected = ledger_of(script.iter().flatten());
        prop_assert_eq!(&opened.store.load().unwrap(), &expected);
        prop_assert_eq!(&opened.store.durable().unwrap(), &expected);
        opened.store.close().unwrap();

        let inspected = Store::inspect(&path, 3).unwrap();
        prop_assert_eq!(&inspected.ledger, &expected);
        prop_assert!(inspected.closed);
        let journal = journal_of(script.iter().flatten());
        prop_assert_eq!(&inspected.journal[..], &journal[journal.len().saturating_sub(3)..]);

        let again = Store::open(&path, &options()).unwrap();
        prop_assert_eq!(again.found, Found::Intact);
        prop_assert_eq!(&again.ledger, &expected);
        prop_assert_eq!(again.store.journal(usize::MAX).unwrap(), journal);
    }
}

fn entry(number: u64) -> Change {
    Change::Journal(JournalEntry { at: NOW, what: format!("event {number}") })
}

#[test]
fn the_journal_is_a_ring() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let options = OpenOptions { journal_limit: 5, ..options() };
    for round in 0..3 {
        let mut store = Store::open(&path, &options).unwrap().store;
        for number in 0..4 {
            store.commit(&[entry(round * 4 + number)]).unwrap();
        }
    }
    let store = Store::open(&path, &options).unwrap().store;
    let words: Vec<String> = store.journal(100).unwrap().into_iter().map(|entry| entry.what).collect();
    assert_eq!(words, ["event 7", "event 8", "event 9", "event 10", "event 11"]);
    assert_eq!(store.journal(2).unwrap().len(), 2);
    drop(store);

    // A smaller ring takes effect with the next entry.
    let mut store = Store::open(&path, &OpenOptions { journal_limit: 2, ..options.clone() }).unwrap().store;
    store.commit(&[entry(12)]).unwrap();
    assert_eq!(store.journal(100).unwrap().len(), 2);
    drop(store);
    let mut store = Store::open(&path, &OpenOptions { journal_limit: 0, ..options }).unwrap().store;
    store.commit(&[entry(13)]).unwrap();
    assert_eq!(store.journal(100).unwrap(), []);
}

#[test]
fn long_words_are_cut_at_a_character() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("ledger.redb"), &options()).unwrap().store;
    let what = format!("x{}", "\u{e4}".repeat(5000));
    store.commit(&[Change::Journal(JournalEntry { at: NOW, what: what.clone() })]).unwrap();
    let kept = store.journal(1).unwrap().remove(0).what;
    assert!(what.starts_with(&kept));
    assert_eq!(kept.len(), 1023, "1024 would cut a character in two");
}

#[test]
fn a_record_too_large_is_refused_whole_and_resume_forgets_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let mut store = Store::open(&path, &options()).unwrap().store;
    store.commit(&full_node(3)).unwrap();
    store.commit(&[entry(1)]).unwrap();
    let before = store.load().unwrap();
    let mut node = sample::node(1);
    node.identity.zone = "z".repeat(100_000);
    let refused = store.commit(&[entry(2), Change::PutNode(node)]).unwrap_err();
    assert!(matches!(refused, CommitError::Record { table: "node", .. }), "{refused}");
    let stopped = store.commit(&[entry(3)]).unwrap_err();
    assert!(matches!(stopped, CommitError::Stopped { .. }), "{stopped}");
    let inode = std::fs::metadata(&path).unwrap().ino();
    store.resume().unwrap();
    // Written anew, not built upon.
    assert_ne!(std::fs::metadata(&path).unwrap().ino(), inode);
    assert_eq!(store.load().unwrap(), before);
    assert_eq!(store.durable().unwrap(), before);
    store.commit(&[entry(4)]).unwrap();
    drop(store);
    let again = Store::open(&path, &options()).unwrap();
    assert_eq!(again.found, Found::Intact);
    assert_eq!(again.ledger, before);
    let words: Vec<String> = again.store.journal(9).unwrap().into_iter().map(|entry| entry.what).collect();
    assert_eq!(words, ["event 1", "event 4"]);
}

#[test]
fn what_is_too_large_is_told_before_it_is_committed() {
    let mut lease = sample::lease(3, &mut sample::Dice(1));
    assert!(holdfast_store::admits(&[Change::PutLease(lease.clone())]).is_ok());
    lease.pod.uid = Some("u".repeat(70_000));
    let refused = holdfast_store::admits(&[Change::PutLease(lease)]).unwrap_err().to_string();
    assert!(refused.contains("a record of table leases is too large"), "{refused}");
}
