//! Kernel settings under `/proc/sys/net`. They are those of the calling thread's namespace.

use std::io;

/// Reads a setting; `None` when this kernel or namespace has none such.
pub(crate) fn read(name: &str) -> Option<String> {
    std::fs::read_to_string(path(name)).ok().map(|text| text.trim().to_owned())
}

/// Writes a setting. A missing file is no error: the feature is not there, so it needs no setting.
pub(crate) fn write(name: &str, value: &str) -> io::Result<()> {
    match std::fs::write(path(name), value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn path(name: &str) -> String {
    format!("/proc/sys/net/{name}")
}
