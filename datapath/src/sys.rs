//! The one door of this crate to what the kernel offers only by number and pointer.

#![allow(
    unsafe_code,
    reason = "ioctl(2), and getsockopt(2) of what is both asked and answered, have no safe form"
)]

use std::os::fd::{AsFd, AsRawFd};

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
