//! The real world: EC2 and IMDS through the SDK, the kernel through the datapath.
//!
//! EC2 is asked in the node's own region, which the metadata service or the ledger tells; so the EC2 client is made
//! when the first call is sent.

use std::sync::{Arc, OnceLock};

use holdfast_aws::{Ec2Cloud, Ec2Settings, Imds};
use holdfast_datapath::Host;
use holdfast_engine::World;
use holdfast_model::cloud::{CloudAnswer, CloudCall};
use holdfast_model::node::NodeIdentity;
use holdfast_ports::{Cloud, CloudError, CloudFault, Metadata, MetadataError, MetadataHint};
use tokio::sync::OnceCell;

use crate::clock::KernelClock;

/// The ports of a real node.
pub(crate) struct RealWorld;

impl World for RealWorld {
    type Cloud = RegionalCloud;
    type Metadata = RegionTeller;
    type Host = Host;
    type Clock = KernelClock;
}

/// Where the node's region is told.
pub(crate) type Region = Arc<OnceLock<String>>;

/// EC2 in the node's region.
pub(crate) struct RegionalCloud {
    region: Region,
    client: OnceCell<Ec2Cloud>,
}

impl RegionalCloud {
    pub(crate) fn new(region: Region) -> Self {
        Self { region, client: OnceCell::new() }
    }
}

impl Cloud for RegionalCloud {
    async fn perform(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        let Some(region) = self.region.get() else {
            return Err(CloudError {
                fault: CloudFault::Unknown,
                code: "NoRegion".to_owned(),
                message: "the node's region is not known yet".to_owned(),
            });
        };
        let settings = || Ec2Settings::new(region, env!("CARGO_PKG_VERSION"));
        let client = self.client.get_or_init(|| Ec2Cloud::new(settings())).await;
        client.perform(call).await
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
        self.region.get_or_init(|| identity.region.clone());
        Ok(identity)
    }

    async fn hint(&self) -> Result<MetadataHint, MetadataError> {
        self.imds.hint().await
    }
}
