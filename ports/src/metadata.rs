//! The instance metadata service: who we are, and a cheap hint of what EC2 shows. A hint, never a proof.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;

use holdfast_model::cloud::EniView;
use holdfast_model::ids::{InstanceId, MacAddr, SecurityGroupId};
use holdfast_model::node::NodeIdentity;
use holdfast_model::pool::Family;
use ipnet::{IpNet, Ipv4Net};

/// Reads instance metadata.
pub trait Metadata: Send + Sync + 'static {
    /// Who this node is.
    fn identity(&self) -> impl Future<Output = Result<NodeIdentity, MetadataError>> + Send;

    /// All that it shows of the attached ENIs of this instance, as EC2 would: for a node that may not ask EC2. Whose they are it does
    /// not know, so they bear the instance's tag.
    fn enis(&self, instance: &InstanceId)
    -> impl Future<Output = Result<Vec<EniView>, MetadataError>> + Send;

    /// What it shows of the attached ENIs just now, as far as it is asked for.
    fn hint(&self, asked: HintAsked) -> impl Future<Output = Result<MetadataHint, MetadataError>> + Send;
}

/// What of a hint is needed: each value is a request of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HintAsked {
    /// The primary ENI, where it is known.
    pub primary: Option<MacAddr>,
    /// ENIs whose subnet's range is known.
    pub ranges_known: BTreeSet<MacAddr>,
    /// Whether the VPC's ranges are known well enough.
    pub vpc_known: bool,
    /// Of which families delegated prefixes are wanted, or had.
    pub prefixes: BTreeSet<Family>,
}

/// What the metadata service shows. It lags behind EC2, and may be partial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataHint {
    /// By MAC: the IPv4 addresses, the ENI's own included.
    pub enis: BTreeMap<MacAddr, BTreeSet<IpAddr>>,
    /// By MAC: the subnet's range, where shown and asked for.
    pub subnet_cidrs: BTreeMap<MacAddr, Ipv4Net>,
    /// The VPC's IPv4 ranges, as the primary ENI shows them, where asked for.
    pub vpc_cidrs: Vec<Ipv4Net>,
    /// By MAC and family: the delegated prefixes, where asked for.
    pub prefixes: BTreeMap<(MacAddr, Family), BTreeSet<IpNet>>,
    /// By MAC: the security groups.
    pub security_groups: BTreeMap<MacAddr, BTreeSet<SecurityGroupId>>,
}

/// The metadata service did not tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instance metadata: {path}: {cause}")]
pub struct MetadataError {
    /// What was asked for.
    pub path: String,
    /// What was seen.
    pub cause: String,
}
