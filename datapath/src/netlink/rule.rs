//! Policy rules.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{DecodeError, Emitable, Parseable};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleHeader, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::libc::RTM_NEWRULE;
use rtnetlink::MulticastGroup;

use super::address::prefix;
use super::change::Change;
use super::error::NetlinkError;
use super::message::{attributes, may_name};
use super::socket::Socket;

/// A policy rule that leads to a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Of IPv6; selectors, where given, are of the same family.
    pub ipv6: bool,
    /// Lower is looked at earlier.
    pub priority: u32,
    /// From where.
    pub from: Option<IpNet>,
    /// To where.
    pub to: Option<IpNet>,
    /// With which mark and mask.
    pub mark: Option<(u32, u32)>,
    /// Having come in by which link.
    pub iif: Option<String>,
    /// The table to use.
    pub table: u32,
    /// Who made it (`FRA_PROTOCOL`); 0: nobody said.
    pub protocol: u8,
}

impl Rule {
    /// An IPv4 rule without selectors.
    pub fn new(priority: u32, table: u32) -> Self {
        Self { ipv6: false, priority, from: None, to: None, mark: None, iif: None, table, protocol: 0 }
    }

    pub(super) fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = if self.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        message.header.action = RuleAction::ToTable;
        message.header.table = u8::try_from(self.table).unwrap_or(0);
        message.header.src_len = self.from.map_or(0, |net| net.prefix_len());
        message.header.dst_len = self.to.map_or(0, |net| net.prefix_len());
        let selectors = [
            Some(RuleAttribute::Priority(self.priority)),
            self.from.map(|net| RuleAttribute::Source(net.addr())),
            self.to.map(|net| RuleAttribute::Destination(net.addr())),
            self.mark.map(|(mark, _)| RuleAttribute::FwMark(mark)),
            self.mark.map(|(_, mask)| RuleAttribute::FwMask(mask)),
            self.iif.clone().map(RuleAttribute::Iifname),
            Some(RuleAttribute::Table(self.table)),
            (self.protocol != 0).then(|| RuleAttribute::Protocol(RouteProtocol::from(self.protocol))),
        ];
        message.attributes.extend(selectors.into_iter().flatten());
        message
    }

    fn decode(kind: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        let listed = Listed::decode(kind, payload)?;
        Ok(listed.filter(|listed| listed.instead.is_none()).map(|listed| listed.rule))
    }

    fn selectors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        if let Some(iif) = &self.iif {
            write!(f, " iif {iif}")?;
        }
        Ok(())
    }
}

/// Any policy rule that decides about packets, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its place and its selectors.
    pub rule: Rule,
    /// Whether it takes the packets that its selectors do not match.
    pub inverted: bool,
    /// It is about some packets of these only: of one protocol, port, user, service type, or leaving by one link.
    pub narrowed: bool,
    /// Routes of its table with prefixes no longer than this do not count.
    pub suppressed: Option<u32>,
    /// What becomes of them, where they are not looked up in a table: they are dropped, or jump over other rules.
    pub instead: Option<&'static str>,
}

impl Listed {
    fn decode(kind: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        if kind != RTM_NEWRULE {
            return Ok(None);
        }
        let header = RuleHeader::parse(payload)?;
        let instead = match header.action {
            RuleAction::ToTable => None,
            RuleAction::Blackhole => Some("blackhole"),
            RuleAction::Unreachable => Some("unreachable"),
            RuleAction::Prohibit => Some("prohibit"),
            RuleAction::Goto => Some("goto"),
            // It does nothing.
            _ => return Ok(None),
        };
        let inverted = header.flags.contains(RuleFlags::Invert);
        let (mut mark, mut mask) = (None, None);
        let (mut narrowed, mut suppressed) = (header.tos != 0, None);
        let ipv6 = header.family == AddressFamily::Inet6;
        let mut rule = Rule { ipv6, ..Rule::new(0, u32::from(header.table)) };
        for told in attributes(payload, header.buffer_len()) {
            match RuleAttribute::parse(&told?)? {
                RuleAttribute::Priority(priority) => rule.priority = priority,
                RuleAttribute::Source(ip) => rule.from = Some(prefix(ip, header.src_len)?),
                RuleAttribute::Destination(ip) => rule.to = Some(prefix(ip, header.dst_len)?),
                RuleAttribute::FwMark(bits) => mark = Some(bits),
                RuleAttribute::FwMask(bits) => mask = Some(bits),
                RuleAttribute::Iifname(name) => rule.iif = Some(name),
                RuleAttribute::Table(table) => rule.table = table,
                RuleAttribute::Protocol(protocol) => rule.protocol = protocol.into(),
                RuleAttribute::IpProtocol(_)
                | RuleAttribute::SourcePortRange(_)
                | RuleAttribute::DestinationPortRange(_)
                | RuleAttribute::UidRange(_)
                | RuleAttribute::TunId(_)
                | RuleAttribute::Oifname(_)
                // What is newer than this program.
                | RuleAttribute::Other(_) => narrowed = true,
                // All bits set: none are.
                RuleAttribute::SuppressPrefixLen(longest) if longest != u32::MAX => {
                    suppressed = Some(longest);
                }
                _ => {}
            }
        }
        rule.mark = mask.filter(|mask| *mask != 0).map(|mask| (mark.unwrap_or(0), mask));
        Ok(Some(Self { rule, inverted, narrowed, suppressed, instead }))
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}{}", self.rule.priority, if self.inverted { " not" } else { "" })?;
        self.rule.selectors(f)?;
        match self.instead {
            Some(instead) => write!(f, " {instead}"),
            None => write!(f, " lookup {}", self.rule.table),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}", self.priority)?;
        self.selectors(f)?;
        write!(f, " lookup {}", self.table)
    }
}

impl Socket {
    /// All rules of one family that lead to a table (not those that drop or jump).
    ///
    /// The kernel lists rules by position and does not say when the list changed meanwhile: a rule that goes makes
    /// it skip another. What is returned is complete all the same.
    pub fn rules(&mut self, family: AddressFamily) -> Result<Vec<Rule>, NetlinkError> {
        self.list(family, Rule::decode)
    }

    /// Of those, the ones that name an address, and perhaps others.
    pub fn rules_about(&mut self, address: IpAddr) -> Result<Vec<Rule>, NetlinkError> {
        let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        self.list(
            family,
            |kind, payload| {
                if may_name(payload, address) { Rule::decode(kind, payload) } else { Ok(None) }
            },
        )
    }

    /// Those, and those that drop.
    pub fn deciding_rules(&mut self, family: AddressFamily) -> Result<Vec<Listed>, NetlinkError> {
        self.list(family, Listed::decode)
    }

    fn list<T>(
        &mut self,
        family: AddressFamily,
        decode: impl Fn(u16, &[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut message = RuleMessage::default();
        message.header.family = family;
        let ipv6 = family == AddressFamily::Inet6;
        let group = if ipv6 { MulticastGroup::Ipv6Rule } else { MulticastGroup::Ipv4Rule };
        let barrier = Change::DeleteRule(Rule { ipv6, protocol: 255, ..Rule::new(u32::MAX, u32::MAX) });
        self.dump_watched("list rules", RouteNetlinkMessage::GetRule(message), group, &barrier, decode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_back_as_written() {
        let rule = Rule {
            from: Some("10.0.0.5/32".parse().unwrap()),
            mark: Some((0x80, 0x80)),
            iif: Some("eth0".into()),
            protocol: 72,
            ..Rule::new(1536, 10_101)
        };
        let message = rule.message();
        let mut bytes = vec![0; netlink_packet_core::Emitable::buffer_len(&message)];
        netlink_packet_core::Emitable::emit(&message, &mut bytes);
        assert_eq!(bytes[8..12], [0; 4], "no flags");
        assert_eq!(Rule::decode(RTM_NEWRULE, &bytes).unwrap(), Some(rule));
    }
}
