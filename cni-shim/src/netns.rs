//! The sandbox's network namespace, by descriptor, and netlink sockets in it.
//!
//! Entering a namespace takes `CAP_SYS_ADMIN`, the greatest right there is; a runtime's plugin has it for its moment, a
//! daemon should not need it all its life. So the plugin enters and hands a socket out.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// An open namespace.
pub(crate) struct Netns {
    file: File,
    entered: bool,
}

impl Netns {
    /// Opens the namespace at `path`.
    ///
    /// Refuses what is not a namespace file, such as the empty file that remains when a bind mount is gone. That it is a
    /// *network* namespace is for the daemon to find.
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        // Without O_NONBLOCK a pipe at this path would hold the plugin for ever.
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        if fstatfs(&file)?.filesystem_type() == NSFS_MAGIC {
            Ok(Self { file, entered: false })
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a namespace"))
        }
    }

    /// Moves this process inside, if it may, and there it stays: it has one thread, lives for one request, and reaches the
    /// daemon by a path, which leads there from everywhere.
    pub(crate) fn enter(mut self) -> Self {
        self.entered = setns(&self.file, CloneFlags::CLONE_NEWNET).is_ok();
        self
    }

    /// A netlink socket inside, which nobody has used; `None`: this process is not there. Then the daemon enters itself.
    pub(crate) fn netlink(&self) -> Option<OwnedFd> {
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).ok()
        };
        self.entered.then(open).flatten()
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_opens_and_nothing_else_does() {
        let open = |path: &str| Netns::open(path).map(drop);
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
