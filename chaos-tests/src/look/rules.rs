//! Policy rules, as the kernel sends them (linux/fib_rules.h).

use nix::sys::socket::AddressFamily;

use super::rtnetlink::{FAMILIES, HEADER, attributes, dump, net, number, steady, text};
use crate::oracle::picture::Rule;

const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
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
    steady(once)
}

fn once() -> anyhow::Result<(Vec<Rule>, Vec<String>)> {
    let (mut leading, mut others) = (Vec::new(), Vec::new());
    for family in FAMILIES {
        for (rule, action) in dump(family, RTM_GETRULE, RTM_NEWRULE, rule)? {
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

/// A rule, and the number of what it does.
fn rule(message: &[u8]) -> Option<(Rule, u8)> {
    let header = message.get(..HEADER)?;
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
    for (kind, value) in attributes(&message[HEADER..])? {
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

#[cfg(test)]
mod tests {
    use super::super::rtnetlink::written;
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
        message.extend(written(&[&always, beside].concat()));
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
