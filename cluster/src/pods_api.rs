//! The pods of this node as kubelet has them, from its Pods API (a socket below its root, on by default since 1.37): ids and
//! annotations without the API server.
//!
//! It is a source beside the watch of the API server, not in its place. It tells nothing of changed labels and annotations until it is
//! asked anew, which is done now and then; and after a restart of its own kubelet knows nothing until it has reached the API server
//! once. It says so, and that means *unknown*: what was known stays known, as everywhere in this crate.

mod grpc;
mod wire;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_ports::Clock;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use crate::watch::objects::PodView;
use crate::watch::{ObjectKey, Pauses, View};
use crate::{ApiFault, Cause, asked};
use grpc::Messages;
pub use wire::PodEvent;

/// Where kubelet listens, below its root.
pub const SOCKET: &str = "pods-api/pods-api.sock";

/// How kubelet is asked.
#[derive(Clone, Debug)]
pub struct KubeletSettings {
    /// Its socket.
    pub socket: PathBuf,
    /// For the beginning of an answer, and for each pod until all were named.
    pub answer: Duration,
    /// After so long everything is asked for anew, since changed annotations are told in no other way.
    pub refresh: Duration,
}

/// What kubelet has told since it was asked last.
#[derive(Clone, Debug, Default)]
pub struct Told {
    named: BTreeSet<ObjectKey>,
    synced: bool,
}

impl Told {
    /// What an event means for what is known; whether it changed it. What kubelet does not name is gone once it says that it has
    /// named all, and not before.
    pub fn event(&mut self, event: PodEvent, view: &mut View<PodView>) -> bool {
        match event {
            PodEvent::Applied { key, pod } => {
                if !self.synced {
                    self.named.insert(key.clone());
                }
                if view.objects.get(&key) == Some(&pod) {
                    return false;
                }
                view.objects.insert(key, pod);
                true
            }
            // Another pod of its name may have come before its end was told.
            PodEvent::Deleted { key, uid } => {
                let is_it = view.objects.get(&key).is_some_and(|pod| *pod.uid == *uid);
                is_it && view.objects.remove(&key).is_some()
            }
            PodEvent::AllNamed => {
                let known = view.objects.len();
                let named = std::mem::take(&mut self.named);
                view.objects.retain(|key, _| named.contains(key));
                self.synced = true;
                let was_complete = std::mem::replace(&mut view.complete, true);
                let was_stale = view.stale.take().is_some();
                known != view.objects.len() || !was_complete || was_stale
            }
        }
    }

    /// Whether all were named.
    pub fn is_synced(&self) -> bool {
        self.synced
    }
}

/// Follows kubelet's pods for as long as it is polled.
pub async fn follow_kubelet(
    settings: KubeletSettings,
    clock: Arc<impl Clock>,
    known: watch::Sender<View<PodView>>,
) {
    let mut pauses = Pauses::default();
    loop {
        match once(&settings, &known).await {
            Ok(()) => pauses.succeeded(),
            Err(cause) => {
                pauses.failed(&cause);
                let fault = ApiFault { asked: Box::new(asked_for()), cause };
                debug!(%fault, "kubelet's Pods API does not tell");
                let since = clock.now().boottime;
                known.send_modify(|view| view.fail(fault, since));
            }
        }
        tokio::time::sleep(pauses.next(clock.random())).await;
    }
}

/// Asks once, and listens until it is time to ask anew.
async fn once(settings: &KubeletSettings, known: &watch::Sender<View<PodView>>) -> Result<(), Cause> {
    let mut messages = Messages::ask(&settings.socket, "/v1alpha1.Pods/WatchPods", settings.answer).await?;
    let mut told = Told::default();
    let end = Instant::now() + settings.refresh;
    loop {
        let limit = if told.is_synced() { end.duration_since(Instant::now()) } else { settings.answer };
        let message = match messages.next(limit).await {
            Err(Cause::Silent(_)) if told.is_synced() => return Ok(()),
            message => message?,
        };
        let Some(message) = message else {
            return Err(Cause::Broken("kubelet ended the list of its pods".to_owned()));
        };
        if let Some(event) = wire::event(message)? {
            known.send_if_modified(|view| told.event(event, view));
        }
    }
}

fn asked_for() -> asked::Asked {
    asked::Asked {
        server: asked::Server::Kubelet,
        verb: asked::Verb::Watch,
        kind: asked::Kind::PODS,
        subresource: None,
        namespace: None,
        which: None,
    }
}

#[cfg(test)]
#[path = "pods_api/tests.rs"]
mod tests;
