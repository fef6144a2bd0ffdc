use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::ids::{ContainerId, IfName, NetworkName, PodRef};

fn key(id: &str) -> SandboxKey {
    SandboxKey {
        network: NetworkName::new("aws-cni").unwrap(),
        container_id: ContainerId::new(id).unwrap(),
        ifname: IfName::new("eth0").unwrap(),
    }
}

fn tombstone(id: &str) -> Tombstone {
    Tombstone {
        sandbox: key(id),
        pod: Some(PodRef { namespace: "default".into(), name: "web-0".into(), uid: None }),
        netns_path: Some("/run/netns/x".into()),
        recorded_at_ms: 1_755_600_000_000,
        reason: "no daemon".into(),
    }
}

fn spool() -> (tempfile::TempDir, Spool) {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(dir.path().join("a/spool"));
    (dir, spool)
}

fn names(spool: &Spool) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(spool.dir()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_put_is_listed_found_and_removed() {
    let (_dir, spool) = spool();
    assert!(spool.list().unwrap().tombstones.is_empty(), "a spool that does not exist is empty");
    assert_eq!(spool.find(&key("a")).unwrap(), None);
    spool.remove(&key("a")).unwrap();
    spool.put(&tombstone("a"), 1).unwrap();
    spool.put(&tombstone("b"), 1).unwrap();
    let mut seen = spool.list().unwrap().tombstones;
    seen.sort_by(|a, b| a.sandbox.cmp(&b.sandbox));
    assert_eq!(seen, [tombstone("a"), tombstone("b")]);
    assert_eq!(spool.find(&key("a")).unwrap(), Some(tombstone("a")));
    spool.remove(&key("a")).unwrap();
    assert_eq!(spool.find(&key("a")).unwrap(), None);
    assert_eq!(spool.list().unwrap().tombstones, [tombstone("b")]);
}

#[test]
fn ten_dels_of_one_sandbox_make_one_file() {
    let (_dir, spool) = spool();
    for writer in 0..10 {
        spool.put(&tombstone("a"), writer).unwrap();
    }
    assert_eq!(names(&spool), [Tombstone::file_name(&key("a"))]);
    assert_eq!(fs::metadata(spool.dir()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_leftover_of_the_same_writer_is_no_obstacle() {
    let (_dir, spool) = spool();
    spool.put(&tombstone("b"), 7).unwrap();
    fs::write(spool.dir().join(format!(".tmp-7-{}", Tombstone::file_name(&key("a")))), "half").unwrap();
    spool.put(&tombstone("a"), 7).unwrap();
    assert_eq!(spool.list().unwrap().tombstones.len(), 2);
}

#[test]
fn malformed_files_are_set_aside_whole_and_reported_once() {
    let (dir, spool) = spool();
    spool.put(&tombstone("good"), 1).unwrap();
    let at = |name: &str| spool.dir().join(name);
    let bytes = tombstone("cut").to_bytes();
    fs::write(at(&Tombstone::file_name(&key("cut"))), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(at("empty.json"), "").unwrap();
    fs::write(at("foreign.json"), r#"{"version":1,"other":true}"#).unwrap();
    fs::write(at("misnamed.json"), tombstone("c").to_bytes()).unwrap();
    // Both would be good tombstones but for their size and their being a link.
    let mut huge = tombstone("huge").to_bytes();
    huge.resize(70_000, b' ');
    fs::write(at(&Tombstone::file_name(&key("huge"))), huge).unwrap();
    let outside = dir.path().join("outside");
    fs::write(&outside, tombstone("linked").to_bytes()).unwrap();
    symlink(&outside, at(&Tombstone::file_name(&key("linked")))).unwrap();
    fs::create_dir(at("dir.json")).unwrap();
    fs::write(at("empty.json.bad"), "an earlier one").unwrap();
    fs::write(at("notes.txt"), "not ours").unwrap();

    let listing = spool.list().unwrap();
    assert_eq!(listing.tombstones, [tombstone("good")]);
    assert!(listing.kept.is_empty(), "{:?}", listing.kept);
    assert_eq!(listing.set_aside.len(), 7, "{:?}", listing.set_aside);
    assert!(listing.set_aside.iter().all(|a| a.path.symlink_metadata().is_ok() && !a.reason.is_empty()));
    assert_eq!(fs::read(at("empty.json.bad")).unwrap(), b"an earlier one", "nothing is overwritten");
    assert!(at("empty.json.bad.1").exists());
    assert!(at("notes.txt").exists());

    let again = spool.list().unwrap();
    assert_eq!(again.tombstones.len(), 1);
    assert!(again.set_aside.is_empty());
}

#[test]
fn a_tombstone_of_a_newer_plugin_waits_for_a_newer_daemon() {
    let (_dir, spool) = spool();
    spool.put(&tombstone("a"), 1).unwrap();
    let path = spool.dir().join(Tombstone::file_name(&key("a")));
    let text =
        String::from_utf8(tombstone("a").to_bytes()).unwrap().replace("\"version\":1", "\"version\":2");
    fs::write(&path, text).unwrap();
    let listing = spool.list().unwrap();
    assert!(listing.tombstones.is_empty() && listing.set_aside.is_empty());
    assert_eq!(listing.kept.len(), 1);
    assert!(listing.kept[0].1.contains("version 2"));
    assert!(path.exists());
}

/// Frozen text of version 1: what is on disks must stay readable when the types are edited.
#[test]
fn a_tombstone_of_version_1_stays_readable() {
    let text =
        r#"{"version":1,"sandbox":{"network":"aws-cni","container_id":"a","ifname":"eth0"},"later":{}}"#;
    let read = Tombstone::from_bytes(text.as_bytes()).unwrap();
    assert_eq!(read.sandbox, key("a"));
    assert_eq!(
        Tombstone::file_name(&key("a")),
        "7b317a97cdcfd6249879bae81e0cab952da57a4ef84664f0c13a46b9d79143a5.json",
        "the name is a format too: a daemon looks tombstones up by it"
    );
}

#[test]
fn sweeping_takes_old_leftovers_only() {
    let (_dir, spool) = spool();
    spool.put(&tombstone("a"), 1).unwrap();
    fs::write(spool.dir().join(".tmp-1-x.json"), "half").unwrap();
    let now = SystemTime::now();
    let hour = Duration::from_hours(1);
    assert_eq!(spool.sweep(now, hour).unwrap(), 0);
    assert_eq!(spool.sweep(now + 2 * hour, hour).unwrap(), 1);
    assert_eq!(spool.list().unwrap().tombstones.len(), 1);
    assert_eq!(Spool::new("/nonexistent/spool").sweep(now, hour).unwrap(), 0);
}

#[test]
fn an_unwritable_place_is_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let spool = Spool::new(dir.path().join("file/spool"));
    assert!(spool.put(&tombstone("a"), 1).is_err());
    // The final rename fails on a directory of that name: the temporary file must not stay.
    let spool = Spool::new(dir.path().join("spool"));
    fs::create_dir_all(spool.dir().join(Tombstone::file_name(&key("a"))).join("x")).unwrap();
    assert!(spool.put(&tombstone("a"), 1).is_err());
    assert_eq!(names(&spool).len(), 1);
}

#[test]
fn the_second_best_spool_is_beside_the_socket() {
    assert_eq!(Spool::beside(Path::new("/run/holdfast/cni.sock")).dir(), Path::new("/run/holdfast/spool"));
}
