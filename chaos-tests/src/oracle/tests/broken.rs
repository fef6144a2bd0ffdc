//! For each law what breaks it.

use super::*;

fn end<'p>(picture: &'p mut Picture, name: &str) -> &'p mut Link {
    picture.host.links.iter_mut().find(|link| link.name == name).unwrap()
}

fn result(picture: &mut Picture) -> &mut serde_json::Value {
    picture.pods[1].result.as_mut().unwrap()
}

fn pod_inside(picture: &mut Picture) -> &mut Kernel {
    picture.pods[1].inside.as_mut().unwrap()
}

fn fate(picture: &mut Picture, is: impl Fn(&Flow) -> bool) -> &mut Result<Fate, String> {
    picture.host.fates.iter_mut().find(|(flow, _)| is(flow)).unwrap().1
}

fn fate_mut(picture: &mut Picture, is: impl Fn(&Flow) -> bool, change: impl FnOnce(&mut Fate)) {
    change(fate(picture, is).as_mut().unwrap());
}

fn route_to_pod(picture: &mut Picture) -> &mut Route {
    picture.host.routes.iter_mut().find(|route| route.link == Some(10)).unwrap()
}

/// A user has tagged it so.
fn keep_the_second(picture: &mut Picture) {
    let word = ("node.k8s.amazonaws.com/no_manage".to_owned(), "true".to_owned());
    picture.cloud.enis[1].tags.extend([word]);
}

fn without_rule(picture: &mut Picture, priority: u32) {
    picture.host.rules.retain(|rule| rule.priority != priority || rule.ipv6);
}

pub(super) type Change = fn(&mut Picture);

/// Each law, and what breaks it. A change may break others beside.
pub(super) const BROKEN: &[(Law, &str, Change)] = &[
    (Law::Answer, "/8", |p| result(p)["ips"][0]["address"] = json!("10.0.1.77/8")),
    (Law::Answer, "a gateway", |p| result(p)["ips"][0]["gateway"] = json!("10.0.0.1")),
    (Law::Answer, "another MAC", |p| result(p)["interfaces"][1]["mac"] = json!("de:ad:be:ef:00:00")),
    (Law::Answer, "another sandbox", |p| result(p)["interfaces"][1]["sandbox"] = json!("/elsewhere")),
    (Law::Answer, "another host link", |p| result(p)["interfaces"][0]["name"] = json!("eni0")),
    (Law::Answer, "another dummy", |p| result(p)["interfaces"][2]["name"] = json!("dummy")),
    (Law::Answer, "two addresses", |p| {
        let twice = result(p)["ips"][0].clone();
        result(p)["ips"].as_array_mut().unwrap().push(twice);
    }),
    (Law::Answer, "routes", |p| result(p)["routes"] = json!([{ "dst": "0.0.0.0/0" }])),
    (Law::Answer, "no address", |p| p.pods[0].address = None),
    (Law::AddressOnce, "twice", |p| p.pods[1].address = p.pods[0].address),
    (Law::ShownByEc2, "taken away", |p| p.cloud.enis[1].secondary.clear()),
    (Law::ShownByEc2, "the ENI's own", |p| p.pods[1].address = Some(p.cloud.enis[1].primary)),
    (Law::NotTheHosts, "on the link", |p| {
        p.host.addresses.push(Address { link: 3, net: host_net(SECOND) });
    }),
    (Law::HostLink, "no link", |p| p.host.links.retain(|link| link.index != 10)),
    (Law::HostLink, "down", |p| end(p, "enicc21c2d7785").up = false),
    (Law::HostLink, "another name", |p| {
        "eni00000000000".clone_into(&mut end(p, "enicc21c2d7785").name);
        p.pods[0].host_link = Some("eni00000000000".to_owned());
    }),
    (Law::LinkSettings, "takes advertisements", |p| {
        p.host.sysctls.insert("ipv6/conf/enicc21c2d7785/accept_ra".to_owned(), "1".to_owned());
    }),
    (Law::Mtu, "host end", |p| end(p, "enicc21c2d7785").mtu = 1500),
    (Law::Mtu, "inside", |p| pod_inside(p).links[1].mtu = 1500),
    (Law::Mtu, "ENI", |p| end(p, "ens5").mtu = 1500),
    (Law::RouteToPod, "none", |p| p.host.routes.retain(|route| route.link != Some(10))),
    (Law::RouteToPod, "to another", |p| {
        route_to_pod(p).link = Some(11);
    }),
    (Law::RuleToPod, "none", |p| without_rule(p, 512)),
    (Law::RuleToPod, "two", |p| {
        p.host.rules.push(Rule { to: Some(host_net(WEB)), ..Rule::new(512, 254) });
    }),
    (Law::RouteToPod, "with a source", |p| route_to_pod(p).source = Some(ip("10.0.0.5").into())),
    (Law::RouteToPod, "with an MTU of its own", |p| route_to_pod(p).others.push("mtu 1400".to_owned())),
    (Law::WayToPod, "an earlier rule of others", |p| {
        p.host.rules.push(Rule { to: Some("10.0.1.0/24".parse().unwrap()), ..Rule::new(100, 2) });
    }),
    (Law::WayToPod, "destroyed", |p| {
        p.host.routes.push(Route { way: Way::Drop, link: None, ..Route::on_link(99, host_net(WEB), 0) });
        p.host.rules.push(Rule::new(5, 99));
    }),
    (Law::RuleFromPod, "none on the secondary ENI", |p| without_rule(p, 1536)),
    (Law::RuleFromPod, "for one protocol only", |p| {
        let rule = p.host.rules.iter_mut().find(|rule| rule.priority == 1536).unwrap();
        rule.others.push("ipproto [17]".to_owned());
    }),
    (Law::WayFromPod, "of one protocol only", |p| {
        let rule = p.host.rules.iter_mut().find(|rule| rule.priority == 1536).unwrap();
        rule.others.push("ipproto [17]".to_owned());
    }),
    (Law::RuleFromPod, "one on the primary", |p| {
        p.host.rules.push(Rule { from: Some(host_net(WEB)), ..Rule::new(1536, 2) });
    }),
    (Law::RuleFromPod, "to another ENI's table", |p| {
        let rule = p.host.rules.iter_mut().find(|rule| rule.priority == 1536).unwrap();
        rule.table = 3;
    }),
    (Law::WayFromPod, "by the primary", |p| {
        p.host.rules.push(Rule { from: Some("10.0.1.0/24".parse().unwrap()), ..Rule::new(1500, 254) });
    }),
    (Law::WayFromPod, "marked, by the secondary", |p| without_rule(p, 1024)),
    (Law::WayFromPod, "no default route", |p| {
        p.host.routes.retain(|route| route.table != 2 || route.via.is_none());
    }),
    (Law::Inside, "no link", |p| drop(pod_inside(p).links.pop())),
    (Law::Inside, "a second link", |p| pod_inside(p).links.push(link(3, "eth1", true, None))),
    (Law::Inside, "down", |p| pod_inside(p).links[1].up = false),
    (Law::Inside, "a whole network", |p| {
        pod_inside(p).addresses[1].net = "10.0.1.77/20".parse().unwrap();
    }),
    (Law::Inside, "no default route", |p| pod_inside(p).routes.retain(|route| route.via.is_none())),
    (Law::Inside, "another gateway", |p| {
        pod_inside(p).routes[1] = Route::default_via(254, ip("10.0.0.1"), 2);
    }),
    (Law::Inside, "a blackhole", |p| {
        let to = host_net("10.0.0.9");
        pod_inside(p).routes.push(Route { way: Way::Drop, link: None, ..Route::on_link(254, to, 0) });
    }),
    (Law::Inside, "a route to itself for others", |p| {
        let to = "10.0.0.0/16".parse().unwrap();
        pod_inside(p).routes.push(Route { way: Way::Local, ..Route::on_link(255, to, 1) });
    }),
    (Law::Inside, "an address of IPv6", |p| {
        pod_inside(p).addresses_v6.push(Address { link: 2, net: "2001:db8::9/64".parse().unwrap() });
    }),
    (Law::Inside, "a route of IPv6", |p| {
        pod_inside(p).routes_v6.push(Route::on_link(254, "2001:db8::/64".parse().unwrap(), 2));
    }),
    (Law::Inside, "a default route with an MTU of its own", |p| {
        pod_inside(p).routes[1].others.push("mtu 1400".to_owned());
    }),
    (Law::Inside, "a default route with a source", |p| {
        pod_inside(p).routes[1].source = Some(ip(WEB).into());
    }),
    (Law::Inside, "a route of the kernel's with a size of its own", |p| {
        pod_inside(p).routes[0].others.push("advmss 536".to_owned());
    }),
    (Law::Inside, "a permanent neighbour of IPv6", |p| {
        let address = "2001:db8::9".parse().unwrap();
        pod_inside(p).neighbours.push(Neighbour { link: 2, address, mac: None });
    }),
    (Law::Inside, "no neighbour", |p| pod_inside(p).neighbours.clear()),
    (Law::Inside, "another's MAC", |p| {
        pod_inside(p).neighbours[0].mac = Some(MacAddr([2, 9, 9, 9, 9, 9]));
    }),
    (Law::Inside, "a rule", |p| pod_inside(p).rules.push(Rule::new(1, 7))),
    (Law::Inside, "a rule of the kernel's, narrowed", |p| {
        pod_inside(p).rules[1].others.push("ipproto [17]".to_owned());
    }),
    (Law::Inside, "no rule for the main table", |p| drop(pod_inside(p).rules.remove(1))),
    (Law::Inside, "a packet filter", |p| {
        pod_inside(p).tables.insert("ip x".to_owned(), Vec::new());
    }),
    (Law::Inside, "a setting", |p| {
        pod_inside(p).sysctls.insert("ipv4/conf/eth0/arp_ignore".to_owned(), "1".to_owned());
    }),
    (Law::EniLink, "none", |p| p.host.links.retain(|link| link.name != "ens6")),
    (Law::EniLink, "down", |p| end(p, "ens6").up = false),
    (Law::EniAddress, "none", |p| p.host.addresses.retain(|at| at.link != 3)),
    (Law::EniAddress, "another length", |p| {
        p.host.addresses[2].net = "10.0.1.70/32".parse().unwrap();
    }),
    (Law::EniTable, "empty", |p| p.host.routes.retain(|route| route.table != 2)),
    (Law::EniTable, "more", |p| {
        p.host.routes.push(Route::on_link(2, "10.0.0.0/20".parse().unwrap(), 3));
    }),
    (Law::EniTable, "by several gateways", |p| {
        let route = p.host.routes.iter_mut().find(|route| route.table == 2 && route.via.is_some()).unwrap();
        (route.via, route.link) = (None, None);
        route.others =
            ["10.0.0.1", "10.0.0.2"].map(|via| format!("nexthop via {via} link 3 weight 1")).into();
    }),
    (Law::EniOutOfMain, "its subnet", |p| {
        p.host.routes.push(Route::on_link(254, "10.0.0.0/20".parse().unwrap(), 3));
    }),
    (Law::EniRule, "none", |p| p.host.rules.retain(|rule| rule.from != Some(host_net("10.0.1.70")))),
    (Law::WayFromEni, "shadowed", |p| {
        p.host.rules.push(Rule { from: Some("10.0.1.64/28".parse().unwrap()), ..Rule::new(3000, 254) });
    }),
    (Law::ReversePath, "strict", |p| {
        p.host.sysctls.insert("ipv4/conf/ens6/rp_filter".to_owned(), "1".to_owned());
        p.host.sysctls.insert("ipv4/conf/default/rp_filter".to_owned(), "1".to_owned());
    }),
    (Law::MarkedRule, "none", |p| without_rule(p, 1024)),
    (Law::Marks, "no mark", |p| fate_mut(p, |flow| flow.to == OUTSIDE, |fate| fate.mark = 0)),
    (Law::Marks, "a later one without", |p| {
        fate_mut(p, |flow| flow.to == OUTSIDE && flow.connection.is_some(), |fate| fate.mark = 0);
    }),
    (Law::Marks, "inside the VPC", |p| {
        fate_mut(p, |flow| flow.to == ip("100.64.255.254"), |fate| fate.mark = 0x80);
    }),
    (Law::Marks, "no NodePorts", |p| {
        fate_mut(p, |flow| flow.to == ip("10.0.0.5"), |fate| fate.connection = 0);
    }),
    (Law::Translation, "none", |p| {
        let first = |flow: &Flow| flow.to == OUTSIDE && flow.connection.is_none();
        fate_mut(p, first, |fate| fate.source = None);
    }),
    (Law::Translation, "inside the VPC", |p| {
        let to_vpc = |flow: &Flow| flow.to == ip("10.0.255.254");
        fate_mut(p, to_vpc, |fate| fate.source = Some(ip("10.0.0.5")));
    }),
    (Law::Filtered, "destroyed", |p| {
        fate_mut(p, |flow| flow.to == ip(WEB), |fate| fate.dropped = true);
    }),
    (Law::Filtered, "destroyed, in by its own ENI", |p| {
        fate_mut(p, |flow| flow.to == ip(SECOND) && flow.link == "ens6", |fate| fate.dropped = true);
    }),
    (Law::Forwarding, "off", |p| {
        p.host.sysctls.insert("ipv4/ip_forward".to_owned(), "0".to_owned());
    }),
    (Law::Lost, "the default route", |p| p.host.routes.retain(|route| route.metric != 512)),
    (Law::Lost, "the default route as it was", |p| {
        let route = p.host.routes.iter_mut().find(|route| route.metric == 512).unwrap();
        route.source = Some(ip("10.0.1.70").into());
    }),
    (Law::Lost, "a rule", |p| p.host.rules.retain(|rule| rule.priority != 32_767)),
    (Law::Lost, "the loopback", |p| p.host.links.retain(|link| link.name != "lo")),
    (Law::Lost, "an address", |p| p.host.addresses.retain(|at| at.link != 1)),
    (Law::Lost, "a table of others", |p| drop(p.host.tables.remove("inet others"))),
    (Law::Lost, "an address of IPv6", |p| p.host.addresses_v6.clear()),
    (Law::Lost, "a route of IPv6", |p| p.host.routes_v6.clear()),
    (Law::Changed, "a table of others", |p| {
        p.host.tables.get_mut("inet others").unwrap().push("rule".to_owned());
    }),
    (Law::Changed, "a setting", |p| {
        p.host.sysctls.insert("ipv4/tcp_sack".to_owned(), "0".to_owned());
    }),
    (Law::Changed, "a new link's setting", |p| {
        p.host.sysctls.insert("ipv4/conf/default/proxy_arp".to_owned(), "0".to_owned());
        p.host.sysctls.insert("ipv4/conf/ens6/proxy_arp".to_owned(), "1".to_owned());
    }),
    (Law::Changed, "a link", |p| end(p, "lo").up = false),
    (Law::Changed, "a permanent neighbour", |p| {
        p.host.neighbours.push(Neighbour { link: 2, address: ip("10.0.0.9").into(), mac: None });
    }),
    (Law::Changed, "a permanent neighbour of IPv6", |p| {
        let address = "2001:db8::9".parse().unwrap();
        p.host.neighbours.push(Neighbour { link: 2, address, mac: None });
    }),
    (Law::NobodysRule, "512", |p| {
        p.host.rules.push(Rule { to: Some(host_net("10.0.1.99")), ..Rule::new(512, 254) });
    }),
    (Law::NobodysRule, "one that destroys", |p| {
        p.host.dropping_rules.push("rule 90 Blackhole".to_owned());
    }),
    (Law::Inside, "a rule that destroys", |p| {
        pod_inside(p).dropping_rules.push("rule 90 Blackhole".to_owned());
    }),
    (Law::NobodysRule, "of IPv6", |p| {
        p.host.rules.push(Rule { ipv6: true, ..Rule::new(999, 254) });
    }),
    (Law::NobodysRoute, "a pod that is gone", |p| {
        p.host.routes.push(Route::on_link(254, host_net("10.0.1.99"), 10));
    }),
    (Law::NobodysRoute, "a blackhole", |p| {
        p.host.routes.push(Route {
            way: Way::Drop,
            link: None,
            ..Route::on_link(254, host_net("10.0.1.99"), 0)
        });
    }),
    (Law::NobodysRoute, "a local one", |p| {
        p.host.routes.push(Route { way: Way::Local, ..Route::on_link(255, host_net("10.0.1.99"), 1) });
    }),
    (Law::NobodysRoute, "a blackhole of the kernel's table", |p| {
        let to = host_net("127.0.0.1");
        p.host.routes.push(Route { way: Way::Drop, link: None, ..Route::on_link(255, to, 0) });
    }),
    (Law::NobodysRoute, "one to all that are not there", |p| {
        let to = host_net("203.0.113.9");
        p.host.routes.push(Route { way: Way::Broadcast, ..Route::on_link(255, to, 2) });
    }),
    (Law::NobodysRoute, "a local one to a network", |p| {
        let to = "10.0.0.5/24".parse().unwrap();
        p.host.routes.push(Route { way: Way::Local, ..Route::on_link(255, to, 2) });
    }),
    (Law::NobodysRoute, "a local one with another's source", |p| {
        let route = p.host.routes.iter_mut().find(|route| route.way == Way::Local).unwrap();
        route.source = Some(ip("10.0.1.99").into());
    }),
    (Law::NobodysRoute, "of IPv6", |p| {
        p.host.routes_v6.push(Route::on_link(254, "2001:db8:9::/64".parse().unwrap(), 3));
    }),
    (Law::NobodysLink, "a veth", |p| p.host.links.push(link(40, "eni99999999999", true, Some(2)))),
    (Law::NobodysAddress, "on the primary ENI", |p| {
        p.host.addresses.push(Address { link: 2, net: host_net("10.0.1.99") });
    }),
    (Law::NobodysAddress, "of IPv6", |p| {
        p.host.addresses_v6.push(Address { link: 3, net: "2001:db8:9::9/64".parse().unwrap() });
    }),
    (Law::NobodysTable, "a filter in ours", |p| {
        p.host.hooks.get_mut("ip holdfast").unwrap().insert("forward".to_owned());
    }),
    (Law::NobodysTable, "one more", |p| {
        p.host.tables.insert("ip left".to_owned(), Vec::new());
    }),
    (Law::LooseEni, "one", |p| p.cloud.loose.push("eni-9".to_owned())),
    (Law::KeptEni, "its address is a pod's", keep_the_second),
    (Law::KeptEni, "set up", |p| {
        keep_the_second(p);
        p.pods.pop();
    }),
    (Law::ShownByEc2, "on an ENI that is kept", keep_the_second),
    (Law::Tags, "none", |p| p.cloud.enis[1].tags.clear()),
    (Law::Tags, "another's", |p| drop(p.cloud.enis[1].tags.insert("cluster".to_owned(), "test".to_owned()))),
    (Law::SecurityGroups, "others", |p| p.cloud.enis[1].groups = BTreeSet::from(["sg-default".to_owned()])),
    (Law::OutlivesNode, "one that is kept", |p| p.cloud.enis[1].ends_with_node = false),
    (Law::Unseen, "not looked at", |p| p.host.fates.clear()),
    (Law::Unseen, "not understood", |p| {
        *fate(p, |_| true) = Err("statement".to_owned());
    }),
    (Law::Unseen, "a setting that cannot be read", |p| drop(p.host.sysctls.remove("ipv4/tcp_sack"))),
];
