//! A kernel's network in memory: links that appear with attachments, pods' links and what is inside their sandboxes,
//! addresses, rules and routes. It outlives the daemon's processes.
//!
//! [`host`] is the daemon's way into it; [`seen`] is how the oracle sees it; [`trouble`] is how it refuses.

mod host;
mod seen;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_chaos_tests::oracle::picture;
use holdfast_model::host::{LinkAlias, MAIN_TABLE, NatTable, PodWiring, Route, Rule, priority};
use holdfast_model::ids::MacAddr;
use holdfast_model::sandbox::NetnsRef;
use holdfast_ports::Netns;
use ipnet::{IpNet, Ipv4Net};
use tokio::sync::Notify;

pub(crate) use host::NFT_TAKES;
pub(crate) use host::SimHost;
use trouble::Trouble;
pub(crate) use trouble::{LINGERS, Step};

/// MTU of the links that come with the node.
const MTU: u32 = 9001;

/// MTU of a link that was plugged in just now.
const MTU_OF_NEW: u32 = 1500;

/// `rp_filter` as distributions set it: strict.
const STRICT: u8 = 1;

/// A link in the host's namespace.
#[derive(Debug, Clone)]
struct Link {
    name: String,
    mac: MacAddr,
    mtu: u32,
    up: bool,
    rp_filter: u8,
    addresses: Vec<Ipv4Net>,
    alias: Option<LinkAlias>,
    /// The namespace that its other end is in, if it is a pod's.
    netns: Option<u64>,
}

/// A network namespace that the runtime made.
#[derive(Debug, Clone)]
struct Sandbox {
    /// Where the runtime said that it is.
    path: String,
    /// Whether the path leads there still.
    bound: bool,
    /// What is inside, interface by interface, once each was wired.
    inside: BTreeMap<u8, PodWiring>,
}

/// Whose link in the host's namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LinkOf {
    /// An ENI's.
    Eni(MacAddr),
    /// A pod's, whose sandbox has this number.
    Pod(u64),
}

#[derive(Debug, Default)]
struct State {
    /// By number.
    links: BTreeMap<u32, Link>,
    rules: BTreeSet<Rule>,
    /// Ours. Those that came with the node are [`seen`] beside them.
    routes: BTreeSet<Route>,
    nat: Option<NatTable>,
    forwards: bool,
    /// IPv6, for pods.
    forwards_ipv6: bool,
    sandboxes: BTreeMap<u64, Sandbox>,
    primary: Option<Primary>,
    /// As the node came up.
    before: picture::Kernel,
    last: u64,
    hides_links: bool,
    unreadable: bool,
    /// How long it takes to list everything.
    look_takes: Duration,
    /// The sandbox whose link cannot be removed.
    stuck: Option<u64>,
    trouble: Trouble,
}

/// The ENI that a node comes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Primary {
    /// By which its link is known.
    pub(crate) mac: MacAddr,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// Its subnet.
    pub(crate) subnet: Ipv4Net,
}

impl State {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn add_link(&mut self, link: Link) -> u32 {
        let index = self.number() as u32;
        self.links.insert(index, link);
        index
    }

    /// A link goes, and with it the routes over it.
    fn remove_links(&mut self, go: impl Fn(&Link) -> bool) {
        self.links.retain(|_, link| !go(link));
        let links = &self.links;
        self.routes.retain(|route| links.contains_key(&route.link_index));
    }

    fn eni_link(&mut self, mac: MacAddr) -> Option<(u32, &mut Link)> {
        let mut enis = self.links.iter_mut().filter(|(_, link)| link.netns.is_none());
        enis.find(|(_, link)| link.mac == mac).map(|(index, link)| (*index, link))
    }

    fn index_of_link(&self, wanted: &LinkOf) -> Option<u32> {
        let mut links = self.links.iter();
        let found = links.find(|(_, link)| match wanted {
            LinkOf::Eni(mac) => link.netns.is_none() && link.mac == *mac,
            LinkOf::Pod(inode) => link.netns == Some(*inode),
        });
        found.map(|(index, _)| *index)
    }

    fn plug(&mut self, mac: MacAddr) {
        if self.eni_link(mac).is_some() {
            return;
        }
        let name = format!("ens{}", self.last + 1);
        self.add_link(Link {
            name,
            mac,
            mtu: MTU_OF_NEW,
            up: false,
            rp_filter: STRICT,
            addresses: Vec::new(),
            alias: None,
            netns: None,
        });
    }

    /// The node's own network comes up.
    fn boot(&mut self, primary: Primary) {
        self.plug(primary.mac);
        if let Some((_, link)) = self.eni_link(primary.mac) {
            (link.up, link.mtu) = (true, MTU);
            link.addresses.extend(Ipv4Net::new(primary.address, primary.subnet.prefix_len()));
        }
        self.primary = Some(primary);
        self.before = self.seen();
    }
}

/// The kernel of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kernel {
    state: Arc<Mutex<State>>,
    disturbed: Arc<Notify>,
}

impl Kernel {
    /// The kernel of a node that came up with this ENI.
    pub(crate) fn of_node(primary: Primary) -> Self {
        let kernel = Self::default();
        kernel.lock().boot(primary);
        kernel
    }

    /// The node restarts: nothing but the ENIs' links is left.
    pub(crate) fn reboot(&self) {
        let mut state = self.lock();
        let enis: Vec<MacAddr> =
            state.links.values().filter(|link| link.netns.is_none()).map(|link| link.mac).collect();
        let primary = state.primary;
        let trouble = std::mem::take(&mut state.trouble);
        *state = State { last: state.last, trouble, ..State::default() };
        if let Some(primary) = primary {
            state.boot(primary);
        }
        for mac in enis {
            state.plug(mac);
        }
    }

    /// A new sandbox: its namespace's identity.
    pub(crate) fn new_sandbox(&self, path: &str) -> NetnsRef {
        let mut state = self.lock();
        let inode = state.number();
        let sandbox = Sandbox { path: path.to_owned(), bound: true, inside: BTreeMap::new() };
        state.sandboxes.insert(inode, sandbox);
        NetnsRef { path: path.to_owned(), inode }
    }

    /// The runtime removes a sandbox's namespace; its interfaces go with it, and the routes over them.
    pub(crate) fn end_sandbox(&self, inode: u64) {
        self.end_sandbox_unseen(inode);
        self.disturbed.notify_one();
    }

    /// The same, and whoever watches is not told: the kernel drops notifications when it has too many.
    pub(crate) fn end_sandbox_unseen(&self, inode: u64) {
        let mut state = self.lock();
        state.sandboxes.remove(&inode);
        state.remove_links(|link| link.netns == Some(inode));
    }

    /// The path that leads to a sandbox's namespace is taken away; the namespace and its link live on.
    pub(crate) fn unbind(&self, inode: u64) {
        if let Some(sandbox) = self.lock().sandboxes.get_mut(&inode) {
            sandbox.bound = false;
        }
    }

    /// From now on no pod's wiring can be read, or it can again.
    pub(crate) fn set_unreadable(&self, unreadable: bool) {
        self.lock().unreadable = unreadable;
    }

    /// From now on this sandbox's link, and no other, cannot be removed.
    pub(crate) fn stick(&self, inode: Option<u64>) {
        self.lock().stuck = inode;
    }

    /// From now on it takes so long to list everything.
    pub(crate) fn set_look_takes(&self, look_takes: Duration) {
        self.lock().look_takes = look_takes;
    }

    /// From now on the links of new ENIs never appear, or do again.
    pub(crate) fn hide_new_links(&self, hide: bool) {
        self.lock().hides_links = hide;
    }

    /// An ENI's link appears.
    pub(crate) fn plug(&self, mac: MacAddr) {
        let mut state = self.lock();
        if !state.hides_links {
            state.plug(mac);
            self.disturbed.notify_one();
        }
    }

    /// An ENI's link goes.
    pub(crate) fn unplug(&self, mac: MacAddr) {
        self.lock().remove_links(|link| link.netns.is_none() && link.mac == mac);
        self.disturbed.notify_one();
    }

    /// Somebody deletes the link of a live pod: its other end goes with it. Whoever watches is told.
    pub(crate) fn cut_link_of(&self, inode: u64) {
        self.lock().remove_links(|link| link.netns == Some(inode));
        self.disturbed.notify_one();
    }

    /// Somebody deletes a link of this name, and with a pod's its other end; whoever watches is told.
    pub(crate) fn delete_named(&self, name: &str) {
        self.lock().remove_links(|link| link.name == name);
        self.disturbed.notify_one();
    }

    /// The number of the link of this name.
    pub(crate) fn index_of(&self, name: &str) -> Option<u32> {
        let state = self.lock();
        state.links.iter().find(|(_, link)| link.name == name).map(|(index, _)| *index)
    }

    /// Somebody puts an address onto the primary ENI's link, or takes it off; whoever watches is told.
    pub(crate) fn host_bears(&self, address: Ipv4Addr, bears: bool) {
        let mut state = self.lock();
        let mac = state.primary.map(|primary| primary.mac);
        if let Some((_, link)) = mac.and_then(|mac| state.eni_link(mac)) {
            link.addresses.retain(|net| net.addr() != address);
            link.addresses.extend(bears.then_some(Ipv4Net::from(address)));
        }
        drop(state);
        self.disturbed.notify_one();
    }

    /// Somebody takes a link down; whoever watches is told. The kernel drops the routes over it.
    pub(crate) fn take_down(&self, link: &LinkOf) {
        let mut state = self.lock();
        let Some(index) = state.index_of_link(link) else { return };
        if let Some(link) = state.links.get_mut(&index) {
            link.up = false;
        }
        state.routes.retain(|route| route.link_index != index);
        drop(state);
        self.disturbed.notify_one();
    }

    /// Somebody gives a link another name; whoever watches is told.
    pub(crate) fn rename(&self, link: &LinkOf, name: &str) {
        let mut state = self.lock();
        let Some(index) = state.index_of_link(link) else { return };
        if let Some(link) = state.links.get_mut(&index) {
            name.clone_into(&mut link.name);
        }
        drop(state);
        self.disturbed.notify_one();
    }

    /// Somebody deletes a link, and with a pod's its other end; whoever watches is told.
    pub(crate) fn delete_link(&self, link: &LinkOf) {
        let mut state = self.lock();
        let Some(index) = state.index_of_link(link) else { return };
        state.links.remove(&index);
        state.routes.retain(|route| route.link_index != index);
        drop(state);
        self.disturbed.notify_one();
    }

    /// Somebody removes all routes of a table; whoever watches is told.
    pub(crate) fn empty_table(&self, table: u32) {
        self.lock().routes.retain(|route| route.table != table);
        self.disturbed.notify_one();
    }

    /// Somebody removes the route to an address; whoever watches is told.
    pub(crate) fn remove_routes_to(&self, address: IpAddr) {
        self.lock().routes.retain(|route| route.to != IpNet::from(address));
        self.disturbed.notify_one();
    }

    /// Somebody removes the rules that take packets from an address; whoever watches is told.
    pub(crate) fn remove_rules_from(&self, address: IpAddr) {
        self.lock().rules.retain(|rule| rule.from != Some(IpNet::from(address)));
        self.disturbed.notify_one();
    }

    /// The NAT table.
    pub(crate) fn nat(&self) -> Option<NatTable> {
        self.lock().nat.clone()
    }

    /// Whether packets find a way out of the VPC.
    pub(crate) fn has_nat(&self) -> bool {
        self.nat().is_some_and(|table| table.source_nat.is_some())
    }

    /// Somebody changes something that is nobody's affair here; whoever watches is told.
    pub(crate) fn disturb(&self) {
        self.disturbed.notify_one();
    }

    /// Somebody removes the NAT table; whoever watches is told.
    pub(crate) fn remove_nat(&self) {
        self.lock().nat = None;
        self.disturbed.notify_one();
    }

    /// Somebody removes the rules that lead to an address; whoever watches is told.
    pub(crate) fn remove_rules_to(&self, address: IpAddr) {
        self.lock().rules.retain(|rule| rule.to != Some(IpNet::from(address)));
        self.disturbed.notify_one();
    }

    /// The sandbox (namespace) that the pod's own rule and route lead an address to, if any.
    pub(crate) fn reaches(&self, address: IpAddr) -> Option<u64> {
        let state = self.lock();
        let to = IpNet::from(address);
        state.rules.contains(&Rule { to: Some(to), ..rule(priority::TO_POD, MAIN_TABLE) }).then_some(())?;
        let route = state.routes.iter().find(|route| route.table == MAIN_TABLE && route.to == to)?;
        state.links.get(&route.link_index)?.netns
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rule without selectors.
fn rule(priority: u32, table: u32) -> Rule {
    Rule { priority, from: None, to: None, mark: None, table }
}

/// A namespace handle. The real thing is a descriptor; here it only has to be one.
pub(crate) fn handle() -> std::io::Result<Netns> {
    Ok(OwnedFd::from(File::open("/dev/null")?).into())
}

/// Where a simulated runtime keeps a sandbox's namespace.
pub(crate) fn sandbox_path(container: &str) -> String {
    format!("/run/netns/{container}")
}
