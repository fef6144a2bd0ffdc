//! Bringing a ledger forward and back, tested with a step that exists only here: a next schema that names host
//! interfaces otherwise and drops the journal.

use std::fs;
use std::path::Path;

use holdfast_migrations::step::{Row, Step, StepError, Table};
use holdfast_migrations::{SCHEMA, v2};
use holdfast_model::block::Block;
use holdfast_model::eni::EniPlace;
use holdfast_model::ids::{EniId, MacAddr};
use holdfast_model::journal::JournalEntry;
use holdfast_model::lease::{Face, Lease, LeasePhase};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey, SandboxNames};
use holdfast_model::time::{BootTime, WallTime};
use holdfast_model::uses::Use;

use crate::codec::Bodies;
use crate::error::OpenError;
use crate::options::OpenOptions;
use crate::schema::Schema;
use crate::store::{Found, Store};

const NOW: WallTime = WallTime(77);

const NEXT: u8 = SCHEMA + 1;

/// What the ledgers of these tests are written in: they hold nothing that came later.
const TODAY: u8 = 3;

fn renamed(rows: Vec<Row>, from: &str, to: &str) -> Result<Vec<Row>, StepError> {
    let lease = |row: Row| {
        row.with::<Bodies, v2::Lease, v2::Lease>(|mut lease| {
            for face in &mut lease.faces {
                face.host_veth = face.host_veth.replace(from, to);
            }
            Ok(lease)
        })
    };
    let kept = rows.into_iter().filter(|row| row.table != Table::Journal);
    kept.map(|row| if row.table == Table::Leases { lease(row) } else { Ok(row) }).collect()
}

fn forward(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    renamed(rows, "eni", "hf")
}

fn back(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    renamed(rows, "hf", "eni")
}

fn stumbles(_: Vec<Row>) -> Result<Vec<Row>, StepError> {
    Err(StepError::Record("made to fail".to_owned()))
}

fn garbles(mut rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    for row in &mut rows {
        row.body.pop().ok_or(StepError::NoStep(1))?;
    }
    Ok(rows)
}

fn next(forward: fn(Vec<Row>) -> Result<Vec<Row>, StepError>) -> Schema {
    let mut schema = Schema::current();
    schema.known = NEXT;
    schema.steps.push(Step { from: SCHEMA, forward, back, exact: None });
    schema
}

fn sandbox() -> SandboxKey {
    SandboxKey::from(SandboxNames {
        container_id: "c".to_owned(),
        ifname: "eth0".to_owned(),
        network: "aws-cni".to_owned(),
    })
}

fn changes() -> Vec<Change> {
    let ip: ipnet::IpNet = "10.0.0.7/32".parse().unwrap();
    vec![
        Change::PutBlock(Block::held(ip, EniId::new("eni-1"), BootTime(3))),
        Change::PutUse(ip.addr(), Use::Leased(sandbox())),
        Change::PutLease(Lease {
            sandbox: sandbox(),
            pod: PodRef { namespace: "n".to_owned(), name: "p".to_owned(), uid: None },
            netns: NetnsRef { path: "/run/netns/x".to_owned(), inode: 4 },
            faces: vec![Face {
                ifname: "eth0".to_owned(),
                address: ip.addr(),
                eni: EniId::new("eni-1"),
                place: EniPlace::PRIMARY,
                host_veth: "eni0123456789a".to_owned(),
                host_mac: MacAddr([2, 0, 0, 0, 0, 1]),
                mtu: 9001,
            }],
            phase: LeasePhase::Active,
            created: NOW,
        }),
        Change::Journal(JournalEntry { at: NOW, what: "of today".to_owned() }),
    ]
}

/// Writes a ledger of today's schema, and gives it and the file's bytes.
fn of_today(path: &Path) -> (Ledger, Vec<u8>) {
    let mut store = Store::open(path, &OpenOptions::at(NOW)).unwrap().store;
    store.commit(&changes()).unwrap();
    let ledger = store.durable().unwrap();
    store.close().unwrap();
    (ledger, fs::read(path).unwrap())
}

#[test]
fn an_older_ledger_is_brought_forward_and_its_file_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let (old, bytes) = of_today(&path);
    let opened = Store::open_as(&path, &OpenOptions::at(NOW), &next(forward)).unwrap();
    let Found::Migrated { from: TODAY, copy } = opened.found else { panic!("{:?}", opened.found) };
    assert_eq!(copy, folder.path().join(format!("ledger.redb.schema-{TODAY}-77")));
    assert!(fs::read(&copy).unwrap() == bytes, "the old file is kept as it was");

    let mut expected = old.clone();
    for mut lease in old.leases.values().cloned() {
        lease.faces[0].host_veth = "hf0123456789a".to_owned();
        expected.apply(&Change::PutLease(lease));
    }
    assert_eq!(opened.ledger, expected);
    assert_eq!(opened.store.load().unwrap(), expected, "and it is on disk, under the new schema");
    let journal = opened.store.journal(9).unwrap();
    assert!(
        journal.len() == 1 && journal[0].what.contains(&format!("from schema {TODAY} to {NEXT}")),
        "{journal:?}"
    );
    let mut store = opened.store;
    store.commit(&changes()).unwrap();
    store.close().unwrap();

    let again = Store::open_as(&path, &OpenOptions::at(NOW), &next(forward)).unwrap();
    assert_eq!((again.found, again.ledger), (Found::Intact, old.clone()));
    drop(again.store);

    // The version of today refuses it, and reads the kept file.
    let bytes = fs::read(&path).unwrap();
    let refused = Store::open(&path, &OpenOptions::at(NOW)).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: NEXT, known: SCHEMA, .. }), "{refused}");
    assert!(fs::read(&path).unwrap() == bytes, "refused means not touched");
    assert_eq!(Store::open(&copy, &OpenOptions::at(NOW)).unwrap().ledger, old);
}

#[test]
fn a_step_that_fails_changes_nothing() {
    let missing = Schema { known: NEXT + 1, ..next(forward) };
    for (what, schema) in [("stumbles", next(stumbles)), ("garbles", next(garbles)), ("missing", missing)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.redb");
        let (old, bytes) = of_today(&path);
        let refused = Store::open_as(&path, &OpenOptions::at(NOW), &schema).unwrap_err();
        assert!(matches!(refused, OpenError::Migration { from: TODAY, .. }), "{what}: {refused}");
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
    let opened = Store::open_as(&killed, &OpenOptions::at(NOW), &next(forward)).unwrap();
    assert!(matches!(opened.found, Found::Migrated { from: TODAY, .. }), "{:?}", opened.found);
    assert_eq!(opened.ledger.leases.len(), 1);
}

#[test]
fn a_ledger_is_brought_back_for_the_version_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let (old, _) = of_today(&path);
    drop(Store::open_as(&path, &OpenOptions::at(NOW), &next(forward)).unwrap());
    let newer = fs::read(&path).unwrap();

    let held = Store::open_as(&path, &OpenOptions::at(NOW), &next(forward)).unwrap();
    let refused = Store::bring_back_as(&path, TODAY, NOW, &next(forward)).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    drop(held.store);

    let copy = Store::bring_back_as(&path, TODAY, NOW, &next(forward)).unwrap();
    assert_eq!(copy, Some(folder.path().join(format!("ledger.redb.schema-{NEXT}-77"))));
    assert_eq!(fs::read(copy.unwrap()).unwrap().len(), newer.len());
    assert_eq!(Store::bring_back_as(&path, TODAY, NOW, &next(forward)).unwrap(), None, "nothing to do");
    let opened = Store::open(&path, &OpenOptions::at(NOW)).unwrap();
    assert_eq!((opened.found, opened.ledger), (Found::Intact, old));
    drop(opened.store);

    for (to, words) in [(0, "this version can bring it back as far as"), (NEXT + 1, "is of schema")] {
        let refused = Store::bring_back_as(&path, to, NOW, &next(forward)).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}
