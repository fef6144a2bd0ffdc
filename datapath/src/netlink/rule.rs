//! Policy rules.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::attributes::Attributes;
use super::change::Change;
use super::error::NetlinkError;
use super::socket::{Outgoing, Socket};

const HEADER: usize = 12;
const RTM_NEWRULE: u16 = 32;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_PROTOCOL: u16 = 21;
const RTNLGRP_IPV4_RULE: u32 = 8;
const RTNLGRP_IPV6_RULE: u32 = 19;
const FR_ACT_TO_TBL: u8 = 1;

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

    fn decode(kind: u16, payload: &[u8]) -> Option<Self> {
        if kind != RTM_NEWRULE || *payload.get(7)? != FR_ACT_TO_TBL {
            return None;
        }
        let ipv6 = AddressFamily::from(*payload.first()?) == AddressFamily::Inet6;
        let (dst_len, src_len) = (*payload.get(1)?, *payload.get(2)?);
        let (mut mark, mut mask) = (None, None);
        let mut rule = Self { ipv6, ..Self::new(0, u32::from(*payload.get(4)?)) };
        let net = |address: Option<IpAddr>, length| IpNet::new(address?, length).ok();
        for (kind, value) in Attributes(payload.get(HEADER..)?) {
            match kind {
                FRA_PRIORITY => rule.priority = value.u32()?,
                FRA_SRC => rule.from = net(value.ip(), src_len),
                FRA_DST => rule.to = net(value.ip(), dst_len),
                FRA_FWMARK => mark = value.u32(),
                FRA_FWMASK => mask = value.u32(),
                FRA_IIFNAME => rule.iif = Some(value.text()),
                FRA_TABLE => rule.table = value.u32()?,
                FRA_PROTOCOL => rule.protocol = value.u8()?,
                _ => {}
            }
        }
        rule.mark = mask.filter(|mask| *mask != 0).map(|mask| (mark.unwrap_or(0), mask));
        Some(rule)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}", self.priority)?;
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
        write!(f, " lookup {}", self.table)
    }
}

impl Socket {
    /// All rules of one family that lead to a table (not those that drop or jump).
    ///
    /// The kernel lists rules by position and does not say when the list changed meanwhile: a rule that goes makes
    /// it skip another. What is returned is complete all the same.
    pub fn rules(&mut self, family: AddressFamily) -> Result<Vec<Rule>, NetlinkError> {
        let mut message = RuleMessage::default();
        message.header.family = family;
        let request =
            Outgoing { message: RouteNetlinkMessage::GetRule(message), flags: NLM_F_REQUEST | NLM_F_DUMP };
        let ipv6 = family == AddressFamily::Inet6;
        let group = if ipv6 { RTNLGRP_IPV6_RULE } else { RTNLGRP_IPV4_RULE };
        let barrier = Change::DeleteRule(Rule { ipv6, protocol: 255, ..Rule::new(u32::MAX, u32::MAX) });
        self.dump_watched("list rules", request, group, &barrier, Rule::decode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attributes::u32_at;

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
        assert_eq!(u32_at(&bytes, 8), Some(0), "no flags");
        assert_eq!(Rule::decode(RTM_NEWRULE, &bytes), Some(rule));
    }
}
