//! A pod's network namespace, as it was handed over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A network namespace by handle, not by path: the handle stays true when the path is bound anew. With it there may be a
/// netlink socket that was opened inside: who has one need not enter.
#[derive(Clone, Debug)]
pub struct Netns {
    handle: Arc<OwnedFd>,
    socket: Option<Arc<Mutex<OwnedFd>>>,
}

impl Netns {
    /// A namespace and a `NETLINK_ROUTE` socket in it.
    pub fn with_socket(handle: OwnedFd, socket: OwnedFd) -> Self {
        Self { handle: Arc::new(handle), socket: Some(Arc::new(Mutex::new(socket))) }
    }

    /// The namespace.
    pub fn handle(&self) -> &Arc<OwnedFd> {
        &self.handle
    }

    /// The socket inside, if there is one, for as long as the guard lives: two who ask the kernel by one socket would hear
    /// each other's answers.
    pub fn socket(&self) -> Option<MutexGuard<'_, OwnedFd>> {
        // Whoever panicked with it has left answers unread at worst, which the next one has to expect anyway.
        self.socket.as_ref().map(|socket| socket.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<Arc<OwnedFd>> for Netns {
    fn from(handle: Arc<OwnedFd>) -> Self {
        Self { handle, socket: None }
    }
}

impl From<OwnedFd> for Netns {
    fn from(handle: OwnedFd) -> Self {
        Arc::new(handle).into()
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}
