//! Forgetting the kernel's connections of addresses that are given up.
//!
//! A connection outlives the pod that had it, a UDP stream by two minutes, and with its translation: what its other side
//! still sends would reach the pod that is given the address next. The kernel deletes by the whole tuple only, so all are
//! listed and those that name one of the addresses are deleted. Messages of our own: two kinds, of which one attribute in
//! ten is looked at.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

/// `NFNL_SUBSYS_CTNETLINK << 8`, with `IPCTNL_MSG_CT_NEW`, `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`.
const CT_NEW: u16 = 0x100;
const CT_GET: u16 = 0x101;
const CT_DELETE: u16 = 0x102;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;

const AF_INET: u8 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;

const HEADER: usize = 16;
/// `struct nfgenmsg`.
const FAMILY: usize = 4;
/// As much as the kernel puts into one answer of a listing, and more.
const BUFFER: usize = 64 * 1024;
/// How long one answer may take; what does not come by then is not waited for.
const PATIENCE_S: i64 = 5;
/// How often a listing is repeated that changed under it.
const LISTINGS: usize = 3;

/// Why connections could not be listed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {}", .errno.desc())]
pub(crate) struct ConntrackError {
    what: &'static str,
    errno: Errno,
}

/// A connection, as much of it as says which it is: attributes as the kernel gave them.
#[derive(Debug, PartialEq, Eq)]
struct Connection {
    names: [Option<Ipv4Addr>; 4],
    identity: Vec<u8>,
}

/// Deletes the connections of the calling thread's namespace that name one of these addresses, on either side. Gives their
/// number.
pub(crate) fn forget(addresses: &BTreeSet<IpAddr>) -> Result<usize, ConntrackError> {
    let addresses: BTreeSet<Ipv4Addr> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
        .collect();
    if addresses.is_empty() {
        return Ok(0);
    }
    let mut talk = Talk::open()?;
    let named = talk.naming(&addresses)?;
    for connection in &named {
        talk.delete(connection)?;
    }
    Ok(named.len())
}

struct Talk {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Talk {
    fn open() -> Result<Self, ConntrackError> {
        let what = "open a netlink socket for connections";
        let failed = |error: std::io::Error| ConntrackError { what, errno: errno_of(&error) };
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE_S, 0))
            .map_err(|errno| ConntrackError { what, errno })?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(BUFFER) })
    }

    fn naming(&mut self, addresses: &BTreeSet<Ipv4Addr>) -> Result<Vec<Connection>, ConntrackError> {
        let names_one =
            |seen: &Connection| seen.names.iter().flatten().any(|address| addresses.contains(address));
        let mut found = Vec::new();
        for _ in 0..LISTINGS {
            found.clear();
            if self.list(|connection| {
                if names_one(&connection) {
                    found.push(connection);
                }
            })? {
                break;
            }
        }
        // The last one may lack what moved meanwhile; nothing new is of an address that nobody has.
        Ok(found)
    }

    /// False when the list changed while it was read, so that it may not be whole.
    fn list(&mut self, mut each: impl FnMut(Connection)) -> Result<bool, ConntrackError> {
        const WHAT: &str = "list connections";
        self.send(WHAT, CT_GET, NLM_F_DUMP, &[])?;
        let mut whole = true;
        loop {
            self.receive(WHAT)?;
            for message in Messages(&self.buffer) {
                whole &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE => return Ok(whole),
                    NLMSG_ERROR => acknowledged(WHAT, message.payload)?,
                    CT_NEW => message
                        .payload
                        .get(FAMILY..)
                        .and_then(Connection::read)
                        .into_iter()
                        .for_each(&mut each),
                    _ => {}
                }
            }
        }
    }

    fn delete(&mut self, connection: &Connection) -> Result<(), ConntrackError> {
        const WHAT: &str = "delete a connection";
        self.send(WHAT, CT_DELETE, NLM_F_ACK, &connection.identity)?;
        loop {
            self.receive(WHAT)?;
            let sequence = self.sequence;
            let mine = |message: &Message<'_>| message.kind == NLMSG_ERROR && message.sequence == sequence;
            let Some(answer) = Messages(&self.buffer).find(mine) else { continue };
            return match acknowledged(WHAT, answer.payload) {
                // It ended by itself.
                Err(error) if error.errno == Errno::ENOENT => Ok(()),
                other => other,
            };
        }
    }

    fn send(
        &mut self,
        what: &'static str,
        kind: u16,
        flags: u16,
        attributes: &[u8],
    ) -> Result<(), ConntrackError> {
        self.sequence += 1;
        let length = u32::try_from(HEADER + FAMILY + attributes.len()).unwrap_or(u32::MAX);
        let mut message = Vec::with_capacity(length as usize);
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend([AF_INET, 0, 0, 0]);
        message.extend(attributes);
        let sent = self.socket.send_to(&message, &SocketAddr::new(0, 0), 0);
        sent.map(drop).map_err(|error| ConntrackError { what, errno: errno_of(&error) })
    }

    fn receive(&mut self, what: &'static str) -> Result<(), ConntrackError> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ConntrackError { what, errno: errno_of(&error) }),
            }
        }
    }
}

impl Connection {
    /// `None` for what has no tuple, which no connection lacks.
    fn read(attributes: &[u8]) -> Option<Self> {
        let (mut names, mut identity, mut has_tuple) = ([None; 4], Vec::new(), false);
        for (kind, value, whole) in Attributes(attributes) {
            match kind {
                CTA_TUPLE_ORIG | CTA_TUPLE_REPLY => {
                    let [source, destination] = addresses_of(value);
                    let at = if kind == CTA_TUPLE_ORIG { 0 } else { 2 };
                    (names[at], names[at + 1]) = (source, destination);
                }
                _ => {}
            }
            if matches!(kind, CTA_TUPLE_ORIG | CTA_ID | CTA_ZONE) {
                has_tuple |= kind == CTA_TUPLE_ORIG;
                identity.extend(whole);
                identity.resize(identity.len().next_multiple_of(4), 0);
            }
        }
        has_tuple.then_some(Self { names, identity })
    }
}

fn addresses_of(tuple: &[u8]) -> [Option<Ipv4Addr>; 2] {
    let ip = Attributes(tuple).find(|(kind, _, _)| *kind == CTA_TUPLE_IP).map(|(_, value, _)| value);
    let of = |wanted| {
        let (_, value, _) = Attributes(ip?).find(|(kind, _, _)| *kind == wanted)?;
        <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
    };
    [of(CTA_IP_V4_SRC), of(CTA_IP_V4_DST)]
}

fn acknowledged(what: &'static str, payload: &[u8]) -> Result<(), ConntrackError> {
    let code = payload.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(ConntrackError { what, errno: Errno::from_raw(code.wrapping_neg()) }) }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// The messages of one datagram. Ends at the first that does not fit in what is left.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let short = |at: usize| Some(u16::from_ne_bytes(self.0.get(at..at + 2)?.try_into().ok()?));
        let long = |at: usize| Some(u32::from_ne_bytes(self.0.get(at..at + 4)?.try_into().ok()?));
        let length = usize::try_from(long(0)?).ok()?;
        let message = Message {
            kind: short(4)?,
            flags: short(6)?,
            sequence: long(8)?,
            payload: self.0.get(HEADER..length)?,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// Kind, value, and the attribute as it came.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        /// Without the bits that say that a value is nested or in network order.
        const KIND: u16 = 0x3fff;
        let length = usize::from(u16::from_ne_bytes(self.0.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?) & KIND;
        let (value, whole) = (self.0.get(4..length)?, self.0.get(..length)?);
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value, whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn tuple(kind: u16, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let ip = [attribute(CTA_IP_V4_SRC, &source), attribute(CTA_IP_V4_DST, &destination)].concat();
        attribute(kind | 0x8000, &attribute(CTA_TUPLE_IP | 0x8000, &ip))
    }

    #[test]
    fn a_connection_is_known_by_all_its_addresses_and_named_by_its_first_tuple() {
        let original = tuple(CTA_TUPLE_ORIG, [10, 0, 0, 5], [203, 0, 113, 1]);
        let reply = tuple(CTA_TUPLE_REPLY, [203, 0, 113, 1], [10, 0, 0, 10]);
        let (id, other) = (attribute(CTA_ID, &[1, 2, 3, 4]), attribute(3, &[9; 5]));
        let read = Connection::read(&[&original[..], &reply, &other, &id].concat()).unwrap();
        let names = [[10, 0, 0, 5], [203, 0, 113, 1], [203, 0, 113, 1], [10, 0, 0, 10]];
        assert_eq!(read.names, names.map(|name| Some(Ipv4Addr::from(name))));
        assert_eq!(read.identity, [original, id].concat());
        assert_eq!(Connection::read(&reply), None);
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        for bytes in [&[200, 0, 1, 0, 1][..], &[3, 0, 1, 0], &[0, 0, 0, 0], &[4, 0, 1]] {
            assert_eq!(Attributes(bytes).count(), 0, "{bytes:?}");
            assert_eq!(Messages(bytes).count(), 0, "{bytes:?}");
        }
    }
}
