//! Links: what is read of them, how they are made and changed.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use holdfast_model::ids::MacAddr;
use netlink_packet_core::{
    DecodeError, Emitable, NLM_F_REQUEST, NlaBuffer, Parseable, ParseableParametrized,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkMessage,
    MacVlanMode,
};
use nix::libc::{
    IFLA_ADDRESS, IFLA_AF_SPEC, IFLA_GROUP, IFLA_IFALIAS, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINK,
    IFLA_LINK_NETNSID, IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, IFLA_PERM_ADDRESS, RTM_NEWLINK,
};
use rtnetlink::{LinkBridge, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::error::NetlinkError;
use super::ipv4;
use super::ipv6::Ipv6Settings;
use super::message::attributes;
use super::socket::{Outgoing, Socket};

/// The attributes that are read whole. Of the rest, much is particular to kinds of links that are none of ours.
const READ: [u16; 9] = [
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_MTU,
    IFLA_LINK,
    IFLA_MASTER,
    IFLA_IFALIAS,
    IFLA_GROUP,
    IFLA_LINK_NETNSID,
    IFLA_PERM_ADDRESS,
];

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
    /// Whether it asks nobody for MACs (`arp off`).
    pub no_arp: bool,
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
    pub(super) fn decode(kind: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        if kind != RTM_NEWLINK {
            return Ok(None);
        }
        let header = LinkHeader::parse(payload)?;
        let mut link = Self {
            index: header.index,
            name: String::new(),
            mac: None,
            permanent_mac: None,
            mtu: 0,
            up: header.flags.contains(LinkFlags::Up),
            carrier: header.flags.contains(LinkFlags::LowerUp),
            loopback: header.flags.contains(LinkFlags::Loopback),
            no_arp: header.flags.contains(LinkFlags::Noarp),
            alias: None,
            group: 0,
            master: None,
            kind: None,
            peer_index: None,
            peer_elsewhere: false,
            rp_filter: None,
            ipv6: None,
        };
        for told in attributes(payload, header.buffer_len()) {
            let told = told?;
            match told.kind() {
                IFLA_LINKINFO => link.kind = kind_of(&told)?,
                IFLA_AF_SPEC => {
                    link.rp_filter = ipv4::rp_filter_of(&told)?;
                    link.ipv6 = Ipv6Settings::decode(&told)?;
                }
                kind if READ.contains(&kind) => {
                    link.take(LinkAttribute::parse_with_param(&told, header.interface_family)?);
                }
                _ => {}
            }
        }
        Ok(Some(link))
    }

    fn take(&mut self, attribute: LinkAttribute) {
        match attribute {
            LinkAttribute::Address(bytes) => self.mac = bytes.try_into().ok().map(MacAddr),
            LinkAttribute::IfName(name) => self.name = name,
            LinkAttribute::Mtu(mtu) => self.mtu = mtu,
            LinkAttribute::Link(index) => self.peer_index = Some(index),
            LinkAttribute::Controller(index) => self.master = Some(index),
            LinkAttribute::IfAlias(alias) => self.alias = Some(alias).filter(|alias| !alias.is_empty()),
            LinkAttribute::Group(group) => self.group = group,
            LinkAttribute::PermAddress(bytes) => self.permanent_mac = bytes.try_into().ok().map(MacAddr),
            LinkAttribute::LinkNetNsId(_) => self.peer_elsewhere = true,
            _ => {}
        }
    }
}

/// Out of a link's `IFLA_LINKINFO`, without the settings that go with the kind.
fn kind_of(told: &NlaBuffer<&[u8]>) -> Result<Option<String>, DecodeError> {
    for part in attributes(told.value(), 0) {
        let part = part?;
        if part.kind() == IFLA_INFO_KIND {
            return Ok(Some(InfoKind::parse(&part)?.to_string()));
        }
    }
    Ok(None)
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
    fn builder(&self) -> LinkMessageBuilder<LinkUnspec> {
        match self {
            Self::Index(index) => LinkUnspec::new_with_index(*index),
            Self::Name(name) => LinkUnspec::new_with_name(name),
        }
    }

    pub(super) fn delete(&self) -> RouteNetlinkMessage {
        RouteNetlinkMessage::DelLink(self.builder().build())
    }

    pub(super) fn get(&self) -> Outgoing {
        let message = self.builder().append_extra_attribute(without_statistics()).build();
        Outgoing { message: RouteNetlinkMessage::GetLink(message), flags: NLM_F_REQUEST }
    }
}

fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
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
        let mut builder = link.builder();
        match self.up {
            Some(true) => builder = builder.up(),
            Some(false) => builder = builder.down(),
            None => {}
        }
        if let Some(alias) = &self.alias {
            builder = builder.alias(alias);
        }
        if let Some(name) = &self.name {
            builder = builder.name(name);
        }
        if let Some(master) = self.master {
            builder = builder.controller(master);
        }
        if let Some(group) = self.group {
            builder = builder.link_group(group);
        }
        if let Some(value) = self.rp_filter {
            builder = builder.append_extra_attribute(ipv4::rp_filter(value));
        }
        RouteNetlinkMessage::SetLink(made(builder, self.mtu, self.mac, self.netns.as_ref()).build())
    }
}

/// With what every link can be given, as it is made or later.
fn made<T>(
    mut builder: LinkMessageBuilder<T>,
    mtu: Option<u32>,
    mac: Option<MacAddr>,
    netns: Option<&Arc<OwnedFd>>,
) -> LinkMessageBuilder<T> {
    if let Some(mtu) = mtu {
        builder = builder.mtu(mtu);
    }
    if let Some(mac) = mac {
        builder = builder.address(mac.0.to_vec());
    }
    if let Some(netns) = netns {
        builder = builder.setns_by_fd(netns.as_raw_fd());
    }
    builder
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
        let Self { near, far, mtu, group } = self;
        let peer = made(LinkUnspec::new_with_name(&far.name), *mtu, far.mac, far.netns.as_ref()).build();
        let mut builder = made(LinkVeth::new(&near.name, &far.name), *mtu, near.mac, near.netns.as_ref())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
        if *group != 0 {
            builder = builder.link_group(*group);
        }
        RouteNetlinkMessage::NewLink(builder.build())
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
        let builder = LinkMacVlan::new(&self.name, self.lower, MacVlanMode::Passthrough);
        RouteNetlinkMessage::NewLink(made(builder, Some(self.mtu), None, self.netns.as_ref()).build())
    }
}

/// Made down, as every link here.
pub(super) fn bridge(name: &str) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewLink(LinkMessageBuilder::<LinkBridge>::new(name).build())
}

pub(super) fn delete_group(group: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelLink(LinkMessageBuilder::<LinkUnspec>::new().link_group(group).build())
}

impl Socket {
    /// All links of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(without_statistics());
        self.dump("list links", RouteNetlinkMessage::GetLink(message), Link::decode)
    }

    /// One link; `None` when there is none such.
    pub fn link(&mut self, link: &LinkRef) -> Result<Option<Link>, NetlinkError> {
        match self.query(&format!("look up {link}"), link.get(), Link::decode) {
            Err(error) if error.is_absent() => Ok(None),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    const IFLA_XDP: u16 = 43;

    /// A link message with these attributes.
    fn told(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; LinkHeader::default().buffer_len()];
        bytes[4] = 7;
        for (kind, value) in attributes {
            bytes.extend((u16::try_from(value.len()).unwrap() + 4).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn what_the_library_cannot_read_matters_only_where_it_is_used() {
        let (name, mtu) = ((IFLA_IFNAME, &b"eth0\0"[..]), (IFLA_MTU, &9001_u32.to_ne_bytes()[..]));
        let broken = told(&[name, (IFLA_XDP, &[1]), mtu]);
        assert!(LinkMessage::parse(&broken).is_err(), "else this shows nothing");
        let link = Link::decode(RTM_NEWLINK, &broken).unwrap().unwrap();
        assert_eq!((link.index, link.name.as_str(), link.mtu), (7, "eth0", 9001));

        assert!(Link::decode(RTM_NEWLINK, &told(&[name, (IFLA_MTU, &[1])])).is_err());
        assert!(Link::decode(RTM_NEWLINK, &told(&[name])[..18]).is_err(), "cut short");
        assert_eq!(Link::decode(17, &broken).unwrap(), None);
    }

    #[test]
    fn the_kind_of_a_link_is_read_without_its_settings() {
        const IFLA_INFO_DATA: u16 = 2;
        for (kind, words) in [(&b"vlan\0"[..], "vlan"), (b"of-tomorrow\0", "of-tomorrow")] {
            let info = told(&[(IFLA_INFO_KIND, kind), (IFLA_INFO_DATA, &[255; 3])]);
            let info = &info[LinkHeader::default().buffer_len()..];
            let link = Link::decode(RTM_NEWLINK, &told(&[(IFLA_LINKINFO, info)])).unwrap().unwrap();
            assert_eq!(link.kind.as_deref(), Some(words));
        }
    }
}
