//! Network namespaces: telling one from garbage, entering one, opening sockets in one.
//!
//! A thread of a runtime never changes its namespace: other tasks would find themselves elsewhere. All entering
//! happens on threads that exist for it.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::fstat;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use crate::netlink::{NetlinkError, Socket};
use crate::sys;

/// Why a namespace cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetnsError {
    /// The path cannot be opened.
    #[error("open {path}: {}", .errno.desc())]
    Open {
        /// Which path.
        path: String,
        /// The system's error number.
        errno: Errno,
    },
    /// It is not a network namespace.
    #[error("not a network namespace: {0}")]
    NotOne(String),
    /// What it is cannot be told.
    #[error("look at the descriptor: {}", .0.desc())]
    Look(Errno),
    /// It cannot be entered.
    #[error("enter the namespace: {}", .0.desc())]
    Enter(Errno),
    /// A new one cannot be made.
    #[error("make a namespace: {}", .0.desc())]
    Create(Errno),
    /// No thread could be started for it.
    #[error("start a thread for the namespace: {0}")]
    Thread(String),
    /// A socket could not be opened inside.
    #[error("inside the namespace: {0}")]
    Socket(#[from] NetlinkError),
}

/// A kernel object's identity: device and inode number of the namespace file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// Opens the namespace that a path leads to. Refuses whatever is not a network namespace.
pub fn open(path: &Path) -> Result<OwnedFd, NetnsError> {
    // Without O_NONBLOCK a pipe at this path would hold the caller for ever.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = file.map_err(|error| NetnsError::Open {
        path: path.display().to_string(),
        errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
    })?;
    let fd = OwnedFd::from(file);
    check(&fd)?;
    Ok(fd)
}

/// The calling thread's own namespace.
pub fn current() -> Result<OwnedFd, NetnsError> {
    open(Path::new("/proc/thread-self/ns/net"))
}

/// Refuses a descriptor that is not a network namespace, in words: descriptors come from other processes.
pub fn check(fd: &impl AsFd) -> Result<(), NetnsError> {
    let filesystem = fstatfs(fd).map_err(NetnsError::Look)?;
    if filesystem.filesystem_type() != NSFS_MAGIC {
        return Err(NetnsError::NotOne("the descriptor is not of a namespace at all".to_owned()));
    }
    match sys::kind_of_namespace(fd) {
        Ok(CloneFlags::CLONE_NEWNET) => Ok(()),
        Ok(kind) => Err(NetnsError::NotOne(format!("it is one of another kind ({kind:?})"))),
        Err(Errno::ENOTTY) => Err(NetnsError::NotOne("the kernel says that it is none".to_owned())),
        // A filter of system calls, for one: not seeing what it is proves nothing.
        Err(errno) => Err(NetnsError::Look(errno)),
    }
}

/// Which namespace a descriptor is of.
pub fn identity(fd: &impl AsFd) -> Result<Identity, NetnsError> {
    let stat = fstat(fd).map_err(NetnsError::Look)?;
    Ok(Identity { device: stat.st_dev, inode: stat.st_ino })
}

/// Moves the calling thread into a namespace, for good. Only for threads that the caller made for this. What is no
/// network namespace is refused, and leaves the thread where it is.
pub fn enter_for_good(netns: &impl AsFd) -> Result<(), NetnsError> {
    setns(netns, CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
        Errno::EINVAL => NetnsError::NotOne("the kernel says that it is none".to_owned()),
        errno => NetnsError::Enter(errno),
    })
}

/// Sees to it that the calling thread is in a namespace, for good. Who is there needs no right for it.
pub fn stay_in(netns: &impl AsFd) -> Result<(), NetnsError> {
    if identity(&current()?)? == identity(netns)? { Ok(()) } else { enter_for_good(netns) }
}

/// Runs a closure inside a namespace, on a thread of its own that ends with it.
pub fn run_in<T: Send>(
    netns: &(impl AsFd + Sync),
    inside: impl FnOnce() -> T + Send,
) -> Result<T, NetnsError> {
    on_own_thread(|| {
        enter_for_good(netns)?;
        Ok(inside())
    })
}

/// Opens a netlink socket that belongs to a namespace, from a thread of its own.
pub fn socket_in(netns: &(impl AsFd + Sync)) -> Result<Socket, NetnsError> {
    Ok(run_in(netns, Socket::open)??)
}

/// Makes a new namespace. It lives as long as a descriptor (this one, or a bind mount) or an inhabitant does.
pub fn create() -> Result<Arc<OwnedFd>, NetnsError> {
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(NetnsError::Create)?;
        Ok(Arc::new(current()?))
    })
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T, NetnsError> + Send) -> Result<T, NetnsError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|error| NetnsError::Thread(error.to_string()))?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
