//! What all nodes share: the box, its clock, and the one runtime on which everybody lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_chaos_tests::look;
use holdfast_chaos_tests::oracle::picture::Cloud;
use holdfast_model::ids::MacAddr;
use holdfast_sim::admin::State;
use holdfast_sim::server::{Callers, ClockMode, Ec2Service, SharedVpc};
use holdfast_sim::vpc::{InstanceId, SimVpc, VpcEvent};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;

use crate::clock;
use crate::kernel::{Kernel, Primary};

/// The runtime, whose time passes when nobody has anything to do. Held by nodes, never by what runs on it.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    runtime: Arc<Runtime>,
    /// The box on it.
    pub(crate) shared: SharedBox,
}

impl Stage {
    /// A stage for this box.
    pub(crate) fn new(vpc: SimVpc) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO needs nothing from the system");
        let shared = {
            let _inside = runtime.enter();
            SharedBox::new(vpc)
        };
        Self { runtime: Arc::new(runtime), shared }
    }

    /// For whoever reads its clock from outside.
    pub(crate) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Lets this happen, and with it whatever else runs.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

/// The box that all nodes share. Its time is the runtime's.
#[derive(Debug, Clone)]
pub(crate) struct SharedBox {
    vpc: SharedVpc,
    ec2: Arc<Ec2Service>,
    kernels: Kernels,
    runtime: Handle,
    began: Instant,
}

/// Where each instance's links appear.
type Kernels = Arc<Mutex<BTreeMap<InstanceId, Kernel>>>;

impl SharedBox {
    fn new(vpc: SimVpc) -> Self {
        let began = Instant::now();
        let vpc = SharedVpc::new(vpc, ClockMode::Running, clock::epoch());
        let kernels = Kernels::default();
        tokio::spawn(plug(vpc.clone(), Arc::clone(&kernels)));
        let ec2 = Arc::new(Ec2Service::new(vpc.clone(), Callers::ByAccessKey));
        Self { vpc, ec2, kernels, runtime: Handle::current(), began }
    }

    /// Uses the box as it stands at this instant of virtual time.
    pub(crate) fn now<T>(&self, work: impl FnOnce(&mut SimVpc) -> T) -> T {
        let _inside = self.runtime.enter();
        self.vpc.with(work)
    }

    /// What EC2 has of an instance, in truth.
    pub(crate) fn cloud_of(&self, instance: &InstanceId) -> Cloud {
        let state = self.now(|vpc| State::of(vpc));
        look::cloud_of(&state, instance).expect("every ENI has a subnet and an address")
    }

    /// The ENI that an instance came with.
    pub(crate) fn primary_of(&self, instance: &InstanceId) -> Primary {
        self.now(|vpc| {
            let ec2 = vpc.authoritative();
            let enis = ec2.network_interfaces_of(instance);
            let primary = enis.iter().find(|eni| {
                eni.attachment.as_ref().is_some_and(|at| {
                    at.instance_id == *instance && (at.network_card_index, at.device_index) == (0, 0)
                })
            });
            let primary = primary.expect("an instance has its primary ENI");
            let subnet = ec2.subnet(&primary.subnet_id).expect("every ENI has a subnet");
            Primary {
                mac: MacAddr(primary.mac_address.0),
                address: primary.primary_ip().expect("every ENI has an address"),
                subnet: subnet.cidr_block.expect("every subnet here has IPv4"),
            }
        })
    }

    /// Since the box began.
    pub(crate) fn elapsed(&self) -> Duration {
        let _inside = self.runtime.enter();
        self.began.elapsed()
    }

    /// EC2 of the box.
    pub(crate) fn ec2(&self) -> Arc<Ec2Service> {
        Arc::clone(&self.ec2)
    }

    /// The box itself.
    pub(crate) fn vpc(&self) -> &SharedVpc {
        &self.vpc
    }

    /// From now on the links of this instance appear there.
    pub(crate) fn connect(&self, instance: &InstanceId, kernel: &Kernel) {
        self.kernels.lock().unwrap_or_else(PoisonError::into_inner).insert(*instance, kernel.clone());
    }
}

/// Kernels' links follow EC2's attachments.
async fn plug(vpc: SharedVpc, kernels: Kernels) {
    loop {
        for event in vpc.next_events().await {
            let kernels = kernels.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                VpcEvent::AttachmentVisible { instance, mac, .. } => {
                    if let Some(kernel) = kernels.get(&instance) {
                        kernel.plug(MacAddr(mac.0));
                    }
                }
                VpcEvent::Detached { instance, mac, .. } => {
                    if let Some(kernel) = kernels.get(&instance) {
                        kernel.unplug(MacAddr(mac.0));
                    }
                }
                _ => {}
            }
        }
    }
}
