//! The node's network: carries decisions out in the host's namespace and reads back what is there.
//!
//! All kernel work happens on a few threads that live in that namespace ([`pool`]); a caller's runtime never blocks
//! and never changes its namespace. A call whose future is dropped is still carried to its end.

mod actions;
mod check;
mod diverted;
mod drift;
mod eni;
mod links;
mod observe;
mod pool;
mod routes;
mod translate;
mod ways;
mod wire;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use holdfast_model::host::{EniWiring, HostAction, HostObserved, LinkAlias, NatWanted, PodWired, PodWiring};
use holdfast_model::sandbox::NetnsRef;
use holdfast_ports::host::{HostFault, HostNet, Liveness};
use holdfast_ports::netns::Netns;

use crate::nat::Nat;
use crate::netlink::NetlinkError;
use crate::netns;
use crate::sysctl::{self, Sysctl};
use drift::Drift;
use pool::{Pool, Worker};

/// The group of every link that we make, set as it is made: a link is ours from its first moment, also when we are
/// killed before it has its alias.
pub const LINK_GROUP: u32 = 0x4846;

/// A step of wiring a pod, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Open a socket in the pod's namespace.
    Enter,
    /// Make the veth pair.
    Create,
    /// What is there before any packet passes: settings, alias, rules.
    Prepare,
    /// The host's side: up, route.
    HostSide,
    /// The pod's side: up, address, routes, neighbour.
    PodSide,
    /// Read all of it back.
    ReadBack,
}

/// Asked before each step of wiring; an error makes that step fail.
pub(crate) type Interrupt = Arc<dyn Fn(Step) -> Result<(), String> + Send + Sync>;

/// How a [`Host`] is made.
#[derive(Default)]
pub struct HostOptions {
    /// The host's namespace; `None`: the calling thread's.
    pub netns: Option<Arc<OwnedFd>>,
    /// Where the kernel's settings are; `None`: `/proc/sys`.
    pub proc_sys: Option<PathBuf>,
    /// How many threads do kernel work; 0: four. More gain little: the kernel takes one change at a time.
    pub threads: usize,
    /// For tests: asked before each step of wiring a pod; an error makes that step fail.
    #[allow(clippy::type_complexity, reason = "a callback")]
    pub interrupt: Option<Arc<dyn Fn(Step) -> Result<(), String> + Send + Sync>>,
}

/// The host's network namespace on the real kernel.
pub struct Host {
    pool: Pool,
    drift: Drift,
    nat: Arc<Nat>,
    interrupt: Option<Interrupt>,
    /// Numbers the groups by which links are removed, so that two removals never share one.
    removals: Arc<AtomicU32>,
}

impl Host {
    /// Starts the threads and begins to watch for changes. Needs `CAP_NET_ADMIN` in the namespace for all but
    /// reading.
    pub fn new(options: HostOptions) -> Result<Self, HostFault> {
        let home = match options.netns {
            Some(netns) => {
                netns::check(&netns).map_err(|error| fault_in_netns("host", &error))?;
                netns
            }
            None => Arc::new(netns::current().map_err(|error| fault_in_netns("host", &error))?),
        };
        let threads = if options.threads == 0 { 4 } else { options.threads };
        let sysctl = Sysctl::at(options.proc_sys.unwrap_or_else(|| PathBuf::from(sysctl::PROC_SYS)));
        let pool = Pool::start(&home, &sysctl, threads)?;
        let drift = Drift::watch(&home, pool.ports())?;
        Ok(Self {
            pool,
            drift,
            nat: Arc::default(),
            interrupt: options.interrupt,
            removals: Arc::new(AtomicU32::new(0)),
        })
    }

    /// Turns IPv4 forwarding on if it is off, without which no pod reaches anything. A node's image sees to it; a
    /// fresh namespace has it off. That it stays on is a matter of [`HostNet::observe`] and [`HostNet::apply`].
    pub async fn ensure_forwarding(&self) -> Result<(), HostFault> {
        self.pool.run("turn forwarding on", |worker| actions::enable_forwarding(worker)).await
    }
}

impl HostNet for Host {
    async fn observe(&self, nat: &NatWanted) -> Result<HostObserved, HostFault> {
        let (wanted, nat) = (nat.clone(), Arc::clone(&self.nat));
        self.pool.run("observe", move |worker| observe::observe(worker, &wanted, &nat)).await
    }

    async fn apply(&self, actions: Vec<HostAction>) -> Result<(), HostFault> {
        let nat = Arc::clone(&self.nat);
        self.pool.run("apply", move |worker| actions::apply(worker, &nat, actions)).await
    }

    async fn set_up_eni(&self, wiring: EniWiring) -> Result<(), HostFault> {
        self.pool.run("set up an ENI", move |worker| eni::set_up(worker, &wiring)).await
    }

    async fn wire_pod(&self, wiring: PodWiring, netns: Netns) -> Result<PodWired, HostFault> {
        let (interrupt, removals) = (self.interrupt.clone(), Arc::clone(&self.removals));
        self.pool
            .run("wire a pod", move |worker| {
                wire::wire(worker, &removals, &wiring, &netns, interrupt.as_ref())
            })
            .await
    }

    async fn unwire_pod(&self, wiring: PodWiring) -> Result<(), HostFault> {
        self.pool.run("unwire a pod", move |worker| wire::unwire(&mut worker.socket, &wiring)).await
    }

    async fn remove_links(&self, pods: Vec<PodWiring>) -> Vec<Result<(), HostFault>> {
        let (removals, count) = (Arc::clone(&self.removals), pods.len());
        let removed =
            self.pool.run("remove links", move |worker| Ok(links::remove(worker, &removals, &pods))).await;
        removed.unwrap_or_else(|fault| vec![Err(fault); count])
    }

    async fn check_pod(&self, wiring: PodWiring, netns: Option<Netns>) -> Result<Vec<String>, HostFault> {
        self.pool.run("check a pod", move |worker| check::check(worker, &wiring, netns.as_ref())).await
    }

    async fn diverted(&self, pods: Vec<PodWiring>) -> Result<Vec<(LinkAlias, String)>, HostFault> {
        let look = move |worker: &mut Worker| diverted::look(&mut worker.socket, &pods).map_err(refused);
        self.pool.run("ask for pods' ways", look).await
    }

    async fn open_netns(&self, path: String) -> Result<(Netns, NetnsRef), HostFault> {
        self.pool
            .run("open a namespace", move |_worker| {
                let named = |error: netns::NetnsError| fault_in_netns(&path, &error);
                let fd = netns::open(Path::new(&path)).map_err(named)?;
                let inode = netns::identity(&fd).map_err(named)?.inode;
                Ok((Netns::from(fd), NetnsRef { path, inode }))
            })
            .await
    }

    async fn liveness(&self, netns: NetnsRef, pod: PodWiring) -> Liveness {
        let look = move |worker: &mut Worker| {
            Ok(if links::is_joined(&mut worker.socket, &pod)? { Liveness::Joined } else { by_path(&netns) })
        };
        self.pool.run("look for a sandbox", look).await.unwrap_or(Liveness::Unknown)
    }

    async fn drifted(&self) {
        self.drift.wait().await;
    }
}

/// A path that leads nowhere, or to something else than what was there, is a namespace that is gone; one that
/// cannot be looked at is not.
fn by_path(netns: &NetnsRef) -> Liveness {
    use nix::errno::Errno;
    match netns::open(Path::new(&netns.path)) {
        Ok(fd) => match netns::identity(&fd) {
            Ok(identity) if identity.inode == netns.inode => Liveness::Severed,
            Ok(_another) => Liveness::Gone,
            Err(_unreadable) => Liveness::Unknown,
        },
        Err(netns::NetnsError::Open { errno: Errno::ENOENT | Errno::ENOTDIR | Errno::ESRCH, .. }) => {
            Liveness::Gone
        }
        // The runtime takes the mount away first and the file after it: an ordinary file is what is left. It is also what
        // a daemon sees to whose mount the runtime's is not propagated; but then there is the link.
        Err(netns::NetnsError::NotOne(_)) => Liveness::Gone,
        Err(_) => Liveness::Unknown,
    }
}

fn fault_in_netns(netns: &str, error: &netns::NetnsError) -> HostFault {
    match error {
        netns::NetnsError::Enter(nix::errno::Errno::EPERM) => HostFault::Barred { netns: netns.to_owned() },
        other => HostFault::Netns { netns: netns.to_owned(), cause: other.to_string() },
    }
}

/// A netlink failure as the engine is told of it.
pub(crate) fn refused(error: NetlinkError) -> HostFault {
    match error {
        NetlinkError::Refused { what, errno, message } => {
            let cause = if message.is_empty() {
                errno.desc().to_owned()
            } else {
                format!("{} ({message})", errno.desc())
            };
            HostFault::Refused { step: what, cause }
        }
        other => HostFault::Refused { step: "talk to the kernel".to_owned(), cause: other.to_string() },
    }
}
