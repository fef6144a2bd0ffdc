//! The real kernel, with a step before and after each change to it.

use std::sync::Arc;

use holdfast_datapath::Host;
use holdfast_model::host::{EniWiring, HostAction, HostObserved, LinkAlias, NatWanted, PodWired, PodWiring};
use holdfast_model::sandbox::NetnsRef;
use holdfast_ports::{HostFault, HostNet, Liveness, Netns};

use crate::daemon::broken::Broken;
use crate::daemon::steps::Steps;

/// [`Host`], counted. What only reads is no step.
pub(crate) struct CountedHost {
    host: Host,
    steps: Arc<Steps>,
    broken: Option<Broken>,
}

impl CountedHost {
    pub(crate) fn new(host: Host, steps: Arc<Steps>, broken: Option<Broken>) -> Self {
        Self { host, steps, broken }
    }

    async fn read<T>(&self, work: impl Future<Output = T>) -> T {
        self.steps.reading(true);
        let read = work.await;
        self.steps.reading(false);
        read
    }

    async fn counted<T>(&self, deed: &str, work: impl Future<Output = T>) -> T {
        self.steps.before(deed);
        let done = work.await;
        self.steps.after(deed);
        done
    }
}

impl HostNet for CountedHost {
    async fn observe(&self, nat: &NatWanted) -> Result<HostObserved, HostFault> {
        self.read(self.host.observe(nat)).await
    }

    async fn apply(&self, mut actions: Vec<HostAction>) -> Result<(), HostFault> {
        if let Some(broken) = self.broken {
            actions.retain(|action| broken.does(action));
        }
        self.counted("mending", self.host.apply(actions)).await
    }

    async fn set_up_eni(&self, wiring: EniWiring) -> Result<(), HostFault> {
        if self.broken == Some(Broken::SetsUpNoEni) {
            return Ok(());
        }
        self.counted("setting an ENI up", self.host.set_up_eni(wiring)).await
    }

    async fn wire_pod(&self, wiring: PodWiring, netns: Netns) -> Result<PodWired, HostFault> {
        if self.broken == Some(Broken::WiresNothing) {
            return Ok(PodWired { host_ifindex: 1, pod_mac: wiring.host_mac });
        }
        let (pod, ifname) = (Netns::clone(&netns), wiring.ifname.clone());
        let wired = self.counted("wiring", self.host.wire_pod(wiring, netns)).await?;
        if let Some(broken) = self.broken {
            broken.spoil_pod(&pod, &ifname).expect("a broken daemon breaks something");
        }
        Ok(wired)
    }

    async fn unwire_pod(&self, wiring: PodWiring) -> Result<(), HostFault> {
        self.counted("unwiring", self.host.unwire_pod(wiring)).await
    }

    async fn remove_links(&self, pods: Vec<PodWiring>) -> Vec<Result<(), HostFault>> {
        let count = pods.len();
        let removed = self.counted("removing links", async { Ok(self.host.remove_links(pods).await) }).await;
        removed.unwrap_or_else(|fault| vec![Err(fault); count])
    }

    async fn check_pod(&self, wiring: PodWiring, netns: Option<Netns>) -> Result<Vec<String>, HostFault> {
        self.read(self.host.check_pod(wiring, netns)).await
    }

    async fn diverted(&self, pods: Vec<PodWiring>) -> Result<Vec<(LinkAlias, String)>, HostFault> {
        self.read(self.host.diverted(pods)).await
    }

    async fn open_netns(&self, path: String) -> Result<(Netns, NetnsRef), HostFault> {
        self.read(self.host.open_netns(path)).await
    }

    async fn liveness(&self, netns: NetnsRef, pod: PodWiring) -> Liveness {
        self.read(self.host.liveness(netns, pod)).await
    }

    async fn drifted(&self) {
        self.host.drifted().await;
    }
}
