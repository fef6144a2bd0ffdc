//! Being told of changes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{NetlinkBuffer, NetlinkPayload, parse_string};
use netlink_sys::AsyncSocket;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::MulticastGroup;

use super::connection::Connection;
use super::error::NetlinkError;
use super::link::Link;
use super::message::{Message, attributes, objects};
use super::transport::errno;

/// Bytes of notifications that may wait to be read; each costs the kernel up to 4 KiB of them.
const ROOM: usize = 4 * 1024 * 1024;
/// Notifications that are read at one go: a flood must not hold the caller. What is left keeps the socket readable.
const AT_ONE_GO: usize = 10_000;
/// `NFNLGRP_NFTABLES` of linux/netfilter/nfnetlink.h.
const NFTABLES: u32 = 7;

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
    /// IPv6 addresses.
    Ipv6Addresses,
    /// IPv6 routes.
    Ipv6Routes,
    /// IPv6 rules.
    Ipv6Rules,
    /// IPv6 settings of links and of the whole namespace: forwarding. Of others the kernel does not tell.
    Ipv6Settings,
    /// Tables, chains and rules of nf_tables.
    NfTables,
}

impl Group {
    /// Protocol and multicast group number.
    fn number(self) -> (isize, u32) {
        let routing = |group: MulticastGroup| (NETLINK_ROUTE, group as u32);
        match self {
            Self::Links => routing(MulticastGroup::Link),
            Self::Ipv4Addresses => routing(MulticastGroup::Ipv4Ifaddr),
            Self::Ipv4Routes => routing(MulticastGroup::Ipv4Route),
            Self::Ipv4Rules => routing(MulticastGroup::Ipv4Rule),
            Self::Ipv4Settings => routing(MulticastGroup::Ipv4Netconf),
            Self::Ipv6Addresses => routing(MulticastGroup::Ipv6Ifaddr),
            Self::Ipv6Routes => routing(MulticastGroup::Ipv6Route),
            Self::Ipv6Rules => routing(MulticastGroup::Ipv6Rule),
            Self::Ipv6Settings => routing(MulticastGroup::Ipv6Netconf),
            Self::NfTables => (NETLINK_NETFILTER, NFTABLES),
        }
    }
}

/// Becomes readable when something changed in its namespace. A change only means "look again"; notifications may be
/// lost, which means the same.
pub struct Watch {
    connection: Connection,
    /// The same socket, to be waited for.
    readable: OwnedFd,
}

impl Watch {
    /// Watches the calling thread's namespace. The groups must all be of rtnetlink, or all of netfilter.
    pub fn open(groups: &[Group]) -> Result<Self, NetlinkError> {
        let failed = |error: std::io::Error| NetlinkError::Socket {
            what: "open a watching netlink socket",
            errno: errno(&error),
        };
        let protocol = groups.first().map_or(NETLINK_ROUTE, |group| group.number().0);
        let mut connection = Connection::open(protocol)?;
        let socket = connection.transport().socket_mut();
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
        let readable = socket.as_fd().try_clone_to_owned().map_err(failed)?;
        Ok(Self { connection, readable })
    }

    /// Reads away all that is there. True when `matters` said so of any, or when notifications were lost.
    pub fn drain(&mut self, mut matters: impl FnMut(Notice<'_>) -> bool) -> bool {
        self.connection.transport().allow(AT_ONE_GO);
        let mut changed = match self.connection.turn() {
            Ok(_) => false,
            Err(error) => {
                tracing::warn!(%error, "notifications of changes may be lost");
                true
            }
        };
        for message in self.connection.unasked() {
            match &message.payload {
                NetlinkPayload::InnerMessage(Message::Piece(piece)) => {
                    for object in objects(piece) {
                        changed |= object.map_or(true, |object| matters(Notice::of(&object)));
                    }
                }
                NetlinkPayload::Overrun(_) => changed = true,
                _ => {}
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

impl<'a> Notice<'a> {
    fn of(object: &NetlinkBuffer<&'a [u8]>) -> Self {
        Self { kind: object.message_type(), port: object.port_number(), payload: object.payload() }
    }

    /// A link came or changed.
    pub const LINK_NEW: u16 = libc::RTM_NEWLINK;
    /// A link went.
    pub const LINK_GONE: u16 = libc::RTM_DELLINK;

    /// The link that a link notification is about.
    pub fn link(&self) -> Option<Link> {
        match self.kind {
            Self::LINK_NEW | Self::LINK_GONE => Link::decode(Self::LINK_NEW, self.payload).ok().flatten(),
            _ => None,
        }
    }

    /// Of a notification about IPv4 settings: whether somebody changed forwarding or the reverse path check. `None`
    /// when it is about something else. All settings at once, as they are told of a new link, are no change.
    pub fn settings_changed(&self) -> Option<bool> {
        // The library does not know this message. linux/netconf.h:
        const FORWARDING: u16 = 2;
        const RP_FILTER: u16 = 3;
        /// `struct netconfmsg`, a byte, padded.
        const HEADER: usize = 4;
        if !matches!(self.kind, libc::RTM_NEWNETCONF | libc::RTM_DELNETCONF) {
            return None;
        }
        let told = attributes(self.payload, HEADER).map_while(Result::ok);
        let ours = told.filter(|told| matches!(told.kind(), FORWARDING | RP_FILTER)).count();
        Some(self.kind == libc::RTM_NEWNETCONF && ours == 1)
    }

    /// Of a notification about IPv6: whether it may be of concern. `None` when it is about something else. Each link that comes or
    /// goes brings and takes addresses, routes and settings of its own, which the kernel tells as its own doing; what is left are
    /// routes with this protocol number, default routes, addresses for everybody, rules, and what holds for all links.
    pub fn concerns_ipv6(&self, protocol: u8) -> Option<bool> {
        // linux/netconf.h.
        const IFINDEX: u16 = 1;
        const FORWARDING: u16 = 2;
        const ALL_LINKS: i32 = -1;
        /// `struct netconfmsg`, a byte, padded.
        const HEADER: usize = 4;
        let at = |place: usize| self.payload.get(place).copied();
        if at(0).map(i32::from) != Some(libc::AF_INET6) {
            return None;
        }
        match self.kind {
            // `struct rtmsg`: the destination's length second, the protocol sixth.
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => Some(at(5) == Some(protocol) || at(1) == Some(0)),
            // `struct ifaddrmsg`: the scope fourth.
            libc::RTM_NEWADDR | libc::RTM_DELADDR => Some(at(3) == Some(libc::RT_SCOPE_UNIVERSE)),
            libc::RTM_NEWNETCONF | libc::RTM_DELNETCONF => {
                let told: Vec<_> = attributes(self.payload, HEADER).map_while(Result::ok).collect();
                let of_all = told
                    .iter()
                    .any(|told| told.kind() == IFINDEX && told.value() == ALL_LINKS.to_ne_bytes().as_slice());
                Some(of_all && told.iter().any(|told| told.kind() == FORWARDING))
            }
            _ => None,
        }
    }

    /// The table that an nf_tables notification is about.
    pub fn nf_table(&self) -> Option<String> {
        // Nor does it know those of nf_tables. linux/netfilter/nf_tables.h and nfnetlink.h:
        const NEW_GENERATION: u16 = 15;
        const SUBSYSTEM: u16 = 10;
        /// The table's name, of tables, chains, rules and sets alike.
        const TABLE: u16 = 1;
        /// `struct nfgenmsg`.
        const HEADER: usize = 4;
        if self.kind >> 8 != SUBSYSTEM || self.kind & 0xff == NEW_GENERATION {
            return None;
        }
        let told =
            attributes(self.payload, HEADER).map_while(Result::ok).find(|told| told.kind() == TABLE)?;
        parse_string(told.value()).ok()
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}
