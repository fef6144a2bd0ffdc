//! A disk that is full or read-only, at the start or under the daemon.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::ledger::refuses_and_recovers;
use crate::{new_node, still_serves};

/// A small disk for the ledger, seen by this test only.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    const SIZE: &'static str = "size=5m";

    fn mount(at: &'a Path) -> Self {
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(Self::SIZE)).unwrap();
        Self(at)
    }

    fn set_read_only(&self, flag: MsFlags) {
        mount(None::<&str>, self.0, None::<&str>, MsFlags::MS_REMOUNT | flag, Some(Self::SIZE)).unwrap();
    }

    fn fill(&self) {
        let mut ballast = File::create(self.0.join("ballast")).unwrap();
        for block in [65_536, 4096, 1] {
            while ballast.write(&vec![1; block]).is_ok_and(|written| written > 0) {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        umount2(self.0, MntFlags::MNT_DETACH).ok();
    }
}

#[test]
fn a_full_disk_at_the_start_is_waited_out() {
    let (rig, mut node) = new_node();
    let folder = node.ledger().parent().unwrap().to_owned();
    let disk = SmallDisk::mount(&folder);
    disk.fill();
    refuses_and_recovers(&rig, &mut node, None, "No space left", || disk.free());
}

#[test]
fn a_read_only_disk_at_the_start_is_waited_out() {
    let (rig, mut node) = new_node();
    let folder = node.ledger().parent().unwrap().to_owned();
    let disk = SmallDisk::mount(&folder);
    disk.set_read_only(MsFlags::MS_RDONLY);
    refuses_and_recovers(&rig, &mut node, None, "Read-only", || disk.set_read_only(MsFlags::empty()));
}

#[test]
fn a_disk_that_fills_while_the_daemon_runs_stops_adds_and_no_del() {
    let (rig, mut node) = new_node();
    let folder = node.ledger().parent().unwrap().to_owned();
    let disk = SmallDisk::mount(&folder);
    node.start_ready().unwrap();
    let runner = node.runner();
    let pods = ["a", "b", "c"].map(|name| rig.run_pod(&runner, name).unwrap());
    disk.fill();
    // What the file has room for still goes; then ADD is refused with the cause.
    let mut failure = None;
    for n in 0..60 {
        let pod = rig.pod(&format!("more-{n}")).unwrap();
        match runner.add(&pod).unwrap().result {
            Ok(_) => runner.del(&pod).unwrap().ok().map(drop).unwrap(),
            Err(refusal) => {
                failure = Some(refusal);
                break;
            }
        }
    }
    let failure = failure.expect("a full disk never showed");
    println!("{failure:?}");
    assert!(failure.details.contains("full"), "{failure:?}");
    // DEL succeeds, and the pod's traces in the kernel go.
    runner.del(&pods[0].pod).unwrap().ok().unwrap();
    assert_eq!(pods[1].ask(pods[2].address).unwrap(), pods[1].address, "running pods are unaffected");
    assert!(node.is_running().unwrap());
    disk.free();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    still_serves(&rig, &mut node);
    let gone = &pods[0].pod.container_id;
    node.wait_state("released", |ledger| {
        !ledger.leases.values().any(|lease| lease.sandbox.container_id == *gone)
    })
    .unwrap();
    assert_eq!(runner.add(&pods[1].pod).unwrap().ok().unwrap(), pods[1].result);
}
