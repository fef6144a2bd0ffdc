//! Setting an ENI up: what is there is compared first, and only what differs is changed, so that taking over a
//! working node or starting anew disturbs no packet.

use holdfast_model::host::{EniChange, EniWiring, Ipv6Link, Look};
use holdfast_ports::host::HostFault;
use ipnet::IpNet;

use super::observe::{IPV6_FORWARDING, eni_link, read};
use super::pool::Worker;
use super::{refused, translate};
use crate::netlink::{Address, Change, LinkRef, LinkSettings, NetlinkError};
use crate::sysctl::Sysctl;

/// How often what was changed is looked at again. One pass may uncover the next: the kernel takes an interface's
/// further addresses away with the first one.
const PASSES: usize = 4;

/// Makes an ENI's link, address, routes and rule as they should be, and reads them back.
pub(crate) fn set_up(worker: &mut Worker, wiring: &EniWiring) -> Result<(), HostFault> {
    let mut pending = Vec::new();
    for _ in 0..PASSES {
        let observed = read(&mut worker.socket, &worker.sysctl).map_err(refused)?;
        let link = eni_link(&observed, wiring.mac)?;
        let changes = wiring.changes(&link, &Look::over(&observed));
        if changes.is_empty() {
            return Ok(());
        }
        for change in &changes {
            set(&worker.sysctl, change, &link.name)?;
        }
        pending = changes.into_iter().filter_map(|change| as_change(change, link.index)).collect();
        worker.socket.apply_all(&pending).or_else(tolerate).map_err(refused)?;
    }
    let mut pending: Vec<_> = pending.iter().map(ToString::to_string).collect();
    if pending.is_empty() {
        pending.push("what it needs of IPv6 does not last: somebody sets it otherwise".to_owned());
    }
    Err(HostFault::ReadBack(format!("{} ({}): still to do: {}", wiring.eni, wiring.mac, pending.join("; "))))
}

/// What netlink is not told of.
fn set(sysctl: &Sysctl, change: &EniChange, link: &str) -> Result<(), HostFault> {
    match change {
        EniChange::LoosenSourceCheck => sysctl.set(&format!("ipv4/conf/{link}/rp_filter"), "2"),
        EniChange::TurnIpv6On if sysctl.read(IPV6_FORWARDING).is_none() => Err(HostFault::Refused {
            step: "turn IPv6 on".to_owned(),
            cause: "this kernel has none: boot it without ipv6.disable=1".to_owned(),
        }),
        EniChange::TurnIpv6On => {
            sysctl.set("ipv6/conf/all/disable_ipv6", "0")?;
            sysctl.set(&format!("ipv6/conf/{link}/disable_ipv6"), "0")
        }
        EniChange::HearAdvertisements => {
            sysctl.set(&format!("ipv6/conf/{link}/accept_ra"), &Ipv6Link::ALWAYS_HEARS.to_string())
        }
        EniChange::ForwardIpv6 => sysctl.set(IPV6_FORWARDING, "1"),
        _ => Ok(()),
    }
}

/// Something that is there already or gone already changed between look and act; the next look tells.
fn tolerate(error: NetlinkError) -> Result<(), NetlinkError> {
    if error.is_present() || error.is_absent() { Ok(()) } else { Err(error) }
}

/// `None` for what netlink is not told of.
fn as_change(change: EniChange, link: u32) -> Option<Change> {
    let set = |settings| Change::SetLink(LinkRef::Index(link), settings);
    let on_link = |net| Address { no_prefix_route: true, ..Address::new(link, IpNet::V4(net)) };
    Some(match change {
        EniChange::SetMtu(mtu) => set(LinkSettings { mtu: Some(mtu), ..LinkSettings::default() }),
        EniChange::SetUp => set(LinkSettings::up()),
        EniChange::LoosenSourceCheck
        | EniChange::TurnIpv6On
        | EniChange::HearAdvertisements
        | EniChange::ForwardIpv6 => return None,
        EniChange::RemoveAddress(net) => Change::DeleteAddress(Address::new(link, IpNet::V4(net))),
        EniChange::AddAddress(net) => Change::AddAddress(on_link(net)),
        EniChange::PutRoute(route) => Change::PutRoute(translate::route(&route)),
        EniChange::RemoveRoute(route) => Change::DeleteRoute(translate::route(&route)),
        // In a deletion no protocol number means whichever.
        EniChange::Disconnect(route) => Change::DeleteRoute(translate::route(&route).by(0)),
        EniChange::AddRule(rule) => Change::AddRule(translate::rule(&rule)),
        EniChange::RemoveRule(rule) => Change::DeleteRule(translate::rule(&rule)),
    })
}
