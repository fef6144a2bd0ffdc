//! The sandbox's network namespace, by descriptor.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// Opens the namespace at `path`.
///
/// Refuses what is not a namespace file, such as the empty file that remains when a bind mount is gone. That it is a
/// *network* namespace is for the daemon to find when it enters.
pub(crate) fn open(path: &str) -> io::Result<File> {
    // Without O_NONBLOCK a pipe at this path would hold the plugin for ever.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if fstatfs(&file)?.filesystem_type() == NSFS_MAGIC {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a namespace"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_opens_and_nothing_else_does() {
        assert!(open("/proc/self/ns/net").is_ok());
        assert_eq!(open("/nonexistent/ns").unwrap_err().kind(), io::ErrorKind::NotFound);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("left-over");
        std::fs::write(&file, "").unwrap();
        assert!(open(file.to_str().unwrap()).is_err());
        assert!(open(dir.path().to_str().unwrap()).is_err());
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // In a thread: a wrong open would wait for a writer for ever.
        let (done, outcome) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(open(pipe.to_str().unwrap()).is_err()));
        assert_eq!(outcome.recv_timeout(std::time::Duration::from_secs(10)), Ok(true));
    }
}
