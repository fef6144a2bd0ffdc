//! Netlink sockets that somebody else opened. A socket belongs for ever to the namespace that it was opened in, so who is
//! handed one can change a network that it may not enter. What is handed over comes from another process, which may still
//! have it: it is looked at before it is used, and nothing that is done to it afterwards harms anybody but that process's
//! own sandbox.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{NetlinkAddr, bind, connect, getsockname, setsockopt, sockopt};
use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_domain, socket_protocol};

use crate::netns::{self, NetnsError};
use crate::sys;

/// Each of the two buffers. What an ordinary socket has on an ordinary kernel.
const BUFFER: usize = 212_992;

/// Why a socket that was handed over is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandedError {
    /// It is something else.
    #[error("it is {0}; a netlink socket for routes is wanted")]
    NotOne(&'static str),
    /// It is of another namespace.
    #[error("the socket belongs to another network namespace than the one that came with it")]
    Elsewhere,
    /// It is not as it was opened.
    #[error("the socket was used before: {0}")]
    Used(&'static str),
    /// What it is cannot be told.
    #[error("look at the socket: {}", .0.desc())]
    Look(#[from] Errno),
    /// Nor which namespace the other one is.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

/// Takes a socket over that was just opened in this namespace: a `NETLINK_ROUTE` socket that is bound to no port and has
/// subscribed to nothing. From then on it is bound: the same one is not taken twice.
pub fn take(socket: OwnedFd, netns: &impl AsFd) -> Result<OwnedFd, HandedError> {
    match socket_domain(&socket) {
        Ok(AddressFamily::NETLINK) => {}
        Ok(_) => return Err(HandedError::NotOne("a socket of another family")),
        Err(rustix::io::Errno::NOTSOCK) => return Err(HandedError::NotOne("no socket")),
        Err(errno) => return Err(Errno::from_raw(errno.raw_os_error()).into()),
    }
    // `NETLINK_ROUTE` is number 0.
    match socket_protocol(&socket) {
        Ok(None) => {}
        Ok(Some(_)) => return Err(HandedError::NotOne("a netlink socket of another protocol")),
        Err(errno) => return Err(Errno::from_raw(errno.raw_os_error()).into()),
    }
    let home = sys::namespace_of_socket(&socket)?;
    if netns::identity(&home)? != netns::identity(netns)? {
        return Err(HandedError::Elsewhere);
    }
    let fd = socket.as_raw_fd();
    if getsockname::<NetlinkAddr>(fd)?.pid() != 0 {
        return Err(HandedError::Used("it is bound to a port"));
    }
    if sys::memberships(&socket)?.iter().any(|groups| *groups != 0) {
        return Err(HandedError::Used("it has subscribed to changes"));
    }
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
    setsockopt(&socket, sockopt::SndBuf, &BUFFER)?;
    bind(fd, &NetlinkAddr::new(0, 0))?;
    // From then on nobody but the kernel can send to it.
    connect(fd, &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}
