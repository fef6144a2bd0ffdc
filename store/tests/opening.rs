//! What opening does with whatever stands in the ledger's place.

#![allow(clippy::unwrap_used, reason = "in a test, that is how it fails")]

mod sample;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use holdfast_migrations::SCHEMA;
use holdfast_model::ledger::Ledger;
use holdfast_store::{Damage, Found, OpenError, ReadError, Store};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use sample::{NOW, full_node, ledger_of, options};
use tempfile::TempDir;

struct Place {
    folder: TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    Place { folder, path }
}

impl Place {
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn filled(path: &Path) -> Ledger {
    let mut store = Store::open(path, &options()).unwrap().store;
    let changes = full_node(20);
    store.commit(&changes).unwrap();
    store.close().unwrap();
    ledger_of(&changes)
}

/// Opens, and expects the file to be set aside, unchanged, with an empty usable ledger in its place.
fn expect_set_aside(place: &Place) -> Damage {
    let before = fs::read(&place.path).unwrap();
    let mut opened = Store::open(&place.path, &options()).unwrap();
    let Found::SetAside { file, cause } = opened.found else { panic!("{:?}", opened.found) };
    assert_eq!(fs::read(&file).unwrap(), before, "evidence is kept as it was");
    assert_eq!(file.file_name().unwrap().to_str().unwrap(), format!("ledger.redb.damaged-{}", NOW.0));
    assert_eq!(opened.ledger, Ledger::default());
    assert!(opened.store.journal(1).unwrap()[0].what.contains("damaged"));
    opened.store.commit(&full_node(2)).unwrap();
    drop(opened.store);
    assert_eq!(Store::open(&place.path, &options()).unwrap().found, Found::Intact);
    cause
}

#[test]
fn a_fresh_ledger_is_for_root_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("var").join("holdfast").join("ledger.redb");
    let opened = Store::open(&path, &options()).unwrap();
    assert_eq!(opened.found, Found::Fresh);
    assert_eq!(opened.ledger, Ledger::default());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!path.with_file_name("ledger.redb.new").exists());
}

#[test]
fn a_killed_ledger_is_recovered() {
    let place = place();
    let mut store = Store::open(&place.path, &options()).unwrap().store;
    let changes = full_node(20);
    store.commit(&changes).unwrap();
    // What a kill leaves is the file as it is now.
    let copy = place.folder.path().join("killed.redb");
    fs::copy(&place.path, &copy).unwrap();
    let inspected = Store::inspect(&copy, 10).unwrap();
    assert!(!inspected.closed);
    assert_eq!(inspected.ledger, ledger_of(&changes));
    let opened = Store::open(&copy, &options()).unwrap();
    assert_eq!(opened.found, Found::Recovered);
    assert_eq!(opened.ledger, ledger_of(&changes));
    opened.store.close().unwrap();
    assert_eq!(Store::open(&copy, &options()).unwrap().found, Found::Intact);
}

#[test]
fn what_is_no_ledger_is_set_aside() {
    type Make = fn(&Path);
    let makers: [(&str, Make); 6] = [
        ("empty", |path| drop(File::create(path).unwrap())),
        ("text", |path| fs::write(path, "{\"version\": \"vpc-cni-ipam/1\"}").unwrap()),
        ("zeros", |path| fs::write(path, vec![0; 100_000]).unwrap()),
        ("only the magic number", |path| fs::write(path, b"redb\x1A\x0A\xA9\x0D\x0A").unwrap()),
        ("huge", |path| File::create(path).unwrap().set_len(1 << 40).unwrap()),
        ("redb, another program's", |path| {
            let database = Database::create(path).unwrap();
            let txn = database.begin_write().unwrap();
            txn.open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap().insert(1, 2).unwrap();
            txn.commit().unwrap();
        }),
    ];
    for (what, make) in makers {
        let place = place();
        make(&place.path);
        if what == "huge" {
            // Not to be read into memory, here or there.
            let opened = Store::open(&place.path, &options()).unwrap();
            assert!(matches!(opened.found, Found::SetAside { cause: Damage::TooLarge { .. }, .. }));
            continue;
        }
        let cause = expect_set_aside(&place);
        assert!(
            matches!((what, &cause), ("empty", Damage::Empty) | (_, Damage::Foreign(_) | Damage::Broken(_))),
            "{what}: {cause:?}"
        );
    }
}

#[test]
fn a_truncated_ledger_is_set_aside() {
    for keep in [1, 100, 4096, 20_000] {
        let place = place();
        filled(&place.path);
        File::options().write(true).open(&place.path).unwrap().set_len(keep).unwrap();
        expect_set_aside(&place);
    }
}

/// Rewrites one value of a ledger behind its back.
fn tamper(path: &Path, table: &'static str, edit: impl Fn(Vec<u8>) -> Vec<u8>) {
    let definition = TableDefinition::<&[u8], &[u8]>::new(table);
    let database = Database::open(path).unwrap();
    let (key, value) = {
        let table = database.begin_read().unwrap().open_table(definition).unwrap();
        let (key, value) = table.first().unwrap().unwrap();
        (key.value().to_vec(), value.value().to_vec())
    };
    let txn = database.begin_write().unwrap();
    txn.open_table(definition).unwrap().insert(key.as_slice(), edit(value).as_slice()).unwrap();
    txn.commit().unwrap();
}

#[test]
fn a_record_that_does_not_decode_is_damage() {
    for table in ["node", "enis", "blocks", "uses", "leases"] {
        type Edit = fn(Vec<u8>) -> Vec<u8>;
        let edits: [(&str, Edit); 5] = [
            ("cut", |value| value[..value.len() - 1].to_vec()),
            ("longer", |value| [value, vec![0]].concat()),
            ("other format", |value| [vec![9], value[1..].to_vec()].concat()),
            ("other schema", |value| [vec![value[0], 77], value[2..].to_vec()].concat()),
            ("nothing", |_| vec![]),
        ];
        for (what, edit) in edits {
            let place = place();
            filled(&place.path);
            tamper(&place.path, table, edit);
            let cause = expect_set_aside(&place);
            assert!(
                matches!(&cause, Damage::Record { table: t, .. } if *t == table),
                "{table} {what}: {cause}"
            );
        }
    }
}

#[test]
fn a_record_under_another_key_is_damage() {
    let place = place();
    filled(&place.path);
    // The id in the record no longer is the key: still a valid record.
    tamper(&place.path, "enis", |mut value| {
        assert_eq!(&value[3..7], b"eni-");
        value[8] = b'f';
        value
    });
    let cause = expect_set_aside(&place);
    assert!(matches!(&cause, Damage::Record { table: "enis", reason } if reason.contains("key")), "{cause}");
}

#[test]
fn a_newer_ledger_is_refused_and_not_touched() {
    let place = place();
    filled(&place.path);
    {
        let database = Database::open(&place.path).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(TableDefinition::<&str, &[u8]>::new("meta"))
            .unwrap()
            .insert("schema", [SCHEMA + 1].as_slice())
            .unwrap();
        txn.commit().unwrap();
    }
    let before = (fs::read(&place.path).unwrap(), fs::metadata(&place.path).unwrap().mtime_nsec());
    for _again in 0..2 {
        let refused = Store::open(&place.path, &options()).unwrap_err();
        assert!(
            matches!(refused, OpenError::Newer { found, known: SCHEMA, .. } if found == SCHEMA + 1),
            "{refused}"
        );
        assert!(refused.to_string().contains("run the newer version again"), "{refused}");
    }
    assert!(matches!(Store::inspect(&place.path, 1), Err(ReadError::Newer { known: SCHEMA, .. })));
    let after = (fs::read(&place.path).unwrap(), fs::metadata(&place.path).unwrap().mtime_nsec());
    assert!(before == after, "the file was touched");
    assert_eq!(place.names(), ["ledger.redb", "ledger.redb.lock"]);
}

#[test]
fn what_is_not_a_file_is_refused() {
    let place = place();
    fs::create_dir(&place.path).unwrap();
    let refused = Store::open(&place.path, &options()).unwrap_err();
    assert!(matches!(refused, OpenError::NotAFile { kind: "a directory", .. }), "{refused}");
    fs::remove_dir(&place.path).unwrap();
    symlink("/nonexistent", &place.path).unwrap();
    let refused = Store::open(&place.path, &options()).unwrap_err();
    assert!(matches!(refused, OpenError::NotAFile { kind: "a symbolic link", .. }), "{refused}");
    fs::remove_file(&place.path).unwrap();
    nix::unistd::mkfifo(&place.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let refused = Store::open(&place.path, &options()).unwrap_err();
    assert!(matches!(refused, OpenError::NotAFile { .. }), "{refused}");

    // The folder's place is taken by a file.
    let file = place.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = Store::open(&file.join("ledger.redb"), &options()).unwrap_err();
    assert!(matches!(refused, OpenError::Io { .. }), "{refused}");
}

#[test]
fn one_process_has_it_and_inspection_waits_for_its_end() {
    let place = place();
    let expected = filled(&place.path);
    let first = Store::open(&place.path, &options()).unwrap();
    let second = Store::open(&place.path, &options()).unwrap_err();
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    assert!(matches!(Store::inspect(&place.path, 1), Err(ReadError::Locked { .. })));
    drop(first);
    let before = fs::read(&place.path).unwrap();
    assert_eq!(Store::inspect(&place.path, 1).unwrap().ledger, expected);
    assert!(fs::read(&place.path).unwrap() == before, "inspection changed the file");
    assert_eq!(Store::open(&place.path, &options()).unwrap().ledger, expected);
}

/// The file's own lock goes with the file; the ledger's stays with the name.
#[test]
fn a_ledger_in_use_is_never_set_aside() {
    let place = place();
    let first = Store::open(&place.path, &options()).unwrap();
    fs::remove_file(&place.path).unwrap();
    fs::write(&place.path, "garbage").unwrap();
    let second = Store::open(&place.path, &options()).unwrap_err();
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    assert_eq!(place.names(), ["ledger.redb", "ledger.redb.lock"]);
    drop(first);
    expect_set_aside(&place);
}

#[test]
fn inspection_reports_damage_and_leaves_it() {
    let place = place();
    fs::write(&place.path, "not a ledger").unwrap();
    assert!(matches!(Store::inspect(&place.path, 1), Err(ReadError::Damaged { .. })));
    assert_eq!(fs::read(&place.path).unwrap(), b"not a ledger");
    assert_eq!(place.names(), ["ledger.redb"]);
    fs::remove_file(&place.path).unwrap();
    assert!(matches!(Store::inspect(&place.path, 1), Err(ReadError::Io { .. })));
}

/// A crash between any two steps of putting a new file in place leaves one of these.
#[test]
fn leftovers_of_a_crash_while_a_file_is_put_in_place_harm_nothing() {
    // Half a new file, nothing in place.
    let bare = place();
    fs::write(bare.path.with_file_name("ledger.redb.new"), "half").unwrap();
    assert_eq!(Store::open(&bare.path, &options()).unwrap().found, Found::Fresh);
    assert_eq!(bare.names(), ["ledger.redb", "ledger.redb.lock"]);

    // The damaged file already has its second name, and is still in place.
    let linked = place();
    fs::write(&linked.path, "damaged").unwrap();
    let aside = linked.path.with_file_name(format!("ledger.redb.damaged-{}", NOW.0));
    fs::hard_link(&linked.path, &aside).unwrap();
    fs::write(linked.path.with_file_name("ledger.redb.new"), "half").unwrap();
    let opened = Store::open(&linked.path, &options()).unwrap();
    let Found::SetAside { file, .. } = opened.found else { panic!("{:?}", opened.found) };
    assert_ne!(file, aside, "nothing is overwritten");
    assert_eq!(fs::read(&aside).unwrap(), b"damaged");
    assert_eq!(fs::read(&file).unwrap(), b"damaged");
}
