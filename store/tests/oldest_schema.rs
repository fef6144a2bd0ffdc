//! A ledger is written in the oldest schema that says what it holds, so that the version before can take it over.

#![allow(clippy::unwrap_used, reason = "in a test, that is how it fails")]

mod sample;

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_migrations::SCHEMA;
use holdfast_model::block::{Ask, Block, Unit};
use holdfast_model::cloud::CloudChange;
use holdfast_model::ids::EniId;
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::Change;
use holdfast_model::time::{BootTime, WallTime};
use holdfast_store::{Found, Store};
use sample::{full_node, ledger_of, options};

/// What the version before writes.
const OLDER: u8 = 3;

fn assign(number: u64, unit: Unit) -> Intent {
    let change = CloudChange::Assign { eni: EniId::new("eni-1"), ask: Ask { unit, count: 2 } };
    Intent { id: sample::intent_id(number), change, sending: Sending::MaybeSent, planned: WallTime(1) }
}

fn prefix() -> Block {
    Block::held("10.9.0.16/28".parse().unwrap(), EniId::new("eni-1"), BootTime(3))
}

struct Place {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.redb");
        Self { folder, path }
    }

    /// The schema of the file as it would be found after a kill.
    fn schema(&self) -> u8 {
        let killed = self.folder.path().join("killed.redb");
        fs::copy(&self.path, &killed).unwrap();
        Store::inspect(&killed, 1).unwrap().schema
    }

    /// Files that were kept beside the ledger.
    fn kept(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap().map(|entry| name(&entry.unwrap().path()));
        names.filter(|name| name.contains("schema-")).collect()
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn what_the_version_before_knows_is_written_in_its_words() {
    let place = Place::new();
    let mut store = Store::open(&place.path, &options()).unwrap().store;
    assert_eq!(place.schema(), OLDER, "an empty one");
    let note = JournalEntry { at: sample::NOW, what: "noted".to_owned() };
    let mut changes = full_node(20);
    changes.extend([Change::PutIntent(assign(1, Unit::Address)), Change::Journal(note.clone())]);
    store.commit(&changes).unwrap();
    assert_eq!(place.schema(), OLDER);
    assert_eq!(store.load().unwrap(), ledger_of(&changes));
    assert_eq!(store.journal(1).unwrap(), [note]);
    store.close().unwrap();
    let again = Store::open(&place.path, &options()).unwrap();
    assert_eq!((again.found, again.ledger), (Found::Intact, ledger_of(&changes)));
    assert_eq!(place.kept(), [""; 0], "no start brings it anywhere");
}

/// In the commit that brings it, with all that was there; back at the first start after it has gone.
#[test]
fn what_came_with_this_version_brings_the_ledger_forward_and_its_end_brings_it_back() {
    let intent = assign(7, Unit::Prefix);
    let cases: [(&str, Change, Option<Change>); 3] = [
        ("a change of prefixes", Change::PutIntent(intent.clone()), Some(Change::DropIntent(intent.id))),
        ("a prefix", Change::PutBlock(prefix()), Some(Change::DropBlock(prefix().net))),
        ("what EC2 told of the type", Change::PutTypeLimits(sample::type_limits(1)), None),
    ];
    for (what, comes, goes) in cases {
        let place = Place::new();
        let mut store = Store::open(&place.path, &options()).unwrap().store;
        let note = JournalEntry { at: sample::NOW, what: "noted".to_owned() };
        let mut changes = full_node(20);
        changes.extend([Change::PutIntent(assign(1, Unit::Address)), Change::Journal(note.clone())]);
        store.commit(&changes).unwrap();

        store.commit(std::slice::from_ref(&comes)).unwrap();
        changes.push(comes);
        assert_eq!(place.schema(), SCHEMA, "{what}");
        assert_eq!(store.load().unwrap(), ledger_of(&changes), "{what}");
        assert_eq!(store.journal(1).unwrap(), std::slice::from_ref(&note), "{what}");
        drop(store);
        let again = Store::open(&place.path, &options()).unwrap();
        assert_eq!((again.found, again.ledger), (Found::Intact, ledger_of(&changes)), "{what}");

        let Some(goes) = goes else { continue };
        let mut store = again.store;
        store.commit(std::slice::from_ref(&goes)).unwrap();
        changes.push(goes);
        assert_eq!(place.schema(), SCHEMA, "{what}: not at once");
        drop(store);
        let back = Store::open(&place.path, &options()).unwrap();
        assert!(matches!(back.found, Found::Migrated { from: SCHEMA, .. }), "{what}: {:?}", back.found);
        assert_eq!(back.ledger, ledger_of(&changes), "{what}");
        assert_eq!((place.schema(), place.kept().len()), (OLDER, 1), "{what}");
        let journal = back.store.journal(2).unwrap();
        assert_eq!(journal[0], note, "{what}");
        assert!(journal[1].what.starts_with("brought the ledger from schema 4 to 3"), "{journal:?}");
    }
}
