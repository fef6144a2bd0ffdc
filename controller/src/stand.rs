//! Drives the election: asks, writes, waits, says who leads.

use std::sync::Arc;
use std::time::Duration;

use holdfast_cluster::asked::Kind;
use holdfast_cluster::watch::ObjectKey;
use holdfast_cluster::{ApiFault, Cause, Door, Version, request};
use holdfast_model::time::{BootTime, WallTime};
use holdfast_ports::Clock;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::election::{Candidate, Claim, Record, Step};

/// The last words are not waited for longer than this.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Until when this process may act as the leader; nothing while it does not lead.
pub type Leading = Option<BootTime>;

/// One process in the election.
pub struct Stand<C> {
    door: Door,
    lease: ObjectKey,
    candidate: Candidate,
    clock: Arc<C>,
    /// The Lease as it was last read or written: what else is in it stays.
    object: Value,
    leading: watch::Sender<Leading>,
    was_well: bool,
}

impl<C: Clock> Stand<C> {
    /// Nothing is asked yet.
    pub fn new(
        door: Door,
        lease: ObjectKey,
        candidate: Candidate,
        clock: Arc<C>,
        leading: watch::Sender<Leading>,
    ) -> Self {
        Self { door, lease, candidate, clock, object: Value::Null, leading, was_well: true }
    }

    /// Stands for election for as long as it is polled.
    pub async fn run(&mut self) {
        loop {
            let now = self.clock.now().boottime;
            self.publish();
            let outcome = match self.candidate.next(now) {
                Step::WaitUntil(instant) => {
                    // Not beyond the end of leading, which is to be told.
                    let until = self.candidate.leads(now).map_or(instant, |end| end.min(instant));
                    tokio::time::sleep(until.since(now)).await;
                    continue;
                }
                Step::Read => self.read().await,
                Step::Write(claim) => self.write(&claim).await,
            };
            match outcome {
                Ok(()) => self.was_well = true,
                Err(fault) if std::mem::replace(&mut self.was_well, false) => {
                    warn!(%fault, "the lease is not held or followed for now");
                }
                Err(fault) => debug!(%fault, "the lease is not held or followed for now"),
            }
        }
    }

    /// Gives the lease back, if it is ours.
    pub async fn resign(mut self) {
        let claim = self.candidate.resign();
        self.publish();
        if let Some(claim) = claim
            && let Ok(request) = self.request(&claim)
            && let Ok(Ok(_)) = tokio::time::timeout(LAST_WORDS, self.door.ask::<Value>(request)).await
        {
            info!(lease = %self.lease, "gave the lease back");
        }
    }

    async fn read(&mut self) -> Result<(), ApiFault> {
        let request = request::get(Kind::LEASES, &self.lease.namespace, &self.lease.name)?;
        let answer = self.door.ask::<Value>(request).await;
        let (now, random) = (self.clock.now().boottime, self.clock.random());
        let read = answer.as_ref().map(|object| Some(record(object))).map_err(|fault| &fault.cause);
        self.candidate.read(read, now, random);
        match answer {
            Ok(object) => self.object = object,
            Err(ApiFault { cause: Cause::NotFound, .. }) => self.object = Value::Null,
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    async fn write(&mut self, claim: &Claim) -> Result<(), ApiFault> {
        let request = self.request(claim)?;
        let sent = self.clock.now().boottime;
        let answer = self.door.ask::<Value>(request).await;
        let (now, random) = (self.clock.now().boottime, self.clock.random());
        let wrote = answer.as_ref().map(|object| record(object).1).map_err(|fault| &fault.cause);
        self.candidate.wrote(claim, sent, wrote, now, random);
        match answer {
            Ok(object) => self.object = object,
            // Somebody was faster, which is what the version is for.
            Err(ApiFault { cause: Cause::Conflict(_), .. }) => {}
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    fn request(&self, claim: &Claim) -> Result<request::Prepared, ApiFault> {
        let body = lease(&self.object, &self.lease, claim, self.clock.now().wall);
        let body = body.to_string().into_bytes();
        request::replace(Kind::LEASES, &self.lease.namespace, &self.lease.name, body)
    }

    fn publish(&self) {
        let leads = self.candidate.leads(self.clock.now().boottime);
        let led = self.leading.send_replace(leads).is_some();
        match (led, leads.is_some()) {
            (false, true) => info!(lease = %self.lease, "leading"),
            (true, false) => info!(lease = %self.lease, "not leading any more"),
            _ => {}
        }
    }
}

/// What a Lease says, and its version.
fn record(object: &Value) -> (Record, Version) {
    let spec = |name: &str| object.pointer(&format!("/spec/{name}"));
    let number = |name: &str| spec(name).and_then(Value::as_u64).unwrap_or(0);
    let record = Record {
        holder: spec("holderIdentity").and_then(Value::as_str).unwrap_or_default().to_owned(),
        duration: Duration::from_secs(number("leaseDurationSeconds")),
        transitions: u32::try_from(number("leaseTransitions")).unwrap_or(u32::MAX),
    };
    let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
    (record, Version::new(version))
}

/// The Lease that a claim is written as: what stood there before, with what is claimed.
fn lease(before: &Value, key: &ObjectKey, claim: &Claim, at: WallTime) -> Value {
    let mut object = match (&claim.based_on, before) {
        (Some(_), Value::Object(_)) => before.clone(),
        _ => json!({"metadata": {}, "spec": {}}),
    };
    object["apiVersion"] = json!("coordination.k8s.io/v1");
    object["kind"] = json!("Lease");
    object["metadata"]["name"] = json!(key.name);
    object["metadata"]["namespace"] = json!(key.namespace);
    if let Some(version) = &claim.based_on {
        object["metadata"]["resourceVersion"] = json!(version);
    }
    let Record { holder, duration, transitions } = &claim.record;
    object["spec"]["holderIdentity"] = json!(holder);
    object["spec"]["leaseDurationSeconds"] = json!(duration.as_secs().max(1));
    object["spec"]["leaseTransitions"] = json!(transitions);
    object["spec"]["renewTime"] = json!(micro(at));
    if claim.taken {
        object["spec"]["acquireTime"] = json!(micro(at));
    }
    object
}

/// As the API server wants it: with six digits, neither more nor fewer.
fn micro(at: WallTime) -> String {
    let seconds = WallTime(at.0 - at.0 % 1000).to_string();
    format!("{}.{:03}000Z", seconds.trim_end_matches('Z'), at.0 % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_else_is_in_a_lease_stays() {
        let before = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "l", "namespace": "n", "resourceVersion": "7", "labels": {"a": "b"}},
            "spec": {"holderIdentity": "other", "leaseDurationSeconds": 30, "leaseTransitions": 4, "acquireTime": "x", "strategy": "s"},
        });
        let (record, version) = record(&before);
        assert_eq!((record.holder.as_str(), record.duration.as_secs(), record.transitions), ("other", 30, 4));
        let claim = Claim {
            record: Record { holder: "me".to_owned(), duration: Duration::from_secs(15), transitions: 5 },
            taken: true,
            based_on: Some(version),
        };
        let key = ObjectKey::new("n", "l");
        let after = lease(&before, &key, &claim, WallTime(1_700_000_000_040));
        assert_eq!(
            after,
            json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": "l", "namespace": "n", "resourceVersion": "7", "labels": {"a": "b"}},
                "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15, "leaseTransitions": 5, "strategy": "s",
                         "acquireTime": "2023-11-14T22:13:20.040000Z", "renewTime": "2023-11-14T22:13:20.040000Z"},
            })
        );
        let renewed =
            lease(&after, &key, &Claim { taken: false, ..claim.clone() }, WallTime(1_700_000_002_000));
        assert_eq!(renewed["spec"]["acquireTime"], "2023-11-14T22:13:20.040000Z");
        assert_eq!(renewed["spec"]["renewTime"], "2023-11-14T22:13:22.000000Z");
        let made = lease(&Value::Null, &key, &Claim { based_on: None, ..claim }, WallTime(0));
        assert_eq!(made["metadata"], json!({"name": "l", "namespace": "n"}));
    }
}
