use std::net::Ipv4Addr;

use super::*;
use crate::host::{EniLink, HostObserved};
use crate::sandbox::{SandboxKey, SandboxNames};

const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 8));

/// A pod on the ENI with this table.
fn pod(table: u32) -> PodWiring {
    let sandbox = SandboxKey::from(SandboxNames {
        container_id: "c".into(),
        ifname: "eth0".into(),
        network: "aws-cni".into(),
    });
    PodWiring {
        alias: LinkAlias::of(&sandbox),
        host_veth: "eni0".into(),
        host_mac: MacAddr([2, 0, 0, 0, 0, 9]),
        ifname: "eth0".into(),
        number: 0,
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)),
        mtu: 9001,
        table,
        ways: Vec::new(),
    }
}

fn link(pod: &PodWiring) -> LinkSeen {
    LinkSeen {
        index: 7,
        name: pod.host_veth.clone(),
        mac: Some(pod.host_mac),
        mtu: pod.mtu,
        up: true,
        rp_filter: Some(PodWiring::RP_FILTER),
        alias: Some(pod.alias.clone()),
        ..LinkSeen::default()
    }
}

/// A kernel in which the pod is wired.
fn wired(pod: &PodWiring) -> HostObserved {
    HostObserved {
        links: vec![link(pod)],
        rules: pod.rules(),
        routes: vec![pod.route(7)],
        ..HostObserved::default()
    }
}

#[test]
fn each_difference_of_a_wired_pod_is_told_in_its_own_words() {
    let pod = pod(3);
    let differences = |change: &dyn Fn(&mut HostObserved)| {
        let mut seen = wired(&pod);
        change(&mut seen);
        pod.differences(&Look::over(&seen))
    };
    assert_eq!(differences(&|_| ()), []);
    let mac = Some(MacAddr([2, 2, 2, 2, 2, 2]));
    /// What happened to the kernel, the difference, and what an operator reads of it.
    type Case<'a> = (&'a dyn Fn(&mut HostObserved), PodDifference, &'a str);
    let rules = pod.rules();
    let cases: [Case<'_>; 7] = [
        (&|seen| seen.links[0].up = false, PodDifference::LinkDown, "host link eni0 is down"),
        (
            &|seen| seen.links[0].mac = mac,
            PodDifference::LinkMac(mac),
            "host link eni0 has another MAC than 02:00:00:00:00:09",
        ),
        (
            &|seen| seen.links[0].mtu = 1500,
            PodDifference::LinkMtu(1500),
            "host link eni0 has MTU 1500 instead of 9001",
        ),
        (
            &|seen| seen.links[0].rp_filter = Some(0),
            PodDifference::SourceUnchecked(0),
            "host link eni0 has rp_filter 0 instead of 1",
        ),
        (
            &|seen| seen.routes.clear(),
            PodDifference::RouteMissing(pod.route(7)),
            "route to 10.0.0.7/32 dev #7 is missing",
        ),
        (
            &|seen| seen.rules.retain(|rule| rule.to.is_none()),
            PodDifference::RuleMissing(rules[0].clone()),
            "rule 512 to 10.0.0.7/32 lookup 254 is missing",
        ),
        (
            &|seen| seen.rules.retain(|rule| rule.from.is_none()),
            PodDifference::RuleMissing(rules[1].clone()),
            "rule 1536 from 10.0.0.7/32 lookup 3 is missing",
        ),
    ];
    for (change, difference, words) in cases {
        assert_eq!(differences(change), std::slice::from_ref(&difference), "{words}");
        assert_eq!(pod.words(&difference), words);
    }
    // A link of that name that is another's is not its.
    for without in [&|seen: &mut HostObserved| seen.links[0].alias = None as Option<LinkAlias>, &|seen| {
        seen.links.clear();
    }] as [&dyn Fn(&mut HostObserved); 2]
    {
        assert_eq!(differences(without), [PodDifference::LinkMissing]);
    }
    assert_eq!(pod.words(&PodDifference::LinkMissing), "host link eni0 is missing");
}

/// Left by an earlier owner of the address, who was on another ENI.
#[test]
fn a_rule_of_ours_about_the_address_that_the_pod_does_not_have_is_in_the_way() {
    let pod = pod(3);
    for (rule, about) in [
        (Rule::from(priority::FROM_POD, pod.address, 4), true),
        (Rule::to(priority::TO_POD, pod.address, 4), true),
        (Rule::from(priority::FROM_POD, OTHER, 4), false),
        (Rule::to(priority::TO_POD, OTHER, 4), false),
        (Rule::from(priority::FROM_ENI, pod.address, 4), false),
        (Rule::to(priority::MARKED, pod.address, 4), false),
    ] {
        assert_eq!(pod.is_about(&rule), about, "{rule}");
        let mut seen = wired(&pod);
        seen.rules.push(rule.clone());
        let strays = pod.strays(&Look::over(&seen));
        assert_eq!(strays, if about { vec![PodDifference::RuleStray(rule.clone())] } else { Vec::new() });
        if about {
            assert_eq!(pod.words(&strays[0]), format!("{rule} is in the way"));
        }
        assert!(pod.differences(&Look::over(&seen)).is_empty(), "nothing is missing for it");
    }
    assert!(pod.rules().iter().all(|rule| pod.is_about(rule)));
}

#[test]
fn what_is_marked_leaves_by_the_primary_eni_and_all_else_by_the_pods_own() {
    let to = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    for (marked, mark, table) in [(true, Some(PRIMARY_MARK), MAIN_TABLE), (false, None, 3)] {
        let way = Way { to, marked, place: 0, by: None };
        assert_eq!((way.mark(), way.table(3)), (mark, table));
    }
}

/// The kernel replaces a route by one to the same place with the same metric in the same table.
#[test]
fn which_route_takes_the_place_of_which() {
    let gateway = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let route = Route::default_via(3, gateway, 7);
    assert_eq!(route.via, Some(gateway));
    for (other, takes) in [
        (Route { via: None, link_index: 9, source: Some(OTHER), mtu: Some(1500), ..route.clone() }, true),
        (Route { metric: Some(0), ..route.clone() }, true),
        (Route { metric: Some(1), ..route.clone() }, false),
        (Route { table: 4, ..route.clone() }, false),
        (Route { to: OTHER.into(), ..route.clone() }, false),
    ] {
        assert_eq!(route.takes_the_place_of(&other), takes, "{other:?}");
        assert_eq!(other.takes_the_place_of(&route), takes, "{other:?}");
    }
}

#[test]
fn a_link_is_found_only_when_it_is_the_only_one() {
    let seen = link(&pod(3));
    assert_eq!(EniLink::One(&seen).found(), Some(&seen));
    assert_eq!(EniLink::Several(vec![&seen, &seen]).found(), None);
    assert_eq!(EniLink::Missing.found(), None);
}

#[test]
fn ways_to_one_place_are_together() {
    let to = |last| IpAddr::from([10, 0, 0, last]);
    let way = |last, place| Way { to: to(last), marked: false, place, by: None };
    let ways = [way(1, 0), way(2, 0), way(3, 1), way(4, 0)];
    let told: Vec<Vec<IpAddr>> =
        places(&ways).map(|place| place.iter().map(|way| way.to).collect()).collect();
    assert_eq!(told, [vec![to(1), to(2)], vec![to(3)], vec![to(4)]]);
}

/// Its rules, routes and gateway are of its family, and so is what is looked at on its link.
#[test]
fn a_pod_with_an_ipv6_address_is_wired_by_it() {
    let pod = PodWiring { address: "2001:db8:0:1:5::7".parse().unwrap(), ..pod(MAIN_TABLE) };
    let [to_gateway, default] = pod.sandbox_routes(2);
    assert_eq!(
        [to_gateway.to_string(), default.to_string()],
        ["route to fe80::1/128 dev #2", "route to ::/0 via fe80::1 dev #2"]
    );
    assert_eq!(pod.rules()[0].to_string(), "rule 512 to 2001:db8:0:1:5::7/128 lookup 254");
    let hears = |accept_ra, off| Some(Ipv6Link { accept_ra, off });
    for (ipv6, differences) in [
        (hears(0, false), vec![]),
        (hears(1, false), vec![PodDifference::HearsAdvertisements(1)]),
        (hears(0, true), vec![PodDifference::Ipv6Off]),
        (None, vec![PodDifference::Ipv6Off]),
    ] {
        let mut seen = wired(&pod);
        seen.links[0].ipv6 = ipv6;
        assert_eq!(pod.differences(&Look::over(&seen)), differences, "{ipv6:?}");
    }
}
