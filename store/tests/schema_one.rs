//! The released schema 1: a file written by it, checked in, must open for ever.

#![allow(clippy::unwrap_used, reason = "in a test, that is how it fails")]

mod sample;

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_model::ledger::{Change, Ledger};
use holdfast_store::{Found, OpenOptions, Store};
use sample::{journal_of, ledger_of, options, script};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1.redb")
}

/// What the fixture holds. Written out by the code of `sample` at schema 1, and compared through JSON of that
/// time, so that neither later changes of the sample nor of the model's defaults can make the test agree with
/// itself.
fn changes() -> Vec<Change> {
    script(2026, 60).into_iter().flatten().chain([Change::PutNode(sample::node(9))]).collect()
}

fn expected() -> Ledger {
    let text = fs::read_to_string(fixture().with_extension("json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_file_of_schema_one_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    fs::copy(fixture(), &path).unwrap();
    let inspected = Store::inspect(&path, 3).unwrap();
    let expected = expected();
    for kind in [expected.enis.len(), expected.addresses.len(), expected.leases.len(), expected.intents.len()]
    {
        assert!(kind >= 4, "the fixture has some of everything");
    }
    assert!(expected.node.is_some());
    assert_eq!(inspected.ledger, expected);
    assert_eq!(inspected.schema, 1);
    assert_eq!(inspected.journal.len(), 3);
    let opened = Store::open(&path, &options()).unwrap();
    assert_eq!(opened.ledger, expected);
    if holdfast_migrations::SCHEMA == 1 {
        assert_eq!(opened.found, Found::Intact);
    }
}

/// Writes the fixture. Only for a schema that is not yet released: a released file is never written again. Run
/// `cargo test -p holdfast-store --test schema_one -- --ignored`, and check both files in.
#[test]
#[ignore = "writes the checked-in file"]
fn write_the_fixture() {
    assert_eq!(holdfast_migrations::SCHEMA, 1, "schema 1 is released: make a new test for the new schema");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let options = OpenOptions { journal_limit: 16, ..options() };
    let mut store = Store::open(&path, &options).unwrap().store;
    let changes = changes();
    assert!(journal_of(&changes).len() >= 3);
    store.commit(&changes).unwrap();
    store.close().unwrap();
    fs::copy(&path, fixture()).unwrap();
    let json = serde_json::to_string_pretty(&ledger_of(&changes)).unwrap();
    fs::write(fixture().with_extension("json"), json + "\n").unwrap();
}
