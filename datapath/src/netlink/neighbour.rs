//! Neighbour entries: which link-layer address answers for an address.

use std::net::IpAddr;

use holdfast_model::ids::MacAddr;
use netlink_packet_core::{DecodeError, Parseable};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::libc::RTM_NEWNEIGH;

use super::address::family;
use super::error::NetlinkError;
use super::socket::Socket;

/// A neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The link's index.
    pub link: u32,
    /// For which address.
    pub address: IpAddr,
    /// Who answers; `None` in an entry that was never resolved.
    pub mac: Option<MacAddr>,
    /// Its state; [`NeighbourState::Permanent`] never expires and is never probed.
    pub state: NeighbourState,
}

impl Neighbour {
    /// A permanent entry.
    pub fn permanent(link: u32, address: IpAddr, mac: MacAddr) -> Self {
        Self { link, address, mac: Some(mac), state: NeighbourState::Permanent }
    }

    pub(super) fn message(&self) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = family(self.address);
        message.header.ifindex = self.link;
        message.header.state = self.state;
        message.attributes.push(NeighbourAttribute::Destination(match self.address {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        }));
        if let Some(mac) = self.mac {
            message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        }
        message
    }

    fn decode(kind: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        if kind != RTM_NEWNEIGH {
            return Ok(None);
        }
        let message = NeighbourMessage::parse(payload)?;
        let (mut address, mut mac) = (None, None);
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(v4.into()),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(v6.into()),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok().map(MacAddr),
                _ => {}
            }
        }
        let address = address.ok_or("a neighbour entry without an address")?;
        Ok(Some(Self { link: message.header.ifindex, address, mac, state: message.header.state }))
    }
}

impl Socket {
    /// All neighbour entries of one family in the namespace.
    pub fn neighbours(&mut self, family: AddressFamily) -> Result<Vec<Neighbour>, NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family;
        self.dump("list neighbours", RouteNetlinkMessage::GetNeighbour(message), Neighbour::decode)
    }
}
