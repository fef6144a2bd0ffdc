//! How the rest of the daemon speaks to the engine: requests in, answers out, nothing shared.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use holdfast_model::config::Config;
use holdfast_model::lease::Lease;
use holdfast_model::ledger::Ledger;
use holdfast_model::refusal::Refusal;
use holdfast_model::sandbox::{PodRef, SandboxKey};
use holdfast_model::settings::ClusterSettings;
use holdfast_ports::Netns;
use tokio::sync::{mpsc, oneshot};

use crate::dump::Dump;
use crate::event::Event;
use crate::figures::Figures;
use crate::pool_told::PoolTold;
use crate::ready::Status;
use crate::request::{AddError, AddRequest, Deleted, Request, Stopped};

/// A handle on a running engine.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    pub(crate) events: mpsc::UnboundedSender<Event>,
}

impl EngineHandle {
    /// Gives the sandbox an address, or says why not. Asking again gives the same lease. May be held while
    /// addresses are on their way, at most for the configured time.
    pub async fn add(&self, request: AddRequest) -> Result<Lease, AddError> {
        self.ask(|reply| Request::Add { request, reply }).await.unwrap_or(Err(AddError::Stopping))
    }

    /// Gives the sandbox's address up. Succeeds when it had none. Answers when the pod's rules and routes are gone and the
    /// release is durable, or the disk refuses it.
    pub async fn del(&self, sandbox: SandboxKey) -> Result<Deleted, Stopped> {
        self.ask(|reply| Request::Del { sandbox, reply }).await
    }

    /// What is wrong with the sandbox: its wiring, or that it has an address that the runtime does not expect, who may
    /// have kept none. Empty when nothing is.
    pub async fn check(
        &self,
        sandbox: SandboxKey,
        netns: Option<Netns>,
        expected: Vec<IpAddr>,
    ) -> Result<Vec<String>, Stopped> {
        self.ask(|reply| Request::Check { sandbox, netns, expected, reply }).await
    }

    /// Would an ADD work now?
    pub async fn status(&self) -> Result<Status, Stopped> {
        self.ask(|reply| Request::Status { reply }).await
    }

    /// Releases the leases of a network that the runtime does not list and whose sandbox is gone.
    pub async fn gc(&self, network: String, valid: BTreeSet<SandboxKey>) -> Result<(), Stopped> {
        self.ask(|reply| Request::Gc { network, valid, reply }).await
    }

    /// The pods that have an address here, each with its first.
    pub async fn pods(&self) -> Result<Vec<(PodRef, IpAddr)>, Stopped> {
        self.ask(|reply| Request::Pods { reply }).await
    }

    /// Other settings from now on, as one; what the cluster said of them is kept for a start without it.
    pub async fn configure(&self, config: Arc<Config>, said: ClusterSettings) -> Result<(), Stopped> {
        self.ask(|reply| Request::Configure { config, said, reply }).await
    }

    /// The right that a call to EC2 lacks, whether an ADD waits for it or not.
    pub async fn denial(&self) -> Result<Option<Refusal>, Stopped> {
        self.ask(|reply| Request::Denial { reply }).await
    }

    /// Whether the node takes new pods, as the cluster says. Until it has said so, it does.
    pub async fn cordon(&self, cordoned: bool) -> Result<(), Stopped> {
        self.ask(|reply| Request::Cordon { cordoned, reply }).await
    }

    /// What the pools aim at, and why.
    pub async fn pool(&self) -> Result<PoolTold, Stopped> {
        self.ask(|reply| Request::Pool { reply }).await
    }

    /// The whole state.
    pub async fn dump(&self) -> Result<Dump, Stopped> {
        self.ask(|reply| Request::Dump { reply }).await
    }

    /// The state in numbers: cheap, for whoever asks often.
    pub async fn figures(&self) -> Result<Figures, Stopped> {
        self.ask(|reply| Request::Figures { reply }).await
    }

    /// A copy of the ledger.
    pub async fn ledger(&self) -> Result<Ledger, Stopped> {
        self.ask(|reply| Request::Ledger { reply }).await
    }

    /// Stops: no new work, what is durable stays so.
    pub async fn stop(&self) {
        // An engine that is gone already has stopped.
        let _gone: Result<(), Stopped> = self.ask(|reply| Request::Stop { reply }).await;
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.events.send(Event::Request(request(reply))).map_err(|_closed| Stopped)?;
        answer.await.map_err(|_dropped| Stopped)
    }
}
