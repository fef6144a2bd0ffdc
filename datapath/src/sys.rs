//! The one door of this crate to what the kernel offers only by number and pointer.

#![allow(
    unsafe_code,
    reason = "ioctl(2), getsockopt(2) of what is both asked and answered or of a list, descriptors by number and mallopt(3) \
              have no safe form"
)]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use netlink_sys::Socket;
use nix::errno::Errno;
use nix::libc;
use nix::sched::CloneFlags;

/// `NS_GET_NSTYPE` of `linux/nsfs.h`, `_IO(0xb7, 0x3)`: since Linux 4.11, and the same number on x86-64 and ARM.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// Of which kind a namespace is, as the flag that makes one of that kind. `ENOTTY` for a descriptor that is of no
/// namespace at all; others of the descriptor's own making are possible.
pub(crate) fn kind_of_namespace(fd: &impl AsFd) -> Result<CloneFlags, Errno> {
    // SAFETY: the descriptor is borrowed, so it stays open for the call; the request takes no argument, reads and
    // writes no memory of ours, and answers with the number that it returns.
    let kind = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE) };
    Errno::result(kind).map(CloneFlags::from_bits_retain)
}

/// `SIOCGSKNS` of `linux/sockios.h`: since Linux 4.9.
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// The network namespace that a socket belongs to. Takes `CAP_NET_ADMIN` there. Only for what is known to be a socket: to
/// another file the number means something else.
pub(crate) fn namespace_of_socket(socket: &impl AsFd) -> Result<OwnedFd, Errno> {
    // SAFETY: the descriptor is borrowed, so it stays open for the call; the request takes no argument, reads and
    // writes no memory of ours.
    let namespace = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS) };
    // SAFETY: the kernel made this descriptor for the call (close-on-exec), so nobody else has or closes it.
    Errno::result(namespace).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The multicast groups that a netlink socket has subscribed to, as bits; those that the kernel has.
pub(crate) fn memberships(socket: &impl AsFd) -> Result<[u32; 32], Errno> {
    let mut groups = [0; 32];
    let mut length = libc::socklen_t::try_from(size_of_val(&groups)).map_err(|_too_long| Errno::EINVAL)?;
    // SAFETY: the descriptor is borrowed, so it stays open for the call; the kernel writes at most `length` bytes at the
    // pointer, which are ours and borrowed for writing, whole numbers of any value; the length is ours as well.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_LIST_MEMBERSHIPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(outcome).map(|_| groups)
}

/// The library's socket around an open one.
pub(crate) fn netlink_socket(socket: OwnedFd) -> Socket {
    // SAFETY: the number is an open descriptor's that nobody else owns: we did, and gave it up. The library makes no other
    // demand: all that it does with it are system calls, which fail on what is no netlink socket.
    unsafe { Socket::from_raw_fd(socket.into_raw_fd()) }
}

/// Asks an IPv4 socket for an option whose value says what is asked (`nf_getsockopt` of the kernel): the bytes are what the
/// kernel reads, and what it wrote in their place.
pub(crate) fn ask_ipv4(socket: &impl AsFd, option: libc::c_int, bytes: &mut [u8]) -> Result<(), Errno> {
    let mut length = libc::socklen_t::try_from(bytes.len()).map_err(|_too_long| Errno::EINVAL)?;
    // SAFETY: the descriptor is borrowed, so it stays open for the call; the kernel reads and writes at most `length` bytes
    // at the pointer, which are ours, initialised, and borrowed for writing; the length is ours as well.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            option,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(outcome).map(drop)
}

/// Has all threads of the process share one heap, which is to be said before there is a second thread. The C library gives
/// each a heap of its own, so that they need not wait for each other; ours do little and seldom at once, and of each heap
/// the most that it ever held stays with the process. (Nothing to do with the kernel: here is the door.)
pub fn share_one_heap() {
    // SAFETY: sets a number of the C library's, under its own lock; it takes any number and reads no memory of ours.
    #[cfg(target_env = "gnu")]
    let _one_that_has_no_such_number = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
