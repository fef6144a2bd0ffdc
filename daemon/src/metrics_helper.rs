//! `holdfast metrics-helper`: wires the room of that name to this process, to CloudWatch and to the instance's tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use holdfast_aws::{CloudWatch, CloudWatchSettings, Ec2Cloud, Ec2Settings, Imds, ImdsSettings};
use holdfast_metrics::{Place, Text, http};
use holdfast_metrics_helper::daemons::ByApiServer;
use holdfast_metrics_helper::publish::NO_REGION;
use holdfast_metrics_helper::{Publisher, Round, Settings, run};
use holdfast_model::node::NodeIdentity;
use holdfast_ports::{CloudError, CloudFault, Data, InstanceTags, Metadata as _, Monitoring};
use tokio::sync::{Mutex, watch};

use crate::clock::KernelClock;
use crate::cluster;
use crate::run::stop_on_signal;
use crate::settings::Read;

/// Where the Amazon VPC CNI's helper has its metrics.
const PORT: u16 = 61681;

/// Runs the helper until it is told to stop.
pub(crate) fn help(read: &Read, settings: Settings) -> anyhow::Result<()> {
    let place = read
        .api_server
        .as_ref()
        .context("not told where the API server is and who asks: this runs in a pod, with MY_NODE_NAME")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .context("starting the runtime")?;
    let (door, namespace) = {
        let _within = runtime.enter();
        cluster::door(place)?
    };
    let clock = Arc::new(KernelClock::new()?);
    let Settings { cloudwatch, prometheus, interval, cluster_id, region } = settings;
    tracing::info!(
        cloudwatch,
        prometheus,
        interval_s = interval.as_secs(),
        cluster_id,
        region,
        "publishing the cluster's figures"
    );
    runtime.block_on(async {
        let stopping = stop_on_signal()?;
        let publisher = if cloudwatch {
            let instance = Arc::new(Instance::new()?);
            let tags = OwnTags { instance: Arc::clone(&instance) };
            Some(Publisher::new(RegionalCloudWatch::new(region, instance), tags, cluster_id))
        } else {
            None
        };
        let latest = watch::Sender::<Option<Round>>::default();
        let serving = serve(prometheus, latest.subscribe(), stopping.clone());
        let looking =
            run(ByApiServer { door, namespace }, publisher, latest, interval, clock, stopping.cancelled());
        // Large, and there is one.
        tokio::join!(Box::pin(looking), serving);
        anyhow::ensure!(stopping.is_cancelled(), "the helper ended although nobody stopped it");
        Ok(())
    })?;
    runtime.shutdown_background();
    tracing::info!("stopped");
    Ok(())
}

/// Shows the latest round to Prometheus, where that is asked for.
async fn serve(
    prometheus: bool,
    mut latest: watch::Receiver<Option<Round>>,
    stopping: tokio_util::sync::CancellationToken,
) {
    if !prometheus {
        return;
    }
    let page = watch::Sender::<Option<String>>::default();
    let site = Arc::new(Text::new(page.subscribe()));
    let writing = async {
        while latest.changed().await.is_ok() {
            page.send_replace(latest.borrow_and_update().as_ref().map(Round::exposition));
        }
    };
    let serving = http::serve("the cluster's metrics port", Place::everywhere(PORT), site, stopping.clone());
    tokio::join!(stopping.run_until_cancelled(writing), serving);
}

/// The instance that this process is on. Asked once it is needed, and until it is known.
struct Instance {
    imds: Imds,
    identity: Mutex<Option<NodeIdentity>>,
}

impl Instance {
    fn new() -> anyhow::Result<Self> {
        let imds = Imds::new(ImdsSettings::default()).context("setting up the metadata client")?;
        Ok(Self { imds, identity: Mutex::new(None) })
    }

    async fn identity(&self) -> Result<NodeIdentity, CloudError> {
        let mut known = self.identity.lock().await;
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let identity = self.imds.identity().await.map_err(|error| CloudError {
            fault: CloudFault::NotSent,
            code: "NoMetadata".to_owned(),
            message: format!("instance metadata does not answer: {error}"),
        })?;
        Ok(known.insert(identity).clone())
    }
}

/// CloudWatch in the region that was set, else in the instance's.
struct RegionalCloudWatch {
    region: Option<String>,
    instance: Arc<Instance>,
    client: Mutex<Option<CloudWatch>>,
}

impl RegionalCloudWatch {
    fn new(region: Option<String>, instance: Arc<Instance>) -> Self {
        Self { region, instance, client: Mutex::new(None) }
    }

    async fn client(&self) -> Result<CloudWatch, CloudError> {
        let mut made = self.client.lock().await;
        if let Some(client) = &*made {
            return Ok(client.clone());
        }
        let region = match &self.region {
            Some(region) => region.clone(),
            None => {
                self.instance
                    .identity()
                    .await
                    .map_err(|error| CloudError { code: NO_REGION.to_owned(), ..error })?
                    .region
            }
        };
        let client = CloudWatch::new(CloudWatchSettings::new(region, env!("CARGO_PKG_VERSION"))).await;
        Ok(made.insert(client).clone())
    }
}

impl Monitoring for RegionalCloudWatch {
    async fn publish(&self, data: &Data) -> Result<(), CloudError> {
        self.client().await?.publish(data).await
    }
}

/// The instance's tags, as EC2 tells them.
struct OwnTags {
    instance: Arc<Instance>,
}

impl InstanceTags for OwnTags {
    async fn tags(&self, keys: &[&str]) -> Result<BTreeMap<String, String>, CloudError> {
        let NodeIdentity { instance, region, .. } = self.instance.identity().await?;
        // Asked once or twice in the life of a process.
        let ec2 = Ec2Cloud::new(Ec2Settings::new(region, env!("CARGO_PKG_VERSION"))).await;
        ec2.tags_of(&instance, keys).await
    }
}
