//! The thread that serves the box's faces and keeps the kernel's network as EC2 shows it.

use std::io;
use std::net::TcpListener;
use std::sync::mpsc as sync_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::internet::Internet;
use super::residents::Residents;
use super::router::Router;
use super::wiring::{Layout, Wiring};
use super::{FabricError, Problems};
use crate::server::{Callers, SharedVpc, serve_ec2, serve_imds_by_peer};
use crate::vpc::{SimVpc, VpcEvent};

/// Handle of the thread; stops it when dropped, and waits for its end.
#[derive(Debug)]
pub(super) struct Follower {
    commands: Option<mpsc::UnboundedSender<Settle>>,
    thread: Option<JoinHandle<()>>,
}

/// Asks to be told when everything that is visible now has been carried out.
#[derive(Debug)]
struct Settle(sync_mpsc::Sender<()>);

/// What answers beside the network itself.
#[derive(Debug)]
struct Services {
    metadata: TcpListener,
    residents: Residents,
    ec2: TcpListener,
    internet: Internet,
}

impl Services {
    fn spawn(self, shared: &SharedVpc) -> JoinSet<io::Result<()>> {
        let Self { metadata, residents, ec2, internet } = self;
        let mut services = JoinSet::new();
        services
            .spawn(serve_imds_by_peer(shared.clone(), metadata, move |address| residents.client(address)));
        services.spawn(serve_ec2(shared.clone(), ec2, Callers::ByAccessKey));
        services.spawn(internet.serve());
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
        let steps: Vec<_> = events.iter().flat_map(|event| self.wiring.follow(event)).collect();
        for error in self.router.take(&steps) {
            self.problems.note(&error);
        }
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
        let services = Services {
            metadata: router.metadata()?,
            residents: router.residents().clone(),
            ec2: internet.ec2().map_err(failed)?,
            internet,
        };
        let (commands, inbox) = mpsc::unbounded_channel();
        let network = Network { wiring: Wiring::new(layout), router, problems };
        let thread = std::thread::Builder::new()
            .name("fabric".to_owned())
            .spawn(move || runtime.block_on(run(shared, network, services, inbox)))
            .map_err(failed)?;
        Ok(Self { commands: Some(commands), thread: Some(thread) })
    }

    pub(super) fn settle(&self, within: Duration) -> Result<(), FabricError> {
        let gone = || FabricError::Thread("it has ended".to_owned());
        let (done, wait) = sync_mpsc::channel();
        self.commands.as_ref().ok_or_else(gone)?.send(Settle(done)).map_err(|_closed| gone())?;
        match wait.recv_timeout(within) {
            Ok(()) => Ok(()),
            Err(sync_mpsc::RecvTimeoutError::Timeout) => {
                Err(FabricError::Thread(format!("the network did not settle in {within:?}")))
            }
            Err(sync_mpsc::RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.commands.take());
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
    mut inbox: mpsc::UnboundedReceiver<Settle>,
) {
    let services = services.spawn(&shared);
    loop {
        let (events, waiting) = tokio::select! {
            events = shared.next_events() => (events, None),
            command = inbox.recv() => match command {
                Some(Settle(done)) => (shared.with(SimVpc::drain_events), Some(done)),
                None => break,
            },
        };
        // The kernel may take tens of milliseconds for a link; the services answer meanwhile.
        let job = tokio::task::spawn_blocking(move || {
            network.follow(&events);
            network
        });
        match job.await {
            Ok(followed) => network = followed,
            Err(error) => {
                tracing::error!(%error, "the network can no longer follow EC2");
                return;
            }
        }
        if let Some(done) = waiting
            && done.send(()).is_err()
        {
            tracing::debug!("nobody waits any more");
        }
    }
    drop(services);
    for error in network.router.down() {
        network.problems.note(&error);
    }
}
