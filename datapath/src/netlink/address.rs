//! Addresses on links.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::attributes::{Attributes, u32_at};
use super::error::NetlinkError;
use super::socket::{Outgoing, Socket};

const HEADER: usize = 8;
const RTM_NEWADDR: u16 = 20;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;

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
}

impl Address {
    /// An address valid everywhere, with a route to its prefix.
    pub fn new(link: u32, net: IpNet) -> Self {
        Self { link, net, scope: AddressScope::Universe, no_prefix_route: false }
    }

    pub(super) fn message(&self) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = family(self.net.addr());
        message.header.prefix_len = self.net.prefix_len();
        message.header.scope = self.scope;
        message.header.index = self.link;
        message.attributes.push(AddressAttribute::Local(self.net.addr()));
        message.attributes.push(AddressAttribute::Address(self.net.addr()));
        if self.no_prefix_route {
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Noprefixroute));
        }
        message
    }

    fn decode(kind: u16, payload: &[u8]) -> Option<Self> {
        if kind != RTM_NEWADDR {
            return None;
        }
        let prefix_len = *payload.get(1)?;
        let (mut local, mut address, mut flags) = (None, None, AddressFlags::empty());
        for (kind, value) in Attributes(payload.get(HEADER..)?) {
            match kind {
                IFA_LOCAL => local = value.ip(),
                IFA_ADDRESS => address = value.ip(),
                IFA_FLAGS => flags = AddressFlags::from_bits_retain(value.u32()?),
                _ => {}
            }
        }
        // IPv6 gives only IFA_ADDRESS; for IPv4 that is the far end of a point-to-point link.
        Some(Self {
            link: u32_at(payload, 4)?,
            net: IpNet::new(local.or(address)?, prefix_len).ok()?,
            scope: (*payload.get(3)?).into(),
            no_prefix_route: flags.contains(AddressFlags::Noprefixroute),
        })
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

impl Socket {
    /// All addresses of one family in the namespace.
    pub fn addresses(&mut self, family: AddressFamily) -> Result<Vec<Address>, NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.family = family;
        self.dump("list addresses", get(message), Address::decode)
    }

    /// The addresses of one family on one link.
    pub fn addresses_of(&mut self, link: u32, family: AddressFamily) -> Result<Vec<Address>, NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.family = family;
        message.header.index = link;
        let mut addresses = match self.dump("list a link's addresses", get(message), Address::decode) {
            Err(error) if error.is_absent() => Vec::new(),
            other => other?,
        };
        // Kernels before 5.0 do not filter.
        addresses.retain(|address| address.link == link);
        Ok(addresses)
    }
}

fn get(message: AddressMessage) -> Outgoing {
    Outgoing { message: RouteNetlinkMessage::GetAddress(message), flags: NLM_F_REQUEST | NLM_F_DUMP }
}
