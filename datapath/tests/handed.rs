//! Netlink sockets that were opened by another process: which are taken, that a pod is wired by one without entering its
//! namespace, and that whoever keeps a copy of one makes nothing wait.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use holdfast_datapath::handed::{self, HandedError};
use holdfast_datapath::netlink::{Change, LinkRef, LinkSettings, NetlinkError, Socket};
use holdfast_datapath::{Host, HostOptions, netns};
use holdfast_ports::host::{HostFault, HostNet};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, bind, recv, send};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use support::{Netns, namespace, runtime, wiring};

/// As the plugin opens it.
fn opened_in(netns: &Netns, protocol: isize) -> netlink_sys::Socket {
    netns::run_in(netns, || netlink_sys::Socket::new(protocol)).unwrap().unwrap()
}

fn owned(socket: &impl AsFd) -> OwnedFd {
    socket.as_fd().try_clone_to_owned().unwrap()
}

fn route_in(netns: &Netns) -> OwnedFd {
    owned(&opened_in(netns, NETLINK_ROUTE))
}

fn handle(netns: &Netns) -> OwnedFd {
    netns.try_clone().unwrap()
}

/// A request for all addresses (`RTM_GETADDR`), with the number that a socket's second request has.
fn list_addresses() -> Vec<u8> {
    let mut request = [24, 0, 2, 0, 0, 0].map(u32::to_ne_bytes).concat();
    request[4] = 22;
    // A request, for a list.
    request[6..8].copy_from_slice(&0x301_u16.to_ne_bytes());
    request
}

/// Takes all rights but one from this thread and those that it starts, for good.
fn keep_only_net_admin() {
    let only = CapabilitySet::NET_ADMIN;
    let sets = CapabilitySets { effective: only, permitted: only, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).unwrap();
}

#[test]
fn what_was_just_opened_in_the_namespace_is_taken_once() {
    let netns = namespace();
    let ours = route_in(&netns);
    let copy = ours.try_clone().unwrap();
    let taken = handed::take(ours, &netns).unwrap();
    let names: Vec<_> =
        Socket::handed(taken).unwrap().links().unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(names, ["lo"], "of that namespace");
    assert!(matches!(handed::take(copy, &netns), Err(HandedError::Used(_))), "the same one again");
}

#[test]
fn whatever_is_no_fresh_socket_of_that_namespace_is_refused() {
    let (netns, other) = (namespace(), namespace());
    let refused = |socket: OwnedFd| handed::take(socket, &netns).unwrap_err();
    assert!(matches!(refused(File::open("/dev/null").unwrap().into()), HandedError::NotOne(_)));
    assert!(matches!(refused(handle(&netns)), HandedError::NotOne(_)));
    assert!(matches!(refused(UdpSocket::bind("127.0.0.1:0").unwrap().into()), HandedError::NotOne(_)));
    assert!(matches!(refused(owned(&opened_in(&netns, NETLINK_NETFILTER))), HandedError::NotOne(_)));
    assert_eq!(refused(route_in(&other)), HandedError::Elsewhere);

    let bound = route_in(&netns);
    bind(bound.as_raw_fd(), &NetlinkAddr::new(4711, 0)).unwrap();
    assert!(matches!(refused(bound), HandedError::Used(_)));

    // Which takes no port.
    let told = opened_in(&netns, NETLINK_ROUTE);
    let links = 1;
    told.add_membership(links).unwrap();
    assert_eq!(refused(owned(&told)), HandedError::Used("it has subscribed to changes"));
}

/// The daemon's threads have no right but `CAP_NET_ADMIN`: what they cannot do without a socket they do by one.
#[test]
fn a_pod_is_wired_and_read_back_by_a_socket_and_without_the_right_to_enter() {
    let (node, pod) = (namespace(), namespace());
    let handed = handed::take(route_in(&pod), &pod).unwrap();
    let mut inside = support::socket(&pod);
    let wired = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                netns::enter_for_good(&node).unwrap();
                keep_only_net_admin();
                let rt = runtime();
                let host = rt.block_on(async { Host::new(HostOptions::default()) }).unwrap();
                let wiring = wiring(1, "10.0.0.5", 3);
                let barred = rt.block_on(host.wire_pod(wiring.clone(), handle(&pod).into())).unwrap_err();
                assert!(matches!(barred, HostFault::Barred { .. }), "{barred}");
                let netns = holdfast_ports::Netns::with_socket(handle(&pod), handed);
                rt.block_on(host.wire_pod(wiring.clone(), netns.clone())).unwrap();
                let check = || rt.block_on(host.check_pod(wiring.clone(), Some(netns.clone()))).unwrap();
                assert_eq!(check(), Vec::<String>::new());
                let down = LinkSettings { up: Some(false), ..LinkSettings::default() };
                inside.apply(&Change::SetLink(LinkRef::Name("eth0".into()), down)).unwrap();
                assert!(check().contains(&"eth0 is down in the sandbox".to_owned()), "{:?}", check());
            })
            .join()
    });
    wired.unwrap();
}

/// What another process does to its copy makes answers fail to come; it must not make a thread wait for them.
#[test]
fn whoever_keeps_a_copy_takes_answers_away_from_nobody_but_itself() {
    let netns = namespace();
    let ours = route_in(&netns);
    let copy = ours.try_clone().unwrap();
    let taken = handed::take(ours, &netns).unwrap();
    // What was asked by the copy lies there.
    send(copy.as_raw_fd(), &list_addresses(), MsgFlags::empty()).unwrap();
    let mut socket = Socket::handed(taken).unwrap();
    assert_eq!(socket.links().unwrap().len(), 1, "only what was asked by us is heard");

    // Now it waits when asked to, and a thief reads what comes.
    nix::fcntl::fcntl(&copy, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let thief = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::Relaxed) {
                let stolen = recv(copy.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_DONTWAIT);
                assert!(matches!(stolen, Ok(_) | Err(Errno::EAGAIN | Errno::ENOBUFS)), "{stolen:?}");
            }
        }
    });
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut stolen = 0;
        // However the two happen to run, some are taken away; none may hold us up.
        while stolen < 3 {
            let asked = Instant::now();
            match socket.links() {
                // Of the two parts of the answer the first was taken, and its end was not.
                Ok(links) if links.is_empty() => stolen += 1,
                Ok(links) => assert_eq!(links.len(), 1),
                Err(NetlinkError::Timeout { .. }) => stolen += 1,
                Err(other) => panic!("{other}"),
            }
            assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
        }
        tell.send(()).unwrap();
    });
    let outcome = told.recv_timeout(Duration::from_secs(30));
    stop.store(true, Ordering::Relaxed);
    thief.join().unwrap();
    assert_eq!(outcome, Ok(()), "it hangs or has failed");
}
