//! Policy rules that lead to no table: what they do with packets is no business of the product's, so its own listing
//! leaves them out. Read as the kernel sends them (linux/fib_rules.h).

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, bail};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Answers that are read at most: a node has a few thousand rules, dozens in each.
const ANSWERS: usize = 10_000;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const MESSAGE_HEADER: usize = 16;
const RULE_HEADER: usize = 12;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FR_ACT_TO_TBL: u8 = 1;

/// Of both families, in the calling thread's namespace, in words.
pub(super) fn that_lead_nowhere() -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        dump(family as u8, &mut found).context("listing rules")?;
    }
    Ok(found)
}

fn dump(family: u8, found: &mut Vec<String>) -> anyhow::Result<()> {
    let socket: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let length = u32::try_from(MESSAGE_HEADER + RULE_HEADER)?;
    let mut request = Vec::new();
    request.extend(length.to_ne_bytes());
    request.extend(RTM_GETRULE.to_ne_bytes());
    request.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    // Sequence and port: there is one question, and the kernel knows who asks.
    request.extend([0; 8]);
    request.push(family);
    request.extend([0; RULE_HEADER - 1]);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut answer = vec![0; 64 * 1024];
    for _ in 0..ANSWERS {
        let got = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let mut rest = &answer[..got];
        while let Some((kind, message, after)) = next(rest) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => bail!("the kernel refuses"),
                RTM_NEWRULE => found.extend(words(message)),
                _ => {}
            }
            rest = after;
        }
    }
    bail!("the list has no end")
}

/// The first of some messages: its kind and content, and what comes after.
fn next(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let content = bytes.get(MESSAGE_HEADER..length)?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    Some((kind, content, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// A rule that leads to no table.
fn words(message: &[u8]) -> Option<String> {
    let header = message.get(..RULE_HEADER)?;
    let (family, action) = (header[0], header[7]);
    if action == FR_ACT_TO_TBL {
        return None;
    }
    let action = match action {
        6 => "blackhole".to_owned(),
        7 => "unreachable".to_owned(),
        8 => "prohibit".to_owned(),
        other => format!("action {other}"),
    };
    let (mut priority, mut selectors) = (0, Vec::new());
    let mut rest = &message[RULE_HEADER..];
    while let Some(length) = rest.get(..2).and_then(|two| Some(u16::from_ne_bytes(two.try_into().ok()?))) {
        let length = usize::from(length);
        let Some((value, kind)) = rest.get(4..length).zip(rest.get(2..4)) else { break };
        match u16::from_ne_bytes([kind[0], kind[1]]) {
            FRA_PRIORITY => priority = u32::from_ne_bytes(value.try_into().ok()?),
            FRA_DST => selectors.push(format!(" to {}/{}", address(value), header[1])),
            FRA_SRC => selectors.push(format!(" from {}/{}", address(value), header[2])),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let family = if family == AddressFamily::Inet6 as u8 { "(IPv6) " } else { "" };
    Some(format!("rule {family}{priority}{} {action}", selectors.concat()))
}

fn address(value: &[u8]) -> String {
    match <[u8; 4]>::try_from(value) {
        Ok(v4) => Ipv4Addr::from(v4).to_string(),
        Err(_) => format!("{value:02x?}"),
    }
}
