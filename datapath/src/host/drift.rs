//! Being told when somebody else changed what may be ours.
//!
//! A thread reads the notifications and leaves a permit; many changes are one permit. Nearly all are of our own doing,
//! ten and more for each pod, so it lets them gather for a moment rather than be woken for each.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use holdfast_model::host::PROTOCOL;
use holdfast_model::ids::MacAddr;
use holdfast_ports::host::HostFault;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::Notify;

use super::links::is_in_removal;
use super::pool::{OwnPorts, lock};
use super::{LINK_GROUP, fault_in_netns, refused};
use crate::nat;
use crate::netlink::{Group, Link, Notice, Socket, Watch};
use crate::netns;

/// How long notifications gather.
const GATHER: Duration = Duration::from_millis(5);

/// Watches the host's namespace from its making on: what changes between two waits is not missed.
pub(crate) struct Drift {
    changed: Arc<Notify>,
    /// Its closing ends the thread.
    _stop: OwnedFd,
}

impl Drift {
    pub(crate) fn watch(home: &Arc<OwnedFd>, own: OwnPorts) -> Result<Self, HostFault> {
        let failed = |step: &str, cause: String| HostFault::Refused { step: step.to_owned(), cause };
        let (stopped, stop) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
            .map_err(|errno| failed("make a pipe", errno.desc().to_owned()))?;
        let changed = Arc::new(Notify::new());
        let (ready, started) = mpsc::channel();
        let (home, notify) = (Arc::clone(home), Arc::clone(&changed));
        let thread = move || match Watcher::open(&home, own) {
            Ok(mut watcher) => {
                drop(ready.send(Ok(())));
                watcher.run(&stopped, &notify);
            }
            Err(fault) => drop(ready.send(Err(fault))),
        };
        std::thread::Builder::new()
            .name("datapath-watch".to_owned())
            .spawn(thread)
            .map_err(|error| failed("start a thread", error.to_string()))?;
        started.recv().map_err(|_gone| failed("watch for changes", "the thread ended".to_owned()))??;
        Ok(Self { changed, _stop: stop })
    }

    /// Returns when somebody else changed something that may be ours since the last return.
    pub(crate) async fn wait(&self) {
        self.changed.notified().await;
    }
}

struct Watcher {
    routing: Watch,
    /// Not every kernel has nf_tables.
    tables: Option<Watch>,
    own: OwnPorts,
    /// Pods' links as they were last told of, by index.
    pods: HashMap<u32, Told>,
}

/// What others may change about a pod's link without taking it down, and its pod is cut off or lost sight of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    name: String,
    mac: Option<MacAddr>,
    mtu: u32,
    alias: Option<String>,
}

impl Told {
    fn of(link: &Link) -> Self {
        Self { name: link.name.clone(), mac: link.mac, mtu: link.mtu, alias: link.alias.clone() }
    }
}

impl Watcher {
    /// On a thread that ends with it.
    fn open(home: &Arc<OwnedFd>, own: OwnPorts) -> Result<Self, HostFault> {
        netns::stay_in(home).map_err(|error| fault_in_netns("host", &error))?;
        let groups = [
            Group::Links,
            Group::Ipv4Addresses,
            Group::Ipv4Routes,
            Group::Ipv4Rules,
            Group::Ipv4Settings,
            Group::Ipv6Addresses,
            Group::Ipv6Routes,
            Group::Ipv6Rules,
            Group::Ipv6Settings,
        ];
        let routing = Watch::open(&groups).map_err(refused)?;
        let tables = Watch::open(&[Group::NfTables])
            .inspect_err(|error| tracing::warn!(%error, "changes of the NAT table are found only by looking"))
            .ok();
        // After the watch was opened: what changes from here on is told.
        let links = Socket::open().and_then(|mut socket| socket.links()).map_err(refused)?;
        let pods = links.iter().filter(|link| is_a_pods(link)).map(|link| (link.index, Told::of(link)));
        let pods = pods.collect();
        Ok(Self { routing, tables, own, pods })
    }

    fn run(&mut self, stopped: &OwnedFd, changed: &Notify) {
        loop {
            let mut fds = vec![
                PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.routing.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(self.tables.iter().map(|tables| PollFd::new(tables.as_fd(), PollFlags::POLLIN)));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "no longer told of changes; they are found only by looking");
                    return;
                }
            }
            if fds[0].revents().is_some_and(|events| !events.is_empty()) {
                return;
            }
            std::thread::sleep(GATHER);
            let Self { routing, tables, own, pods } = self;
            let of_routing = routing.drain(|notice| matters(own, pods, notice));
            let of_tables = tables.as_mut().is_some_and(|tables| {
                tables.drain(|notice| notice.nf_table().as_deref() == Some(nat::TABLE))
            });
            if of_routing || of_tables {
                changed.notify_one();
            }
        }
    }
}

/// Whether a link is the host end of a pod that is made and not being removed: told by its group, and by an alias.
fn is_a_pods(link: &Link) -> bool {
    link.group == LINK_GROUP && link.alias.is_some()
}

/// What we did ourselves does not matter. Of links the kernel does not say who changed them: ours are told by
/// their group. One without an alias is being made, one in a removal group is being removed, and carriers of
/// pods come and go. Nor does it say so of settings, which we seldom change, nor of what IPv6 does on links by itself.
fn matters(own: &OwnPorts, pods: &mut HashMap<u32, Told>, notice: Notice<'_>) -> bool {
    if lock(own).contains(&notice.port) {
        return false;
    }
    if let Some(concerns) = notice.concerns_ipv6(PROTOCOL) {
        return concerns;
    }
    if let Some(changed) = notice.settings_changed() {
        return changed;
    }
    let Some(link) = notice.link() else { return true };
    if notice.kind != Notice::LINK_NEW || is_in_removal(&link) {
        pods.remove(&link.index);
        return !is_in_removal(&link);
    }
    if is_a_pods(&link) {
        let told = Told::of(&link);
        let before = pods.insert(link.index, told.clone());
        return !link.up || before.is_some_and(|before| before != told);
    }
    // One that had an alias has lost it, or its group.
    pods.remove(&link.index).is_some() || link.group != LINK_GROUP
}
