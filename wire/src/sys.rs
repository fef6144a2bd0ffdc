//! The one place of this crate that takes ownership of descriptors which the kernel made.

#![allow(unsafe_code, reason = "OwnedFd::from_raw_fd has no safe form for a descriptor out of SCM_RIGHTS")]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;
use nix::sys::socket::{MsgFlags, recvmsg};

/// The most descriptors that the kernel passes in one message (`SCM_MAX_FD`). With room for all of them a sender
/// cannot make the kernel cut the control data short.
const MAX_DESCRIPTORS: usize = 253;

const CONTROL_HEADER: usize = size_of::<libc::cmsghdr>();
const DESCRIPTOR: usize = size_of::<RawFd>();

const CONTROL_SPACE: usize =
    (CONTROL_HEADER + MAX_DESCRIPTORS * DESCRIPTOR).next_multiple_of(align_of::<libc::cmsghdr>());

/// Aligned, since control messages are read in place as `cmsghdr`.
#[repr(align(8))]
struct Control([u8; CONTROL_SPACE]);

/// One `recvmsg` on a stream socket: how many bytes came, and every descriptor that came with them.
///
/// Descriptors are close-on-exec. If the kernel cut the control data (`MSG_CTRUNC`: it ran out of descriptors), what
/// did arrive is closed and the call fails. `EINTR` is retried; `WouldBlock` is passed on.
pub(crate) fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = Control([0; CONTROL_SPACE]);
    let (bytes, flags) = loop {
        let mut buffers = [IoSliceMut::new(buffer)];
        match recvmsg::<()>(
            socket.as_fd().as_raw_fd(),
            &mut buffers,
            Some(&mut control.0),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Ok(message) => break (message.bytes, message.flags),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    // Read from the buffer rather than through the crate's iterator, which gives nothing at all after
    // MSG_CTRUNC: the descriptors that did arrive would stay open for ever.
    let descriptors: Vec<OwnedFd> = rights(&control.0)
        .into_iter()
        // SAFETY: `control` was zeroed before the call and only the kernel wrote to it since, so each number in an
        // SCM_RIGHTS message is a descriptor that the kernel has just opened in this process for this call; it
        // is listed once and nobody else has been told of it, so this is its only owner.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect();
    if flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::other("descriptors were lost on the way: this process has no room for more"));
    }
    Ok((bytes, descriptors))
}

/// The descriptors named by the SCM_RIGHTS messages in zero-filled control data.
fn rights(mut control: &[u8]) -> Vec<RawFd> {
    let mut found = Vec::new();
    while control.len() >= CONTROL_HEADER {
        // struct cmsghdr { size_t cmsg_len; int cmsg_level; int cmsg_type; }, then the data.
        let (length, rest) = control.split_at(size_of::<usize>());
        let length = usize::from_ne_bytes(length.try_into().expect("split at the size of usize"));
        if length < CONTROL_HEADER || length > control.len() {
            break;
        }
        if integer(rest) == libc::SOL_SOCKET && integer(&rest[size_of::<i32>()..]) == libc::SCM_RIGHTS {
            found.extend(control[CONTROL_HEADER..length].chunks_exact(DESCRIPTOR).map(integer));
        }
        let next = length.next_multiple_of(align_of::<libc::cmsghdr>());
        control = control.get(next..).unwrap_or_default();
    }
    found
}

/// The native integer at the start of `bytes`, which has at least four.
fn integer(bytes: &[u8]) -> i32 {
    i32::from_ne_bytes(*bytes.first_chunk().expect("callers pass at least four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[i32]) -> Vec<u8> {
        let mut bytes = (CONTROL_HEADER + data.len() * DESCRIPTOR).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data.iter().flat_map(|d| d.to_ne_bytes()));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn rights_are_found_among_other_messages() {
        let mut control = message(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &[1, 2, 3]);
        control.extend(message(libc::SOL_SOCKET, libc::SCM_RIGHTS, &[7, 8, 9]));
        control.extend([0; 64]);
        assert_eq!(rights(&control), [7, 8, 9]);
    }

    #[test]
    fn zeroed_or_impossible_control_data_names_nothing() {
        assert!(rights(&[]).is_empty());
        assert!(rights(&[0; 64]).is_empty());
        let mut lying = message(libc::SOL_SOCKET, libc::SCM_RIGHTS, &[7]);
        lying[..8].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert!(rights(&lying).is_empty());
    }
}
