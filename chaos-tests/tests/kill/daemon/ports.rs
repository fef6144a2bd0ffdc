//! EC2, the metadata service and the clock: all three are the test's.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use bytes::Bytes;
use holdfast_aws::{Ec2Cloud, Exchange, Imds, Transport, TransportError};
use holdfast_model::cloud::{CloudAnswer, CloudCall, CloudRead, EniView};
use holdfast_model::ids::{BootId, InstanceId};
use holdfast_model::limits::InstanceLimits;
use holdfast_model::node::NodeIdentity;
use holdfast_model::time::{BootTime, Now, WallTime};
use holdfast_ports::{Clock, Cloud, CloudError, HintAsked, Metadata, MetadataError, MetadataHint};
use uuid::Uuid;

use crate::daemon::line::Line;
use crate::daemon::steps::Steps;
use crate::wire::{EPOCH_MS, FromNode, HttpRequest, ToNode};

/// HTTP by questions.
#[derive(Debug)]
pub(crate) struct AskedWire(pub(crate) Arc<Line>);

impl Transport for AskedWire {
    fn exchange(&self, request: http::Request<Bytes>) -> Exchange {
        let line = Arc::clone(&self.0);
        Box::pin(async move {
            let request = HttpRequest::try_from(request).expect("the adapter sends text");
            match line.ask(|question| FromNode::Http { question, request }).await {
                ToNode::Http { answer: Some(answer), .. } => {
                    Ok(answer.try_into().expect("it was an answer before it was told"))
                }
                _closed => Err(TransportError::Closed),
            }
        })
    }
}

/// EC2, counted. Each call has a step before it, when nothing was sent, and one after it, when it was carried out and
/// nobody knows.
#[derive(Debug)]
pub(crate) struct CountedCloud {
    cloud: Ec2Cloud,
    steps: Arc<Steps>,
}

impl CountedCloud {
    pub(crate) fn new(cloud: Ec2Cloud, steps: Arc<Steps>) -> Self {
        Self { cloud, steps }
    }
}

impl Cloud for CountedCloud {
    async fn perform(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        let which = match call {
            CloudCall::Change { .. }
            | CloudCall::Tag { .. }
            | CloudCall::Leak(_)
            | CloudCall::Read(CloudRead::Subnets { .. }) => "",
            CloudCall::Read(CloudRead::ZoneSubnets { .. }) => " of the zone",
            CloudCall::Read(CloudRead::InstanceEnis { .. }) => " of the instance",
            CloudCall::Read(CloudRead::AvailableEnis { .. }) => " unattached",
            CloudCall::Read(CloudRead::Enis { .. }) => " by id",
        };
        let deed = format!("{:?}{which}", call.api());
        self.steps.before(&deed);
        let answer = self.cloud.perform(call).await;
        self.steps.after(&deed);
        answer
    }

    async fn limits_of(&self, instance_type: &str) -> Result<InstanceLimits, CloudError> {
        self.cloud.limits_of(instance_type).await
    }
}

/// The metadata service. It is only read, which is no step; but time is not to leap between two of its leaves.
#[derive(Debug)]
pub(crate) struct ReadMetadata {
    imds: Imds,
    steps: Arc<Steps>,
}

impl ReadMetadata {
    pub(crate) fn new(imds: Imds, steps: Arc<Steps>) -> Self {
        Self { imds, steps }
    }

    async fn read<T>(&self, work: impl Future<Output = T>) -> T {
        self.steps.reading(true);
        let read = work.await;
        self.steps.reading(false);
        read
    }
}

impl Metadata for ReadMetadata {
    async fn identity(&self) -> Result<NodeIdentity, MetadataError> {
        self.read(Box::pin(self.imds.identity())).await
    }

    async fn enis(&self, instance: &InstanceId) -> Result<Vec<EniView>, MetadataError> {
        self.read(Box::pin(self.imds.enis(instance))).await
    }

    async fn hint(&self, asked: HintAsked) -> Result<MetadataHint, MetadataError> {
        self.read(Box::pin(self.imds.hint(asked))).await
    }
}

/// The clock of the test, under the machine's own boot.
#[derive(Debug)]
pub(crate) struct ToldClock {
    boot: BootId,
    millis: AtomicU64,
}

impl ToldClock {
    pub(crate) fn new(now: u64) -> anyhow::Result<Self> {
        let path = "/proc/sys/kernel/random/boot_id";
        let boot = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
        Ok(Self { boot: BootId::new(boot.trim()), millis: AtomicU64::new(now) })
    }

    /// Moves it.
    pub(crate) fn set(&self, now: u64) {
        self.millis.store(now, Ordering::SeqCst);
    }

    /// Milliseconds since the node began.
    pub(crate) fn millis(&self) -> u64 {
        self.millis.load(Ordering::SeqCst)
    }
}

impl Clock for ToldClock {
    fn now(&self) -> Now {
        let millis = self.millis();
        Now { boot: self.boot.clone(), boottime: BootTime(millis), wall: WallTime(EPOCH_MS + millis) }
    }

    fn random(&self) -> u128 {
        Uuid::new_v4().as_u128()
    }
}
