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
