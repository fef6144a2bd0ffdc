//! Being told of changes.

use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;

use super::error::NetlinkError;

/// What to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Links come, go and change.
    Links,
    /// IPv4 addresses.
    Ipv4Addresses,
    /// IPv4 routes.
    Ipv4Routes,
    /// IPv4 rules.
    Ipv4Rules,
    /// Tables, chains and rules of nf_tables.
    NfTables,
}

impl Group {
    /// Protocol and multicast group number (`enum rtnetlink_groups`, `enum nfnetlink_groups`).
    fn number(self) -> (isize, u32) {
        match self {
            Self::Links => (NETLINK_ROUTE, 1),
            Self::Ipv4Addresses => (NETLINK_ROUTE, 5),
            Self::Ipv4Routes => (NETLINK_ROUTE, 7),
            Self::Ipv4Rules => (NETLINK_ROUTE, 8),
            Self::NfTables => (NETLINK_NETFILTER, 7),
        }
    }
}

/// A non-blocking socket that becomes readable when something changed in its namespace. What changed is not said:
/// a change only means "look again", and a notification may be lost, which means the same.
pub struct Watch {
    socket: netlink_sys::Socket,
}

impl Watch {
    /// Watches the calling thread's namespace. The groups must all be of rtnetlink, or all of netfilter.
    pub fn open(groups: &[Group]) -> Result<Self, NetlinkError> {
        let failed = |error: std::io::Error| NetlinkError::Socket {
            what: "open a watching netlink socket",
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        };
        let protocol = groups.first().map_or(NETLINK_ROUTE, |group| group.number().0);
        let mut socket = netlink_sys::Socket::new(protocol).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.set_non_blocking(true).map_err(failed)?;
        for group in groups {
            let (its_protocol, number) = group.number();
            if its_protocol != protocol {
                return Err(NetlinkError::Socket {
                    what: "watch groups of two protocols by one socket",
                    errno: Errno::EINVAL,
                });
            }
            socket.add_membership(number).map_err(failed)?;
        }
        Ok(Self { socket })
    }

    /// Reads away all that is there; true when there was anything, or something was lost.
    pub fn drain(&self) -> bool {
        let mut changed = false;
        let mut buffer = Vec::with_capacity(8192);
        // Bounded: a flood must not hold the caller; what is left makes the socket readable again.
        for _ in 0..10_000 {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) => changed = true,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => changed = true,
                Err(_nothing_left) => break,
            }
        }
        changed
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
