//! What the kernel makes by itself, whoever uses it: not for a picture.

use std::net::{IpAddr, Ipv6Addr};

use holdfast_datapath::netlink;
use ipnet::{IpNet, Ipv6Net};

use crate::oracle::picture::{Kernel, LOCAL_TABLE, Route, Way};

/// To link-local addresses of IPv6.
const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64);

/// Addresses of IPv6 that the kernel gives to links by itself.
pub(super) fn every_link_has(net: IpNet) -> bool {
    net.addr().is_loopback() || matches!(net, IpNet::V6(net) if LINK_LOCAL.contains(&net))
}

/// Routes of IPv6 that the kernel makes for each link and each address.
pub(super) fn comes_with_a_link(route: &Route) -> bool {
    route.table == LOCAL_TABLE
        || route.to.addr().is_multicast()
        || (route.to == IpNet::V6(LINK_LOCAL)
            && route.way == Way::Forward
            && (route.via, route.source, route.others.is_empty()) == (None, None, true))
}

/// Bits of a neighbour's state (linux/neighbour.h): one may bear both.
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

/// Whether an entry stays as it is, whatever the neighbour says. The kernel makes such for its loopback, and for whom
/// nobody can be asked about: groups, and all on a link.
pub(super) fn never_expires(at: &netlink::Neighbour, kernel: &Kernel) -> bool {
    let state = u16::from(at.state);
    let on_loopback = kernel.link("lo").is_some_and(|lo| lo.index == at.link);
    let to_many = match at.address {
        IpAddr::V4(to) => to.is_multicast() || to.is_broadcast(),
        IpAddr::V6(to) => to.is_multicast(),
    };
    let to_many = to_many
        || kernel.routes.iter().any(|route| {
            route.way == Way::Broadcast
                && route.to == IpNet::from(at.address)
                && kernel.makes_by_itself(route)
        });
    state & NUD_PERMANENT != 0 || (state & NUD_NOARP != 0 && !on_loopback && !to_many)
}

#[cfg(test)]
mod tests {
    use holdfast_datapath::netlink::NeighbourState;

    use super::*;
    use crate::oracle::picture::{Address, Link};

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn what_never_expires_is_kept_unless_the_kernel_made_it() {
        let link = |index, name: &str| Link {
            index,
            name: name.to_owned(),
            mac: None,
            mtu: 9001,
            up: true,
            veth: false,
            peer: None,
            group: 0,
        };
        let to_all = Route::on_link(LOCAL_TABLE, net("10.0.15.255/32"), 2);
        let kernel = Kernel {
            links: vec![link(1, "lo"), link(2, "ens5")],
            addresses: vec![Address { link: 2, net: net("10.0.0.5/20") }],
            routes: vec![Route { way: Way::Broadcast, ..to_all }],
            ..Kernel::default()
        };
        let is_kept = |link, address: &str, state| {
            let address = address.parse().unwrap();
            never_expires(&netlink::Neighbour { link, address, mac: None, state }, &kernel)
        };
        assert!(is_kept(2, "10.0.0.9", NeighbourState::Permanent));
        assert!(is_kept(2, "10.0.0.9", NeighbourState::Noarp));
        assert!(is_kept(2, "10.0.0.9", NeighbourState::from(NUD_NOARP | NUD_PERMANENT)));
        assert!(!is_kept(2, "10.0.0.9", NeighbourState::Stale));
        for (link, address) in
            [(1, "10.0.0.9"), (2, "224.0.0.22"), (2, "255.255.255.255"), (2, "10.0.15.255")]
        {
            assert!(!is_kept(link, address, NeighbourState::Noarp), "{address}");
        }
        assert!(is_kept(2, "2001:db8::9", NeighbourState::Permanent));
        assert!(is_kept(2, "fe80::9", NeighbourState::Noarp));
        for (link, address) in [(1, "::1"), (2, "ff02::1:ff00:5")] {
            assert!(!is_kept(link, address, NeighbourState::Noarp), "{address}");
        }
    }

    #[test]
    fn of_ipv6_is_left_out_what_comes_with_a_link() {
        assert!(every_link_has(net("fe80::1/64")) && every_link_has(net("::1/128")));
        assert!(!every_link_has(net("2001:db8::1/64")));
        let route = |table, to: &str| Route::on_link(table, net(to), 2);
        assert!(comes_with_a_link(&route(254, "fe80::/64")) && comes_with_a_link(&route(255, "ff00::/8")));
        assert!(comes_with_a_link(&route(255, "2001:db8::1/128")));
        assert!(!comes_with_a_link(&route(254, "2001:db8::/64")) && !comes_with_a_link(&route(254, "::/0")));
        assert!(!comes_with_a_link(&Route { way: Way::Drop, ..route(254, "fe80::/64") }));
        let others = vec!["mtu 1400".to_owned()];
        assert!(!comes_with_a_link(&Route { others, ..route(254, "fe80::/64") }));
    }
}
