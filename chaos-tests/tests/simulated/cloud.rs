//! The simulated EC2 behind Holdfast's own ports, without HTTP in between.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_chaos_tests::ec2;
use holdfast_model::cloud::{CloudAnswer, CloudCall};
use holdfast_model::node::NodeIdentity;
use holdfast_ports::{Cloud, CloudError, Metadata, MetadataError, MetadataHint};
use holdfast_sim::vpc::{self as sim, Caller, Micros, Reply, Request, SimVpc};
use tokio::sync::oneshot;

use crate::clock::VirtualClock;
use crate::steps::Steps;
use crate::witness::Witness;

/// A request that has left its sender and not arrived: nothing calls it back, not even the sender's death.
#[derive(Debug)]
struct UnderWay {
    arrives: Duration,
    caller: Caller,
    request: Request,
    reply: oneshot::Sender<Reply>,
}

#[derive(Debug)]
struct Inner {
    vpc: SimVpc,
    under_way: Vec<UnderWay>,
}

impl Inner {
    /// Time goes on to this instant; what arrives by then is carried out when it arrives.
    fn advance(&mut self, elapsed: Duration) {
        self.under_way.sort_by_key(|call| call.arrives);
        while self.under_way.first().is_some_and(|call| call.arrives <= elapsed) {
            let call = self.under_way.remove(0);
            self.vpc.advance_to(micros(call.arrives));
            let reply = self.vpc.serve(&call.caller, call.request);
            // A sender that died meanwhile hears nothing.
            drop(call.reply.send(reply));
        }
        self.vpc.advance_to(micros(elapsed));
    }
}

fn micros(elapsed: Duration) -> Micros {
    Micros(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
}

/// The box that all nodes share.
#[derive(Debug, Clone)]
pub(crate) struct SharedBox {
    inner: Arc<Mutex<Inner>>,
}

impl SharedBox {
    /// Shares a box.
    pub(crate) fn new(vpc: SimVpc) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { vpc, under_way: Vec::new() })) }
    }

    /// Uses the box as it stands.
    pub(crate) fn now<T>(&self, work: impl FnOnce(&mut SimVpc) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner).vpc)
    }

    /// Uses the box at this instant of virtual time.
    pub(crate) fn at<T>(&self, elapsed: Duration, work: impl FnOnce(&mut SimVpc) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.advance(elapsed);
        work(&mut inner.vpc)
    }

    /// Sends a request, which arrives at that instant.
    fn send(&self, arrives: Duration, caller: Caller, request: Request) -> oneshot::Receiver<Reply> {
        let (reply, answer) = oneshot::channel();
        let call = UnderWay { arrives, caller, request, reply };
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).under_way.push(call);
        answer
    }
}

/// EC2 and IMDS of one instance, for one life of its daemon.
#[derive(Debug, Clone)]
pub(crate) struct SimCloud {
    /// The box.
    pub(crate) shared: SharedBox,
    /// The instance.
    pub(crate) instance: sim::InstanceId,
    /// Virtual time.
    pub(crate) clock: VirtualClock,
    /// Where the process may die.
    pub(crate) steps: Steps,
    /// Who looks whether a call's intent is on the disk.
    pub(crate) witness: Witness,
    /// Nothing gets through to EC2 and IMDS while this says so.
    pub(crate) cut_off: bool,
}

impl Cloud for SimCloud {
    async fn perform(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        if self.cut_off {
            return Err(ec2::unknown("connection refused"));
        }
        let request = Request::from(ec2::operation_of(call));
        let action = request.action();
        self.steps.pass(format!("before {action}"));
        self.witness.sees_call(action, call);
        let sent = self.clock.elapsed();
        let latency = self.shared.at(sent, |vpc| vpc.latency_of(&request));
        let mut answer = self.shared.send(sent + latency, Caller::instance(&self.instance), request);
        tokio::time::sleep(latency).await;
        self.shared.at(self.clock.elapsed(), |_| ());
        let reply = answer.try_recv().expect("what has arrived was answered");
        self.steps.pass(format!("after {action}"));
        tokio::time::sleep(reply.late_by).await;
        ec2::answer_of(reply.result)
    }
}

impl Metadata for SimCloud {
    async fn identity(&self) -> Result<NodeIdentity, MetadataError> {
        ec2::identity_of(&self.imds()?)
    }

    async fn hint(&self) -> Result<MetadataHint, MetadataError> {
        Ok(ec2::hint_of(&self.imds()?))
    }
}

impl SimCloud {
    fn imds(&self) -> Result<sim::ImdsView, MetadataError> {
        if self.cut_off {
            let cause = "connection refused".to_owned();
            return Err(MetadataError { path: "instance-id".to_owned(), cause });
        }
        self.shared
            .at(self.clock.elapsed(), |vpc| vpc.imds_view(&self.instance))
            .ok_or_else(|| ec2::not_shown("instance-id"))
    }
}
