//! What the tests of the real kernel share: namespaces of their own.
#![allow(dead_code, unreachable_pub, reason = "compiled into each test binary, of which none uses all")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::fd::OwnedFd;
use std::sync::Arc;

use holdfast_datapath::netlink::{Change, LinkRef, LinkSettings, Socket};
use holdfast_datapath::netns;

pub type Netns = Arc<OwnedFd>;

/// A fresh namespace with its loopback up. It goes with the last descriptor, also when the test panics.
pub fn namespace() -> Netns {
    assert!(
        nix::unistd::geteuid().is_root(),
        "the kernel tests need root (or `unshare -Ur`): they make namespaces"
    );
    let netns = netns::create().expect("make a network namespace");
    let mut socket = socket(&netns);
    socket.apply(&Change::SetLink(LinkRef::Name("lo".into()), LinkSettings::up())).unwrap();
    netns
}

pub fn socket(netns: &Netns) -> Socket {
    netns::socket_in(netns).expect("open a netlink socket in the namespace")
}

/// Runs `nft` in a namespace, as a person would.
pub fn nft(netns: &Netns, command: &str) -> String {
    let run = || {
        std::process::Command::new("/usr/sbin/nft")
            .args(command.split(' ').filter(|word| !word.is_empty()))
            .output()
    };
    let output = netns::run_in(netns, run).unwrap().expect("nft runs (Debian's package: nftables)");
    assert!(output.status.success(), "nft {command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
