//! What the rest of the daemon asks of the engine, and what it is answered.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_model::config::Config;
use holdfast_model::lease::Lease;
use holdfast_model::ledger::Ledger;
use holdfast_model::refusal::Refusal;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey};
use holdfast_model::settings::ClusterSettings;
use holdfast_ports::{HostFault, Netns};
use tokio::sync::oneshot;

use crate::dump::Dump;
use crate::figures::Figures;
use crate::pool_told::PoolTold;
use crate::ready::Status;

/// A sandbox that wants an address.
#[derive(Debug, Clone)]
pub struct AddRequest {
    /// Who.
    pub sandbox: SandboxKey,
    /// Whose pod.
    pub pod: PodRef,
    /// Its network namespace, by handle.
    pub netns: Netns,
    /// The same, by name and identity.
    pub netns_ref: NetnsRef,
    /// The host end's name by the convention that other tools rely on.
    pub host_veth: String,
    /// The host end's name when another sandbox still bears the conventional one.
    pub fallback_veth: String,
    /// Where it wants an interface on every network card: what the host ends of those besides the first are called. As many as the
    /// names go, it gets.
    pub further: Option<Vec<VethNames>>,
    /// MTU of both ends.
    pub mtu: u32,
    /// The trace that it belongs to, for the journal.
    pub trace: Option<Box<str>>,
    /// How long the asker waits at most: the ADD is answered before, at the latest with what it waited for.
    pub patience: Option<Duration>,
}

/// What one host end is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethNames {
    /// By the convention that other tools rely on.
    pub conventional: String,
    /// When another sandbox still bears that.
    pub fallback: String,
}

/// Why an ADD was not served. Each says whether trying again may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// There is no address to give.
    #[error("no address for {pod}: {cause}")]
    NoAddress {
        /// For whom.
        pod: PodRef,
        /// The true cause.
        cause: Refusal,
    },
    /// One of the cards on each of which it wants an address has none to give, so it has none on any.
    #[error("no address for {pod} on network card {card}: {cause}")]
    NoAddressOnCard {
        /// For whom.
        pod: PodRef,
        /// Which card.
        card: u8,
        /// The true cause.
        cause: Refusal,
    },
    /// It wants an interface on every network card, and this node gives pods one.
    #[error(
        "{pod} asks for an interface on every network card, and ENABLE_MULTI_NIC is not set for this node"
    )]
    OneCardOnly {
        /// Who.
        pod: PodRef,
    },
    /// Addresses were on their way, and did not arrive in time.
    #[error("no address for {pod} within {seconds} s: {cause}")]
    HeldTooLong {
        /// For whom.
        pod: PodRef,
        /// How long it was held.
        seconds: u64,
        /// What it waited for.
        cause: String,
    },
    /// The address was there, the wiring failed; everything was undone.
    #[error("wiring {pod} failed")]
    Wiring {
        /// For whom.
        pod: PodRef,
        /// What the host said.
        #[source]
        source: HostFault,
    },
    /// The ledger could not be written, so nothing was done.
    #[error("the ledger cannot be written: {cause}")]
    Ledger {
        /// What the disk said.
        cause: String,
    },
    /// The ledger does not take what the request names: it is too long.
    #[error("the request names more than the ledger takes: {cause}")]
    Unkeepable {
        /// What the ledger said.
        cause: String,
    },
    /// The sandbox was deleted while its ADD was under way.
    #[error("{sandbox} was deleted while its address was being set up")]
    Deleted {
        /// Which.
        sandbox: SandboxKey,
    },
    /// Another ADD of the same sandbox is under way, for another network namespace.
    #[error("{sandbox} is being set up in another network namespace")]
    TwoNamespaces {
        /// Which.
        sandbox: SandboxKey,
    },
    /// The engine is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

impl AddError {
    /// Whether the runtime should try again.
    pub fn worth_retrying(&self) -> bool {
        !matches!(self, Self::Deleted { .. } | Self::Unkeepable { .. })
    }
}

/// What a DEL that was carried out stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// The release is durable, or there was none to make.
    Durable,
    /// The pod's network is gone, and the disk does not take the release. It is made up for while the daemon runs; should
    /// it end before, whoever asked has to remember it and ask again.
    Owed,
}

/// The engine ended before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct Stopped;

pub(crate) enum Request {
    Add {
        request: AddRequest,
        reply: oneshot::Sender<Result<Lease, AddError>>,
    },
    Del {
        sandbox: SandboxKey,
        reply: oneshot::Sender<Deleted>,
    },
    Check {
        sandbox: SandboxKey,
        netns: Option<Netns>,
        expected: Vec<IpAddr>,
        reply: oneshot::Sender<Vec<String>>,
    },
    Status {
        reply: oneshot::Sender<Status>,
    },
    Gc {
        network: String,
        valid: BTreeSet<SandboxKey>,
        reply: oneshot::Sender<()>,
    },
    Pods {
        reply: oneshot::Sender<Vec<(PodRef, IpAddr)>>,
    },
    Configure {
        config: Arc<Config>,
        said: ClusterSettings,
        reply: oneshot::Sender<()>,
    },
    Denial {
        reply: oneshot::Sender<Option<Refusal>>,
    },
    Cordon {
        cordoned: bool,
        reply: oneshot::Sender<()>,
    },
    Pool {
        reply: oneshot::Sender<PoolTold>,
    },
    Dump {
        reply: oneshot::Sender<Dump>,
    },
    Figures {
        reply: oneshot::Sender<Figures>,
    },
    Ledger {
        reply: oneshot::Sender<Ledger>,
    },
    Stop {
        reply: oneshot::Sender<()>,
    },
}
