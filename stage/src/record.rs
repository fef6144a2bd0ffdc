//! Files that are there whole or not at all, also after a power cut.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Writes a file beside, syncs it, puts it in place by rename, and syncs the folder.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Writers of one file do not meet: it has one owner.
    let half = folder.join(format!(".{name}.half"));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&half)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&half, path)?;
        File::open(&folder)?.sync_all()
    };
    write().map_err(Error::io(format!("writing {}", path.display())))
}

/// The same of a value, as JSON.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let garbled = |source| Error::Garbled { what: format!("writing {}", path.display()), source };
    write_durably(path, &serde_json::to_vec_pretty(value).map_err(garbled)?)
}

/// Reads it; `None`: there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let what = || format!("reading {}", path.display());
    match fs::read(path) {
        Ok(content) => serde_json::from_slice(&content)
            .map(Some)
            .map_err(|source| Error::Garbled { what: what(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(what())(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), None);
        write_json(&path, &[1_u8, 2]).unwrap();
        // What a writer that died left beside it is nobody's.
        fs::write(folder.path().join(".state.json.half"), b"[1, 2, 3").unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), Some(vec![1, 2]));
        write_json(&path, &[3_u8]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), Some(vec![3]));
        fs::write(&path, b"[1, 2").unwrap();
        assert!(read_json::<Vec<u8>>(&path).unwrap_err().to_string().contains("state.json"));
    }
}
