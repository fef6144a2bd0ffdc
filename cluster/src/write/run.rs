//! Drives the writer: sends, waits, looks again.

use std::sync::Arc;
use std::time::Duration;

use holdfast_ports::Clock;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::wanted::Wanted;
use super::writer::{Seen, Step, Writer, WriterSettings, Written};
use crate::door::Door;
use crate::watch::View;
use crate::watch::objects::{CniNodeView, NodeView, PodView};

/// What the writer looks at.
pub struct Sources {
    /// What should stand in the cluster.
    pub wanted: watch::Receiver<Wanted>,
    /// The pods of this node.
    pub pods: watch::Receiver<View<PodView>>,
    /// The own node.
    pub node: watch::Receiver<View<NodeView>>,
    /// The own CNINode.
    pub cni_node: watch::Receiver<View<CniNodeView>>,
}

/// Writes until nobody can want anything any more.
pub async fn write(door: Door, settings: WriterSettings, mut sources: Sources, clock: Arc<impl Clock>) {
    let mut writer = Writer::new(settings);
    let mut was_well = true;
    loop {
        let step = sources.step(&mut writer, clock.as_ref());
        let until = match step {
            Step::Send(write) => {
                let outcome = match writer.request(&write) {
                    Ok(request) => door.ask::<Written>(request).await,
                    Err(fault) => Err(fault),
                };
                match &outcome {
                    Ok(_) => was_well = true,
                    // Once, until something is written again.
                    Err(fault) if was_well => {
                        was_well = false;
                        warn!(%fault, "the cluster is not told for now");
                    }
                    Err(fault) => debug!(%fault, "the cluster is not told for now"),
                }
                writer.done(&write, outcome.as_ref(), clock.now().boottime, clock.random());
                continue;
            }
            Step::WaitUntil(instant) => Some(instant.since(clock.now().boottime)),
            Step::Idle => None,
        };
        if sources.changed(until).await.is_err() {
            return;
        }
    }
}

impl Sources {
    fn step(&mut self, writer: &mut Writer, clock: &impl Clock) -> Step {
        let wanted = self.wanted.borrow_and_update();
        let (pods, node) = (self.pods.borrow_and_update(), self.node.borrow_and_update());
        let cni_node = self.cni_node.borrow_and_update();
        let seen = Seen { pods: &pods, node: &node, cni_node: &cni_node };
        writer.next(&wanted, seen, &clock.now(), clock.random())
    }

    /// Waits until something changed or the time is over. Fails when one of the sources is no more.
    async fn changed(&mut self, limit: Option<Duration>) -> Result<(), watch::error::RecvError> {
        let over = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.wanted.changed() => changed,
            changed = self.pods.changed() => changed,
            changed = self.node.changed() => changed,
            changed = self.cni_node.changed() => changed,
            () = over => Ok(()),
        }
    }
}
