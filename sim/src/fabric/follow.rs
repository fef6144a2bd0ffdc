//! The thread that serves the box's faces and keeps the kernel's network as EC2 shows it.

use std::io;
use std::net::TcpListener;
use std::sync::mpsc as sync_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::discovery::Discovery;
use super::internet::Internet;
use super::loss::Loss;
use super::node::Node;
use super::residents::Residents;
use super::router::Router;
use super::wiring::{Layout, Wiring};
use super::{FabricError, Problems};
use crate::server::{Callers, SharedVpc, serve_ec2, serve_imds_by_peer};
use crate::vpc::{InstanceId, SimVpc, VpcEvent};

/// Handle of the thread; stops it when dropped, and waits for its end.
#[derive(Debug)]
pub(super) struct Follower {
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is asked for besides following the box. It follows all that is visible first.
#[derive(Debug)]
pub(super) enum Command {
    /// Nothing more than that.
    Settle,
    /// A node appears, with the links that its instance has.
    Join(Node),
    /// It leaves, and its links with it.
    Leave(InstanceId),
    /// It loses packets.
    Lose(InstanceId, Vec<Loss>),
    /// How many has it lost?
    Lost(InstanceId, sync_mpsc::Sender<u64>),
}

#[derive(Debug)]
struct Order {
    command: Command,
    done: sync_mpsc::Sender<Result<(), FabricError>>,
}

/// What answers beside the network itself.
#[derive(Debug)]
struct Services {
    metadata: Vec<TcpListener>,
    residents: Residents,
    discovery: Option<Discovery>,
    internet: Internet,
}

impl Services {
    fn spawn(self, shared: &SharedVpc) -> JoinSet<io::Result<()>> {
        let Self { metadata, residents, discovery, internet } = self;
        let mut services = JoinSet::new();
        services
            .spawn(serve_imds_by_peer(shared.clone(), metadata, move |address| residents.client(address)));
        let (ec2, hosts) = internet.services();
        for listener in ec2 {
            services.spawn(serve_ec2(shared.clone(), listener, Callers::ByAccessKey));
        }
        for host in hosts {
            services.spawn(host);
        }
        if let Some(discovery) = discovery {
            services.spawn(discovery.serve());
        }
        services
    }
}

/// The network as wanted and as it is.
#[derive(Debug)]
struct Network {
    wiring: Wiring,
    router: Router,
    problems: Problems,
}

impl Network {
    fn follow(&mut self, events: &[VpcEvent]) {
        let (mut steps, mut errors) = (Vec::new(), Vec::new());
        for event in events {
            steps.extend(self.wiring.follow(event));
            let (VpcEvent::InstanceStopped { instance } | VpcEvent::InstanceTerminated { instance }) = event
            else {
                continue;
            };
            // Off: all that was in its namespace ends. Its links have left, and find the new one when they come again.
            errors.extend(self.router.take(&std::mem::take(&mut steps)));
            errors.extend(self.router.node(instance).and_then(|node| node.renew().err()));
        }
        errors.extend(self.router.take(&steps));
        for error in errors {
            self.problems.note(&error);
        }
    }

    fn rename_due(&mut self) {
        for error in self.router.renames().carry_out(Instant::now()) {
            self.problems.note(&error);
        }
    }

    /// Carries a command out as far as it can be; the first failure is returned.
    fn obey(&mut self, command: Command) -> Result<(), FabricError> {
        let errors = match command {
            Command::Settle => Vec::new(),
            Command::Join(node) => {
                let steps = self.wiring.join(node.instance());
                self.router.add_node(node);
                self.router.take(&steps)
            }
            Command::Leave(instance) => {
                let errors = self.router.take(&self.wiring.leave(&instance));
                self.router.remove_node(&instance);
                errors
            }
            Command::Lose(instance, losses) => self.router.lose(&instance, losses),
            Command::Lost(instance, tell) => match self.router.lost(&instance) {
                Ok(lost) => {
                    if tell.send(lost).is_err() {
                        tracing::debug!("nobody waits any more");
                    }
                    Vec::new()
                }
                Err(error) => vec![error],
            },
        };
        for error in self.router.settle() {
            self.problems.note(&error);
        }
        errors.into_iter().next().map_or(Ok(()), Err)
    }
}

impl Follower {
    pub(super) fn start(
        shared: SharedVpc,
        layout: Layout,
        router: Router,
        internet: Internet,
        problems: Problems,
    ) -> Result<Self, FabricError> {
        let failed = |error: std::io::Error| FabricError::Thread(error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let ipv6 = router.has_ipv6().then(|| Discovery::up(router.namespace(), router.residents()));
        let discovery = ipv6.transpose()?;
        let services = Services {
            metadata: router.metadata()?,
            residents: router.residents().clone(),
            discovery,
            internet,
        };
        let (orders, inbox) = mpsc::unbounded_channel();
        let network = Network { wiring: Wiring::new(layout), router, problems };
        let thread = std::thread::Builder::new()
            .name("fabric".to_owned())
            .spawn(move || runtime.block_on(run(shared, network, services, inbox)))
            .map_err(failed)?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Has a command carried out, after all that is visible in the box now.
    pub(super) fn order(&self, command: Command, within: Duration) -> Result<(), FabricError> {
        let gone = || FabricError::Thread("it has ended".to_owned());
        let (done, wait) = sync_mpsc::channel();
        let order = Order { command, done };
        self.orders.as_ref().ok_or_else(gone)?.send(order).map_err(|_closed| gone())?;
        match wait.recv_timeout(within) {
            Ok(result) => result,
            Err(sync_mpsc::RecvTimeoutError::Timeout) => {
                Err(FabricError::Thread(format!("the network did not settle in {within:?}")))
            }
            Err(sync_mpsc::RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the fabric's thread panicked");
        }
    }
}

async fn run(
    shared: SharedVpc,
    mut network: Network,
    services: Services,
    mut inbox: mpsc::UnboundedReceiver<Order>,
) {
    let services = services.spawn(&shared);
    loop {
        let rename = network.router.renames().next();
        let renamed = async {
            match rename {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let (events, order) = tokio::select! {
            events = shared.next_events() => (events, None),
            order = inbox.recv() => match order {
                Some(order) => (shared.with(SimVpc::drain_events), Some(order)),
                None => break,
            },
            () = renamed => (Vec::new(), None),
        };
        // The kernel may take tens of milliseconds for a link; the services answer meanwhile.
        let job = tokio::task::spawn_blocking(move || {
            network.follow(&events);
            network.rename_due();
            if let Some(Order { command, done }) = order
                && done.send(network.obey(command)).is_err()
            {
                tracing::debug!("nobody waits any more");
            }
            network
        });
        match job.await {
            Ok(followed) => network = followed,
            Err(error) => {
                tracing::error!(%error, "the network can no longer follow EC2");
                return;
            }
        }
    }
    drop(services);
    for error in network.router.down() {
        network.problems.note(&error);
    }
}
