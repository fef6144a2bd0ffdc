//! Bytes with a descriptor beside them, over a unix stream socket (`SCM_RIGHTS`).
//!
//! The plugin opens the sandbox's network namespace and passes the open descriptor: a path can be removed, reused
//! or mean another file in the daemon's mount namespace, a descriptor cannot.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

/// The most descriptors that the kernel passes in one message (`SCM_MAX_FD`). With room for all of them a sender
/// cannot make the kernel cut the control data short.
const MAX_DESCRIPTORS: usize = 253;

/// What one read gave.
#[derive(Debug)]
pub struct Received {
    /// Bytes put at the start of the buffer; 0 at the end of the stream.
    pub bytes: usize,
    /// The descriptor that came with them. Close-on-exec.
    pub descriptor: Option<OwnedFd>,
    /// How many more came: they were closed. A well-behaved plugin never sends one.
    pub extra: usize,
}

/// Sends the start of `bytes`, and `descriptor` with its first byte; gives how many bytes went.
///
/// Never raises SIGPIPE. `EINTR` is retried, `WouldBlock` (also a send timeout) is passed on. The caller sends the
/// rest as ordinary bytes.
pub fn send(socket: &impl AsFd, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let raw = descriptor.map(|fd| [fd.as_raw_fd()]);
    let rights = raw.as_ref().map(|fds| [ControlMessage::ScmRights(fds)]);
    let control: &[ControlMessage<'_>] = rights.as_ref().map_or(&[], |r| r);
    loop {
        let fd = socket.as_fd().as_raw_fd();
        match sendmsg::<()>(fd, &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(sent) => return Ok(sent),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Reads what is there into `buffer`, with the descriptor that came along.
///
/// Works on blocking and non-blocking sockets; an async daemon calls it when the socket is readable and gets
/// `WouldBlock` otherwise. Fails, with everything closed, if the kernel could not pass all descriptors.
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
    let mut descriptors: Vec<OwnedFd> = rights.flatten().collect();
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("descriptors were lost on the way: this process has no room for more"));
    }
    let extra = descriptors.len().saturating_sub(1);
    // Dropping the rest of the list closes it.
    descriptors.truncate(1);
    Ok(Received { bytes: message.bytes, descriptor: descriptors.pop(), extra })
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

    #[test]
    fn a_descriptor_arrives_with_the_first_byte_and_is_the_same_file() {
        let (near, far) = UnixStream::pair().unwrap();
        let netns = File::open("/proc/self/ns/net").unwrap();
        assert_eq!(send(&near, b"hello", Some(netns.as_fd())).unwrap(), 5);
        let mut buffer = [0; 2];
        let first = receive(&far, &mut buffer).unwrap();
        assert_eq!((first.bytes, first.extra), (2, 0));
        let arrived = first.descriptor.expect("comes with the first byte");
        assert_eq!(inode(&arrived), inode(&netns));
        let flags = FdFlag::from_bits_retain(fcntl(&arrived, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
        let second = receive(&far, &mut [0; 8]).unwrap();
        assert_eq!(second.bytes, 3);
        assert!(second.descriptor.is_none());
    }

    #[test]
    fn bytes_without_a_descriptor_and_the_end_of_the_stream() {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(b"x").unwrap();
        drop(near);
        let got = receive(&far, &mut [0; 8]).unwrap();
        assert!(got.bytes == 1 && got.descriptor.is_none());
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
        assert_eq!(got.extra, 252);
        drop(got.descriptor);
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
