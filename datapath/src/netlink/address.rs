//! Addresses on links.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{DecodeError, Parseable};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::libc::RTM_NEWADDR;

use super::error::NetlinkError;
use super::socket::Socket;

/// An address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's index.
    pub link: u32,
    /// The address itself and its prefix length (not truncated to the network).
    pub net: IpNet,
    /// How far the address is valid. The kernel takes [`AddressScope::Universe`] for the source of whatever leaves by
    /// a link without an address of its own; [`AddressScope::Host`] never leaves the host.
    pub scope: AddressScope,
    /// The kernel makes no route to the prefix (`IFA_F_NOPREFIXROUTE`).
    pub no_prefix_route: bool,
    /// Of IPv6: the kernel does not ask the link whether somebody else has it before it can be used (`IFA_F_NODAD`).
    pub no_dad: bool,
    /// Of IPv6, as told: the kernel is asking, or was told that somebody has it, so that it cannot be used.
    pub unusable: bool,
}

impl Address {
    /// An address valid everywhere, with a route to its prefix.
    pub fn new(link: u32, net: IpNet) -> Self {
        let scope = AddressScope::Universe;
        Self { link, net, scope, no_prefix_route: false, no_dad: false, unusable: false }
    }

    pub(super) fn message(&self) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = family(self.net.addr());
        message.header.prefix_len = self.net.prefix_len();
        message.header.scope = self.scope;
        message.header.index = self.link;
        message.attributes.push(AddressAttribute::Local(self.net.addr()));
        message.attributes.push(AddressAttribute::Address(self.net.addr()));
        let flags = [(self.no_prefix_route, AddressFlags::Noprefixroute), (self.no_dad, AddressFlags::Nodad)];
        let asked = flags.into_iter().filter(|(asked, _)| *asked).map(|(_, flag)| flag);
        let asked = asked.fold(AddressFlags::empty(), |all, flag| all | flag);
        if !asked.is_empty() {
            message.attributes.push(AddressAttribute::Flags(asked));
        }
        message
    }

    fn decode(kind: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        if kind != RTM_NEWADDR {
            return Ok(None);
        }
        let message = AddressMessage::parse(payload)?;
        let (mut local, mut address, mut flags) = (None, None, AddressFlags::empty());
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(ip),
                AddressAttribute::Address(ip) => address = Some(ip),
                AddressAttribute::Flags(bits) => flags = bits,
                _ => {}
            }
        }
        // IPv6 gives only the latter; for IPv4 that is the far end of a point-to-point link.
        let ip = local.or(address).ok_or("an address message without an address")?;
        Ok(Some(Self {
            link: message.header.index,
            net: prefix(ip, message.header.prefix_len)?,
            scope: message.header.scope,
            no_prefix_route: flags.contains(AddressFlags::Noprefixroute),
            no_dad: flags.contains(AddressFlags::Nodad),
            unusable: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
        }))
    }
}

/// An address as the kernel tells it, with its prefix length.
pub(super) fn prefix(address: IpAddr, length: u8) -> Result<IpNet, DecodeError> {
    IpNet::new(address, length).map_err(|_too_long| format!("{address}/{length} is no prefix").into())
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

impl Socket {
    /// All addresses of one family in the namespace.
    pub fn addresses(&mut self, family: AddressFamily) -> Result<Vec<Address>, NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.family = family;
        self.dump("list addresses", RouteNetlinkMessage::GetAddress(message), Address::decode)
    }

    /// The addresses of one family on one link.
    pub fn addresses_of(&mut self, link: u32, family: AddressFamily) -> Result<Vec<Address>, NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.family = family;
        message.header.index = link;
        let request = RouteNetlinkMessage::GetAddress(message);
        let mut addresses = match self.dump("list a link's addresses", request, Address::decode) {
            Err(error) if error.is_absent() => Vec::new(),
            other => other?,
        };
        // Kernels before 5.0 do not filter.
        addresses.retain(|address| address.link == link);
        Ok(addresses)
    }
}
