//! Who is at the other end of a unix socket.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};

/// The peer's identity when it connected (`SO_PEERCRED`), as seen from this process's user and PID namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process id; 0 when the peer is outside this PID namespace.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl Peer {
    /// Asks the kernel who connected `socket`.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let found = getsockopt(&socket.as_fd(), sockopt::PeerCredentials)?;
        Ok(Self { pid: found.pid(), uid: found.uid(), gid: found.gid() })
    }

    /// Whether this peer may change pod networking: the superuser, or the user that the daemon itself runs as (a
    /// daemon in a user namespace serves plugins of the same one).
    pub fn may_command(self, daemon_uid: u32) -> bool {
        self.uid == 0 || self.uid == daemon_uid
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (near, _far) = UnixStream::pair().unwrap();
        let peer = Peer::of(&near).unwrap();
        assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
    }

    #[test]
    fn a_stranger_may_not_command() {
        let stranger = Peer { pid: 1, uid: 1000, gid: 0 };
        assert!(!stranger.may_command(0));
        assert!(stranger.may_command(1000));
        assert!(Peer { uid: 0, ..stranger }.may_command(1000));
    }
}
