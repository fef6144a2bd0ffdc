//! The socket in the sandbox that the plugin hands over.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::thread;

use holdfast_wire::message::{Answer, Request};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{NetlinkAddr, bind, getsockname};

use crate::fake_daemon::{FakeDaemon, Reply, added};
use crate::runtime::{Ran, Runtime, run};

/// A namespace of this test's own, and a runtime that names it.
fn sandbox() -> (File, Runtime) {
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("this test needs root (or `unshare -Ur`): it makes a namespace");
        File::open("/proc/thread-self/ns/net").unwrap()
    };
    let netns = thread::spawn(make).join().unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
    (netns, Runtime::new().env("CNI_NETNS", &path))
}

fn reply_to(command: &str) -> Reply {
    if command == "ADD" { added() } else { Reply::Answer(Answer::Done) }
}

/// Protocol numbers and inodes of the sockets that are bound in a namespace.
fn bound_in(netns: &File) -> Vec<(String, u64)> {
    let read = || {
        setns(netns, CloneFlags::CLONE_NEWNET).unwrap();
        fs::read_to_string("/proc/thread-self/net/netlink").unwrap()
    };
    let table = thread::scope(|scope| scope.spawn(read).join().unwrap());
    let row = |line: &str| {
        let mut columns = line.split_whitespace();
        let protocol = columns.nth(1).unwrap().to_owned();
        (protocol, columns.last().unwrap().parse().unwrap())
    };
    table.lines().skip(1).map(row).collect()
}

fn inode(fd: OwnedFd) -> u64 {
    File::from(fd).metadata().unwrap().ino()
}

#[test]
fn add_and_check_hand_a_fresh_socket_in_the_sandbox_over() {
    for command in ["ADD", "CHECK"] {
        let (netns, runtime) = sandbox();
        let daemon = FakeDaemon::start(&runtime.socket(), reply_to(command));
        let ran = runtime.run(command);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let heard = daemon.only();
        assert_eq!(heard.extra, 0);
        let came = heard.descriptors.unwrap();
        assert_eq!(inode(came.netns), netns.metadata().unwrap().ino());
        let socket = came.netlink.expect("a socket");
        assert_eq!(getsockname::<NetlinkAddr>(socket.as_raw_fd()).unwrap().pid(), 0, "not bound");
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).unwrap();
        let bound = bound_in(&netns);
        // `NETLINK_ROUTE` is number 0.
        assert!(bound.contains(&("0".to_owned(), inode(socket))), "{bound:?}");
    }
}

#[test]
fn a_release_needs_no_socket() {
    let (_netns, runtime) = sandbox();
    let daemon = FakeDaemon::start(&runtime.socket(), Reply::Answer(Answer::Done));
    runtime.run("DEL").silent_success();
    assert!(daemon.only().descriptors.unwrap().netlink.is_none());
}

/// With what the first daemon asked and did not read it would mislead the next one.
#[test]
fn each_daemon_gets_a_socket_of_its_own() {
    let (_netns, runtime) = sandbox();
    let stopping = Reply::Answer(Answer::Failed(holdfast_wire::message::Failed::stopping()));
    let daemon = FakeDaemon::start(&runtime.socket(), stopping);
    runtime.run("ADD").error(holdfast_wire::code::TRY_AGAIN_LATER);
    let sockets: Vec<OwnedFd> =
        daemon.stop().into_iter().map(|heard| heard.descriptors.unwrap().netlink.unwrap()).collect();
    assert!(sockets.len() > 1, "{sockets:?}");
    let mut inodes: Vec<u64> = sockets.into_iter().map(inode).collect();
    let all = inodes.len();
    inodes.sort_unstable();
    inodes.dedup();
    assert_eq!(inodes.len(), all);
}

#[test]
fn a_plugin_that_may_not_enter_passes_the_namespace_alone() {
    let (netns, runtime) = sandbox();
    let daemon = FakeDaemon::start(&runtime.socket(), added());
    let plugin = runtime.command("ADD");
    let mut with_less = Command::new("setpriv");
    with_less
        .args(["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "--"])
        .arg(plugin.get_program());
    with_less.env_clear().envs(plugin.get_envs().filter_map(|(name, value)| Some((name, value?))));
    with_less.env("PATH", "/usr/bin:/bin");
    let ran: Ran = run(with_less, runtime.conf.to_string().as_bytes());
    ran.result();
    let heard = daemon.only();
    assert!(matches!(heard.request.request, Request::Add(_)));
    let came = heard.descriptors.unwrap();
    assert_eq!(inode(came.netns), netns.metadata().unwrap().ino());
    assert!(came.netlink.is_none());
}
