//! Changes as data: each can be put into a batch, said in words, and sent again.

use std::fmt;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage;

use super::address::Address;
use super::link::{LinkRef, LinkSettings, Macvlan, Veth, bridge, delete_group};
use super::neighbour::Neighbour;
use super::route::Route;
use super::rule::Rule;
use super::socket::Outgoing;

/// One change to a namespace. `Add…` fails when the object is there; `Put…` makes it so either way.
#[derive(Clone, Debug)]
pub enum Change {
    /// Makes a veth pair.
    CreateVeth(Veth),
    /// Makes a macvlan link.
    CreateMacvlan(Macvlan),
    /// Makes a bridge of that name.
    CreateBridge(String),
    /// Changes a link's settings.
    SetLink(LinkRef, LinkSettings),
    /// Removes a link; returns when it is gone.
    DeleteLink(LinkRef),
    /// Removes all links of a group, at one go.
    DeleteGroup(u32),
    /// Adds an address.
    AddAddress(Address),
    /// Adds an address or changes its flags.
    PutAddress(Address),
    /// Removes an address.
    DeleteAddress(Address),
    /// Adds a route.
    AddRoute(Route),
    /// Adds a route, in the place of the one with equal destination, table and metric if there is one.
    PutRoute(Route),
    /// Removes a route.
    DeleteRoute(Route),
    /// Adds a rule.
    AddRule(Rule),
    /// Removes one rule with these selectors; there may be more.
    DeleteRule(Rule),
    /// Adds a neighbour entry or changes it.
    PutNeighbour(Neighbour),
    /// Removes a neighbour entry.
    DeleteNeighbour(Neighbour),
}

impl Change {
    pub(super) fn request(&self) -> Outgoing {
        const ADD: u16 = NLM_F_CREATE | NLM_F_EXCL;
        const PUT: u16 = NLM_F_CREATE | NLM_F_REPLACE;
        let (message, flags) = match self {
            Self::CreateVeth(veth) => (veth.message(), ADD),
            Self::CreateMacvlan(macvlan) => (macvlan.message(), ADD),
            Self::CreateBridge(name) => (bridge(name), ADD),
            Self::SetLink(link, settings) => (settings.message(link), 0),
            Self::DeleteLink(link) => (link.delete(), 0),
            Self::DeleteGroup(group) => (delete_group(*group), 0),
            Self::AddAddress(address) => (RouteNetlinkMessage::NewAddress(address.message()), ADD),
            Self::PutAddress(address) => (RouteNetlinkMessage::NewAddress(address.message()), PUT),
            Self::DeleteAddress(address) => (RouteNetlinkMessage::DelAddress(address.message()), 0),
            Self::AddRoute(route) => (RouteNetlinkMessage::NewRoute(route.message()), ADD),
            Self::PutRoute(route) => (RouteNetlinkMessage::NewRoute(route.message()), PUT),
            Self::DeleteRoute(route) => (RouteNetlinkMessage::DelRoute(route.message()), 0),
            Self::AddRule(rule) => (RouteNetlinkMessage::NewRule(rule.message()), ADD),
            Self::DeleteRule(rule) => (RouteNetlinkMessage::DelRule(rule.message()), 0),
            Self::PutNeighbour(entry) => (RouteNetlinkMessage::NewNeighbour(entry.message()), PUT),
            Self::DeleteNeighbour(entry) => (RouteNetlinkMessage::DelNeighbour(entry.message()), 0),
        };
        Outgoing { message, flags: NLM_F_REQUEST | flags }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateVeth(veth) => write!(f, "create veth {} with {}", veth.near.name, veth.far.name),
            Self::CreateMacvlan(macvlan) => {
                write!(f, "create macvlan {} on link {}", macvlan.name, macvlan.lower)
            }
            Self::CreateBridge(name) => write!(f, "create bridge {name}"),
            Self::SetLink(link, settings) => {
                write!(f, "set {link}")?;
                match settings.up {
                    Some(true) => f.write_str(" up")?,
                    Some(false) => f.write_str(" down")?,
                    None => {}
                }
                if let Some(mtu) = settings.mtu {
                    write!(f, " mtu {mtu}")?;
                }
                if let Some(mac) = settings.mac {
                    write!(f, " address {mac}")?;
                }
                if let Some(alias) = &settings.alias {
                    write!(f, " alias {alias:?}")?;
                }
                if let Some(name) = &settings.name {
                    write!(f, " name {name}")?;
                }
                if let Some(master) = settings.master {
                    write!(f, " master #{master}")?;
                }
                if let Some(group) = settings.group {
                    write!(f, " group {group}")?;
                }
                if let Some(value) = settings.rp_filter {
                    write!(f, " rp_filter {value}")?;
                }
                if settings.netns.is_some() {
                    f.write_str(" into another namespace")?;
                }
                Ok(())
            }
            Self::DeleteLink(link) => write!(f, "delete {link}"),
            Self::DeleteGroup(group) => write!(f, "delete links of group {group}"),
            Self::AddAddress(address) => write!(f, "add address {} to link {}", address.net, address.link),
            Self::PutAddress(address) => write!(f, "put address {} on link {}", address.net, address.link),
            Self::DeleteAddress(address) => {
                write!(f, "delete address {} from link {}", address.net, address.link)
            }
            Self::AddRoute(route) => write!(f, "add {route}"),
            Self::PutRoute(route) => write!(f, "put {route}"),
            Self::DeleteRoute(route) => write!(f, "delete {route}"),
            Self::AddRule(rule) => write!(f, "add {rule}"),
            Self::DeleteRule(rule) => write!(f, "delete {rule}"),
            Self::PutNeighbour(entry) => write!(f, "put neighbour {} on link {}", entry.address, entry.link),
            Self::DeleteNeighbour(entry) => {
                write!(f, "delete neighbour {} from link {}", entry.address, entry.link)
            }
        }
    }
}
