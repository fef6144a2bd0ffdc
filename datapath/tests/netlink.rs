//! The netlink layer against the real kernel.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use holdfast_datapath::netlink::{
    Address, AddressFamily, AddressScope, Change, Group, LinkRef, LinkSettings, Lookup, Neighbour,
    NetlinkError, Route, RouteFilter, RouteScope, Rule, Veth, VethEnd, Watch,
};
use holdfast_datapath::netns;
use holdfast_model::ids::MacAddr;
use nix::errno::Errno;
use support::{Netns, namespace, socket};

const NEAR: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const FAR: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const V4: AddressFamily = AddressFamily::Inet;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn veth(near: &str, far: &str, netns: Option<&Netns>) -> Veth {
    Veth {
        near: VethEnd { name: near.into(), mac: Some(NEAR), netns: None },
        far: VethEnd { name: far.into(), mac: Some(FAR), netns: netns.cloned() },
        mtu: Some(9001),
        group: 7,
    }
}

#[test]
fn a_veth_pair_is_made_in_two_namespaces_at_once() {
    let (here, there) = (namespace(), namespace());
    let (mut near, mut far) = (socket(&here), socket(&there));
    let up = |name: &str| Change::SetLink(LinkRef::Name(name.into()), LinkSettings::up());
    near.apply_all(&[Change::CreateVeth(veth("eni1", "eth0", Some(&there))), up("eni1")]).unwrap();
    far.apply(&up("eth0")).unwrap();

    let link = near.link(&LinkRef::Name("eni1".into())).unwrap().unwrap();
    assert_eq!((link.mac, link.mtu, link.up, link.carrier), (Some(NEAR), 9001, true, true));
    assert_eq!((link.kind.as_deref(), link.group, link.peer_elsewhere), (Some("veth"), 7, true));
    let peer = far.link(&LinkRef::Name("eth0".into())).unwrap().unwrap();
    assert_eq!((peer.mac, peer.mtu, peer.up, peer.group), (Some(FAR), 9001, true, 0));
    assert_eq!(link.peer_index, Some(peer.index));
    assert_eq!(near.links().unwrap().len(), 2, "loopback and one end");

    let settings =
        LinkSettings { up: Some(false), mtu: Some(1500), alias: Some("mine".into()), ..Default::default() };
    near.apply(&Change::SetLink(LinkRef::Index(link.index), settings)).unwrap();
    let link = near.link(&LinkRef::Index(link.index)).unwrap().unwrap();
    assert_eq!((link.up, link.mtu, link.alias.as_deref()), (false, 1500, Some("mine")));

    near.apply(&Change::DeleteLink(LinkRef::Name("eni1".into()))).unwrap();
    assert_eq!(near.link(&LinkRef::Name("eni1".into())).unwrap(), None);
    assert_eq!(far.link(&LinkRef::Name("eth0".into())).unwrap(), None, "both ends go together");
}

#[test]
fn a_group_is_deleted_in_one_request_and_others_stay() {
    let here = namespace();
    let mut socket = socket(&here);
    let mut all: Vec<_> =
        (0..4).map(|at| Change::CreateVeth(veth(&format!("a{at}"), &format!("b{at}"), None))).collect();
    all.push(Change::CreateBridge("br0".into()));
    socket.apply_all(&all).unwrap();
    assert_eq!(socket.links().unwrap().len(), 10);
    socket.apply(&Change::DeleteGroup(7)).unwrap();
    let left: Vec<_> = socket.links().unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(left, ["lo", "br0"]);
    assert!(socket.apply(&Change::DeleteGroup(7)).unwrap_err().is_absent());
}

#[test]
fn addresses_routes_rules_and_neighbours_read_back_as_written() {
    let here = namespace();
    let mut socket = socket(&here);
    let up = |name: &str| Change::SetLink(LinkRef::Name(name.into()), LinkSettings::up());
    socket.apply_all(&[Change::CreateVeth(veth("a", "b", None)), up("a"), up("b")]).unwrap();
    let link = socket.link(&LinkRef::Name("a".into())).unwrap().unwrap().index;
    let address = Address { no_prefix_route: true, ..Address::new(link, "10.0.1.5/24".parse().unwrap()) };
    let local = Address { scope: AddressScope::Host, ..Address::new(link, "192.0.2.7/32".parse().unwrap()) };
    let gateway = Route::on_link(2, "10.0.1.1/32".parse().unwrap(), link).by(72);
    let default = Route::default_via(2, ip("10.0.1.1"), link).by(72);
    let far_table = Route::on_link(10_101, "10.0.1.1/32".parse().unwrap(), link).by(72);
    let sourced = Route {
        source: Some(ip("10.0.1.5")),
        onlink: true,
        via: Some(ip("10.9.9.9")),
        scope: RouteScope::Universe,
        metric: Some(50),
        ..Route::on_link(254, "10.7.0.0/16".parse().unwrap(), link)
    };
    let rule = Rule { from: Some("10.0.1.5/32".parse().unwrap()), protocol: 72, ..Rule::new(32765, 2) };
    let marked = Rule { mark: Some((0x80, 0x80)), iif: Some("a".into()), ..Rule::new(1024, 10_101) };
    let entry = Neighbour::permanent(link, ip("10.0.1.1"), FAR);
    socket
        .apply_all(&[
            Change::AddAddress(address),
            Change::AddAddress(local),
            Change::AddRoute(gateway.clone()),
            Change::AddRoute(default.clone()),
            Change::PutRoute(far_table.clone()),
            Change::PutRoute(sourced.clone()),
            Change::AddRule(rule.clone()),
            Change::AddRule(marked.clone()),
            Change::PutNeighbour(entry),
        ])
        .unwrap();

    assert_eq!(socket.addresses_of(link, V4).unwrap(), [local, address], "the widest scope last");
    assert_eq!(socket.addresses(V4).unwrap().iter().filter(|seen| seen.link == link).count(), 2);
    let mut table = socket.routes(V4, RouteFilter { table: Some(2), protocol: None }).unwrap();
    table.sort_by_key(|route| route.to);
    assert_eq!(table, [default.clone(), gateway]);
    let ours = socket.routes(V4, RouteFilter { protocol: Some(72), ..RouteFilter::default() }).unwrap();
    assert_eq!(ours.len(), 3);
    assert!(ours.contains(&far_table));
    let main = socket.routes(V4, RouteFilter { table: Some(254), protocol: None }).unwrap();
    assert_eq!(main, [sourced], "no route to the prefix was made by itself");
    assert_eq!(socket.routes(V4, RouteFilter { table: Some(4242), protocol: None }).unwrap(), []);
    let mut about = socket.routes_about(ip("10.0.1.1"), RouteFilter::default()).unwrap();
    about.retain(|route| route.protocol == 72);
    assert_eq!(about.len(), 3, "by their destination or their gateway: {about:?}");
    assert_eq!(socket.routes_about(ip("10.0.1.9"), RouteFilter::default()).unwrap(), []);
    assert_eq!(socket.rules_about(ip("10.0.1.5")).unwrap(), std::slice::from_ref(&rule));
    assert_eq!(socket.rules_about(ip("10.0.1.6")).unwrap(), []);
    let rules = socket.rules(V4).unwrap();
    assert!(rules.contains(&rule) && rules.contains(&marked), "{rules:?}");
    assert_eq!(rules.len(), 5, "{rules:?}");
    assert_eq!(socket.neighbours(V4).unwrap(), [entry]);

    let way = Lookup { from: Some(ip("10.0.1.5")), ..Lookup::default() };
    let way = socket.route_to(ip("192.0.2.9"), &way).unwrap().unwrap();
    assert_eq!((way.table, way.via, way.link), (2, default.via, Some(link)));
    assert_eq!(socket.route_to(ip("192.0.2.9"), &Lookup::default()).unwrap(), None);

    socket
        .apply_all(&[
            Change::DeleteRule(rule),
            Change::DeleteRule(marked),
            Change::DeleteRoute(default),
            Change::DeleteNeighbour(entry),
            Change::DeleteAddress(address),
            Change::DeleteAddress(local),
        ])
        .unwrap();
    assert_eq!(socket.rules(V4).unwrap().len(), 3);
    assert_eq!(socket.addresses_of(link, V4).unwrap(), []);
    assert_eq!(socket.neighbours(V4).unwrap(), []);
}

#[test]
fn a_batch_goes_on_after_a_failure_and_says_which_failed_and_why() {
    let here = namespace();
    let mut socket = socket(&here);
    let results = socket
        .apply_each(&[
            Change::CreateVeth(veth("a", "b", None)),
            Change::CreateVeth(veth("a", "c", None)),
            Change::DeleteRule(Rule::new(77, 77)),
            Change::AddRoute(Route::default_via(254, ip("192.0.2.1"), 9999)),
            Change::CreateBridge("br0".into()),
        ])
        .unwrap();
    assert_eq!(results[0], None);
    assert!(results[1].as_ref().unwrap().is_present());
    assert!(results[2].as_ref().unwrap().is_absent());
    let Some(NetlinkError::Refused { what, errno: Errno::ENETUNREACH, message }) = &results[3] else {
        panic!("{:?}", results[3]);
    };
    assert_eq!(what, "add route to 0.0.0.0/0 via 192.0.2.1 dev #9999 table 254");
    assert_eq!(message, "Nexthop has invalid gateway", "the kernel's own explanation");
    assert_eq!(results[4], None);
    assert_eq!(socket.links().unwrap().len(), 4);
}

#[test]
fn more_changes_than_fit_one_system_call_all_arrive() {
    let here = namespace();
    let mut socket = socket(&here);
    let lo = socket.link(&LinkRef::Name("lo".into())).unwrap().unwrap().index;
    let routes: Vec<_> = (0..1000_u32)
        .map(|at| {
            let to = format!("10.{}.{}.0/24", at / 250, at % 250).parse().unwrap();
            Change::AddRoute(Route::on_link(100, to, lo).by(72))
        })
        .collect();
    socket.apply_all(&routes).unwrap();
    let read = socket.routes(V4, RouteFilter { table: Some(100), protocol: Some(72) }).unwrap();
    assert_eq!(read.len(), 1000);
    let failures = socket.apply_each(&routes).unwrap();
    assert!(failures.iter().all(|failure| failure.as_ref().is_some_and(NetlinkError::is_present)));
}

/// Rules are listed by position: one that goes while a list is being read makes the kernel skip another.
#[test]
fn dumps_are_whole_while_another_thread_changes_what_is_dumped() {
    let here = namespace();
    let mut reader = socket(&here);
    let stable: Vec<_> = (0..2000_u32).map(|at| Change::AddRule(Rule::new(1000 + at, 100))).collect();
    reader.apply_all(&stable).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = socket(&here);
            let passing = Rule::new(10, 100);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                writer.apply(&Change::AddRule(passing.clone())).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(500));
                writer.apply(&Change::DeleteRule(passing.clone())).unwrap();
                // Long enough for a whole read between two changes, also where the machine is busy.
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..60 {
                let seen = reader.rules(V4).unwrap();
                let mut stable: Vec<_> = seen.iter().map(|rule| rule.priority).collect();
                stable.retain(|priority| (1000..3000).contains(priority));
                assert_eq!(stable.len(), 2000, "round {round}");
            }
        }));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        outcome.unwrap();
    });
}

/// What was lost may have been what mattered.
#[test]
fn lost_notifications_are_a_change() {
    let here = namespace();
    let mut socket = socket(&here);
    let lo = socket.link(&LinkRef::Name("lo".into())).unwrap().unwrap().index;
    let mut watch = netns::run_in(&here, || Watch::open(&[Group::Ipv4Routes]).unwrap()).unwrap();
    let mut add = |numbers: std::ops::Range<u32>| {
        let to = |at: u32| format!("10.{}.{}.{}/32", at >> 16, at >> 8 & 255, at & 255).parse().unwrap();
        let routes: Vec<_> = numbers.map(|at| Change::AddRoute(Route::on_link(100, to(at), lo))).collect();
        socket.apply_all(&routes).unwrap();
    };
    let mut told = 0;
    let mut nothing_matters = || {
        watch.drain(|_| {
            told += 1;
            false
        })
    };
    add(0..10);
    assert!(!nothing_matters());
    add(10..40_000);
    assert!(nothing_matters(), "some of 40000 were lost");
    assert!((10..40_000).contains(&told), "{told}");
}

#[test]
fn garbage_descriptors_are_refused_with_words() {
    let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let said = netns::check(&file).unwrap_err().to_string();
    assert_eq!(said, "not a network namespace: the descriptor is not of a namespace at all");
    let mount: OwnedFd = std::fs::File::open("/proc/self/ns/mnt").unwrap().into();
    let said = netns::check(&mount).unwrap_err().to_string();
    assert!(said.contains("another kind (CloneFlags(CLONE_NEWNS))"), "{said}");
    let said = netns::open(std::path::Path::new("/proc/self/nothing")).unwrap_err().to_string();
    assert_eq!(said, "open /proc/self/nothing: No such file or directory");
    netns::check(&namespace()).unwrap();
}

#[test]
fn a_closure_runs_inside_and_the_caller_stays_where_it_is() {
    let before = netns::identity(&netns::current().unwrap()).unwrap();
    let there = namespace();
    let inside = netns::run_in(&there, || netns::identity(&netns::current().unwrap()).unwrap()).unwrap();
    assert_eq!(inside, netns::identity(&there).unwrap());
    assert_ne!(inside, before);
    assert_eq!(netns::identity(&netns::current().unwrap()).unwrap(), before);
}

/// The path is a client's word, and whoever opens a pipe to read waits for somebody who writes.
#[test]
fn a_pipe_at_a_namespaces_path_holds_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("netns");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // In a thread: a wrong open would wait for ever.
    let (done, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(netns::open(&pipe).map(drop)));
    let said = outcome.recv_timeout(std::time::Duration::from_secs(10)).expect("it came back").unwrap_err();
    assert!(matches!(said, netns::NetnsError::NotOne(_)), "{said}");
}

/// As runtimes keep namespaces: the descriptor's link bears the mount's path, which tells nothing.
#[test]
fn a_namespace_is_told_by_a_bind_mount_too() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    // The mounts go with this test's thread.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), "/mnt", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let bind = |from: &str, name: &str| {
        let file = std::path::Path::new("/mnt").join(name);
        std::fs::File::create(&file).unwrap();
        mount(Some(from), &file, none, MsFlags::MS_BIND, none).unwrap();
        file
    };
    let netns = support::namespace();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&*netns);
    let opened = netns::open(&bind(&format!("/proc/thread-self/fd/{fd}"), "pod")).unwrap();
    assert_eq!(netns::identity(&opened).unwrap(), netns::identity(&netns).unwrap());
    let said = netns::open(&bind("/proc/thread-self/ns/uts", "uts")).unwrap_err().to_string();
    assert!(said.starts_with("not a network namespace"), "{said}");
}
