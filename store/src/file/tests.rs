use super::*;

#[test]
fn each_error_of_a_disk_has_its_remedy() {
    for (kind, words) in [
        (io::ErrorKind::StorageFull, "free space"),
        (io::ErrorKind::QuotaExceeded, "free space"),
        (io::ErrorKind::ReadOnlyFilesystem, "remount"),
        (io::ErrorKind::PermissionDenied, "run as root"),
        (io::ErrorKind::NotADirectory, "not a folder"),
        (io::ErrorKind::Other, "dmesg"),
    ] {
        assert!(remedy(&kind.into()).contains(words), "{kind}");
    }
}

#[test]
fn a_bare_name_is_in_the_folder_that_we_are_in() {
    for (path, folder) in [("ledger.redb", "."), ("a/ledger.redb", "a"), ("/ledger.redb", "/"), ("/", ".")] {
        assert_eq!(folder_of(Path::new(path)), Path::new(folder), "{path}");
    }
}

#[test]
fn names_of_a_folder_that_is_not_there_are_not_durable() {
    let folder = tempfile::tempdir().unwrap();
    sync_folder(folder.path()).unwrap();
    assert!(sync_folder(&folder.path().join("none")).is_err());
}

/// Nothing there is a fresh start; what cannot be looked at is not.
#[test]
fn only_a_path_that_does_not_exist_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    assert!(matches!(look(&path), Ok(Standing::Nothing)));
    fs::write(&path, "").unwrap();
    let below = look(&path.join("ledger.redb"));
    assert!(matches!(below, Err(error) if error.kind() == io::ErrorKind::NotADirectory));
}

#[test]
fn what_is_larger_than_any_ledger_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    for (size, read) in [(MOST_BYTES, true), (MOST_BYTES + 1, false)] {
        File::create(&path).unwrap().set_len(size).unwrap();
        match look(&path).unwrap() {
            Standing::Bytes(bytes) => assert!(read && bytes.len() as u64 == size, "{size}"),
            Standing::Damaged(Damage::TooLarge { size: told, .. }) => {
                assert!(!read && told == size, "{size}");
            }
            _ => panic!("{size}"),
        }
    }
}

#[test]
fn a_name_that_is_taken_gets_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    for name in ["damaged-7", "damaged-7-1", "damaged-7-2", "damaged-7-3"] {
        let free = free_name(&path, "damaged", 7);
        assert_eq!(free, folder.path().join(format!("ledger.redb.{name}")));
        fs::write(free, "").unwrap();
    }
}

/// What stands in the way of the new file is the cause, not what follows from it.
#[test]
fn a_leftover_that_cannot_be_removed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("ledger.redb.new");
    fs::create_dir(&new).unwrap();
    let Err(Fault::Io(error)) = write_new(&new, 1, &[]) else { panic!("a folder stands there") };
    assert_ne!(error.kind(), io::ErrorKind::AlreadyExists);
}
