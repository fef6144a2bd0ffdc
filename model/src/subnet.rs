//! Subnets, as far as ENIs of this node are in them.

use std::collections::BTreeMap;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::ids::SubnetId;

/// What is known of a subnet. EC2's answers about ENIs do not carry it: it is learnt from the metadata
/// service, or asked of EC2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetRecord {
    /// EC2's id.
    pub id: SubnetId,
    /// Its IPv4 range; an IPv6-only subnet has none.
    pub ipv4: Option<Ipv4Net>,
    /// Its IPv6 range, when it has one and that is known.
    pub ipv6: Option<Ipv6Net>,
}

/// A subnet as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetView {
    /// EC2's id.
    pub id: SubnetId,
    /// Its IPv4 range.
    pub ipv4: Option<Ipv4Net>,
    /// Free IPv4 addresses, by EC2's count, which lags.
    pub free: u32,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}
