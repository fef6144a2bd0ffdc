//! Pods that were answered for and that nothing reaches, as far as ledger and kernel show.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use holdfast_model::block::BlockState;
use holdfast_model::eni::{EniPhase, EniRecord, Management};
use holdfast_model::host::{EniLink, HostObserved, LinkAlias, LinkSeen, Look};
use holdfast_model::ids::EniId;
use holdfast_model::lease::{Face, Lease, LeasePhase};
use holdfast_model::ledger::Ledger;
use holdfast_model::sandbox::SandboxKey;

/// Why nothing reaches a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnreachedBy {
    /// EC2 has its address on none of this node's ENIs.
    AddressTaken(IpAddr),
    /// Its ENI is not on this node any more.
    EniGone(EniId),
    /// Its ENI has no link here.
    EniLinkGone(EniId),
    /// Its host link is not there.
    LinkGone(String),
    /// Its host link was given another name.
    LinkRenamed {
        /// What it was called.
        was: String,
        /// What it is called now.
        is: String,
    },
    /// A link of its way was made part of something else, which takes what comes in by it.
    PartOf {
        /// Its own, or its ENI's.
        link: String,
        /// Of which.
        of: String,
    },
    /// A link of its way asks nobody for MACs.
    NoArp(String),
    /// The host itself answers for its address.
    BorneByHost {
        /// Which.
        address: IpAddr,
        /// On which link.
        link: String,
    },
}

impl fmt::Display for UnreachedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressTaken(address) => {
                write!(f, "{address} was taken off its ENI in EC2: delete the pod, so that it gets another")
            }
            Self::EniGone(eni) => write!(f, "its ENI {eni} is not attached to this node any more"),
            Self::EniLinkGone(eni) => write!(f, "its ENI {eni} has no link on this node"),
            Self::LinkGone(link) => write!(f, "its host link {link} is gone"),
            Self::LinkRenamed { was, is } => {
                write!(f, "its host link {was} was renamed to {is}: give it its name back")
            }
            Self::PartOf { link, of } => {
                write!(f, "its link {link} was made part of {of}: take it out (ip link set {link} nomaster)")
            }
            Self::NoArp(link) => {
                write!(f, "its link {link} does no ARP: turn it on (ip link set {link} arp on)")
            }
            Self::BorneByHost { address, link } => {
                write!(f, "the host itself bears {address}, on {link}: take it off there")
            }
        }
    }
}

/// Pods that nothing reaches, and of each the first reason.
pub fn unreached(ledger: &Ledger, observed: &HostObserved) -> BTreeMap<SandboxKey, UnreachedBy> {
    let look = Look::over(observed);
    let borne = borne(observed);
    let linked: BTreeMap<&LinkAlias, &LinkSeen> =
        observed.links.iter().filter_map(|link| Some((link.alias.as_ref()?, link))).collect();
    let active = ledger.leases.values().filter(|lease| lease.phase == LeasePhase::Active);
    let of_face = |lease: &Lease, face: &Face| {
        let alias = LinkAlias::of_face(&lease.sandbox, &face.ifname);
        let shown = ledger.block_of(face.address).is_some_and(|block| {
            block.eni == face.eni && matches!(block.state, BlockState::Held | BlockState::Leaving(_))
        });
        let attached =
            |phase: &EniPhase| matches!(phase, EniPhase::Attached { .. } | EniPhase::Draining { .. });
        let here = |eni: &&EniRecord| attached(&eni.phase) && eni.management != Management::Excluded;
        let eni = ledger.enis.get(&face.eni).filter(here);
        let Some(eni) = eni else { return Some(UnreachedBy::EniGone(face.eni.clone())) };
        if !shown {
            return Some(UnreachedBy::AddressTaken(face.address));
        }
        let eni_link = look.eni_link(eni.mac);
        if eni_link == EniLink::Missing {
            return Some(UnreachedBy::EniLinkGone(eni.id.clone()));
        }
        let Some(link) = linked.get(&alias) else {
            return Some(UnreachedBy::LinkGone(face.host_veth.clone()));
        };
        if link.name != face.host_veth {
            return Some(UnreachedBy::LinkRenamed { was: face.host_veth.clone(), is: link.name.clone() });
        }
        // A bond is made of ENIs on purpose.
        let eni_link = eni_link.found().filter(|eni| !is_bonded(eni, observed));
        if let Some(taken) =
            [Some(*link), eni_link].into_iter().flatten().find_map(|link| taken(link, observed))
        {
            return Some(taken);
        }
        borne
            .get(&face.address)
            .map(|link| UnreachedBy::BorneByHost { address: face.address, link: link.name.clone() })
    };
    let reason = |lease: &Lease| lease.faces.iter().find_map(|face| of_face(lease, face));
    active.filter_map(|lease| Some((lease.sandbox.clone(), reason(lease)?))).collect()
}

/// What of a link keeps packets from going on by it, although it is there.
fn taken(link: &LinkSeen, observed: &HostObserved) -> Option<UnreachedBy> {
    let name = link.name.clone();
    if let Some(index) = link.part_of {
        let of = observed.links.iter().find(|other| other.index == index);
        let of = of.map_or_else(|| format!("link #{index}"), |of| of.name.clone());
        return Some(UnreachedBy::PartOf { link: name, of });
    }
    link.no_arp.then_some(UnreachedBy::NoArp(name))
}

fn is_bonded(link: &LinkSeen, observed: &HostObserved) -> bool {
    let of = observed.links.iter().find(|other| Some(other.index) == link.part_of);
    of.is_some_and(|of| of.kind.as_deref() == Some("bond"))
}

/// The addresses that the host itself bears, and on which link.
pub(crate) fn borne(observed: &HostObserved) -> BTreeMap<IpAddr, &LinkSeen> {
    let of_link = |link: &'_ LinkSeen| {
        let of_ipv4 = link.addresses.iter().map(|net| IpAddr::V4(net.addr()));
        of_ipv4.chain(link.ipv6_addresses.iter().copied().map(IpAddr::V6)).collect::<Vec<_>>()
    };
    observed.links.iter().flat_map(|link| of_link(link).into_iter().map(move |ip| (ip, link))).collect()
}
