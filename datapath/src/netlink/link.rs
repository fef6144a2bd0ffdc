//! Links: what is read of them, how they are made and changed.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use holdfast_model::ids::MacAddr;
use netlink_packet_core::{DefaultNla, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo,
    LinkMessage, MacVlanMode,
};

use super::attributes::{Attributes, Value, u32_at};
use super::error::NetlinkError;
use super::ipv6::Ipv6Settings;
use super::socket::{Outgoing, Socket};

const HEADER: usize = 16;
const RTM_NEWLINK: u16 = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_PERM_ADDRESS: u16 = 54;
const IFLA_INET_CONF: u16 = 1;
const AF_INET: u16 = 2;
const IPV4_DEVCONF_RP_FILTER: u16 = 8;
const IFLA_INFO_KIND: u16 = 1;

/// A link, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its link-layer address, if of six bytes.
    pub mac: Option<MacAddr>,
    /// The link-layer address that its hardware came with, if it tells: a bond or a person may have given it another.
    pub permanent_mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it has a carrier as well: a veth has one when both ends are up.
    pub carrier: bool,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// Its alias; `None` when it has none.
    pub alias: Option<String>,
    /// Its group; 0 unless somebody set one.
    pub group: u32,
    /// Index of the bridge (or similar) that it belongs to.
    pub master: Option<u32>,
    /// Its kind: `veth`, `bridge`; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// Of a veth: the index of the other end, in the other end's namespace.
    pub peer_index: Option<u32>,
    /// Of a veth: whether the other end is in another namespace.
    pub peer_elsewhere: bool,
    /// How packets that come in by it are checked by their source (`net.ipv4.conf.LINK.rp_filter`).
    pub rp_filter: Option<u8>,
    /// What IPv6 does on it; `None` where there is no IPv6.
    pub ipv6: Option<Ipv6Settings>,
}

impl Link {
    pub(super) fn decode(kind: u16, payload: &[u8]) -> Option<Self> {
        if kind != RTM_NEWLINK {
            return None;
        }
        let flags = LinkFlags::from_bits_retain(u32_at(payload, 8)?);
        let mut link = Self {
            index: u32_at(payload, 4)?,
            name: String::new(),
            mac: None,
            permanent_mac: None,
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            loopback: flags.contains(LinkFlags::Loopback),
            alias: None,
            group: 0,
            master: None,
            kind: None,
            peer_index: None,
            peer_elsewhere: false,
            rp_filter: None,
            ipv6: None,
        };
        for (kind, value) in Attributes(payload.get(HEADER..)?) {
            match kind {
                IFLA_ADDRESS => link.mac = value.0.try_into().ok().map(MacAddr),
                IFLA_IFNAME => link.name = value.text(),
                IFLA_MTU => link.mtu = value.u32()?,
                IFLA_LINK => link.peer_index = value.u32(),
                IFLA_MASTER => link.master = value.u32(),
                IFLA_IFALIAS => link.alias = Some(value.text()).filter(|alias| !alias.is_empty()),
                IFLA_AF_SPEC => {
                    link.rp_filter = rp_filter_of(value);
                    link.ipv6 = Ipv6Settings::decode(value);
                }
                IFLA_GROUP => link.group = value.u32()?,
                IFLA_PERM_ADDRESS => link.permanent_mac = value.0.try_into().ok().map(MacAddr),
                IFLA_LINK_NETNSID => link.peer_elsewhere = value.i32().is_some(),
                IFLA_LINKINFO => {
                    link.kind = value
                        .nested()
                        .find(|(kind, _)| *kind == IFLA_INFO_KIND)
                        .map(|(_, value)| value.text());
                }
                _ => {}
            }
        }
        Some(link)
    }
}

/// Which link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkRef {
    /// By index.
    Index(u32),
    /// By name.
    Name(String),
}

impl fmt::Display for LinkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "link {index}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl LinkRef {
    fn message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        match self {
            Self::Index(index) => message.header.index = *index,
            Self::Name(name) => message.attributes.push(LinkAttribute::IfName(name.clone())),
        }
        message
    }

    pub(super) fn delete(&self) -> RouteNetlinkMessage {
        RouteNetlinkMessage::DelLink(self.message())
    }

    pub(super) fn get(&self) -> Outgoing {
        let mut message = self.message();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        Outgoing { message: RouteNetlinkMessage::GetLink(message), flags: NLM_F_REQUEST }
    }
}

/// What to change on a link; `None` leaves a setting as it is.
#[derive(Clone, Debug, Default)]
pub struct LinkSettings {
    /// Administratively up or down.
    pub up: Option<bool>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Link-layer address.
    pub mac: Option<MacAddr>,
    /// Alias, at most 255 bytes; empty removes it.
    pub alias: Option<String>,
    /// New name; needs [`LinkRef::Index`], and the link down.
    pub name: Option<String>,
    /// Index of a bridge to join; 0: leave the one that it is in.
    pub master: Option<u32>,
    /// Group number.
    pub group: Option<u32>,
    /// How packets that come in by it are checked by their source (`net.ipv4.conf.LINK.rp_filter`).
    pub rp_filter: Option<u32>,
    /// Moves the link into this namespace. Costs the kernel two grace periods: better made there.
    pub netns: Option<Arc<OwnedFd>>,
}

impl LinkSettings {
    /// Only: up.
    pub fn up() -> Self {
        Self { up: Some(true), ..Self::default() }
    }

    /// Only: down.
    pub fn down() -> Self {
        Self { up: Some(false), ..Self::default() }
    }

    pub(super) fn message(&self, link: &LinkRef) -> RouteNetlinkMessage {
        let mut message = link.message();
        if let Some(up) = self.up {
            message.header.change_mask = LinkFlags::Up;
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        }
        let settings = [
            self.mtu.map(LinkAttribute::Mtu),
            self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())),
            self.alias.clone().map(LinkAttribute::IfAlias),
            self.name.clone().map(LinkAttribute::IfName),
            self.master.map(LinkAttribute::Controller),
            self.group.map(LinkAttribute::Group),
            self.rp_filter.map(rp_filter),
            self.netns.as_ref().map(|netns| LinkAttribute::NetNsFd(netns.as_raw_fd())),
        ];
        message.attributes.extend(settings.into_iter().flatten());
        RouteNetlinkMessage::SetLink(message)
    }
}

/// Out of the settings of IPv4, which the kernel gives as a list.
fn rp_filter_of(families: Value<'_>) -> Option<u8> {
    let (_, ipv4) = families.nested().find(|(family, _)| *family == AF_INET)?;
    let (_, list) = ipv4.nested().find(|(kind, _)| *kind == IFLA_INET_CONF)?;
    let at = usize::from(IPV4_DEVCONF_RP_FILTER - 1) * 4;
    u8::try_from(Value(list.0.get(at..at + 4)?).u32()?).ok()
}

/// A setting of IPv4 on the link: by the message that sets the rest, with no need to write below `/proc/sys`. The message
/// crate has the form in which the kernel gives settings, not the one in which it takes them.
fn rp_filter(value: u32) -> LinkAttribute {
    let attribute = |kind: u16, value: &[u8]| {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
    };
    let setting = attribute(IPV4_DEVCONF_RP_FILTER, &value.to_ne_bytes());
    let of_ipv4 = attribute(AF_INET, &attribute(IFLA_INET_CONF, &setting));
    LinkAttribute::Other(DefaultNla::new(IFLA_AF_SPEC, of_ipv4))
}

/// One end of a veth pair to be made.
#[derive(Clone, Debug, Default)]
pub struct VethEnd {
    /// Its name.
    pub name: String,
    /// Its link-layer address, set as it is made, so that nothing that listens for new links rewrites it later.
    pub mac: Option<MacAddr>,
    /// Made in this namespace; `None`: where the socket is.
    pub netns: Option<Arc<OwnedFd>>,
}

impl VethEnd {
    fn message(&self, mtu: Option<u32>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(self.name.clone()));
        let settings = [
            mtu.map(LinkAttribute::Mtu),
            self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())),
            self.netns.as_ref().map(|netns| LinkAttribute::NetNsFd(netns.as_raw_fd())),
        ];
        message.attributes.extend(settings.into_iter().flatten());
        message
    }
}

/// A veth pair to be made. The two ends are each made in their own namespace; nothing is moved.
///
/// Both are made down: the kernel refuses to make the far end up (it has no peer yet at that moment: `ENOTCONN`).
#[derive(Clone, Debug, Default)]
pub struct Veth {
    /// This end.
    pub near: VethEnd,
    /// The other end.
    pub far: VethEnd,
    /// MTU of both ends in bytes; `None`: the kernel's default.
    pub mtu: Option<u32>,
    /// Group of the near end; 0 is the kernel's default.
    pub group: u32,
}

impl Veth {
    pub(super) fn message(&self) -> RouteNetlinkMessage {
        let mut message = self.near.message(self.mtu);
        if self.group != 0 {
            message.attributes.push(LinkAttribute::Group(self.group));
        }
        let peer = InfoData::Veth(InfoVeth::Peer(self.far.message(self.mtu)));
        message
            .attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(peer)]));
        RouteNetlinkMessage::NewLink(message)
    }
}

/// A macvlan link to be made: the only user of another link, whose link-layer address it takes over (mode
/// `passthru`). It is made down.
#[derive(Clone, Debug)]
pub struct Macvlan {
    /// Its name.
    pub name: String,
    /// Index of the link below it, where the socket is.
    pub lower: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// Made in this namespace; `None`: where the socket is.
    pub netns: Option<Arc<OwnedFd>>,
}

impl Macvlan {
    pub(super) fn message(&self) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(self.name.clone()),
            LinkAttribute::Link(self.lower),
            LinkAttribute::Mtu(self.mtu),
        ];
        message.attributes.extend(self.netns.as_ref().map(|netns| LinkAttribute::NetNsFd(netns.as_raw_fd())));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Passthrough)])),
        ]));
        RouteNetlinkMessage::NewLink(message)
    }
}

pub(super) fn bridge(name: &str) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
    RouteNetlinkMessage::NewLink(message)
}

pub(super) fn delete_group(group: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group));
    RouteNetlinkMessage::DelLink(message)
}

impl Socket {
    /// All links of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let request =
            Outgoing { message: RouteNetlinkMessage::GetLink(message), flags: NLM_F_REQUEST | NLM_F_DUMP };
        self.dump("list links", request, Link::decode)
    }

    /// One link; `None` when there is none such.
    pub fn link(&mut self, link: &LinkRef) -> Result<Option<Link>, NetlinkError> {
        match self.query(&format!("look up {link}"), link.get(), Link::decode) {
            Err(error) if error.is_absent() => Ok(None),
            other => other,
        }
    }
}
