//! Bringing a ledger forward, tested with a step that exists only here: a schema 2 that names host interfaces
//! otherwise and drops the journal.

use std::fs;
use std::path::Path;

use holdfast_migrations::step::{Row, Step, StepError, Table};
use holdfast_migrations::v1;
use holdfast_model::address::{AddressRecord, AddressState};
use holdfast_model::eni::EniSlot;
use holdfast_model::ids::{EniId, MacAddr};
use holdfast_model::journal::JournalEntry;
use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey};
use holdfast_model::time::WallTime;

use crate::codec::Bodies;
use crate::error::OpenError;
use crate::image::Schema;
use crate::options::OpenOptions;
use crate::store::{Found, Store};

const NOW: WallTime = WallTime(77);

fn forward(row: Row) -> Result<Vec<Row>, StepError> {
    match row.table {
        Table::Leases => Ok(vec![row.with::<Bodies, v1::Lease, v1::Lease>(|lease| {
            Ok(v1::Lease { host_veth: lease.host_veth.replace("eni", "hf"), ..lease })
        })?]),
        Table::Journal => Ok(vec![]),
        _ => Ok(vec![row]),
    }
}

fn stumbles(row: Row) -> Result<Vec<Row>, StepError> {
    match row.table {
        Table::Leases => Err(StepError::Record("made to fail".to_owned())),
        _ => Ok(vec![row]),
    }
}

fn garbles(mut row: Row) -> Result<Vec<Row>, StepError> {
    row.body.pop().ok_or(StepError::NoStep(1))?;
    Ok(vec![row])
}

fn schema_two(rewrite: fn(Row) -> Result<Vec<Row>, StepError>) -> Schema {
    Schema { known: 2, steps: vec![Step { from: 1, rewrite }] }
}

fn changes() -> Vec<Change> {
    let ip = "10.0.0.7".parse().unwrap();
    vec![
        Change::PutAddress(AddressRecord {
            ip,
            eni: EniId::new("eni-1"),
            state: AddressState::Leased,
            assigned: true,
        }),
        Change::PutLease(Lease {
            sandbox: SandboxKey {
                container_id: "c".to_owned(),
                ifname: "eth0".to_owned(),
                network: "aws-cni".to_owned(),
            },
            pod: PodRef { namespace: "n".to_owned(), name: "p".to_owned(), uid: None },
            netns: NetnsRef { path: "/run/netns/x".to_owned(), inode: 4 },
            address: ip,
            eni: EniId::new("eni-1"),
            slot: EniSlot::PRIMARY,
            host_veth: "eni0123456789a".to_owned(),
            host_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 9001,
            phase: LeasePhase::Active,
            created: NOW,
        }),
        Change::Journal(JournalEntry { at: NOW, what: "of schema 1".to_owned() }),
    ]
}

/// Writes a ledger of schema 1, and gives it and the file's bytes.
fn of_schema_one(path: &Path) -> (Ledger, Vec<u8>) {
    let mut store = Store::open(path, &OpenOptions::at(NOW)).unwrap().store;
    store.commit(&changes()).unwrap();
    let ledger = store.durable().clone();
    store.close().unwrap();
    (ledger, fs::read(path).unwrap())
}

#[test]
fn an_older_ledger_is_brought_forward_and_its_file_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let (old, bytes) = of_schema_one(&path);
    let opened = Store::open_as(&path, &OpenOptions::at(NOW), &schema_two(forward)).unwrap();
    let Found::Migrated { from: 1, copy } = opened.found else { panic!("{:?}", opened.found) };
    assert_eq!(copy, folder.path().join("ledger.redb.schema-1-77"));
    assert!(fs::read(&copy).unwrap() == bytes, "the old file is kept as it was");

    let mut expected = old.clone();
    for lease in expected.leases.values_mut() {
        lease.host_veth = "hf0123456789a".to_owned();
    }
    assert_eq!(opened.ledger, expected);
    assert_eq!(opened.store.load().unwrap(), expected, "and it is on disk, under the new schema");
    let journal = opened.store.journal(9).unwrap();
    assert!(journal.len() == 1 && journal[0].what.contains("from schema 1 to 2"), "{journal:?}");
    let mut store = opened.store;
    store.commit(&changes()).unwrap();
    store.close().unwrap();

    let again = Store::open_as(&path, &OpenOptions::at(NOW), &schema_two(forward)).unwrap();
    assert_eq!((again.found, again.ledger), (Found::Intact, old.clone()));
    drop(again.store);

    // The version of today refuses it, and reads the kept file.
    let bytes = fs::read(&path).unwrap();
    let refused = Store::open(&path, &OpenOptions::at(NOW)).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 2, known: 1, .. }), "{refused}");
    assert!(fs::read(&path).unwrap() == bytes, "refused means not touched");
    assert_eq!(Store::open(&copy, &OpenOptions::at(NOW)).unwrap().ledger, old);
}

#[test]
fn a_step_that_fails_changes_nothing() {
    let missing = Schema { known: 3, steps: vec![Step { from: 1, rewrite: forward }] };
    for (what, schema) in
        [("stumbles", schema_two(stumbles)), ("garbles", schema_two(garbles)), ("missing", missing)]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.redb");
        let (old, bytes) = of_schema_one(&path);
        let refused = Store::open_as(&path, &OpenOptions::at(NOW), &schema).unwrap_err();
        assert!(matches!(refused, OpenError::Migration { from: 1, .. }), "{what}: {refused}");
        assert!(fs::read(&path).unwrap() == bytes, "{what}: the file was touched");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "{what}: the ledger and its lock");
        assert_eq!(Store::open(&path, &OpenOptions::at(NOW)).unwrap().ledger, old, "{what}");
    }
}

#[test]
fn a_killed_older_ledger_is_brought_forward_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let mut store = Store::open(&path, &OpenOptions::at(NOW)).unwrap().store;
    store.commit(&changes()).unwrap();
    let killed = folder.path().join("killed.redb");
    fs::copy(&path, &killed).unwrap();
    let opened = Store::open_as(&killed, &OpenOptions::at(NOW), &schema_two(forward)).unwrap();
    assert!(matches!(opened.found, Found::Migrated { from: 1, .. }), "{:?}", opened.found);
    assert_eq!(opened.ledger.leases.len(), 1);
}
