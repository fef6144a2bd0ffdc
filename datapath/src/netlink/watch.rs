//! Being told of changes.

use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use super::attributes::Attributes;
use super::error::NetlinkError;
use super::link::Link;
use super::socket::Messages;

/// Bytes of notifications that may wait to be read; each costs the kernel up to 4 KiB of them.
const ROOM: usize = 4 * 1024 * 1024;

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
    /// IPv4 settings of links and of the whole namespace (`net.ipv4.conf.*`): forwarding, reverse path check.
    Ipv4Settings,
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
            Self::Ipv4Settings => (NETLINK_ROUTE, 24),
            Self::NfTables => (NETLINK_NETFILTER, 7),
        }
    }
}

/// A non-blocking socket that becomes readable when something changed in its namespace. A change only means "look
/// again"; notifications may be lost, which means the same.
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
        // Room for what gathers between two reads. What does not fit is told as a loss, so a refusal harms nobody.
        if let Err(refused) = setsockopt(&socket, sockopt::RcvBufForce, &ROOM) {
            tracing::debug!(%refused, "watching with the system's ordinary receive buffer");
        }
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

    /// Reads away all that is there. True when `matters` said so of any, or when notifications were lost.
    pub fn drain(&self, mut matters: impl FnMut(Notice<'_>) -> bool) -> bool {
        let mut changed = false;
        let mut buffer = Vec::with_capacity(BUFFER);
        // Bounded: a flood must not hold the caller; what is left makes the socket readable again.
        for _ in 0..10_000 {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) => {
                    for message in Messages(&buffer) {
                        changed |= matters(Notice {
                            kind: message.kind,
                            port: message.port,
                            payload: message.payload,
                        });
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => changed = true,
                Err(_nothing_left) => break,
            }
        }
        changed
    }
}

/// A notification.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// Message type (`RTM_…`; of netfilter: subsystem and type).
    pub kind: u16,
    /// The port of the socket whose request caused it; 0: the kernel's own doing, or an older kernel.
    pub port: u32,
    /// The message after its netlink header.
    pub payload: &'a [u8],
}

impl Notice<'_> {
    /// The link that a link notification is about.
    pub fn link(&self) -> Option<Link> {
        matches!(self.kind, Self::LINK_NEW | Self::LINK_GONE)
            .then(|| Link::decode(Self::LINK_NEW, self.payload))
            .flatten()
    }

    /// Of a notification about IPv4 settings: whether somebody changed forwarding or the reverse path check. `None`
    /// when it is about something else. All settings at once, as they are told of a new link, are no change.
    pub fn settings_changed(&self) -> Option<bool> {
        const NEW: u16 = 80;
        const GONE: u16 = 81;
        const FORWARDING: u16 = 2;
        const RP_FILTER: u16 = 3;
        /// `struct netconfmsg`, a byte, padded.
        const HEADER: usize = 4;
        if !matches!(self.kind, NEW | GONE) {
            return None;
        }
        let told = self.payload.get(HEADER..).unwrap_or_default();
        let ours = Attributes(told).filter(|(kind, _)| matches!(*kind, FORWARDING | RP_FILTER)).count();
        Some(self.kind == NEW && ours == 1)
    }

    /// A link came or changed (`RTM_NEWLINK`).
    pub const LINK_NEW: u16 = 16;
    /// A link went (`RTM_DELLINK`).
    pub const LINK_GONE: u16 = 17;

    /// The table that an nf_tables notification is about.
    pub fn nf_table(&self) -> Option<String> {
        const NEW_GENERATION: u16 = 15;
        const SUBSYSTEM: u16 = 10;
        if self.kind >> 8 != SUBSYSTEM || self.kind & 0xff == NEW_GENERATION {
            return None;
        }
        // The table's name is the first attribute of tables, chains, rules and sets alike.
        Attributes(self.payload.get(4..)?).find(|(kind, _)| *kind == 1).map(|(_, value)| value.text())
    }
}

/// A notification longer than this is cut; its head, which is all that is looked at, is there.
const BUFFER: usize = 16 * 1024;

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
