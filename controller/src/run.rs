//! Drives it all: follows, stands for election, tends.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use holdfast_cluster::asked::Kind;
use holdfast_cluster::request::Selection;
use holdfast_cluster::watch::objects::{ConfigMapObject, ConfigMapView, config_map, daemon_set};
use holdfast_cluster::watch::{Meta, ObjectKey, Trimmed, View, follow};
use holdfast_cluster::{ApiFault, Cause, Door, request};
use holdfast_model::time::BootTime;
use holdfast_ports::Clock;
use serde::Deserialize;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::decide::{How, Write};
use crate::election::{Candidate, Timing};
use crate::seen::{DaemonSetObject, DaemonSetView};
use crate::stand::{Leading, Stand};
use crate::table::RENDER;
use crate::tend::{Step, Tender};

/// What it is told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of all that it reads and writes.
    pub namespace: String,
    /// The DaemonSet.
    pub daemon_set: String,
    /// The ConfigMap that says what was rendered.
    pub config_map: String,
    /// The Lease by which one leads.
    pub lease: String,
    /// A name that no other process has or had.
    pub identity: String,
    /// How often the DaemonSet is read although nothing was heard of it.
    pub look_each: Duration,
    /// The election's limits.
    pub timing: Timing,
}

impl Settings {
    /// Whatever becomes of a watch, a changed field is restored within a quarter of an hour: a look, and what it may take.
    pub const LOOK_EACH: Duration = Duration::from_secs(14 * 60);
}

/// Runs until it is told to stop, and gives the lease back then.
pub async fn run(door: Door, settings: Settings, clock: Arc<impl Clock>, stop: impl Future<Output = ()>) {
    let maps = watch::Sender::<View<ConfigMapView>>::default();
    let sets = watch::Sender::<View<DaemonSetView>>::default();
    let leading = watch::Sender::<Leading>::default();
    let Settings { namespace, daemon_set: name, lease, .. } = &settings;

    let map = config_map(namespace, &settings.config_map);
    let following_map = follow::<ConfigMapObject>(door.clone(), map, Arc::clone(&clock), maps.clone());
    let set = Selection { metadata_only: false, ..daemon_set(namespace, name) };
    let following_set = follow::<DaemonSetObject>(door.clone(), set, Arc::clone(&clock), sets.clone());

    let candidate = Candidate::new(&settings.identity, settings.timing);
    let lease = ObjectKey::new(namespace, lease);
    let mut stand = Stand::new(door.clone(), lease, candidate, Arc::clone(&clock), leading.clone());
    let tending = Tending {
        door,
        daemon_set: ObjectKey::new(namespace, name),
        tender: Tender::new(settings.look_each),
        maps: maps.subscribe(),
        sets: sets.subscribe(),
        leading: leading.subscribe(),
        clock,
        was_well: true,
    };
    tokio::select! {
        () = stop => {}
        () = stand.run() => {}
        () = tending.run() => {}
        _never = async { tokio::join!(following_map, following_set) } => {}
    }
    stand.resign().await;
}

/// What the server answers to a write.
#[derive(Deserialize)]
struct Written {
    metadata: Meta,
}

/// The loop that tends the DaemonSet.
struct Tending<C> {
    door: Door,
    daemon_set: ObjectKey,
    tender: Tender,
    maps: watch::Receiver<View<ConfigMapView>>,
    sets: watch::Receiver<View<DaemonSetView>>,
    leading: watch::Receiver<Leading>,
    clock: Arc<C>,
    was_well: bool,
}

impl<C: Clock> Tending<C> {
    async fn run(mut self) {
        loop {
            let now = self.clock.now().boottime;
            let leads = self.leading.borrow_and_update().filter(|end| now < *end);
            let step = {
                let (map, set) = (self.maps.borrow_and_update(), self.sets.borrow_and_update());
                if leads.is_some()
                    && let Some(trouble) = self.tender.news(&map)
                {
                    warn!(daemon_set = %self.daemon_set, cause = %trouble, "its managed fields are not restored");
                }
                self.tender.next(&map, &set, leads.is_some(), now)
            };
            let until = match (step, leads) {
                (Step::Send(write), Some(end)) => {
                    self.send(write, end).await;
                    continue;
                }
                (Step::Look, Some(_)) => {
                    self.look().await;
                    continue;
                }
                (Step::WaitUntil(instant), _) => instant,
                // Never said to who does not lead.
                (Step::Send(_) | Step::Look, None) => now.after(Duration::from_secs(1)),
            };
            let changed = tokio::select! {
                changed = self.maps.changed() => changed,
                changed = self.leading.changed() => changed,
                changed = self.sets.changed() => changed,
                () = tokio::time::sleep(until.since(now)) => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Sends it, unless the time to lead is over before the answer is there.
    async fn send(&mut self, write: Write, end: BootTime) {
        let ObjectKey { namespace, name } = &self.daemon_set;
        let fields = || write.drifted.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let body = write.body.to_string().into_bytes();
        let request = match write.how {
            How::Apply => request::apply(Kind::DAEMON_SETS, namespace, name, body),
            How::Patch => {
                request::patch(Kind::DAEMON_SETS, Some(namespace), name, None, request::PatchType::Json, body)
            }
        };
        let limit = end.since(self.clock.now().boottime);
        let outcome = match request {
            Err(fault) => Err(fault),
            Ok(request) => {
                let asked = request.asked.clone();
                let answer = tokio::time::timeout(limit, self.door.ask::<Written>(request)).await;
                answer.unwrap_or_else(|_elapsed| {
                    Err(ApiFault { asked: Box::new(asked), cause: Cause::Silent(limit) })
                })
            }
        };
        match &outcome {
            Ok(written) => {
                self.was_well = true;
                let daemon_set = &self.daemon_set;
                if written.metadata.resource_version == write.based_on {
                    warn!(%daemon_set, fields = fields(), "the API server keeps managed fields otherwise than rendered");
                } else if write.drifted.is_empty() {
                    info!(%daemon_set, "its managed fields are noted as ours");
                } else if write.drifted.keys().any(|field| field.ends_with(RENDER)) {
                    info!(%daemon_set, fields = fields(), "made it what was rendered anew");
                } else {
                    info!(%daemon_set, fields = fields(), "restored managed fields");
                }
            }
            // The next look decides anew.
            Err(ApiFault { cause: Cause::Conflict(_), .. }) => {}
            Err(fault) if std::mem::replace(&mut self.was_well, false) => {
                warn!(%fault, fields = fields(), "managed fields are not restored for now");
            }
            Err(fault) => debug!(%fault, "managed fields are not restored for now"),
        }
        let outcome = outcome.as_ref().map(|written| written.metadata.resource_version.clone());
        let (now, random) = (self.clock.now().boottime, self.clock.random());
        self.tender.wrote(&write, outcome.map_err(|fault| &fault.cause), now, random);
    }

    async fn look(&mut self) {
        let ObjectKey { namespace, name } = &self.daemon_set;
        let outcome = match request::get(Kind::DAEMON_SETS, namespace, name) {
            Ok(request) => self.door.ask::<DaemonSetObject>(request).await,
            Err(fault) => Err(fault),
        };
        let outcome = outcome.map(|object| object.trim().1).map_err(|fault| {
            debug!(%fault, "the DaemonSet could not be looked at");
            fault.cause
        });
        self.tender.looked(outcome, self.clock.now().boottime);
    }
}
