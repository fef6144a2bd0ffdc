//! Forgetting the kernel's connections of addresses that are given up.
//!
//! A connection outlives the pod that had it, a UDP stream by two minutes, and with its translation: what its other side
//! still sends would reach the pod that is given the address next. The kernel deletes by the whole tuple only, so all are
//! listed and those that name one of the addresses are deleted. Of a message one attribute in ten is looked at.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_core::{DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkPayload, NlaBuffer};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::libc::{AF_INET, AF_INET6};

use super::connection::Connection;
use super::error::NetlinkError;
use super::failure::Failure;
use super::list::Listing;
use super::message::{Message, attributes};

/// `NFNL_SUBSYS_CTNETLINK << 8`, with `IPCTNL_MSG_CT_NEW`, `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`.
const CT_NEW: u16 = 0x100;
const CT_GET: u16 = 0x101;
const CT_DELETE: u16 = 0x102;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;

/// `struct nfgenmsg`, which names the family.
type Header = [u8; 4];
const IPV4: Header = [AF_INET as u8, 0, 0, 0];
const IPV6: Header = [AF_INET6 as u8, 0, 0, 0];
/// How often a listing is repeated that changed under it.
const LISTINGS: usize = 3;
/// Deletions in one system call. Their error replies, should all fail, must fit the socket's receive queue.
const BATCH: usize = 64;

/// A connection, as much of it as says which it is: attributes as the kernel gave them.
#[derive(Debug, PartialEq, Eq)]
struct Tracked {
    names: [Option<IpAddr>; 4],
    identity: Vec<u8>,
}

/// Deletes the connections of the calling thread's namespace that name one of these addresses, on either side. Gives their
/// number.
pub(crate) fn forget(addresses: &BTreeSet<IpAddr>) -> Result<usize, NetlinkError> {
    let mut forgotten = 0;
    for header in [IPV4, IPV6] {
        let of_family = |address: &&IpAddr| address.is_ipv4() == (header == IPV4);
        let addresses: BTreeSet<IpAddr> = addresses.iter().filter(of_family).copied().collect();
        if addresses.is_empty() {
            continue;
        }
        let mut kernel = Connection::open(NETLINK_NETFILTER)?;
        let named = naming(&mut kernel, header, &addresses)?;
        for some in named.chunks(BATCH) {
            delete(&mut kernel, header, some)?;
        }
        forgotten += named.len();
    }
    Ok(forgotten)
}

fn naming(
    kernel: &mut Connection,
    header: Header,
    addresses: &BTreeSet<IpAddr>,
) -> Result<Vec<Tracked>, NetlinkError> {
    const WHAT: &str = "list connections";
    let names_one = |seen: &Tracked| seen.names.iter().flatten().any(|address| addresses.contains(address));
    let decode = |kind, payload: &[u8]| match kind {
        CT_NEW => Ok(Tracked::read(payload)?.filter(names_one)),
        _ => Ok(None),
    };
    let mut latest = Vec::new();
    for _ in 0..LISTINGS {
        let mut listing = Listing::new(&decode);
        let request = Message::raw(CT_GET, header.to_vec(), NLM_F_REQUEST | NLM_F_DUMP);
        kernel.converse(&|| WHAT.to_owned(), vec![request], |_, heard| listing.hear(heard))?;
        match listing.ended(WHAT)? {
            Ok(whole) => return Ok(whole.list),
            Err(heard) => latest = heard,
        }
    }
    // It may lack what moved meanwhile; nothing new is of an address that nobody has.
    Ok(latest)
}

fn delete(kernel: &mut Connection, header: Header, some: &[Tracked]) -> Result<(), NetlinkError> {
    const WHAT: &str = "delete connections";
    let requests = some.iter().enumerate().map(|(at, tracked)| {
        let ack = if at + 1 == some.len() { NLM_F_ACK } else { 0 };
        Message::raw(CT_DELETE, [&header[..], &tracked.identity].concat(), NLM_F_REQUEST | ack)
    });
    let mut failure = None;
    kernel.converse(&|| WHAT.to_owned(), requests.collect(), |_, heard| {
        if let NetlinkPayload::Error(error) = heard.payload {
            // That it is not there: it ended by itself.
            let said = Failure::of_request(&error, heard.header.flags);
            failure = failure.take().or(said.filter(|Failure(errno, _)| *errno != Errno::ENOENT));
        }
    })?;
    failure.map_or(Ok(()), |failure| Err(failure.of(WHAT.to_owned())))
}

impl Tracked {
    /// `None` for what has no tuple, which no connection lacks.
    fn read(payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        let (mut names, mut identity, mut has_tuple) = ([None; 4], Vec::new(), false);
        for told in attributes(payload, IPV4.len()) {
            let told = told?;
            if let Some(at) = match told.kind() {
                CTA_TUPLE_ORIG => Some(0),
                CTA_TUPLE_REPLY => Some(2),
                _ => None,
            } {
                [names[at], names[at + 1]] = addresses_of(&told)?;
            }
            if matches!(told.kind(), CTA_TUPLE_ORIG | CTA_ID | CTA_ZONE) {
                has_tuple |= told.kind() == CTA_TUPLE_ORIG;
                let length = usize::from(told.length());
                identity.extend(&told.into_inner()[..length]);
                identity.resize(identity.len().next_multiple_of(4), 0);
            }
        }
        Ok(has_tuple.then_some(Self { names, identity }))
    }
}

/// Of a tuple: the source and the destination.
fn addresses_of(tuple: &NlaBuffer<&[u8]>) -> Result<[Option<IpAddr>; 2], DecodeError> {
    let mut found = [None; 2];
    for part in attributes(tuple.value(), 0) {
        let part = part?;
        if part.kind() != CTA_TUPLE_IP {
            continue;
        }
        for address in attributes(part.value(), 0) {
            let address = address?;
            let four = || <[u8; 4]>::try_from(address.value()).ok().map(IpAddr::from);
            let six = || <[u8; 16]>::try_from(address.value()).ok().map(IpAddr::from);
            match address.kind() {
                CTA_IP_V4_SRC => found[0] = four(),
                CTA_IP_V4_DST => found[1] = four(),
                CTA_IP_V6_SRC => found[0] = six(),
                CTA_IP_V6_DST => found[1] = six(),
                _ => {}
            }
        }
    }
    Ok(found)
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
        let told = [&IPV4[..], &original, &reply, &other, &id].concat();
        let read = Tracked::read(&told).unwrap().unwrap();
        let names = [[10, 0, 0, 5], [203, 0, 113, 1], [203, 0, 113, 1], [10, 0, 0, 10]];
        assert_eq!(read.names, names.map(|name| Some(IpAddr::from(name))));
        assert_eq!(read.identity, [original, id].concat());
        assert_eq!(Tracked::read(&[&IPV4[..], &reply].concat()).unwrap(), None);
    }

    #[test]
    fn lengths_that_lie_are_an_error() {
        for bytes in [&[200, 0, 1, 0, 1][..], &[3, 0, 1, 0], &[0, 0, 0, 0]] {
            assert!(Tracked::read(&[&IPV4[..], bytes].concat()).is_err(), "{bytes:?}");
        }
    }
}
