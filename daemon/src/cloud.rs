//! The real world: EC2 and IMDS through the SDK, the kernel through the datapath.
//!
//! EC2 is asked in the node's own region, which the metadata service or the ledger tells; so the EC2 client is made
//! when the first call is sent, and made anew should the region turn out to be another (a ledger that was baked into
//! an image and copied).

use std::sync::{Arc, Mutex, PoisonError};

use holdfast_aws::{Ec2Cloud, Ec2Settings, Imds};
use holdfast_datapath::Host;
use holdfast_engine::{RuntimeTasks, World};
use holdfast_metrics::Counted;
use holdfast_model::cloud::{CloudAnswer, CloudCall, EniView};
use holdfast_model::ids::InstanceId;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::node::NodeIdentity;
use holdfast_ports::{Cloud, CloudError, CloudFault, HintAsked, Metadata, MetadataError, MetadataHint};

use crate::clock::KernelClock;

/// The ports of a real node.
pub(crate) struct RealWorld;

impl World for RealWorld {
    type Cloud = Counted<RegionalCloud>;
    type Metadata = RegionTeller;
    type Host = Host;
    type Clock = KernelClock;
    type Spawner = RuntimeTasks;
}

/// The node's region, as far as it is known. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Region(Arc<Mutex<Option<String>>>);

impl Region {
    /// Sets it.
    pub(crate) fn tell(&self, region: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(region.to_owned());
    }

    fn known(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// EC2 in the node's region.
pub(crate) struct RegionalCloud {
    region: Region,
    client: tokio::sync::Mutex<Option<(String, Ec2Cloud)>>,
}

impl RegionalCloud {
    pub(crate) fn new(region: Region) -> Self {
        Self { region, client: tokio::sync::Mutex::new(None) }
    }

    async fn client(&self) -> Result<Ec2Cloud, CloudError> {
        let Some(region) = self.region.known() else {
            return Err(CloudError {
                fault: CloudFault::NotSent,
                code: "NoRegion".to_owned(),
                message: "the node's region is not known yet".to_owned(),
            });
        };
        let mut made = self.client.lock().await;
        if let Some((its, client)) = &*made
            && *its == region
        {
            return Ok(client.clone());
        }
        let client = Ec2Cloud::new(Ec2Settings::new(&region, env!("CARGO_PKG_VERSION"))).await;
        *made = Some((region, client.clone()));
        Ok(client)
    }
}

impl Cloud for RegionalCloud {
    async fn perform(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        self.client().await?.perform(call).await
    }

    async fn limits_of(&self, instance_type: &str) -> Result<InstanceLimits, CloudError> {
        self.client().await?.limits_of(instance_type).await
    }
}

/// The metadata service; it tells the region on the way.
pub(crate) struct RegionTeller {
    imds: Imds,
    region: Region,
}

impl RegionTeller {
    pub(crate) fn new(imds: Imds, region: Region) -> Self {
        Self { imds, region }
    }
}

impl Metadata for RegionTeller {
    async fn identity(&self) -> Result<NodeIdentity, MetadataError> {
        let identity = self.imds.identity().await?;
        self.region.tell(&identity.region);
        Ok(identity)
    }

    async fn enis(&self, instance: &InstanceId) -> Result<Vec<EniView>, MetadataError> {
        self.imds.enis(instance).await
    }

    async fn hint(&self, asked: HintAsked) -> Result<MetadataHint, MetadataError> {
        self.imds.hint(asked).await
    }
}
