//! Policy rules, as the kernel sends them (linux/fib_rules.h): the product's own listing keeps of each what the product
//! writes, and leaves out those that lead to no table. Here nothing is left out that decides which packets a rule takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, bail};
use ipnet::IpNet;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::oracle::picture::Rule;

/// Answers that are read at most: a node has a few thousand rules, dozens in each.
const ANSWERS: usize = 10_000;

/// How often a list is read at most until it reads alike twice.
const READINGS: usize = 20;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const MESSAGE_HEADER: usize = 16;
const RULE_HEADER: usize = 12;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_PAD: u16 = 18;
const FRA_PROTOCOL: u16 = 21;
const FR_ACT_TO_TBL: u8 = 1;
const FIB_RULE_PERMANENT: u32 = 1;
const FIB_RULE_INVERT: u32 = 2;

/// Of both families, in the calling thread's namespace: those that lead to a table, and, in words, those that lead to
/// none.
pub(super) fn all() -> anyhow::Result<(Vec<Rule>, Vec<String>)> {
    // While rules come and go the kernel may leave out others, and says nothing of it.
    let mut list = once()?;
    for _ in 0..READINGS {
        let again = once()?;
        if again == list {
            break;
        }
        list = again;
    }
    Ok(list)
}

fn once() -> anyhow::Result<(Vec<Rule>, Vec<String>)> {
    let (mut leading, mut others) = (Vec::new(), Vec::new());
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        for (rule, action) in dump(family as u8).context("listing rules")? {
            match action {
                FR_ACT_TO_TBL => leading.push(rule),
                6 => others.push(format!("{} blackhole", rule.selector())),
                7 => others.push(format!("{} unreachable", rule.selector())),
                8 => others.push(format!("{} prohibit", rule.selector())),
                other => others.push(format!("{} action {other}", rule.selector())),
            }
        }
    }
    Ok((leading, others))
}

/// Rules, and the number of what each does.
fn dump(family: u8) -> anyhow::Result<Vec<(Rule, u8)>> {
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
    let mut found = Vec::new();
    for _ in 0..ANSWERS {
        let got = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let mut rest = &answer[..got];
        while let Some((kind, message, after)) = next(rest) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => bail!("the kernel refuses"),
                RTM_NEWRULE => found.push(rule(message).with_context(|| format!("rule {message:?}"))?),
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

fn rule(message: &[u8]) -> Option<(Rule, u8)> {
    let header = message.get(..RULE_HEADER)?;
    let (to_len, from_len, tos, action) = (header[1], header[2], header[3], header[7]);
    let flags = number(header.get(8..)?)?;
    let ipv6 = header[0] == AddressFamily::Inet6 as u8;
    let mut rule = Rule { ipv6, ..Rule::new(0, u32::from(header[4])) };
    let (mut mark, mut mask) = (0, 0);
    if flags & FIB_RULE_INVERT != 0 {
        rule.others.push("not".to_owned());
    }
    let flags = flags & !(FIB_RULE_INVERT | FIB_RULE_PERMANENT);
    if flags != 0 {
        rule.others.push(format!("flags {flags:#x}"));
    }
    if tos != 0 {
        rule.others.push(format!("tos {tos:#x}"));
    }
    let mut rest = &message[RULE_HEADER..];
    while !rest.is_empty() {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        match kind {
            FRA_PRIORITY => rule.priority = number(value)?,
            FRA_DST => rule.to = Some(net(value, to_len)?),
            FRA_SRC => rule.from = Some(net(value, from_len)?),
            FRA_IIFNAME => rule.iif = Some(text(value)),
            FRA_FWMARK => mark = number(value)?,
            FRA_FWMASK => mask = number(value)?,
            FRA_TABLE => rule.table = number(value)?,
            // Always there; all ones is none.
            FRA_SUPPRESS_PREFIXLEN if number(value)? == u32::MAX => {}
            // Who made it is nobody's business here.
            FRA_PAD | FRA_PROTOCOL => {}
            _ => rule.others.push(other(kind, value)),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    rule.mark = (mark != 0 || mask != 0).then_some((mark, mask));
    Some((rule, action))
}

/// What the oracle does not know of.
fn other(kind: u16, value: &[u8]) -> String {
    let name = match kind {
        4 => "goto",
        12 => "tunnel",
        13 => "suppress_ifgroup",
        FRA_SUPPRESS_PREFIXLEN => "suppress_prefixlength",
        17 => return format!("oif {}", text(value)),
        19 => "l3mdev",
        20 => "uidrange",
        22 => "ipproto",
        23 => "sport",
        24 => "dport",
        _ => return format!("attribute {kind} {value:?}"),
    };
    format!("{name} {value:?}")
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn net(value: &[u8], length: u8) -> Option<IpNet> {
    let address = match (<[u8; 4]>::try_from(value), <[u8; 16]>::try_from(value)) {
        (Ok(v4), _) => IpAddr::V4(Ipv4Addr::from(v4)),
        (_, Ok(v6)) => IpAddr::V6(Ipv6Addr::from(v6)),
        _ => return None,
    };
    IpNet::new(address, length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `from 10.0.1.77 lookup 2` at 1536, with what is given beside.
    fn from_pod(tos: u8, flags: u32, beside: &[(u16, &[u8])]) -> Rule {
        let mut message = vec![AddressFamily::Inet as u8, 0, 32, tos, 2, 0, 0, FR_ACT_TO_TBL];
        message.extend(flags.to_ne_bytes());
        let (priority, table) = (1536_u32.to_ne_bytes(), 2_u32.to_ne_bytes());
        let always: [(u16, &[u8]); 5] = [
            (FRA_SUPPRESS_PREFIXLEN, &[255; 4]),
            (FRA_PROTOCOL, &[72]),
            (FRA_PRIORITY, &priority),
            (FRA_TABLE, &table),
            (FRA_SRC, &[10, 0, 1, 77]),
        ];
        for (kind, value) in always.iter().chain(beside) {
            message.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend(*value);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        let (rule, action) = rule(&message).unwrap();
        assert_eq!(action, FR_ACT_TO_TBL);
        rule
    }

    #[test]
    fn a_rule_that_asks_for_more_is_another() {
        let plain = from_pod(0, FIB_RULE_PERMANENT, &[]);
        assert_eq!(plain, Rule { from: Some("10.0.1.77/32".parse().unwrap()), ..Rule::new(1536, 2) });
        let more = [
            (from_pod(0, 0, &[(22, &[17])]), "ipproto [17]"),
            (from_pod(0, 0, &[(24, &[80, 0, 90, 0])]), "dport [80, 0, 90, 0]"),
            (from_pod(0, 0, &[(17, b"ens6\0")]), "oif ens6"),
            (from_pod(0, 0, &[(FRA_SUPPRESS_PREFIXLEN, &[0; 4])]), "suppress_prefixlength [0, 0, 0, 0]"),
            (from_pod(0, 0, &[(99, &[1])]), "attribute 99 [1]"),
            (from_pod(8, 0, &[]), "tos 0x8"),
            (from_pod(0, FIB_RULE_INVERT, &[]), "not"),
        ];
        for (rule, words) in more {
            assert_eq!(rule, Rule { others: vec![words.to_owned()], ..plain.clone() });
            assert_eq!(rule.to_string(), format!("rule 1536 from 10.0.1.77/32 {words} lookup 2"));
        }
        let marked =
            from_pod(0, 0, &[(FRA_FWMARK, &8_u32.to_ne_bytes()), (FRA_FWMASK, &12_u32.to_ne_bytes())]);
        assert_eq!(marked, Rule { mark: Some((8, 12)), ..plain });
    }
}
