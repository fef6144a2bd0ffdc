//! Neighbour entries: which link-layer address answers for an address.

use std::net::IpAddr;

use holdfast_model::ids::MacAddr;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::address::family;
use super::attributes::{Attributes, u32_at};
use super::error::NetlinkError;
use super::socket::{Outgoing, Socket};

const HEADER: usize = 12;
const RTM_NEWNEIGH: u16 = 28;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

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

    fn decode(kind: u16, payload: &[u8]) -> Option<Self> {
        if kind != RTM_NEWNEIGH {
            return None;
        }
        let (mut address, mut mac) = (None, None);
        for (kind, value) in Attributes(payload.get(HEADER..)?) {
            match kind {
                NDA_DST => address = value.ip(),
                NDA_LLADDR => mac = value.0.try_into().ok().map(MacAddr),
                _ => {}
            }
        }
        let state = u16::from_ne_bytes(payload.get(8..10)?.try_into().ok()?);
        Some(Self { link: u32_at(payload, 4)?, address: address?, mac, state: state.into() })
    }
}

impl Socket {
    /// All neighbour entries of one family in the namespace.
    pub fn neighbours(&mut self, family: AddressFamily) -> Result<Vec<Neighbour>, NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family;
        let request = Outgoing {
            message: RouteNetlinkMessage::GetNeighbour(message),
            flags: NLM_F_REQUEST | NLM_F_DUMP,
        };
        self.dump("list neighbours", request, Neighbour::decode)
    }
}
