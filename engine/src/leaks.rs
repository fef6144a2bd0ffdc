//! What ended instances of the cluster have left behind: asked, and told to the planner.

use holdfast_model::cloud::{CloudAnswer, CloudCall};
use holdfast_model::leak::LeakCall;
use holdfast_model::time::{BootTime, Now};
use holdfast_ports::{Cloud, CloudError, CloudFault};

use crate::engine::Engine;
use crate::event::Event;
use crate::pool::fault_of;
use crate::world::World;

impl<W: World> Engine<W> {
    pub(crate) fn ask_leak(&mut self, call: LeakCall, now: &Now) {
        self.observed.leak_asked(&call, now);
        tracing::info!(?call, "looking after what ended instances have left");
        let (cloud, began) = (self.ports.cloud.clone(), now.boottime);
        self.beside(async move {
            let result = cloud.perform(&CloudCall::Leak(call.clone())).await;
            Event::Leak { call, began, result }
        });
    }

    pub(crate) fn leak_answered(
        &mut self,
        call: &LeakCall,
        began: BootTime,
        result: Result<CloudAnswer, CloudError>,
    ) {
        let error = match (call, result) {
            (LeakCall::List { cluster, .. }, Ok(CloudAnswer::Enis(views))) => {
                return self.observed.leaks_listed(self.book.ledger(), &views, cluster, began);
            }
            (LeakCall::Instances { .. }, Ok(CloudAnswer::Instances(there))) => {
                return self.observed.leaks_lived(self.book.ledger(), &there, began);
            }
            (LeakCall::Delete { eni }, Ok(CloudAnswer::Done)) => {
                tracing::info!(%eni, "an ENI that an ended instance had left is deleted");
                return self.observed.leak_gone(eni);
            }
            (_, Ok(other)) => CloudError {
                fault: CloudFault::Rejected,
                code: "BadAnswer".to_owned(),
                message: format!("it was answered with {other:?}"),
            },
            (_, Err(error)) => error,
        };
        let (now, cause) = (self.now(), error.to_string());
        tracing::warn!(?call, %cause, "what ended instances have left is not looked after");
        self.observed.leak_failed(call, fault_of(error.fault), &cause, &now, self.draw());
    }
}
