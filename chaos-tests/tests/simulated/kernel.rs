//! A kernel's network in memory: links that appear with attachments, pods' links, rules and routes; and the
//! sandboxes that live on it. It outlives the daemon's processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_model::host::{
    EniWiring, HostAction, HostObserved, LinkAlias, LinkSeen, MAIN_TABLE, NatSeen, NatTable, NatWanted,
    PodWired, PodWiring, RouteSeen, Rule, priority,
};
use holdfast_model::ids::MacAddr;
use holdfast_model::sandbox::NetnsRef;
use holdfast_ports::{HostFault, HostNet, Liveness, Netns};
use ipnet::IpNet;
use tokio::sync::Notify;

use crate::steps::Steps;
use crate::witness::Witness;

/// How long the kernel takes to remove links, however many.
const GRACE_PERIOD: Duration = Duration::from_millis(20);

/// How long it takes to start `nft` and have it replace a table, on a busy machine.
const NFT_TAKES: Duration = Duration::from_millis(900);

#[derive(Debug, Clone, PartialEq, Eq)]
struct PodLink {
    alias: LinkAlias,
    index: u32,
    wiring: PodWiring,
    netns: u64,
}

#[derive(Debug, Default)]
struct State {
    enis: BTreeMap<MacAddr, u32>,
    set_up: BTreeSet<MacAddr>,
    pods: BTreeMap<String, PodLink>,
    rules: BTreeSet<Rule>,
    routes: BTreeSet<RouteSeen>,
    nat: Option<NatTable>,
    sandboxes: BTreeMap<u64, String>,
    next: u64,
    hides_links: bool,
    unreadable: bool,
}

/// The kernel of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kernel {
    state: Arc<Mutex<State>>,
    disturbed: Arc<Notify>,
}

impl Kernel {
    /// A new sandbox: its namespace's identity.
    pub(crate) fn new_sandbox(&self, path: &str) -> NetnsRef {
        let mut state = self.lock();
        state.next += 1;
        let inode = state.next;
        state.sandboxes.insert(inode, path.to_owned());
        NetnsRef { path: path.to_owned(), inode }
    }

    /// The runtime removes a sandbox's namespace; its interfaces go with it, and the routes over them.
    pub(crate) fn end_sandbox(&self, inode: u64) {
        let mut state = self.lock();
        state.sandboxes.remove(&inode);
        let gone: Vec<u32> =
            state.pods.values().filter(|pod| pod.netns == inode).map(|pod| pod.index).collect();
        state.pods.retain(|_, pod| pod.netns != inode);
        state.routes.retain(|route| !gone.contains(&route.link_index));
    }

    /// The path that leads to a sandbox's namespace is taken away; the namespace and its link live on.
    pub(crate) fn unbind(&self, inode: u64) {
        self.lock().sandboxes.remove(&inode);
    }

    /// From now on no pod's wiring can be read, or it can again.
    pub(crate) fn set_unreadable(&self, unreadable: bool) {
        self.lock().unreadable = unreadable;
    }

    /// The node restarts: nothing but the ENIs' links is left.
    pub(crate) fn reboot(&self) {
        let mut state = self.lock();
        let enis = std::mem::take(&mut state.enis);
        let next = state.next;
        *state = State { enis, next, ..State::default() };
    }

    /// From now on the links of new ENIs never appear, or do again.
    pub(crate) fn hide_new_links(&self, hide: bool) {
        self.lock().hides_links = hide;
    }

    /// An ENI's link appears.
    pub(crate) fn plug(&self, mac: MacAddr) {
        let mut state = self.lock();
        if state.hides_links {
            return;
        }
        state.next += 1;
        let index = state.next as u32;
        state.enis.insert(mac, index);
    }

    /// An ENI's link goes, and its set-up with it.
    pub(crate) fn unplug(&self, mac: MacAddr) {
        let mut state = self.lock();
        state.enis.remove(&mac);
        state.set_up.remove(&mac);
    }

    /// The NAT table.
    pub(crate) fn nat(&self) -> Option<NatTable> {
        self.lock().nat.clone()
    }

    /// Whether packets find a way out of the VPC.
    pub(crate) fn has_nat(&self) -> bool {
        self.nat().is_some_and(|table| table.source_nat.is_some())
    }

    /// Somebody removes the NAT table; whoever watches is told.
    pub(crate) fn remove_nat(&self) {
        self.lock().nat = None;
        self.disturbed.notify_one();
    }

    /// Somebody removes the rules that lead to an address; whoever watches is told.
    pub(crate) fn remove_rules_to(&self, address: std::net::IpAddr) {
        self.lock().rules.retain(|rule| rule.to != Some(host(address)));
        self.disturbed.notify_one();
    }

    /// The sandbox (namespace) that traffic for an address reaches, if any: link, route and rule must all be there.
    pub(crate) fn reaches(&self, address: std::net::IpAddr) -> Option<u64> {
        let state = self.lock();
        let to = host(address);
        let rule =
            Rule { priority: priority::TO_POD, from: None, to: Some(to), mark: None, table: MAIN_TABLE };
        let route = state.routes.iter().find(|route| route.table == MAIN_TABLE && route.to == to)?;
        let pod = state.pods.values().find(|pod| pod.index == route.link_index)?;
        (state.rules.contains(&rule) && pod.wiring.address == address).then_some(pod.netns)
    }

    /// Everything of ours that names no live lease: `(links, rules and routes)`.
    pub(crate) fn pod_objects(&self) -> (Vec<LinkAlias>, Vec<IpNet>) {
        let state = self.lock();
        let links = state.pods.values().map(|pod| pod.alias.clone()).collect();
        let named = state
            .rules
            .iter()
            .filter(|rule| matches!(rule.priority, priority::TO_POD | priority::FROM_POD))
            .flat_map(|rule| [rule.from, rule.to])
            .flatten()
            .chain(state.routes.iter().map(|route| route.to).filter(|to| to.prefix_len() == 32))
            .collect();
        (links, named)
    }

    /// A daemon's way into it.
    pub(crate) fn host(&self, steps: &Steps, witness: &Witness) -> SimHost {
        SimHost { kernel: self.clone(), steps: steps.clone(), witness: witness.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn host(address: std::net::IpAddr) -> IpNet {
    IpNet::from(address)
}

/// One life's way into the kernel.
#[derive(Debug, Clone)]
pub(crate) struct SimHost {
    kernel: Kernel,
    steps: Steps,
    witness: Witness,
}

/// A namespace handle. The real thing is a descriptor; here it only has to be one.
pub(crate) fn handle() -> std::io::Result<Netns> {
    Ok(Arc::new(OwnedFd::from(File::open("/dev/null")?)))
}

impl SimHost {
    fn rules_of(wiring: &PodWiring) -> Vec<Rule> {
        let address = Some(host(wiring.address));
        let mut rules =
            vec![Rule { priority: priority::TO_POD, from: None, to: address, mark: None, table: MAIN_TABLE }];
        if wiring.table != MAIN_TABLE {
            rules.push(Rule {
                priority: priority::FROM_POD,
                from: address,
                to: None,
                mark: None,
                table: wiring.table,
            });
        }
        rules
    }

    async fn carry_out(&self, action: HostAction) -> Result<(), HostFault> {
        self.steps.pass(format!("before mending {action:?}").chars().take(60).collect::<String>());
        if let HostAction::EnsureEni(wiring) = action {
            return self.set_up_eni(wiring).await;
        }
        if matches!(action, HostAction::ReplaceNat(_)) {
            tokio::time::sleep(NFT_TAKES).await;
        }
        let mut state = self.kernel.lock();
        match action {
            // Neither links nor forwarding are ever off here.
            HostAction::EnsureEni(_) | HostAction::RaiseLink(_) | HostAction::EnableForwarding => {}
            HostAction::EnsureRule(rule) => {
                state.rules.insert(rule);
            }
            HostAction::RemoveRule(rule) => {
                state.rules.remove(&rule);
            }
            HostAction::RemoveRoute(route) => {
                state.routes.remove(&route);
            }
            HostAction::RemoveLinks(aliases) => {
                let gone: Vec<u32> = state
                    .pods
                    .values()
                    .filter(|pod| aliases.contains(&pod.alias))
                    .map(|pod| pod.index)
                    .collect();
                state.pods.retain(|_, pod| !aliases.contains(&pod.alias));
                state.routes.retain(|route| !gone.contains(&route.link_index));
            }
            HostAction::EnsureRoute(route) => {
                let index = state.pods.values().find_map(|pod| match &route.link {
                    holdfast_model::host::LinkName::Name(name) if *name == pod.wiring.host_veth => {
                        Some(pod.index)
                    }
                    _ => None,
                });
                let index =
                    index.ok_or_else(|| HostFault::LinkMissing { mac: format!("{:?}", route.link) })?;
                state.routes.insert(RouteSeen {
                    table: route.table,
                    to: route.to,
                    via: route.via,
                    link_index: index,
                });
            }
            HostAction::ReplaceNat(nat) => state.nat = Some(nat),
            HostAction::RemoveNat => state.nat = None,
        }
        Ok(())
    }

    fn differences(state: &State, wiring: &PodWiring) -> Vec<String> {
        let mut differences = Vec::new();
        let Some(pod) = state.pods.get(&wiring.host_veth).filter(|pod| pod.alias == wiring.alias) else {
            return vec![format!("{} is missing", wiring.host_veth)];
        };
        for rule in Self::rules_of(wiring) {
            if !state.rules.contains(&rule) {
                differences.push(format!("{rule:?} is missing"));
            }
        }
        let routed = state
            .routes
            .iter()
            .any(|route| route.to == host(wiring.address) && route.link_index == pod.index);
        if !routed {
            differences.push(format!("no route to {}", wiring.address));
        }
        differences
    }
}

impl HostNet for SimHost {
    async fn observe(&self, nat: &NatWanted) -> Result<HostObserved, HostFault> {
        let state = self.kernel.lock();
        let seen = |index: u32, name: String, mac, alias| LinkSeen {
            index,
            name,
            mac,
            mtu: 9001,
            up: true,
            strict: false,
            alias,
            addresses: Vec::new(),
            connected: Vec::new(),
        };
        let enis =
            state.enis.iter().map(|(mac, index)| seen(*index, format!("ens{index}"), Some(*mac), None));
        let pods = state.pods.iter().map(|(name, pod)| {
            seen(pod.index, name.clone(), Some(pod.wiring.host_mac), Some(pod.alias.clone()))
        });
        Ok(HostObserved {
            links: enis.chain(pods).collect(),
            rules: state.rules.iter().cloned().collect(),
            routes: state.routes.iter().cloned().collect(),
            nat: match (nat, &state.nat) {
                (NatWanted::Undecided, _) => NatSeen::Unknown,
                (NatWanted::Absent, None) => NatSeen::AsWritten,
                (NatWanted::Table(wanted), Some(there)) if wanted == there => NatSeen::AsWritten,
                _ => NatSeen::Differs,
            },
            forwarding: Some(true),
        })
    }

    async fn apply(&self, actions: Vec<HostAction>) -> Result<(), HostFault> {
        let mut first = Ok(());
        for action in actions {
            first = first.and(self.carry_out(action).await);
        }
        first
    }

    async fn set_up_eni(&self, wiring: EniWiring) -> Result<(), HostFault> {
        self.steps.pass("before setting an ENI up");
        let mut state = self.kernel.lock();
        if !state.enis.contains_key(&wiring.mac) {
            return Err(HostFault::LinkMissing { mac: wiring.mac.to_string() });
        }
        state.set_up.insert(wiring.mac);
        drop(state);
        self.steps.pass("after setting an ENI up");
        Ok(())
    }

    async fn wire_pod(&self, wiring: PodWiring, _netns: Netns) -> Result<PodWired, HostFault> {
        self.steps.pass("before wiring");
        self.witness.sees_wiring(&wiring.alias);
        let index = {
            let mut state = self.kernel.lock();
            // The handle is a stand-in: which sandbox it is stands in the alias.
            let path = sandbox_path(&wiring.alias);
            let Some(netns) =
                state.sandboxes.iter().find(|(_, known)| **known == path).map(|(inode, _)| *inode)
            else {
                return Err(HostFault::Netns { netns: path, cause: "it is gone".to_owned() });
            };
            state.next += 1;
            let index = state.next as u32;
            let link = PodLink { alias: wiring.alias.clone(), index, wiring: wiring.clone(), netns };
            state.pods.insert(wiring.host_veth.clone(), link);
            index
        };
        self.steps.pass("halfway through wiring");
        {
            let mut state = self.kernel.lock();
            state.rules.extend(Self::rules_of(&wiring));
            state.routes.insert(RouteSeen {
                table: MAIN_TABLE,
                to: host(wiring.address),
                via: None,
                link_index: index,
            });
        }
        self.steps.pass("after wiring");
        Ok(PodWired { host_ifindex: index, pod_mac: wiring.host_mac })
    }

    async fn unwire_pod(&self, wiring: PodWiring) -> Result<(), HostFault> {
        self.steps.pass("before unwiring");
        self.witness.sees_unwiring("unwiring", &wiring.alias);
        {
            let mut state = self.kernel.lock();
            for rule in Self::rules_of(&wiring) {
                state.rules.remove(&rule);
            }
        }
        self.steps.pass("halfway through unwiring");
        self.kernel.lock().routes.retain(|route| route.to != host(wiring.address));
        self.steps.pass("after unwiring");
        Ok(())
    }

    async fn remove_links(&self, pods: Vec<PodWiring>) -> Result<(), HostFault> {
        self.steps.pass("before removing links");
        for wiring in &pods {
            self.witness.sees_unwiring("removing a link", &wiring.alias);
        }
        tokio::time::sleep(GRACE_PERIOD).await;
        {
            let mut state = self.kernel.lock();
            for wiring in pods {
                if state.pods.get(&wiring.host_veth).is_some_and(|pod| pod.alias == wiring.alias) {
                    state.pods.remove(&wiring.host_veth);
                }
            }
        }
        self.steps.pass("after removing links");
        Ok(())
    }

    async fn check_pod(&self, wiring: PodWiring, _netns: Option<Netns>) -> Result<Vec<String>, HostFault> {
        let state = self.kernel.lock();
        if state.unreadable {
            let cause = "No buffer space available".to_owned();
            return Err(HostFault::Refused { step: "read the pod's rules".to_owned(), cause });
        }
        Ok(Self::differences(&state, &wiring))
    }

    async fn open_netns(&self, path: String) -> Result<(Netns, NetnsRef), HostFault> {
        let inode =
            self.kernel.lock().sandboxes.iter().find(|(_, known)| **known == path).map(|(inode, _)| *inode);
        let gone = |cause: String| HostFault::Netns { netns: path.clone(), cause };
        let inode = inode.ok_or_else(|| gone("No such file or directory".to_owned()))?;
        let handle = handle().map_err(|error| gone(error.to_string()))?;
        Ok((handle, NetnsRef { path, inode }))
    }

    async fn liveness(&self, netns: NetnsRef) -> Liveness {
        match self.kernel.lock().sandboxes.get(&netns.inode) {
            Some(path) if *path == netns.path => Liveness::Alive,
            _ => Liveness::Gone,
        }
    }

    async fn drifted(&self) {
        self.kernel.disturbed.notified().await;
    }
}

/// Where a simulated runtime keeps a sandbox's namespace.
pub(crate) fn sandbox_path(alias: &LinkAlias) -> String {
    let id = alias.sandbox().map(|sandbox| sandbox.container_id).unwrap_or_default();
    format!("/run/netns/{id}")
}
