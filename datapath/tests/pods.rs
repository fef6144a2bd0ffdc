//! Wiring pods on the real kernel.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use holdfast_datapath::netlink::{
    AddressFamily, Change, LinkRef, LinkSettings, Neighbour, Route, RouteFilter, Rule, Veth, VethEnd,
};
use holdfast_datapath::{Host, HostOptions, LINK_GROUP, Step, netns};
use holdfast_model::host::{HostAction, LinkAlias, MAIN_TABLE, NatWanted, PROTOCOL, PodWiring};
use holdfast_model::ids::MacAddr;
use holdfast_ports::host::{HostFault, HostNet};
use support::vpc::vpc;
use support::{
    Netns, address, dump, exchange, host, index, namespace, nft, runtime, socket, sysctl, udp, wiring,
};

const V4: AddressFamily = AddressFamily::Inet;

/// A host namespace that can wire pods: it forwards.
#[track_caller]
fn removed(results: &[Result<(), HostFault>]) {
    assert!(!results.is_empty() && results.iter().all(Result::is_ok), "{results:?}");
}

fn node() -> (Netns, Host) {
    let netns = namespace();
    let host = host(&netns);
    runtime().block_on(host.ensure_forwarding()).unwrap();
    (netns, host)
}

fn rules(netns: &Netns) -> Vec<Rule> {
    socket(netns).rules(V4).unwrap().into_iter().filter(|rule| rule.protocol == PROTOCOL).collect()
}

fn routes(netns: &Netns) -> Vec<Route> {
    let ours = RouteFilter { protocol: Some(PROTOCOL), ..RouteFilter::default() };
    socket(netns).routes(V4, ours).unwrap()
}

fn set_up(netns: &Netns, link: &str) {
    socket(netns).apply(&Change::SetLink(LinkRef::Name(link.into()), LinkSettings::up())).unwrap();
}

/// Something of others in the way of every mistake: a link, rules and routes without our number, a table.
fn foreign(netns: &Netns) {
    let mut socket = socket(netns);
    let end = |name: &str| VethEnd { name: name.into(), ..VethEnd::default() };
    socket
        .apply(&Change::CreateVeth(Veth { near: end("calico1"), far: end("calico2"), mtu: None, group: 0 }))
        .unwrap();
    set_up(netns, "calico1");
    set_up(netns, "calico2");
    let link = index(netns, "calico1");
    let pod = Some("10.0.0.7/32".parse().unwrap());
    socket
        .apply_all(&[
            Change::AddRule(Rule { to: pod, ..Rule::new(512, MAIN_TABLE) }),
            Change::AddRule(Rule { from: pod, protocol: 3, ..Rule::new(1536, 2) }),
            Change::AddRule(Rule {
                to: Some("10.0.0.0/24".parse().unwrap()),
                protocol: PROTOCOL,
                ..Rule::new(90, 254)
            }),
            Change::AddRoute(Route::on_link(MAIN_TABLE, "10.99.0.0/16".parse().unwrap(), link)),
            Change::AddRoute(Route::on_link(2, "10.0.0.7/32".parse().unwrap(), link).by(PROTOCOL)),
            Change::PutNeighbour(Neighbour::permanent(link, "10.99.0.1".parse().unwrap(), MacAddr([2; 6]))),
        ])
        .unwrap();
    nft(netns, "add table ip nat; add chain ip nat POSTROUTING");
}

#[test]
fn a_wired_pod_is_as_the_reference_says_and_reads_back() {
    let ((host_ns, host), pod) = (node(), namespace());
    let wiring = wiring(1, "10.0.0.5", 3);
    let wired = runtime().block_on(host.wire_pod(wiring.clone(), pod.clone().into())).unwrap();

    let link = socket(&host_ns).link(&LinkRef::Name(wiring.host_veth.clone())).unwrap().unwrap();
    assert_eq!(link.index, wired.host_ifindex);
    assert_eq!((link.mac, link.mtu, link.up, link.carrier), (Some(wiring.host_mac), 9001, true, true));
    assert_eq!((link.alias.as_deref(), link.group), (Some(wiring.alias.as_str()), LINK_GROUP));
    let peer = socket(&pod).link(&LinkRef::Name("eth0".into())).unwrap().unwrap();
    assert_eq!((peer.mac, peer.mtu, peer.up, peer.alias), (Some(wired.pod_mac), 9001, true, None));
    let net = "10.0.0.5/32".parse().unwrap();
    assert_eq!(socket(&pod).addresses_of(peer.index, V4).unwrap()[0].net, net);
    let entries = socket(&pod).neighbours(V4).unwrap();
    assert_eq!(entries, [Neighbour::permanent(peer.index, "169.254.1.1".parse().unwrap(), wiring.host_mac)]);
    let inside =
        socket(&pod).routes(V4, RouteFilter { table: Some(MAIN_TABLE), ..RouteFilter::default() }).unwrap();
    let inside: Vec<_> =
        inside.iter().map(|route| (route.to.to_string(), route.via.map(|via| via.to_string()))).collect();
    assert_eq!(inside, [("0.0.0.0/0".into(), Some("169.254.1.1".into())), ("169.254.1.1/32".into(), None)]);
    assert_eq!(
        rules(&host_ns),
        [
            Rule { to: Some(net), protocol: PROTOCOL, ..Rule::new(512, MAIN_TABLE) },
            Rule { from: Some(net), protocol: PROTOCOL, ..Rule::new(1536, 3) },
        ]
    );
    assert_eq!(routes(&host_ns), [Route::on_link(MAIN_TABLE, net, link.index).by(PROTOCOL)]);

    let rt = runtime();
    assert_eq!(
        rt.block_on(host.check_pod(wiring.clone(), Some(pod.clone().into()))).unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(rt.block_on(host.check_pod(wiring.clone(), None)).unwrap(), Vec::<String>::new());
    // On the primary ENI there is no second rule.
    let other = PodWiring { table: MAIN_TABLE, ..support::wiring(2, "10.0.0.6", MAIN_TABLE) };
    rt.block_on(host.wire_pod(other, namespace().into())).unwrap();
    assert_eq!(rules(&host_ns).len(), 3);
}

#[test]
fn check_names_each_difference() {
    let ((host_ns, host), pod) = (node(), namespace());
    let wiring = wiring(1, "10.0.0.5", 3);
    let rt = runtime();
    rt.block_on(host.wire_pod(wiring.clone(), pod.clone().into())).unwrap();
    let near = index(&host_ns, &wiring.host_veth);
    let far = index(&pod, "eth0");
    let own = "10.0.0.5/32".parse().unwrap();
    let gateway = Neighbour::permanent(far, "169.254.1.1".parse().unwrap(), wiring.host_mac);
    let from = Rule { from: Some(own), protocol: PROTOCOL, ..Rule::new(1536, 3) };
    let damages = [
        (&host_ns, Change::DeleteRule(from.clone()), "rule 1536 from 10.0.0.5/32 lookup 3 is missing"),
        (
            &host_ns,
            Change::AddRule(Rule { table: 4, ..from }),
            "rule 1536 from 10.0.0.5/32 lookup 4 is in the way",
        ),
        (
            &host_ns,
            Change::DeleteRoute(Route::on_link(MAIN_TABLE, own, near).by(PROTOCOL)),
            "packets of the host's to 10.0.0.5 do not go to eni00000000001 but nowhere: no rule leads to a table that has a way",
        ),
        (
            &pod,
            Change::DeleteNeighbour(gateway),
            "the neighbour entry 169.254.1.1 -> 02:00:00:00:01:01 is missing",
        ),
        (
            &pod,
            Change::SetLink(LinkRef::Index(far), LinkSettings { mtu: Some(1400), ..LinkSettings::default() }),
            "eth0 has MTU 1400 instead of 9001 in the sandbox",
        ),
        (&pod, Change::SetLink(LinkRef::Index(far), LinkSettings::down()), "eth0 is down in the sandbox"),
    ];
    for (netns, change, words) in damages {
        socket(netns).apply(&change).unwrap();
        let found = rt.block_on(host.check_pod(wiring.clone(), Some(pod.clone().into()))).unwrap();
        assert!(found.iter().any(|found| found == words), "{words}: {found:?}");
    }
    socket(&host_ns).apply(&Change::DeleteLink(LinkRef::Index(near))).unwrap();
    let found = rt.block_on(host.check_pod(wiring.clone(), Some(pod.clone().into()))).unwrap();
    assert!(found.contains(&format!("host link {} is missing", wiring.host_veth)), "{found:?}");
    assert!(found.contains(&"eth0 is missing in the sandbox".to_owned()), "{found:?}");
}

#[test]
fn wire_again_and_unwire_again_are_the_same_as_once() {
    let ((host_ns, host), pod) = (node(), namespace());
    foreign(&host_ns);
    let before = dump(&host_ns);
    let wiring = wiring(1, "10.0.0.5", 3);
    let rt = runtime();
    for _ in 0..3 {
        rt.block_on(host.wire_pod(wiring.clone(), pod.clone().into())).unwrap();
        assert_eq!(
            rt.block_on(host.check_pod(wiring.clone(), Some(pod.clone().into()))).unwrap(),
            Vec::<String>::new()
        );
    }
    for _ in 0..3 {
        rt.block_on(host.unwire_pod(wiring.clone())).unwrap();
        removed(&rt.block_on(host.remove_links(vec![wiring.clone()])));
        assert_eq!(dump(&host_ns), before, "what is not ours has changed, or something of ours is left");
    }
}

#[test]
fn duplicates_and_rules_to_older_tables_all_go() {
    let (host_ns, host) = node();
    let wiring = wiring(1, "10.0.0.5", 3);
    let own = Some("10.0.0.5/32".parse().unwrap());
    let to = Rule { to: own, protocol: PROTOCOL, ..Rule::new(512, MAIN_TABLE) };
    let from = |table| Rule { from: own, protocol: PROTOCOL, ..Rule::new(1536, table) };
    let stale = [from(2), from(3), from(4), from(10_101), to.clone(), Rule { iif: Some("lo".into()), ..to }];
    for rule in &stale {
        socket(&host_ns).apply(&Change::AddRule(rule.clone())).unwrap();
    }
    assert_eq!(rules(&host_ns).len(), 6);
    runtime().block_on(host.unwire_pod(wiring.clone())).unwrap();
    assert_eq!(rules(&host_ns), []);

    // Wiring does not leave one in its way either: the oldest would win.
    socket(&host_ns).apply(&Change::AddRule(from(2))).unwrap();
    runtime().block_on(host.wire_pod(wiring, namespace().into())).unwrap();
    assert_eq!(rules(&host_ns).iter().map(|rule| rule.table).collect::<Vec<_>>(), [MAIN_TABLE, 3]);
}

#[test]
fn a_failure_at_each_step_leaves_nothing() {
    for failing in [Step::Enter, Step::Create, Step::Prepare, Step::HostSide, Step::PodSide, Step::ReadBack] {
        let (host_ns, pod) = (namespace(), namespace());
        foreign(&host_ns);
        let (before, pod_before) = (dump(&host_ns), dump(&pod));
        let interrupt = move |step| if step == failing { Err("injected".to_owned()) } else { Ok(()) };
        let options = HostOptions {
            netns: Some(host_ns.clone()),
            threads: 1,
            interrupt: Some(Arc::new(interrupt)),
            ..HostOptions::default()
        };
        let host = Host::new(options).unwrap();
        let fault =
            runtime().block_on(host.wire_pod(wiring(1, "10.0.0.5", 3), pod.clone().into())).unwrap_err();
        assert_eq!(fault, HostFault::Refused { step: format!("{failing:?}"), cause: "injected".into() });
        assert_eq!(dump(&host_ns), before, "after {failing:?}");
        assert_eq!(dump(&pod), pod_before, "after {failing:?}");
    }
}

#[test]
fn failures_by_the_kernel_itself_leave_nothing_and_say_why() {
    let ((host_ns, host), rt) = (node(), runtime());
    let before = dump(&host_ns);
    let good = wiring(1, "10.0.0.5", 3);

    let too_large = PodWiring { mtu: 70_000, ..good.clone() };
    let fault = rt.block_on(host.wire_pod(too_large, namespace().into())).unwrap_err();
    assert!(fault.to_string().starts_with("create veth eni00000000001 with eth0: "), "{fault}");

    let occupied = namespace();
    let end = |name: &str| VethEnd { name: name.into(), ..VethEnd::default() };
    socket(&occupied)
        .apply(&Change::CreateVeth(Veth { near: end("eth0"), far: end("x"), mtu: None, group: 0 }))
        .unwrap();
    let pod_before = dump(&occupied);
    let fault = rt.block_on(host.wire_pod(good.clone(), occupied.clone().into())).unwrap_err();
    assert_eq!(fault, HostFault::Occupied { what: "interface eth0".to_owned() });
    assert_eq!(dump(&occupied), pod_before);

    let routed = namespace();
    let lo = index(&routed, "lo");
    socket(&routed)
        .apply(&Change::AddRoute(Route::on_link(MAIN_TABLE, "0.0.0.0/0".parse().unwrap(), lo)))
        .unwrap();
    let fault = rt.block_on(host.wire_pod(good.clone(), routed.into())).unwrap_err();
    // The host's side stood by then, so the address needs its release and its rest.
    assert!(
        matches!(&fault, HostFault::Refused { step, .. } if step.starts_with("add route to 0.0.0.0/0")),
        "{fault:?}"
    );
    assert!(fault.to_string().ends_with(": there is one already in the sandbox"), "{fault}");

    let file: std::os::fd::OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let fault = rt.block_on(host.wire_pod(good.clone(), file.into())).unwrap_err();
    assert!(
        matches!(&fault, HostFault::Netns { cause, .. } if cause.contains("not a network namespace")),
        "{fault:?}"
    );
    assert_eq!(dump(&host_ns), before);
    rt.block_on(host.wire_pod(good, namespace().into())).unwrap();
}

/// The runtime tears a sandbox down while it is being wired: the pair goes at whichever moment.
#[test]
fn a_sandbox_that_loses_its_link_midway_is_a_clear_failure() {
    for at in [Step::Prepare, Step::HostSide, Step::PodSide, Step::ReadBack] {
        let (host_ns, pod) = (namespace(), namespace());
        let before = dump(&host_ns);
        let victim = pod.clone();
        let interrupt = move |step| {
            if step == at {
                socket(&victim).apply(&Change::DeleteLink(LinkRef::Name("eth0".into()))).unwrap();
            }
            Ok(())
        };
        let options = HostOptions {
            netns: Some(host_ns.clone()),
            threads: 1,
            interrupt: Some(Arc::new(interrupt)),
            ..HostOptions::default()
        };
        let host = Host::new(options).unwrap();
        let fault = runtime().block_on(host.wire_pod(wiring(1, "10.0.0.5", 3), pod.into())).unwrap_err();
        assert!(matches!(fault, HostFault::Refused { .. } | HostFault::ReadBack(_)), "{fault:?}");
        assert_eq!(dump(&host_ns), before, "after {at:?}");
    }
}

#[test]
fn a_link_of_an_earlier_sandbox_makes_room_and_late_removals_spare_the_newer() {
    let ((host_ns, host), rt) = (node(), runtime());
    let (old, new) = (namespace(), namespace());
    let first = wiring(1, "10.0.0.5", 3);
    // The same pod name gives the same link name; another sandbox, another address.
    let second = PodWiring {
        alias: LinkAlias::parse("holdfast:sandbox2:eth0").unwrap(),
        address: "10.0.0.6".parse().unwrap(),
        host_mac: MacAddr([2, 0, 0, 0, 9, 9]),
        ..first.clone()
    };
    rt.block_on(host.wire_pod(first.clone(), old.clone().into())).unwrap();
    rt.block_on(host.wire_pod(second.clone(), new.clone().into())).unwrap();
    assert!(socket(&old).link(&LinkRef::Name("eth0".into())).unwrap().is_none(), "the old pair is gone");
    for _ in 0..10 {
        rt.block_on(host.unwire_pod(first.clone())).unwrap();
        removed(&rt.block_on(host.remove_links(vec![first.clone()])));
    }
    assert_eq!(rt.block_on(host.check_pod(second.clone(), Some(new.into()))).unwrap(), Vec::<String>::new());
    removed(&rt.block_on(host.remove_links(vec![second])));
    assert_eq!(socket(&host_ns).links().unwrap().len(), 1);
}

#[test]
fn a_link_of_somebody_elses_is_never_removed_to_make_room() {
    let rt = runtime();
    let wiring = wiring(1, "10.0.0.5", 3);
    let end = |name: &str| VethEnd { name: name.into(), ..VethEnd::default() };
    let veth = Veth { near: end(&wiring.host_veth), far: end("x"), mtu: None, group: 0 };
    for (link, kind) in
        [(Change::CreateBridge(wiring.host_veth.clone()), "bridge"), (Change::CreateVeth(veth), "veth")]
    {
        let (host_ns, host) = node();
        socket(&host_ns).apply(&link).unwrap();
        let before = dump(&host_ns);
        let fault = rt.block_on(host.wire_pod(wiring.clone(), namespace().into())).unwrap_err();
        assert_eq!(
            fault,
            HostFault::Foreign { what: format!("the host's link {} ({kind})", wiring.host_veth) }
        );
        removed(&rt.block_on(host.remove_links(vec![wiring.clone()])));
        assert_eq!(dump(&host_ns), before);
    }
}

#[test]
fn a_route_of_somebody_elses_to_the_pods_address_is_left_and_named() {
    let ((host_ns, host), rt) = (node(), runtime());
    let wiring = wiring(1, "10.0.0.5", 3);
    let (to, lo) = ("10.0.0.5/32".parse().unwrap(), index(&host_ns, "lo"));
    socket(&host_ns).apply(&Change::AddRoute(Route::on_link(MAIN_TABLE, to, lo).by(4))).unwrap();
    let before = dump(&host_ns);
    let fault = rt.block_on(host.wire_pod(wiring.clone(), namespace().into())).unwrap_err();
    assert!(
        matches!(&fault, HostFault::Foreign { what } if what.contains("10.0.0.5/32") && what.contains("protocol 4")),
        "{fault:?}"
    );
    rt.block_on(host.unwire_pod(wiring.clone())).unwrap();
    assert_eq!(dump(&host_ns), before);

    // One that an earlier pod of ours left makes room.
    socket(&host_ns).apply(&Change::DeleteRoute(Route::on_link(MAIN_TABLE, to, lo).by(4))).unwrap();
    socket(&host_ns).apply(&Change::AddRoute(Route::on_link(MAIN_TABLE, to, lo).by(PROTOCOL))).unwrap();
    // Held to the end: with the last that holds it the sandbox goes, and its link with it.
    let sandbox = namespace();
    rt.block_on(host.wire_pod(wiring.clone(), sandbox.clone().into())).unwrap();
    assert_eq!(
        routes(&host_ns),
        [Route::on_link(MAIN_TABLE, to, index(&host_ns, &wiring.host_veth)).by(PROTOCOL)]
    );

    // Nor is one replaced that came later.
    let ours = Route::on_link(MAIN_TABLE, to, index(&host_ns, &wiring.host_veth)).by(PROTOCOL);
    socket(&host_ns)
        .apply_all(&[Change::DeleteRoute(ours), Change::AddRoute(Route::on_link(MAIN_TABLE, to, lo).by(4))])
        .unwrap();
    let before = dump(&host_ns);
    let mended = rt.block_on(host.apply(vec![HostAction::EnsurePod(wiring)]));
    assert!(matches!(mended, Err(HostFault::Foreign { .. })), "{mended:?}");
    assert_eq!(dump(&host_ns), before);
}

#[test]
fn a_setting_that_cannot_be_written_is_named_and_one_that_is_right_is_left() {
    let rt = runtime();
    let wiring = wiring(1, "10.0.0.5", 3);
    // As in a container that is not privileged: what is there can be read, and nothing written.
    let dir = tempfile::tempdir().unwrap();
    let all = dir.path().join("net/ipv6/conf").join(&wiring.host_veth);
    for setting in ["accept_ra", "accept_redirects", "forwarding"] {
        std::fs::create_dir_all(all.join(setting)).unwrap();
    }
    let node = || {
        let host_ns = namespace();
        let proc_sys = Some(dir.path().to_owned());
        let options =
            HostOptions { netns: Some(host_ns.clone()), threads: 1, proc_sys, ..HostOptions::default() };
        (host_ns, Host::new(options).unwrap())
    };
    let (host_ns, host) = node();
    sysctl(&host_ns, "ipv6/conf/default/disable_ipv6", "0");
    sysctl(&host_ns, "ipv6/conf/default/accept_ra", "1");
    let before = dump(&host_ns);
    let fault = rt.block_on(host.wire_pod(wiring.clone(), namespace().into())).unwrap_err();
    assert!(
        matches!(&fault, HostFault::Setting { name, value, .. } if name.ends_with("accept_ra") && value == "0"),
        "{fault:?}"
    );
    assert_eq!(dump(&host_ns), before);

    let (host_ns, host) = node();
    sysctl(&host_ns, "ipv6/conf/default/accept_ra", "0");
    rt.block_on(host.wire_pod(wiring, namespace().into())).unwrap();
}

#[test]
fn a_link_made_but_not_yet_named_is_removed_as_ours() {
    let ((host_ns, host), rt) = (node(), runtime());
    let wiring = wiring(1, "10.0.0.5", 3);
    let end = |name: &str| VethEnd { name: name.into(), ..VethEnd::default() };
    let veth = |near: &str, far: &str, group| {
        Change::CreateVeth(Veth { near: end(near), far: end(far), mtu: None, group })
    };
    // As after SIGKILL between the first request and the second; and a stranger's of such a name.
    socket(&host_ns).apply(&veth(&wiring.host_veth, "x", LINK_GROUP)).unwrap();
    removed(&rt.block_on(host.remove_links(vec![wiring.clone()])));
    assert_eq!(socket(&host_ns).links().unwrap().len(), 1);
    socket(&host_ns).apply(&veth(&wiring.host_veth, "x", 0)).unwrap();
    removed(&rt.block_on(host.remove_links(vec![wiring])));
    assert_eq!(socket(&host_ns).links().unwrap().len(), 3);
}

#[test]
fn thirty_pods_at_once_reach_their_host_and_each_other() {
    let (host_ns, host) = node();
    let host = Arc::new(host);
    let rt = runtime();
    // The host's own address, by which it talks to pods.
    support::address(&host_ns, "lo", "10.0.0.1/32");
    let pods: Vec<_> =
        (0..30_u8).map(|at| (wiring(at, &format!("10.0.0.{}", at + 50), MAIN_TABLE), namespace())).collect();
    let before = dump(&host_ns);
    rt.block_on(async {
        let tasks: Vec<_> = pods
            .iter()
            .cloned()
            .map(|(wiring, netns)| {
                let host = host.clone();
                tokio::spawn(async move { host.wire_pod(wiring, netns.into()).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
    assert_eq!(rules(&host_ns).len(), 30);
    let on_host = udp(&host_ns, "10.0.0.1:7000");
    let in_pods: Vec<_> =
        pods.iter().map(|(wiring, netns)| udp(netns, &format!("{}:7000", wiring.address))).collect();
    for (at, (wiring, _)) in pods.iter().enumerate() {
        let to = format!("{}:7000", wiring.address);
        exchange(&on_host, &in_pods[at], &to).unwrap_or_else(|error| panic!("host to pod {at}: {error}"));
        let seen = exchange(&in_pods[at], &on_host, "10.0.0.1:7000")
            .unwrap_or_else(|error| panic!("pod {at} to host: {error}"));
        assert_eq!(seen, wiring.address);
        let next = (at + 1) % pods.len();
        let to = format!("{}:7000", pods[next].0.address);
        exchange(&in_pods[at], &in_pods[next], &to)
            .unwrap_or_else(|error| panic!("pod {at} to pod {next}: {error}"));
    }
    rt.block_on(async {
        for (wiring, _) in &pods {
            host.unwire_pod(wiring.clone()).await.unwrap();
        }
        removed(&host.remove_links(pods.iter().map(|(wiring, _)| wiring.clone()).collect()).await);
    });
    assert_eq!(dump(&host_ns), before);
}

/// A pod may be allowed to write whatever source it likes. Nothing but its own comes through, on either ENI, and however
/// little the node itself checks.
#[test]
fn a_pod_sends_as_itself_only() {
    let vpc = vpc();
    for link in ["all", "default", "eth0", "eth1"] {
        sysctl(&vpc.node, &format!("ipv4/conf/{link}/rp_filter"), "0");
    }
    vpc.serve();
    let on_node = udp(&vpc.node, "10.0.0.10:7000");
    for (number, own, table, other) in
        [(1, "10.0.0.101", MAIN_TABLE, "10.0.1.102"), (2, "10.0.1.102", 2, "10.0.0.101")]
    {
        let (wiring, pod) = vpc.pod(number, own, table);
        address(&pod, "lo", &format!("{other}/32"));
        on_node.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        exchange(&udp(&pod, &format!("{own}:7000")), &on_node, "10.0.0.10:7000").unwrap();
        on_node.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let spoofing = udp(&pod, &format!("{other}:0"));
        spoofing.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let told = |spoofing| exchange(spoofing, &on_node, "10.0.0.10:7000").unwrap_err();
        assert!(told(&spoofing).starts_with("the server received nothing"), "{own} as {other}");
        // The check is what keeps it from coming through.
        sysctl(&vpc.node, &format!("ipv4/conf/{}/rp_filter", wiring.host_veth), "0");
        assert!(told(&spoofing).starts_with("no answer came back"), "{own} as {other}");
    }
}

#[test]
fn without_forwarding_pods_do_not_reach_each_other_so_the_test_above_can_fail() {
    let (host_ns, host) = node();
    let rt = runtime();
    let pods: Vec<_> =
        (0..2_u8).map(|at| (wiring(at, &format!("10.0.0.{}", at + 50), MAIN_TABLE), namespace())).collect();
    for (wiring, netns) in &pods {
        rt.block_on(host.wire_pod(wiring.clone(), netns.clone().into())).unwrap();
    }
    sysctl(&host_ns, "ipv4/ip_forward", "0");
    let [a, b] = [0, 1].map(|at: usize| udp(&pods[at].1, &format!("{}:7000", pods[at].0.address)));
    b.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    assert!(exchange(&a, &b, "10.0.0.51:7000").is_err());
}

#[test]
fn the_host_end_takes_no_router_advertisements() {
    let (host_ns, host) = node();
    sysctl(&host_ns, "ipv6/conf/default/disable_ipv6", "0");
    sysctl(&host_ns, "ipv6/conf/default/accept_ra", "1");
    sysctl(&host_ns, "ipv6/conf/default/forwarding", "1");
    // Held to the end: with the last that holds it the sandbox goes, and its link with it.
    let sandbox = namespace();
    runtime().block_on(host.wire_pod(wiring(1, "10.0.0.5", 3), sandbox.clone().into())).unwrap();
    let read = |name: &str| {
        let path = format!("/proc/sys/net/ipv6/conf/eni00000000001/{name}");
        netns::run_in(&host_ns, || std::fs::read_to_string(path)).unwrap().unwrap().trim().to_owned()
    };
    assert_eq!([read("accept_ra"), read("accept_redirects"), read("forwarding")], ["0", "1", "0"]);
}

#[test]
fn a_call_that_nobody_waits_for_any_more_is_carried_to_its_end() {
    let (host_ns, pod) = (namespace(), namespace());
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    // Holds the job until its caller is gone; the sender's end, dropped, releases it as well.
    let interrupt = move |step| {
        if step == Step::Create {
            held.lock().unwrap().recv().unwrap_err();
        }
        Ok(())
    };
    let options = HostOptions {
        netns: Some(host_ns.clone()),
        threads: 1,
        interrupt: Some(Arc::new(interrupt)),
        ..HostOptions::default()
    };
    let host = Host::new(options).unwrap();
    let wiring = wiring(1, "10.0.0.5", 3);
    runtime().block_on(async {
        let call = host.wire_pod(wiring.clone(), pod.clone().into());
        assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err(), "it is held");
        drop(release);
        // There is one thread: this is answered after the abandoned call has ended.
        assert_eq!(
            host.check_pod(wiring.clone(), Some(pod.clone().into())).await.unwrap(),
            Vec::<String>::new()
        );
    });
}

#[test]
fn a_panic_in_a_job_is_a_fault_for_its_caller_and_no_other() {
    let host_ns = namespace();
    let interrupt = |step| if step == Step::Enter { panic!("injected") } else { Ok(()) };
    let options = HostOptions {
        netns: Some(host_ns.clone()),
        threads: 1,
        interrupt: Some(Arc::new(interrupt)),
        ..HostOptions::default()
    };
    let host = Host::new(options).unwrap();
    let rt = runtime();
    for _ in 0..3 {
        let fault = rt.block_on(host.wire_pod(wiring(1, "10.0.0.5", 3), namespace().into())).unwrap_err();
        assert_eq!(fault.to_string(), "wire a pod: the datapath's thread gave up");
        assert_eq!(
            rt.block_on(host.observe(&NatWanted::Undecided)).unwrap().links.len(),
            1,
            "in the host's namespace still"
        );
    }
}
