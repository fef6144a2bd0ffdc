//! What others change is told, seen and put back, on the real kernel.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use holdfast_datapath::netlink::{Change, LinkRef, LinkSettings, Lookup, Route, Rule};
use holdfast_model::host::{
    EniWiring, HostAction, HostDesired, MAIN_TABLE, NatSeen, NatWanted, POD_GATEWAY, PROTOCOL, PodWiring,
};
use holdfast_model::ids::MacAddr;
use holdfast_model::sandbox::NetnsRef;
use holdfast_planner::Spared;
use holdfast_ports::host::{HostFault, HostNet, Liveness};
use support::vpc::{INTERNET, SECOND, first_eni, marked, nat_table, node_port, second_eni, vpc};
use support::{exchange, index, namespace, nft, runtime, socket, sysctl, udp, wiring};

#[test]
fn observe_shows_what_is_ours_and_actions_put_it_back() {
    let vpc = vpc();
    let rt = runtime();
    let (wiring, _pod) = vpc.pod(2, "10.0.1.102", 2);
    vpc.apply(vec![
        HostAction::EnsureEni(second_eni()),
        HostAction::EnsureRule(marked()),
        HostAction::ReplaceNat(nat_table()),
    ]);
    socket(&vpc.node).apply(&Change::AddRule(Rule::new(900, 77))).unwrap();
    let whole = rt.block_on(vpc.host.observe(&NatWanted::Table(nat_table()))).unwrap();
    assert_eq!(whole.nat, NatSeen::AsWritten);
    assert_eq!(whole.rules.iter().map(|rule| rule.priority).collect::<Vec<_>>(), [512, 1024, 1536, 32765]);
    let veth = whole.links.iter().find(|link| link.name == wiring.host_veth).unwrap();
    assert_eq!(veth.alias.as_ref(), Some(&wiring.alias));
    let eth1 = whole.links.iter().find(|link| link.name == "eth1").unwrap();
    assert_eq!((eth1.mac, eth1.mtu, eth1.up), (Some(SECOND), 9001, true));
    assert_eq!(eth1.addresses, ["10.0.1.20/24".parse().unwrap()]);
    let to_pod =
        holdfast_model::host::Route::on_link(MAIN_TABLE, "10.0.1.102/32".parse().unwrap(), veth.index);
    assert!(whole.routes.contains(&to_pod));
    assert_eq!(whole.routes.len(), 3);

    // All of it removed, each twice, then put back, each twice.
    let mut remove: Vec<_> = whole.rules.iter().cloned().map(HostAction::RemoveRule).collect();
    remove.extend(whole.routes.iter().cloned().map(HostAction::RemoveRoute));
    vpc.apply(remove.clone());
    vpc.apply(remove);
    nft(&vpc.node, "delete table ip holdfast");
    let bare = rt.block_on(vpc.host.observe(&NatWanted::Table(nat_table()))).unwrap();
    assert_eq!((bare.rules.len(), bare.routes.len(), bare.nat), (0, 0, NatSeen::Differs));
    let put = vec![
        HostAction::EnsurePod(wiring.clone()),
        HostAction::EnsureRule(marked()),
        HostAction::EnsureEni(second_eni()),
        HostAction::ReplaceNat(nat_table()),
    ];
    vpc.apply(put.clone());
    vpc.apply(put);
    let mut again = rt.block_on(vpc.host.observe(&NatWanted::Table(nat_table()))).unwrap();
    let mut whole = whole;
    for observed in [&mut again, &mut whole] {
        observed.rules.sort();
        observed.routes.sort();
    }
    assert_eq!(again, whole);

    // A failing action is named and keeps nothing else from being done.
    let missing = HostAction::EnsureEni(EniWiring { mac: MacAddr([2; 6]), ..second_eni() });
    let actions = vec![missing, HostAction::RemoveRule(marked())];
    let fault = rt.block_on(vpc.host.apply(actions)).unwrap_err();
    assert_eq!(fault, HostFault::LinkMissing { mac: MacAddr([2; 6]).to_string() });
    let after = rt.block_on(vpc.host.observe(&NatWanted::Undecided)).unwrap();
    assert!(!after.rules.contains(&marked()));
}

/// One pod's link that somebody sets down: the plan mends it, and first of all the pod answers again.
#[test]
fn a_link_that_was_set_down_is_mended_together_with_its_route() {
    let vpc = vpc();
    let rt = runtime();
    vpc.serve();
    let (wiring, pod) = vpc.pod(2, "10.0.1.102", 2);
    let (in_pod, on_node) = (udp(&pod, "10.0.1.102:7000"), udp(&vpc.node, "10.0.0.10:7000"));
    let desired = HostDesired {
        enis: vec![first_eni(), second_eni()],
        pods: vec![wiring.clone()],
        nat: NatWanted::Table(nat_table()),
    };
    let diff = || {
        let seen = rt.block_on(vpc.host.observe(&desired.nat)).unwrap();
        holdfast_planner::host_diff(&desired, &seen, &Spared::default())
    };
    assert_eq!(diff(), []);
    let link = LinkRef::Name(wiring.host_veth.clone());
    socket(&vpc.node).apply(&Change::SetLink(link, LinkSettings::down())).unwrap();
    on_node.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(exchange(&in_pod, &on_node, "10.0.0.10:7000").is_err());
    let actions = diff();
    assert_eq!(actions, [HostAction::EnsurePod(wiring.clone())]);
    vpc.apply(actions.clone());
    assert_eq!(diff(), []);
    exchange(&in_pod, &on_node, "10.0.0.10:7000").unwrap();
    // Again, and of a pod that is gone: nothing to do.
    vpc.apply(actions);
    vpc.apply(vec![HostAction::EnsurePod(support::wiring(9, "10.0.1.109", 2))]);
}

/// Under our own protocol number, as whoever repeats a listed route with a change of his does it.
#[test]
fn what_others_changed_about_a_pods_route_or_link_is_put_back() {
    let (vpc, rt) = (vpc(), runtime());
    vpc.serve();
    let (wiring, pod) = vpc.pod(2, "10.0.1.102", 2);
    let desired = HostDesired {
        enis: vec![first_eni(), second_eni()],
        pods: vec![wiring.clone()],
        nat: NatWanted::Table(nat_table()),
    };
    let diff = || {
        let seen = rt.block_on(vpc.host.observe(&desired.nat)).unwrap();
        holdfast_planner::host_diff(&desired, &seen, &Spared::default())
    };
    assert_eq!(diff(), []);
    let link = index(&vpc.node, &wiring.host_veth);
    let route = Route::on_link(MAIN_TABLE, "10.0.1.102/32".parse().unwrap(), link).by(PROTOCOL);
    let set = |settings| vec![Change::SetLink(LinkRef::Index(link), settings)];
    let damages = [
        vec![Change::PutRoute(Route { source: Some("10.0.0.10".parse().unwrap()), ..route.clone() })],
        vec![Change::PutRoute(Route { mtu: Some(1300), ..route.clone() })],
        vec![
            Change::DeleteRoute(route.clone()),
            Change::AddRoute(Route { metric: Some(50), ..route.clone() }),
        ],
        set(LinkSettings { mtu: Some(1400), ..LinkSettings::default() }),
        set(LinkSettings { mac: Some(MacAddr([2, 7, 7, 7, 7, 7])), ..LinkSettings::default() }),
        set(LinkSettings { rp_filter: Some(0), ..LinkSettings::default() }),
    ];
    let check = || rt.block_on(vpc.host.check_pod(wiring.clone(), Some(pod.clone().into()))).unwrap();
    for damage in damages {
        socket(&vpc.node).apply_all(&damage).unwrap();
        assert_ne!(check(), Vec::<String>::new(), "{damage:?}");
        let actions = diff();
        assert_eq!(actions.last(), Some(&HostAction::EnsurePod(wiring.clone())), "{damage:?}");
        vpc.apply(actions);
        assert_eq!((diff(), check()), (Vec::new(), Vec::new()), "{damage:?}");
    }
    let on_node = udp(&vpc.node, "10.0.0.10:7000");
    exchange(&udp(&pod, "10.0.1.102:7000"), &on_node, "10.0.0.10:7000").unwrap();
}

#[test]
fn changes_by_others_are_told_and_our_own_are_not() {
    let vpc = vpc();
    let rt = runtime();
    let told = |within: u64| {
        rt.block_on(async {
            tokio::time::timeout(Duration::from_millis(within), vpc.host.drifted()).await.is_ok()
        })
    };
    while told(100) {}
    let (wiring, pod) = {
        let (wiring, netns) = (wiring(2, "10.0.1.102", 2), namespace());
        rt.block_on(vpc.host.wire_pod(wiring.clone(), netns.clone().into())).unwrap();
        rt.block_on(vpc.host.set_up_eni(second_eni())).unwrap();
        (wiring, netns)
    };
    // The kernel itself says, up to a second later, that the ENI has a carrier: who did that is not known.
    while told(1500) {}
    rt.block_on(vpc.host.unwire_pod(wiring.clone())).unwrap();
    rt.block_on(vpc.host.wire_pod(wiring.clone(), pod.clone().into())).unwrap();
    rt.block_on(vpc.host.apply(vec![HostAction::EnsureRule(marked())])).unwrap();
    assert!(!told(200), "what we did ourselves is no drift");
    vpc.apply(vec![HostAction::ReplaceNat(nat_table())]);
    while told(100) {}

    let own = "10.0.1.102/32".parse().unwrap();
    let link = index(&vpc.node, &wiring.host_veth);
    let changes = [
        Change::DeleteRule(Rule { from: Some(own), ..Rule::new(1536, 2) }),
        Change::DeleteRoute(Route::on_link(MAIN_TABLE, own, link).by(PROTOCOL)),
        Change::SetLink(
            LinkRef::Name("eth1".into()),
            LinkSettings { mtu: Some(1400), ..LinkSettings::default() },
        ),
        // A pod's own link, which stays up.
        Change::SetLink(LinkRef::Index(link), LinkSettings { mtu: Some(1400), ..LinkSettings::default() }),
        Change::SetLink(
            LinkRef::Index(link),
            LinkSettings { mac: Some(MacAddr([2, 17, 34, 51, 68, 85])), ..LinkSettings::default() },
        ),
        Change::SetLink(LinkRef::Index(link), LinkSettings::down()),
        Change::DeleteLink(LinkRef::Index(link)),
    ];
    for change in changes {
        socket(&vpc.node).apply(&change).unwrap();
        assert!(told(1000), "{change} was not told");
        while told(50) {}
    }
    let (wiring, _pod) = vpc.pod(2, "10.0.1.103", 2);
    while told(1500) {}
    let link = LinkRef::Index(index(&vpc.node, &wiring.host_veth));
    let no_alias = LinkSettings { alias: Some(String::new()), ..LinkSettings::default() };
    socket(&vpc.node).apply(&Change::SetLink(link, no_alias)).unwrap();
    assert!(told(1000), "whose link it is says nobody any more");
    while told(1500) {}
    nft(&vpc.node, "add table ip somebody-elses");
    assert!(!told(200), "tables of others are none of our business");
    nft(&vpc.node, "flush chain ip holdfast snat-mark");
    assert!(told(1000));
}

/// What `sysctl --system` does on a node whose files say so.
#[test]
fn settings_that_cut_pods_off_are_told_seen_and_put_back() {
    let vpc = vpc();
    let rt = runtime();
    vpc.serve();
    let (wiring, pod) = vpc.pod(2, "10.0.1.102", 2);
    let desired = HostDesired {
        enis: vec![first_eni(), second_eni()],
        pods: vec![wiring],
        nat: NatWanted::Table(nat_table()),
    };
    let diff = || {
        let seen = rt.block_on(vpc.host.observe(&desired.nat)).unwrap();
        holdfast_planner::host_diff(&desired, &seen, &Spared::default())
    };
    let told = |within: u64| {
        rt.block_on(async {
            tokio::time::timeout(Duration::from_millis(within), vpc.host.drifted()).await.is_ok()
        })
    };
    assert_eq!(diff(), []);
    let (eth0, eth1) = (HostAction::EnsureEni(first_eni()), HostAction::EnsureEni(second_eni()));
    node_port(&vpc.node, "10.0.1.102:7000");
    let server = udp(&pod, "10.0.1.102:7000");
    server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // A connection of its own each time.
    let asked = || exchange(&udp(&vpc.router, &format!("{INTERNET}:0")), &server, "10.0.0.10:30000");
    // Quiet: the kernel says late that a link has a carrier.
    while told(1500) {}
    for (setting, value, cut_off, mended) in [
        ("ip_forward", "0", true, HostAction::EnableForwarding),
        ("conf/eth0/rp_filter", "1", true, eth0),
        ("conf/eth1/rp_filter", "1", false, eth1),
    ] {
        asked().unwrap_or_else(|error| panic!("before {setting}: {error}"));
        sysctl(&vpc.node, &format!("ipv4/{setting}"), value);
        assert!(told(1000), "{setting} was not told");
        assert_eq!(asked().is_err(), cut_off, "{setting}");
        let actions = diff();
        assert_eq!(actions, std::slice::from_ref(&mended), "{setting}");
        vpc.apply(actions);
        assert_eq!(diff(), [], "{setting}");
        while told(50) {}
    }
    asked().unwrap();
    // A link that is no pod's and no ENI's is the host's own affair, and so is a check that asks for less.
    sysctl(&vpc.node, "ipv4/conf/all/rp_filter", "2");
    sysctl(&vpc.node, "ipv4/conf/eth1/rp_filter", "1");
    assert_eq!(diff(), [], "the greater of the two decides");
}

#[test]
fn namespaces_are_told_alive_gone_or_rebound() {
    let vpc = vpc();
    let rt = runtime();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("netns").display().to_string();
    let missing = rt.block_on(vpc.host.open_netns(path.clone())).unwrap_err();
    assert_eq!(
        missing.to_string(),
        format!("network namespace {path}: open {path}: No such file or directory")
    );
    let at = |path: &str, inode| NetnsRef { path: path.to_owned(), inode };
    let nobody = wiring(9, "10.0.1.109", 2);
    let liveness = |netns, pod: &PodWiring| rt.block_on(vpc.host.liveness(netns, pod.clone()));
    assert_eq!(liveness(at(&path, 1), &nobody), Liveness::Gone);
    std::fs::write(&path, "").unwrap();
    let fault = rt.block_on(vpc.host.open_netns(path.clone())).unwrap_err();
    assert!(fault.to_string().contains("not a network namespace"), "{fault}");
    assert_eq!(liveness(at(&path, 1), &nobody), Liveness::Gone, "the mount is away, the file left");

    let own = "/proc/self/ns/net".to_owned();
    let (_fd, reference) = rt.block_on(vpc.host.open_netns(own.clone())).unwrap();
    assert_eq!(liveness(reference.clone(), &nobody), Liveness::Severed);
    let rebound = NetnsRef { inode: reference.inode + 1, ..reference.clone() };
    assert_eq!(liveness(rebound, &nobody), Liveness::Gone);

    // Whatever the path leads to: the link's other end is somewhere.
    let (pod, netns) = vpc.pod(2, "10.0.1.102", 2);
    for hidden in [at("/nowhere", 1), at(&path, 1), reference.clone()] {
        assert_eq!(liveness(hidden, &pod), Liveness::Joined);
    }
    let older = PodWiring { alias: nobody.alias, ..pod.clone() };
    assert_eq!(liveness(at(&path, 1), &older), Liveness::Gone, "another sandbox's link of that name");
    // With the namespace the kernel takes both ends away; it takes its time.
    drop(netns);
    let gone = || liveness(at(&path, 1), &pod) == Liveness::Gone;
    let waited = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        gone()
    });
    assert!(waited, "the link outlives its sandbox");
    assert!(POD_GATEWAY.is_link_local());
    assert!(socket(&vpc.node).route_to("10.0.0.1".parse().unwrap(), &Lookup::default()).unwrap().is_some());
}
