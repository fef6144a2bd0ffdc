//! EC2, the metadata service and the clock: all three are the test's.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use holdfast_chaos_tests::kill::wire::{FromNode, MetadataFailed, ToNode};
use holdfast_model::cloud::{CloudAnswer, CloudCall, CloudRead};
use holdfast_model::ids::BootId;
use holdfast_model::node::NodeIdentity;
use holdfast_model::time::{BootTime, Now, WallTime};
use holdfast_ports::{Clock, Cloud, CloudError, CloudFault, Metadata, MetadataError, MetadataHint};
use uuid::Uuid;

use crate::line::Line;
use crate::steps::Steps;

/// Wall time at the node's beginning: any instant will do.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// EC2 by questions. Each call has a step before it, when nothing was sent, and one after it, when it was carried out
/// and nobody knows.
#[derive(Debug)]
pub(crate) struct AskedCloud {
    line: Arc<Line>,
    steps: Arc<Steps>,
}

impl AskedCloud {
    pub(crate) fn new(line: Arc<Line>, steps: Arc<Steps>) -> Self {
        Self { line, steps }
    }
}

impl Cloud for AskedCloud {
    async fn perform(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        let which = match call {
            CloudCall::Change { .. } => "",
            CloudCall::Read(CloudRead::InstanceEnis { .. }) => " of the instance",
            CloudCall::Read(CloudRead::AvailableEnis { .. }) => " unattached",
            CloudCall::Read(CloudRead::Enis { .. }) => " by id",
        };
        let deed = format!("{:?}{which}", call.api());
        self.steps.before(&deed);
        let answer = self.line.ask(|question| FromNode::Cloud { question, call: call.clone() }).await;
        self.steps.after(&deed);
        match answer {
            ToNode::Cloud { result, .. } => result,
            other => Err(CloudError {
                fault: CloudFault::Unknown,
                code: "NoAnswer".to_owned(),
                message: format!("{other:?}"),
            }),
        }
    }
}

/// The metadata service by questions.
#[derive(Debug)]
pub(crate) struct AskedMetadata {
    line: Arc<Line>,
}

impl AskedMetadata {
    pub(crate) fn new(line: Arc<Line>) -> Self {
        Self { line }
    }
}

impl Metadata for AskedMetadata {
    async fn identity(&self) -> Result<NodeIdentity, MetadataError> {
        match self.line.ask(|question| FromNode::Identity { question }).await {
            ToNode::Identity { result, .. } => result.map_err(Into::into),
            other => Err(not_an_answer(&other)),
        }
    }

    async fn hint(&self) -> Result<MetadataHint, MetadataError> {
        match self.line.ask(|question| FromNode::Hint { question }).await {
            ToNode::Hint { result, .. } => result.map(Into::into).map_err(Into::into),
            other => Err(not_an_answer(&other)),
        }
    }
}

fn not_an_answer(message: &ToNode) -> MetadataError {
    MetadataFailed { path: "identity".to_owned(), cause: format!("{message:?}") }.into()
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
