//! EC2 and the metadata service of one life: the shipping adapter, and under it the box's own faces, without a socket.

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use holdfast_aws::{Ec2Cloud, Exchange, Transport, TransportError};
use holdfast_model::cloud::{CloudAnswer, CloudCall};
use holdfast_model::limits::InstanceLimits;
use holdfast_ports::{Cloud, CloudError};
use holdfast_sim::server::{Ec2Service, ImdsService};
use http_body_util::BodyExt as _;

use crate::steps::Steps;
use crate::witness::Witness;

/// Where the metadata service answers on every instance; all else is EC2's.
const METADATA: &str = "169.254.169.254";

/// How the metadata service is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Away {
    /// Nobody listens.
    Refused,
    /// Packets get lost.
    Silent,
}

/// Whether a node's metadata service can be reached: set while the node runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct MetadataReach {
    away: Arc<Mutex<Option<Away>>>,
    asked: Arc<AtomicUsize>,
}

impl MetadataReach {
    /// From now on it is away, or there again.
    pub(crate) fn set(&self, away: Option<Away>) {
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = away;
    }

    fn away(&self) -> Option<Away> {
        *self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests it was sent so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Whose metadata a node's metadata service shows: set while the node runs.
#[derive(Debug, Clone)]
pub(crate) struct WhoseMetadata(Arc<Mutex<Arc<ImdsService>>>);

impl WhoseMetadata {
    /// This instance's.
    pub(crate) fn of(service: ImdsService) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(service))))
    }

    /// From now on this instance's.
    pub(crate) fn set(&self, service: ImdsService) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(service);
    }

    fn now(&self) -> Arc<ImdsService> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The way from one node to its box.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    /// EC2 of the box.
    pub(crate) ec2: Arc<Ec2Service>,
    /// The metadata service of the node.
    pub(crate) imds: WhoseMetadata,
    /// Nothing gets through.
    pub(crate) cut_off: bool,
    /// Whether the metadata service can be reached.
    pub(crate) metadata: MetadataReach,
}

impl Transport for Wire {
    fn exchange(&self, request: http::Request<Bytes>) -> Exchange {
        if self.cut_off {
            return Box::pin(std::future::ready(Err(TransportError::NotConnected)));
        }
        let is_metadata = request.uri().host() == Some(METADATA);
        self.metadata.asked.fetch_add(usize::from(is_metadata), Ordering::Relaxed);
        match self.metadata.away().filter(|_| is_metadata) {
            None => {}
            Some(Away::Refused) => return Box::pin(std::future::ready(Err(TransportError::NotConnected))),
            Some(Away::Silent) => return Box::pin(std::future::pending()),
        }
        let Self { ec2, imds, .. } = self.clone();
        Box::pin(async move {
            // Whoever dies meanwhile: what was sent arrives at the box.
            let answer =
                if is_metadata { imds.now().answer(request).await } else { ec2.answer(request).await };
            let (head, body) = answer.ok_or(TransportError::Closed)?.into_parts();
            let body = body.collect().await.map_err(|never| match never {})?.to_bytes();
            Ok(http::Response::from_parts(head, body))
        })
    }
}

/// EC2 with a step before each call, when nothing was sent, and one after it, when it was carried out and nobody knows.
#[derive(Debug, Clone)]
pub(crate) struct CountedCloud {
    /// EC2.
    pub(crate) cloud: Ec2Cloud,
    /// Where the process may die.
    pub(crate) steps: Steps,
    /// Who looks whether a call's intent is on the disk.
    pub(crate) witness: Witness,
}

impl Cloud for CountedCloud {
    async fn perform(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        let action = format!("{:?}", call.api());
        self.steps.pass(format!("before {action}"));
        self.witness.sees_call(&action, call);
        let answer = self.cloud.perform(call).await;
        self.steps.pass(format!("after {action}"));
        answer
    }

    async fn limits_of(&self, instance_type: &str) -> Result<InstanceLimits, CloudError> {
        self.cloud.limits_of(instance_type).await
    }
}
