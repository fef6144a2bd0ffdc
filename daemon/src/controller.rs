//! `holdfast controller`: what runs once for the cluster and not on each node. Wires the room `controller` to this process.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use holdfast_controller::election::Timing;
use holdfast_controller::{Settings, run};
use uuid::Uuid;

use crate::clock::KernelClock;
use crate::cluster;
use crate::run::stop_on_signal;
use crate::settings::Read;

/// Which objects it is about, in the namespace that its pod is in.
#[derive(Args, Debug)]
pub(crate) struct Objects {
    /// The DaemonSet whose managed fields are restored.
    #[arg(long, value_name = "NAME", default_value = "aws-node")]
    daemon_set: String,
    /// The ConfigMap that says what the chart rendered.
    #[arg(long, value_name = "NAME", default_value = "aws-node-managed")]
    config_map: String,
    /// The Lease by which one of the replicas leads.
    #[arg(long, value_name = "NAME", default_value = "aws-node-controller")]
    lease: String,
}

/// Runs the controller until it is told to stop.
pub(crate) fn control(read: &Read, objects: Objects) -> anyhow::Result<()> {
    let place = read.api_server.as_ref().context(
        "not told where the API server is and who asks: this runs in a pod, with MY_NODE_NAME and MY_POD_NAME",
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .context("starting the runtime")?;
    let (door, namespace) = {
        let _within = runtime.enter();
        cluster::door(place)?
    };
    let who = place.pod.as_ref().unwrap_or(&place.node);
    let settings = Settings {
        namespace,
        daemon_set: objects.daemon_set,
        config_map: objects.config_map,
        lease: objects.lease,
        // A container that is started again in its pod is another one.
        identity: format!("{who}_{}", Uuid::new_v4()),
        look_each: Settings::LOOK_EACH,
        timing: Timing::USUAL,
    };
    let clock = Arc::new(KernelClock::new()?);
    runtime.block_on(async {
        let stopping = stop_on_signal()?;
        // Large, and there is one.
        Box::pin(run(door, settings, clock, stopping.cancelled())).await;
        anyhow::ensure!(stopping.is_cancelled(), "the controller ended although nobody stopped it");
        Ok(())
    })?;
    runtime.shutdown_background();
    tracing::info!("stopped");
    Ok(())
}
