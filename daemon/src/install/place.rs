//! A file in a folder of the node's, whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;

/// Who may do what with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A program for everybody.
    Program,
    /// For everybody to read.
    Plain,
}

impl Mode {
    fn bits(self) -> u32 {
        match self {
            Self::Program => 0o755,
            Self::Plain => 0o644,
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    AsItWas,
    New,
    Replaced,
}

/// Puts a file with these bytes there, unless it is there. Whoever opens it meanwhile finds the one of before or the new one, whole,
/// also after a power cut.
pub(super) fn place(folder: &Path, name: &str, bytes: &[u8], mode: Mode) -> anyhow::Result<Placed> {
    let path = folder.join(name);
    // What cannot be read is replaced, or told by what follows.
    let before = read(&path).unwrap_or_default();
    let bits = |file: &fs::Metadata| file.permissions().mode() & 0o777;
    if let Some((known, metadata)) = &before
        && known == bytes
        && bits(metadata) == mode.bits()
    {
        return Ok(Placed::AsItWas);
    }
    // No runtime takes a name with a point first, or with this end, for one of its own.
    let draft = folder.join(format!(".{name}.new"));
    let put = || -> anyhow::Result<()> {
        write(&draft, bytes, mode).with_context(|| format!("writing {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("putting {} in place", path.display()))
    };
    put().inspect_err(|_told| {
        // Half of it would keep the last room of a full disk. What cannot be removed is not there, or no worse than before.
        fs::remove_file(&draft).ok();
    })?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("syncing {}", folder.display()))?;
    Ok(if before.is_some() { Placed::Replaced } else { Placed::New })
}

/// Whether there is nothing under that name.
pub(super) fn is_missing(path: &Path) -> bool {
    matches!(fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// An ordinary file's bytes. Somebody may have put a pipe there, on which a read waits.
fn read(path: &Path) -> io::Result<Option<(Vec<u8>, fs::Metadata)>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some((fs::read(path)?, metadata))),
        Ok(_other) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(draft: &Path, bytes: &[u8], mode: Mode) -> io::Result<()> {
    // What a killed process left, or a link of somebody's that leads elsewhere.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode.bits()).open(draft)?;
    file.write_all(bytes)?;
    // Whatever the process's mask says.
    file.set_permissions(Permissions::from_mode(mode.bits()))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_put_in_place_once_and_again_when_it_differs() {
        let dir = tempfile::tempdir().unwrap();
        let put = |bytes: &[u8]| place(dir.path(), "f", bytes, Mode::Program).unwrap();
        assert_eq!(put(b"one"), Placed::New);
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let first = inode(&dir.path().join("f"));
        assert_eq!(put(b"one"), Placed::AsItWas);
        assert_eq!(inode(&dir.path().join("f")), first);
        assert_eq!(put(b"two"), Placed::Replaced);
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"two");
        fs::set_permissions(dir.path().join("f"), Permissions::from_mode(0o600)).unwrap();
        assert_eq!(put(b"two"), Placed::Replaced);
        let mode = fs::metadata(dir.path().join("f")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o755);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    /// What others left in the folder, in its place or in the draft's.
    #[test]
    fn what_is_no_ordinary_file_is_replaced_and_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, precious) = (dir.path().join("inside"), dir.path().join("precious"));
        fs::create_dir(&inside).unwrap();
        fs::write(&precious, "kept").unwrap();
        symlink(&precious, inside.join("f")).unwrap();
        symlink(&precious, inside.join(".f.new")).unwrap();
        assert_eq!(place(&inside, "f", b"new", Mode::Plain).unwrap(), Placed::New);
        assert_eq!(fs::read(&precious).unwrap(), b"kept");
        assert!(fs::symlink_metadata(inside.join("f")).unwrap().is_file());
        nix::unistd::mkfifo(&inside.join("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert_eq!(place(&inside, "pipe", b"new", Mode::Plain).unwrap(), Placed::New);
        fs::create_dir(inside.join("folder")).unwrap();
        let refused = place(&inside, "folder", b"new", Mode::Plain).unwrap_err();
        assert!(format!("{refused:#}").contains("putting"), "{refused:#}");
        assert!(is_missing(&inside.join(".folder.new")), "no draft is left");
        assert!(place(&dir.path().join("absent"), "f", b"new", Mode::Plain).is_err());
        assert!(is_missing(&inside.join("absent")) && !is_missing(&inside.join("f")));
    }
}
