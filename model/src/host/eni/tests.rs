use super::*;
use crate::host::HostObserved;

fn wiring() -> EniWiring {
    EniWiring {
        eni: EniId::new("eni-a"),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        slot: EniSlot { card: 0, device: 1 },
        primary_ipv4: Ipv4Addr::new(10, 0, 0, 8),
        subnet_cidr: "10.0.0.0/18".parse().unwrap(),
        mtu: 9001,
        routes_ipv6: false,
    }
}

/// As far as the kernel is right, nothing is written: writing has it drop the way out that it has heard of.
#[test]
fn a_node_with_ipv6_pods_forwards_and_hears_its_router() {
    use EniChange::{ForwardIpv6, HearAdvertisements, TurnIpv6On};
    let primary = EniWiring { slot: EniSlot::PRIMARY, routes_ipv6: true, ..wiring() };
    let hears = |accept_ra, off| Some(Ipv6Link { accept_ra, off });
    let all = || vec![TurnIpv6On, HearAdvertisements, ForwardIpv6];
    for (ipv6, forwarding, off, changes) in [
        (hears(2, false), Some(true), Some(false), vec![]),
        (hears(1, false), Some(true), Some(false), vec![HearAdvertisements]),
        (hears(2, false), Some(false), Some(false), vec![ForwardIpv6]),
        (hears(2, true), Some(true), Some(false), vec![TurnIpv6On]),
        (hears(2, false), Some(true), Some(true), vec![TurnIpv6On]),
        (None, None, None, all()),
    ] {
        let mut seen = set_up(&primary);
        seen.links[0].ipv6 = ipv6;
        seen.ipv6 = crate::host::Ipv6Seen { forwarding, off, way_out: None };
        let look = Look::over(&seen);
        assert_eq!(primary.changes(&seen.links[0], &look), changes, "{ipv6:?} {forwarding:?} {off:?}");
        let without = EniWiring { routes_ipv6: false, ..primary.clone() };
        assert_eq!(without.changes(&seen.links[0], &look), [], "of no concern to a node of IPv4");
    }
}

fn set_up(eni: &EniWiring) -> HostObserved {
    HostObserved {
        links: vec![LinkSeen {
            index: 7,
            name: "ens6".into(),
            mac: Some(eni.mac),
            mtu: eni.mtu,
            up: true,
            addresses: vec![eni.address()],
            ..LinkSeen::default()
        }],
        rules: vec![eni.rule()],
        routes: eni.routes(7).into(),
        ..HostObserved::default()
    }
}

/// What the slot had before: its table is this ENI's alone.
#[test]
fn routes_and_rules_of_an_earlier_eni_in_its_table_are_removed() {
    let eni = wiring();
    let changes = |seen: &HostObserved| eni.changes(&seen.links[0], &Look::over(seen));
    assert_eq!(changes(&set_up(&eni)), []);
    let table = eni.slot.route_table();
    let elsewhere = Route::on_link(table, "10.9.0.1/32".parse().unwrap(), 7);
    let mut seen = set_up(&eni);
    seen.routes.push(elsewhere.clone());
    seen.routes.push(Route { table: table + 1, ..elsewhere.clone() });
    assert_eq!(changes(&seen), [EniChange::RemoveRoute(elsewhere)]);
    // What takes its own's place is replaced.
    let mut seen = set_up(&eni);
    let own = seen.routes[1].clone();
    seen.routes[1].link_index = 9;
    assert_eq!(changes(&seen), [EniChange::PutRoute(own)]);
    for rule in [
        Rule::from(priority::FROM_ENI, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 99)), table),
        Rule::from(priority::FROM_ENI, IpAddr::V4(eni.primary_ipv4), table + 1),
    ] {
        let mut seen = set_up(&eni);
        seen.rules.push(rule.clone());
        assert_eq!(changes(&seen), [EniChange::RemoveRule(rule)]);
    }
}
