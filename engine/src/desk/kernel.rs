//! A kernel that keeps what it is told to make, and says what it is told to say.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use holdfast_model::host::{
    EniWiring, HostAction, HostObserved, LinkAlias, LinkSeen, MAIN_TABLE, NatSeen, NatWanted, PRIMARY_MARK,
    PodWired, PodWiring, Rule, priority,
};
use holdfast_model::ids::MacAddr;
use holdfast_model::sandbox::NetnsRef;
use holdfast_ports::{HostFault, HostNet, Liveness, Netns};
use tokio::sync::Notify;

use super::{PRIMARY, netns, pass};

/// What the kernel has, and what it is told to say.
pub(crate) struct Kernel {
    /// Links of ENIs besides the primary's.
    pub(crate) other_enis: Vec<MacAddr>,
    /// Bridges that bear these MACs.
    pub(crate) bridges: Vec<MacAddr>,
    /// Wired pods, by host link, and whether that link is there.
    pub(crate) pods: BTreeMap<String, (PodWiring, bool)>,
    pub(crate) way_out: bool,
    pub(crate) forward_drops: Vec<String>,
    /// Whose packets go elsewhere, and where.
    pub(crate) diverted: Vec<(LinkAlias, String)>,
    /// How often it was asked for that.
    pub(crate) ways_asked: u64,
    pub(crate) nat: NatSeen,
    /// What reading it fails with.
    pub(crate) unreadable: Option<HostFault>,
    /// What wiring, unwiring and putting things right fail with.
    pub(crate) wire: Option<HostFault>,
    pub(crate) unwire: Option<HostFault>,
    pub(crate) unlink: Option<HostFault>,
    pub(crate) apply: Option<HostFault>,
    /// How long a look at it takes till its links are read, and from there to its end. Its rules and routes are read first.
    pub(crate) look_takes: (Duration, Duration),
    /// How long wiring takes, and putting things right.
    pub(crate) wire_takes: Duration,
    pub(crate) apply_takes: Duration,
    /// How long setting an ENI up takes, and how often it was begun.
    pub(crate) set_up_takes: Duration,
    pub(crate) set_ups: u32,
    /// The MTU of the primary ENI's link, if that is there.
    pub(crate) eni: Option<u32>,
    /// What comparing a pod shows.
    pub(crate) differences: Vec<String>,
    pub(crate) liveness: Liveness,
    /// Whether looking for a sandbox hangs, and how often it was begun.
    pub(crate) looks_hang: bool,
    pub(crate) looks: u32,
    /// Whose rules and routes it was told to remove.
    pub(crate) unwired: Vec<PodWiring>,
    /// What it was told to put right.
    pub(crate) applied: Vec<HostAction>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            other_enis: Vec::new(),
            bridges: Vec::new(),
            pods: BTreeMap::new(),
            way_out: true,
            forward_drops: Vec::new(),
            diverted: Vec::new(),
            ways_asked: 0,
            nat: NatSeen::Differs,
            unreadable: None,
            wire: None,
            unwire: None,
            unlink: None,
            apply: None,
            look_takes: (Duration::ZERO, Duration::ZERO),
            wire_takes: Duration::ZERO,
            apply_takes: Duration::ZERO,
            set_up_takes: Duration::ZERO,
            set_ups: 0,
            eni: Some(9001),
            differences: Vec::new(),
            liveness: Liveness::Unknown,
            looks_hang: false,
            looks: 0,
            unwired: Vec::new(),
            applied: Vec::new(),
        }
    }
}

impl Kernel {
    fn links(&self) -> Vec<LinkSeen> {
        let eni = self.eni.map(|mtu| LinkSeen {
            index: 1,
            name: "ens5".into(),
            mac: Some(PRIMARY),
            mtu,
            up: true,
            ..LinkSeen::default()
        });
        let others = self.other_enis.iter().enumerate().map(|(at, mac)| LinkSeen {
            index: u32::try_from(at).unwrap() + 2,
            name: format!("ens{}", at + 6),
            mac: Some(*mac),
            mtu: 9001,
            up: true,
            ..LinkSeen::default()
        });
        let bridges = self.bridges.iter().enumerate().map(|(at, mac)| LinkSeen {
            index: u32::try_from(at).unwrap() + 900,
            name: format!("br{at}"),
            mac: Some(*mac),
            kind: Some("bridge".to_owned()),
            up: true,
            ..LinkSeen::default()
        });
        let linked = self.pods.values().filter(|(_, link)| *link);
        let pods = linked.map(|(pod, _)| LinkSeen {
            index: index(pod),
            name: pod.host_veth.clone(),
            mac: Some(pod.host_mac),
            mtu: pod.mtu,
            up: true,
            rp_filter: Some(PodWiring::RP_FILTER),
            alias: Some(pod.alias.clone()),
            ..LinkSeen::default()
        });
        eni.into_iter().chain(others).chain(bridges).chain(pods).collect()
    }
}

pub(crate) struct Host(Mutex<Kernel>, Notify);

impl Host {
    pub(super) fn new(kernel: Kernel) -> Self {
        Self(Mutex::new(kernel), Notify::new())
    }

    pub(crate) fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.0.lock().unwrap()
    }

    /// It tells of a change.
    pub(crate) fn drifts(&self) {
        self.1.notify_waiters();
    }
}

fn or<T>(fault: Option<&HostFault>, done: T) -> Result<T, HostFault> {
    fault.cloned().map_or(Ok(done), Err)
}

/// The index of a pod's link.
fn index(pod: &PodWiring) -> u32 {
    let IpAddr::V4(address) = pod.address else { panic!("there are none") };
    10 + u32::from(address.octets()[3])
}

async fn takes_time(takes: Duration) {
    if !takes.is_zero() {
        tokio::time::sleep(takes).await;
    }
}

impl HostNet for Host {
    async fn observe(&self, _nat: &NatWanted) -> Result<HostObserved, HostFault> {
        let (mut seen, takes) = {
            let kernel = self.kernel();
            let mut seen = HostObserved {
                rules: vec![Rule::marked(priority::MARKED, PRIMARY_MARK, MAIN_TABLE)],
                nat: kernel.nat,
                forwarding: Some(true),
                way_out: Some(kernel.way_out),
                forward_drops: Some(kernel.forward_drops.clone()),
                ..HostObserved::default()
            };
            for (pod, link) in kernel.pods.values() {
                seen.rules.extend(pod.rules());
                seen.routes.extend(link.then(|| pod.route(index(pod))));
            }
            (seen, kernel.look_takes)
        };
        takes_time(takes.0).await;
        seen.links = self.kernel().links();
        takes_time(takes.1).await;
        or(self.kernel().unreadable.as_ref(), seen)
    }

    async fn apply(&self, actions: Vec<HostAction>) -> Result<(), HostFault> {
        let takes = self.kernel().apply_takes;
        takes_time(takes).await;
        let mut kernel = self.kernel();
        if kernel.apply.is_none() && actions.iter().any(|action| matches!(action, HostAction::ReplaceNat(_)))
        {
            kernel.nat = NatSeen::AsWritten;
        }
        kernel.applied.extend(actions);
        or(kernel.apply.as_ref(), ())
    }

    async fn set_up_eni(&self, _wiring: EniWiring) -> Result<(), HostFault> {
        let takes = {
            let mut kernel = self.kernel();
            kernel.set_ups += 1;
            kernel.set_up_takes
        };
        takes_time(takes).await;
        Ok(())
    }

    async fn wire_pod(&self, wiring: PodWiring, _netns: Netns) -> Result<PodWired, HostFault> {
        let takes = self.kernel().wire_takes;
        takes_time(takes).await;
        let mut kernel = self.kernel();
        if kernel.wire.is_none() {
            kernel.pods.insert(wiring.host_veth.clone(), (wiring, true));
        }
        or(kernel.wire.as_ref(), PodWired { host_ifindex: 10, pod_mac: PRIMARY })
    }

    async fn unwire_pod(&self, wiring: PodWiring) -> Result<(), HostFault> {
        let mut kernel = self.kernel();
        kernel.unwired.push(wiring);
        or(kernel.unwire.as_ref(), ())
    }

    async fn remove_links(&self, pods: Vec<PodWiring>) -> Vec<Result<(), HostFault>> {
        let mut kernel = self.kernel();
        let unlink = |pod: &PodWiring| {
            or(kernel.unlink.as_ref(), ())?;
            kernel.pods.remove(&pod.host_veth);
            Ok(())
        };
        pods.iter().map(unlink).collect()
    }

    async fn check_pod(&self, _wiring: PodWiring, _netns: Option<Netns>) -> Result<Vec<String>, HostFault> {
        Ok(self.kernel().differences.clone())
    }

    async fn diverted(&self, pods: Vec<PodWiring>) -> Result<Vec<(LinkAlias, String)>, HostFault> {
        let mut kernel = self.kernel();
        kernel.ways_asked += 1;
        let asked = |alias: &LinkAlias| pods.iter().any(|pod| pod.alias == *alias);
        Ok(kernel.diverted.iter().filter(|(alias, _)| asked(alias)).cloned().collect())
    }

    async fn open_netns(&self, path: String) -> Result<(Netns, NetnsRef), HostFault> {
        let inode = path.rsplit('/').next().and_then(|inode| inode.parse().ok()).unwrap_or(0);
        Ok((netns(), NetnsRef { path, inode }))
    }

    async fn liveness(&self, _netns: NetnsRef, pod: PodWiring) -> Liveness {
        self.kernel().looks += 1;
        while self.kernel().looks_hang {
            pass(1).await;
        }
        let kernel = self.kernel();
        if kernel.pods.get(&pod.host_veth).is_some_and(|(_, link)| *link) {
            Liveness::Joined
        } else {
            kernel.liveness
        }
    }

    async fn drifted(&self) {
        self.1.notified().await;
    }
}
