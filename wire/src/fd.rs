//! Bytes with descriptors beside them, over a unix stream socket (`SCM_RIGHTS`).
//!
//! The plugin opens the sandbox's network namespace and passes the open descriptor: a path can be removed, reused
//! or mean another file in the daemon's mount namespace, a descriptor cannot. Behind it goes a netlink socket that the
//! plugin opened inside: by it the daemon sets the sandbox up without the right to enter it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

/// The most descriptors that the kernel passes in one message (`SCM_MAX_FD`). With room for all of them a sender
/// cannot make the kernel cut the control data short.
const MAX_DESCRIPTORS: usize = 253;

/// What travels with a request, in this order. What each is, nobody has looked at: whoever receives them does.
#[derive(Debug, Clone, Copy)]
pub struct Descriptors<F> {
    /// The sandbox's network namespace.
    pub netns: F,
    /// A `NETLINK_ROUTE` socket that was opened inside it, by a plugin that could.
    pub netlink: Option<F>,
}

impl<F: AsFd> Descriptors<F> {
    /// The same, lent.
    pub fn borrowed(&self) -> Descriptors<BorrowedFd<'_>> {
        Descriptors { netns: self.netns.as_fd(), netlink: self.netlink.as_ref().map(AsFd::as_fd) }
    }
}

impl<F> Descriptors<F> {
    /// Only the namespace.
    pub fn of(netns: F) -> Self {
        Self { netns, netlink: None }
    }
}

/// What one read gave.
#[derive(Debug)]
pub struct Received {
    /// Bytes put at the start of the buffer; 0 at the end of the stream.
    pub bytes: usize,
    /// The descriptors that came with them. Close-on-exec.
    pub descriptors: Option<Descriptors<OwnedFd>>,
    /// What came besides. A well-behaved plugin never sends any. To close it may take as long as its sender likes.
    pub surplus: Vec<OwnedFd>,
    /// The kernel could not pass all descriptors: this process has no room for more. What did come is in `surplus`.
    pub lost: bool,
}

/// Sends the start of `bytes`, and `descriptors` with its first byte; gives how many bytes went.
///
/// Never raises SIGPIPE. `EINTR` is retried, `WouldBlock` (also a send timeout) is passed on. The caller sends the
/// rest as ordinary bytes.
pub fn send(
    socket: &impl AsFd,
    bytes: &[u8],
    descriptors: Option<Descriptors<BorrowedFd<'_>>>,
) -> io::Result<usize> {
    let raw: Vec<RawFd> = descriptors
        .iter()
        .flat_map(|fds| std::iter::once(fds.netns).chain(fds.netlink))
        .map(|fd| fd.as_raw_fd())
        .collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        let fd = socket.as_fd().as_raw_fd();
        match sendmsg::<()>(fd, &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(sent) => return Ok(sent),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Reads what is there into `buffer`, with the descriptors that came along.
///
/// Works on blocking and non-blocking sockets; an async daemon calls it when the socket is readable and gets
/// `WouldBlock` otherwise. Closes nothing.
pub fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut buffers = [IoSliceMut::new(buffer)];
        match recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let came: Vec<OwnedFd> = rights.flatten().collect();
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Ok(Received { bytes: message.bytes, descriptors: None, surplus: came, lost: true });
    }
    let mut came = came.into_iter();
    let descriptors = came.next().map(|netns| Descriptors { netns, netlink: came.next() });
    Ok(Received { bytes: message.bytes, descriptors, surplus: came.collect(), lost: false })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{IoSlice, Write};
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    fn inode(fd: &impl AsFd) -> (u64, u64) {
        let file = File::from(fd.as_fd().try_clone_to_owned().unwrap());
        let meta = file.metadata().unwrap();
        (meta.dev(), meta.ino())
    }

    fn closes_on_exec(fd: &impl AsFd) -> bool {
        FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).unwrap()).contains(FdFlag::FD_CLOEXEC)
    }

    #[test]
    fn a_descriptor_arrives_with_the_first_byte_and_is_the_same_file() {
        let (near, far) = UnixStream::pair().unwrap();
        let netns = File::open("/proc/self/ns/net").unwrap();
        assert_eq!(send(&near, b"hello", Some(Descriptors::of(netns.as_fd()))).unwrap(), 5);
        let mut buffer = [0; 2];
        let first = receive(&far, &mut buffer).unwrap();
        assert_eq!((first.bytes, first.surplus.len()), (2, 0));
        let arrived = first.descriptors.expect("comes with the first byte");
        assert_eq!(inode(&arrived.netns), inode(&netns));
        assert!(arrived.netlink.is_none());
        assert!(closes_on_exec(&arrived.netns));
        let second = receive(&far, &mut [0; 8]).unwrap();
        assert_eq!(second.bytes, 3);
        assert!(second.descriptors.is_none());
    }

    #[test]
    fn a_namespace_and_a_socket_arrive_each_in_its_place() {
        let (near, far) = UnixStream::pair().unwrap();
        let sent = Descriptors {
            netns: OwnedFd::from(File::open("/proc/self/ns/net").unwrap()),
            netlink: Some(OwnedFd::from(File::open("/proc/self/ns/uts").unwrap())),
        };
        assert_eq!(send(&near, b"x", Some(sent.borrowed())).unwrap(), 1);
        let got = receive(&far, &mut [0; 8]).unwrap();
        assert_eq!((got.bytes, got.surplus.len()), (1, 0));
        let arrived = got.descriptors.expect("both come");
        let netlink = arrived.netlink.expect("the second one too");
        assert_eq!(inode(&arrived.netns), inode(&sent.netns));
        assert_eq!(inode(&netlink), inode(sent.netlink.as_ref().unwrap()));
        assert!(closes_on_exec(&arrived.netns) && closes_on_exec(&netlink));
    }

    #[test]
    fn bytes_without_a_descriptor_and_the_end_of_the_stream() {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(b"x").unwrap();
        drop(near);
        let got = receive(&far, &mut [0; 8]).unwrap();
        assert!(got.bytes == 1 && got.descriptors.is_none());
        assert_eq!(receive(&far, &mut [0; 8]).unwrap().bytes, 0);
    }

    #[test]
    fn surplus_descriptors_are_counted_and_closed() {
        let (near, far) = UnixStream::pair().unwrap();
        // The read end sees end-of-file only when every copy of the write end is closed.
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let raw = [writer.as_raw_fd(); 253];
        sendmsg::<()>(
            near.as_raw_fd(),
            &[IoSlice::new(b"x")],
            &[ControlMessage::ScmRights(&raw)],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        drop(writer);
        let got = receive(&far, &mut [0; 8]).unwrap();
        assert_eq!(got.surplus.len(), 251);
        drop(got.surplus);
        drop(got.descriptors);
        fcntl(&reader, FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        // A surplus descriptor left open would make this EAGAIN.
        assert_eq!(nix::unistd::read(&reader, &mut [0; 1]), Ok(0));
    }

    #[test]
    fn a_non_blocking_socket_says_would_block() {
        let (_near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let error = receive(&far, &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
