//! Lists of the kernel (linux/rtnetlink.h), attribute by attribute: the product's own listing keeps of each entry what the
//! product writes. Here nothing is left out that decides what becomes of a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, bail};
use ipnet::IpNet;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Both families.
pub(super) const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// Answers that are read at most: a node has a few thousand rules and routes, dozens in each.
const ANSWERS: usize = 10_000;

/// How often a list is read at most until it reads alike twice.
const READINGS: usize = 20;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const MESSAGE_HEADER: usize = 16;

/// The length of the header that rules and routes begin with alike.
pub(super) const HEADER: usize = 12;

/// The flag bits of an attribute's kind.
const KIND: u16 = 0x3fff;

/// A list as it reads twice in turn: while entries come and go the kernel may leave out others, and says nothing of it.
pub(super) fn steady<T: PartialEq>(read: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut list = read()?;
    for _ in 0..READINGS {
        let again = read()?;
        if again == list {
            break;
        }
        list = again;
    }
    Ok(list)
}

/// All entries of a kind and a family, in the calling thread's namespace. `listed`: what the kernel calls each.
pub(super) fn dump<T>(
    family: AddressFamily,
    request: u16,
    listed: u16,
    entry: impl Fn(&[u8]) -> Option<T>,
) -> anyhow::Result<Vec<T>> {
    let socket: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let mut question = Vec::new();
    question.extend(u32::try_from(MESSAGE_HEADER + HEADER)?.to_ne_bytes());
    question.extend(request.to_ne_bytes());
    question.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    // Sequence and port: there is one question, and the kernel knows who asks.
    question.extend([0; 8]);
    question.push(family as u8);
    question.extend([0; HEADER - 1]);
    send(socket.as_raw_fd(), &question, MsgFlags::empty())?;
    let mut answer = vec![0; 64 * 1024];
    let mut found = Vec::new();
    for _ in 0..ANSWERS {
        let got = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let mut rest = &answer[..got];
        while let Some((kind, message, after)) = next(rest) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => bail!("the kernel refuses"),
                kind if kind == listed => {
                    found.push(entry(message).with_context(|| format!("reading {message:?}"))?);
                }
                _ => {}
            }
            rest = after;
        }
    }
    bail!("the list has no end")
}

/// The first of some messages: its kind and content, and what comes after.
fn next(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = number(bytes.get(..4)?)? as usize;
    let content = bytes.get(MESSAGE_HEADER..length)?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    Some((kind, content, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Kinds and values. None: they do not fit into each other.
pub(super) fn attributes(mut rest: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & KIND;
        found.push((kind, rest.get(4..length)?));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(found)
}

pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

pub(super) fn ip(value: &[u8]) -> Option<IpAddr> {
    match (<[u8; 4]>::try_from(value), <[u8; 16]>::try_from(value)) {
        (Ok(v4), _) => Some(Ipv4Addr::from(v4).into()),
        (_, Ok(v6)) => Some(Ipv6Addr::from(v6).into()),
        _ => None,
    }
}

pub(super) fn net(value: &[u8], length: u8) -> Option<IpNet> {
    IpNet::new(ip(value)?, length).ok()
}

/// Attributes as the kernel writes them, for tests.
#[cfg(test)]
pub(super) fn written(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in attributes {
        bytes.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}
