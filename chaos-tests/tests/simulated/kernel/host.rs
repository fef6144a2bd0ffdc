//! The daemon's way into the kernel: each change in the order in which the real one makes it, with steps between.

use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::eni::EniSlot;
use holdfast_model::host::{
    EniWiring, HostAction, HostObserved, Ipv6Link, Ipv6Seen, LinkAlias, LinkSeen, MAIN_TABLE, NatSeen,
    NatWanted, PodWired, PodWiring, Route, Rule, priority,
};
use holdfast_model::sandbox::NetnsRef;
use holdfast_ports::{HostFault, HostNet, Liveness, Netns};
use ipnet::{IpNet, Ipv4Net};

use super::trouble::{LINGERS, Step, refused};
use super::{Kernel, Link, State, handle, rule, sandbox_path};
use crate::steps::Steps;
use crate::witness::Witness;

/// How long the kernel takes to remove links, however many.
const GRACE_PERIOD: Duration = Duration::from_millis(20);

/// How long it takes to start `nft` and have it replace a table, on a busy machine.
pub(crate) const NFT_TAKES: Duration = Duration::from_millis(900);

/// One life's way into the kernel.
#[derive(Debug, Clone)]
pub(crate) struct SimHost {
    kernel: Kernel,
    steps: Steps,
    witness: Witness,
}

impl Kernel {
    /// A daemon's way into it.
    pub(crate) fn host(&self, steps: &Steps, witness: &Witness) -> SimHost {
        SimHost { kernel: self.clone(), steps: steps.clone(), witness: witness.clone() }
    }
}

impl State {
    /// Puts a route in the place of one to the same destination.
    fn put_route(&mut self, route: Route) {
        self.routes.retain(|other| !route.takes_the_place_of(other));
        self.routes.insert(route);
    }

    /// `fails`: in which way, if it does.
    fn set_up_eni(&mut self, wiring: &EniWiring, fails: Option<u64>) -> Result<(), HostFault> {
        let missing = || HostFault::LinkMissing { mac: wiring.mac.to_string() };
        let (index, link) = self.eni_link(wiring.mac).ok_or_else(missing)?;
        if fails == Some(0) {
            return Err(refused(Step::SetUpEni));
        }
        (link.mtu, link.rp_filter) = (wiring.mtu, 2);

        if fails == Some(1) {
            return Err(refused(Step::SetUpEni));
        }
        if wiring.slot == EniSlot::PRIMARY {
            self.forwards_ipv6 |= wiring.routes_ipv6;
            return Ok(());
        }
        link.up = true;
        link.addresses =
            Ipv4Net::new(wiring.primary_ipv4, wiring.subnet_cidr.prefix_len()).into_iter().collect();
        if fails.is_some() {
            return Err(refused(Step::SetUpEni));
        }
        let (table, gateway) = (wiring.slot.route_table(), IpAddr::V4(wiring.gateway()));
        let own = Some(IpNet::from(IpAddr::V4(wiring.primary_ipv4)));
        self.put_route(Route::on_link(table, IpNet::from(gateway), index));
        self.put_route(Route::default_via(table, gateway, index));
        let wanted = Rule { from: own, ..rule(priority::FROM_ENI, table) };
        self.rules.retain(|rule| {
            rule.priority != priority::FROM_ENI || (rule.from == own) == (rule.table == table)
        });
        self.rules.insert(wanted);
        Ok(())
    }

    /// One end here, the other in the sandbox. What bears the name is of a sandbox that is over.
    fn make_pair(&mut self, wiring: &PodWiring, netns: u64) -> u32 {
        self.remove_links(|link| link.name == wiring.host_veth);
        self.add_link(Link {
            name: wiring.host_veth.clone(),
            mac: wiring.host_mac,
            mtu: wiring.mtu,
            up: false,
            rp_filter: 1,
            addresses: Vec::new(),
            alias: None,
            netns: Some(netns),
        })
    }

    fn change(&mut self, action: HostAction) -> Result<(), HostFault> {
        match action {
            HostAction::EnableForwarding => self.forwards = true,
            HostAction::EnsureEni(wiring) => return self.set_up_eni(&wiring, None),
            HostAction::EnsurePod(wiring) => {
                let of_pod =
                    self.links.iter_mut().find(|(_, link)| link.alias.as_ref() == Some(&wiring.alias));
                if let Some((index, link)) = of_pod.filter(|(_, link)| link.name == wiring.host_veth) {
                    (link.up, link.mac, link.mtu, link.rp_filter) = (true, wiring.host_mac, wiring.mtu, 1);
                    let route = wiring.route(*index);
                    self.put_route(route);
                    self.rules.extend(wiring.rules());
                }
            }
            HostAction::EnsureRule(rule) => drop(self.rules.insert(rule)),
            HostAction::RemoveRule(rule) => drop(self.rules.remove(&rule)),
            HostAction::RemoveRoute(route) => drop(self.routes.remove(&route)),
            HostAction::ReplaceNat(nat) => self.nat = Some(nat),
            HostAction::RemoveNat => self.nat = None,
        }
        Ok(())
    }

    fn link_seen(index: u32, link: &Link) -> LinkSeen {
        LinkSeen {
            index,
            name: link.name.clone(),
            mac: Some(link.mac),
            mtu: link.mtu,
            up: link.up,
            rp_filter: Some(link.rp_filter),
            alias: link.alias.clone(),
            addresses: link.addresses.clone(),
            // Advertisements are heard by the node, and never of pods.
            ipv6: Some(Ipv6Link { accept_ra: if link.netns.is_some() { 0 } else { 2 }, off: false }),
            // Addresses are only ever added without a route.
            ..LinkSeen::default()
        }
    }

    /// All of it at one instant.
    fn look(&self, nat: &NatWanted) -> HostObserved {
        HostObserved {
            links: self.links.iter().map(|(index, link)| State::link_seen(*index, link)).collect(),
            rules: self.rules.iter().cloned().collect(),
            routes: self.routes.iter().cloned().collect(),
            nat: match (nat, &self.nat) {
                (NatWanted::Undecided, _) => NatSeen::Unknown,
                (NatWanted::Absent, None) => NatSeen::AsWritten,
                (NatWanted::Table(wanted), Some(there)) if wanted == there => NatSeen::AsWritten,
                _ => NatSeen::Differs,
            },
            forwarding: Some(self.forwards),
            way_out: None,
            forward_drops: None,
            rp_filter: 0,
            ipv6: Ipv6Seen { forwarding: Some(self.forwards_ipv6), off: Some(false), way_out: None },
        }
    }

    /// What of a pod is not as it should be.
    fn differences(&self, wiring: &PodWiring) -> Vec<String> {
        let mut differences = Vec::new();
        let link = self.links.iter().find(|(_, link)| link.alias.as_ref() == Some(&wiring.alias));
        let Some((index, link)) = link.filter(|(_, link)| link.name == wiring.host_veth) else {
            return vec![format!("{} is missing", wiring.host_veth)];
        };
        for rule in wiring.rules() {
            if !self.rules.contains(&rule) {
                differences.push(format!("{rule:?} is missing"));
            }
        }
        if !self.routes.contains(&wiring.route(*index)) {
            differences.push(format!("no route to {}", wiring.address));
        }
        if !link.up {
            differences.push(format!("{} is down", wiring.host_veth));
        }
        let sandbox = link.netns.and_then(|netns| self.sandboxes.get(&netns));
        // The ways of its packets are asked, not made.
        let made = |wiring: &PodWiring| PodWiring { ways: Vec::new(), ..wiring.clone() };
        let inside = sandbox.map(|sandbox| sandbox.inside.get(&wiring.number).map(made));
        if inside.is_some_and(|inside| inside != Some(made(wiring))) {
            differences.push("the sandbox's own side differs".to_owned());
        }
        differences
    }
}

impl SimHost {
    async fn carry_out(&self, action: HostAction) -> Result<(), HostFault> {
        self.steps.pass(format!("before mending {action:?}").chars().take(60).collect::<String>());
        if let HostAction::EnsureEni(wiring) = action {
            return self.set_up_eni(wiring).await;
        }
        if matches!(action, HostAction::ReplaceNat(_)) {
            tokio::time::sleep(NFT_TAKES).await;
        }
        if self.fails(Step::Mend).is_some() {
            return Err(refused(Step::Mend));
        }
        self.kernel.lock().change(action)
    }

    /// In which of its ways this step fails now, if it does.
    fn fails(&self, step: Step) -> Option<u64> {
        self.kernel.lock().trouble.draw(step)
    }
}

impl HostNet for SimHost {
    async fn observe(&self, nat: &NatWanted) -> Result<HostObserved, HostFault> {
        if self.fails(Step::Observe).is_some() {
            return Err(refused(Step::Observe));
        }
        let (seen, takes) = {
            let state = self.kernel.lock();
            (state.look(nat), state.look_takes)
        };
        // What changes meanwhile is not in it.
        tokio::time::sleep(takes).await;
        Ok(seen)
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
        let refused = self.kernel.lock().trouble.refuses_device(wiring.slot);
        let fails = if refused { Some(1) } else { self.fails(Step::SetUpEni) };
        self.kernel.lock().set_up_eni(&wiring, fails)?;
        self.steps.pass("after setting an ENI up");
        Ok(())
    }

    async fn wire_pod(&self, wiring: PodWiring, _netns: Netns) -> Result<PodWired, HostFault> {
        self.steps.pass("before wiring");
        self.witness.sees_wiring(&wiring.alias);
        let refuses = self.kernel.lock().trouble.refuses(wiring.address);
        let fails = if refuses { Some(2) } else { self.fails(Step::Wire) };
        if fails == Some(0) {
            return Err(refused(Step::Wire));
        }
        let (index, netns) = {
            let mut state = self.kernel.lock();
            // The handle is a stand-in: which sandbox it is stands in the alias.
            let container =
                wiring.alias.sandbox().map(|sandbox| sandbox.container_id.clone()).unwrap_or_default();
            let path = sandbox_path(&container);
            let sandbox = state.sandboxes.iter().find(|(_, sandbox)| sandbox.bound && sandbox.path == path);
            let Some(netns) = sandbox.map(|(inode, _)| *inode) else {
                return Err(HostFault::Netns { netns: path, cause: "it is gone".to_owned() });
            };
            (state.make_pair(&wiring, netns), netns)
        };
        self.steps.pass("wiring: the pair is there");
        if fails == Some(1) {
            return Err(refused(Step::Wire));
        }
        {
            let mut state = self.kernel.lock();
            if let Some(link) = state.links.get_mut(&index) {
                (link.up, link.alias) = (true, Some(wiring.alias.clone()));
                state.put_route(wiring.route(index));
            }
            state.rules.extend(wiring.rules());
        }
        self.steps.pass("wiring: the host's side is there");
        if fails == Some(2) {
            return Err(refused(Step::Wire));
        }
        let host_mac = wiring.host_mac;
        {
            let mut state = self.kernel.lock();
            // Rules of an earlier owner of the address would send this pod's packets elsewhere.
            let (own, wanted) = (Some(IpNet::from(wiring.address)), wiring.rules());
            state.rules.retain(|rule| (rule.from != own && rule.to != own) || wanted.contains(rule));
            let Some(sandbox) = state.sandboxes.get_mut(&netns) else {
                return Err(HostFault::Netns { netns: wiring.ifname, cause: "it is gone".to_owned() });
            };
            sandbox.inside.insert(wiring.number, wiring);
        }
        self.steps.pass("after wiring");
        if fails.is_some() {
            return Err(HostFault::ReadBack("the route is another".to_owned()));
        }
        Ok(PodWired { host_ifindex: index, pod_mac: host_mac })
    }

    async fn unwire_pod(&self, wiring: PodWiring) -> Result<(), HostFault> {
        self.steps.pass("before unwiring");
        self.witness.sees_unwiring("unwiring", &wiring.alias);
        let fails = self.fails(Step::Unwire);
        if fails == Some(0) {
            return Err(refused(Step::Unwire));
        }
        let own = IpNet::from(wiring.address);
        self.kernel
            .lock()
            .routes
            .retain(|route| (route.table, route.to, route.via) != (MAIN_TABLE, own, None));
        self.steps.pass("halfway through unwiring");
        if fails.is_some() {
            return Err(refused(Step::Unwire));
        }
        // Whatever tables they lead to.
        let own = Some(own);
        self.kernel.lock().rules.retain(|rule| rule.from != own && rule.to != own);
        self.steps.pass("after unwiring");
        Ok(())
    }

    async fn remove_links(&self, pods: Vec<PodWiring>) -> Vec<Result<(), HostFault>> {
        self.steps.pass("before removing links");
        for wiring in &pods {
            self.witness.sees_unwiring("removing a link", &wiring.alias);
        }
        let fails = self.fails(Step::RemoveLinks);
        tokio::time::sleep(if fails == Some(2) { LINGERS } else { GRACE_PERIOD }).await;
        // One without an alias was being made as the daemon died.
        let is_of = |link: &Link, wiring: &PodWiring| {
            link.name == wiring.host_veth && link.alias.as_ref().is_none_or(|alias| *alias == wiring.alias)
        };
        let goes = match fails {
            Some(0) => 0,
            Some(1) => pods.len() / 2,
            _ => pods.len(),
        };
        let mut state = self.kernel.lock();
        let stuck =
            state.links.values().find(|link| link.netns.is_some() && link.netns == state.stuck).cloned();
        let stays = |number: usize, wiring: &PodWiring| {
            number >= goes || stuck.as_ref().is_some_and(|link| is_of(link, wiring))
        };
        let (stay, go): (Vec<_>, Vec<_>) =
            pods.iter().enumerate().partition(|(number, wiring)| stays(*number, wiring));
        state.remove_links(|link| go.iter().any(|(_, wiring)| is_of(link, wiring)));
        drop(state);
        self.steps.pass("after removing links");
        let stayed = |number| stay.iter().any(|(other, _)| *other == number);
        let result = |number| if stayed(number) { Err(refused(Step::RemoveLinks)) } else { Ok(()) };
        (0..pods.len()).map(result).collect()
    }

    async fn check_pod(&self, wiring: PodWiring, _netns: Option<Netns>) -> Result<Vec<String>, HostFault> {
        let state = self.kernel.lock();
        if state.unreadable {
            let cause = "No buffer space available".to_owned();
            return Err(HostFault::Refused { step: "read the pod's rules".to_owned(), cause });
        }
        Ok(state.differences(&wiring))
    }

    /// Of others' rules and routes this kernel has none.
    async fn diverted(&self, _pods: Vec<PodWiring>) -> Result<Vec<(LinkAlias, String)>, HostFault> {
        Ok(Vec::new())
    }

    async fn open_netns(&self, path: String) -> Result<(Netns, NetnsRef), HostFault> {
        let state = self.kernel.lock();
        let sandbox = state.sandboxes.iter().find(|(_, sandbox)| sandbox.bound && sandbox.path == path);
        let gone = |cause: String| HostFault::Netns { netns: path.clone(), cause };
        let (inode, _) = sandbox.ok_or_else(|| gone("No such file or directory".to_owned()))?;
        let handle = handle().map_err(|error| gone(error.to_string()))?;
        Ok((handle, NetnsRef { path, inode: *inode }))
    }

    async fn liveness(&self, netns: NetnsRef, pod: PodWiring) -> Liveness {
        let state = self.kernel.lock();
        if state.links.values().any(|link| link.alias.as_ref() == Some(&pod.alias)) {
            return Liveness::Joined;
        }
        match state.sandboxes.get(&netns.inode) {
            Some(sandbox) if sandbox.bound && sandbox.path == netns.path => Liveness::Severed,
            _ => Liveness::Gone,
        }
    }

    async fn drifted(&self) {
        self.kernel.disturbed.notified().await;
    }
}
