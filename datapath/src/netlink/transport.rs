//! The library's connection on a plain thread.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use bytes::BufMut;
use netlink_sys::{AsyncSocket, Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc::{MSG_DONTWAIT, MSG_TRUNC};

/// A non-blocking socket that wakes nobody: whoever polls the connection waits for the descriptor itself, on whichever
/// thread, inside or outside of a runtime. (The library's own sockets belong to the runtime that they were made in.)
///
/// The kernel carries a request out while it is being sent, so its answers are there when sending returns.
pub(super) struct Transport {
    socket: Socket,
    /// Something was sent or received since this was last looked at.
    moved: Cell<bool>,
    /// Why sending or receiving failed. Told here and not to the connection, which would close for good.
    failed: Cell<Option<(&'static str, Errno)>>,
    /// How many datagrams may still be read; none until somebody says so.
    allowed: Cell<usize>,
}

impl Transport {
    pub(super) fn over(socket: Socket) -> Self {
        Self { socket, moved: Cell::new(false), failed: Cell::new(None), allowed: Cell::new(0) }
    }

    pub(super) fn take_moved(&self) -> bool {
        self.moved.take()
    }

    pub(super) fn take_failure(&self) -> Option<(&'static str, Errno)> {
        self.failed.take()
    }

    pub(super) fn allow(&self, datagrams: usize) {
        self.allowed.set(datagrams);
    }

    fn send(&self, what: impl Fn() -> io::Result<usize>, length: usize) -> Poll<io::Result<usize>> {
        loop {
            match what() {
                Ok(_) => self.moved.set(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.failed.set(Some(("send to the kernel", errno(&error)))),
            }
            return Poll::Ready(Ok(length));
        }
    }

    fn receive<T>(
        &self,
        room: usize,
        mut what: impl FnMut() -> io::Result<(usize, T)>,
    ) -> Poll<io::Result<T>> {
        let failed = |errno| self.failed.set(Some(("receive from the kernel", errno)));
        loop {
            let Some(left) = self.allowed.get().checked_sub(1) else { return Poll::Pending };
            match what() {
                Ok((length, _)) if length > room => failed(Errno::EMSGSIZE),
                Ok((_, from)) => {
                    self.allowed.set(left);
                    self.moved.set(true);
                    return Poll::Ready(Ok(from));
                }
                Err(error) => match errno(&error) {
                    Errno::EINTR => continue,
                    // What was lost the connection tells of as an overrun.
                    Errno::ENOBUFS => {
                        self.moved.set(true);
                        return Poll::Ready(Err(error));
                    }
                    Errno::EAGAIN => {}
                    errno => failed(errno),
                },
            }
            return Poll::Pending;
        }
    }
}

pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

impl AsyncSocket for Transport {
    fn socket_ref(&self) -> &Socket {
        &self.socket
    }

    fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    fn new(protocol: isize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        socket.set_non_blocking(true)?;
        Ok(Self::over(socket))
    }

    fn poll_send(&self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.send(|| self.socket.send(buf, 0), buf.len())
    }

    fn poll_send_to(&self, _: &mut Context<'_>, buf: &[u8], addr: &SocketAddr) -> Poll<io::Result<usize>> {
        self.send(|| self.socket.send_to(buf, addr, 0), buf.len())
    }

    fn poll_recv<B: BufMut>(&self, cx: &mut Context<'_>, buf: &mut B) -> Poll<io::Result<()>> {
        self.poll_recv_from(cx, buf).map_ok(|_from| ())
    }

    fn poll_recv_from<B: BufMut>(&self, _: &mut Context<'_>, buf: &mut B) -> Poll<io::Result<SocketAddr>> {
        let room = buf.chunk_mut().len();
        // Whoever else has the socket could make it one that waits.
        self.receive(room, || self.socket.recv_from(buf, MSG_TRUNC | MSG_DONTWAIT))
    }

    fn poll_recv_from_full(&self, _: &mut Context<'_>) -> Poll<io::Result<(Vec<u8>, SocketAddr)>> {
        self.receive(usize::MAX, || {
            let (bytes, from) = self.socket.recv_from_full()?;
            Ok((bytes.len(), (bytes, from)))
        })
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
