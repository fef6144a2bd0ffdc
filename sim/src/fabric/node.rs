//! A node: the namespace in which its interfaces appear. Nothing of the box listens there.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use holdfast_datapath::netlink::{Address, Change, LinkRef, LinkSettings, Route};
use ipnet::Ipv4Net;

use super::wiring::{Lease, gateway};
use super::{FabricError, Namespace, NodeSpec, sysctl};
use crate::server::static_key_id;
use crate::vpc::InstanceId;

const MAIN: u32 = 254;
/// `RTPROT_DHCP`, and the metric that systemd-networkd gives to what it learnt that way.
const DHCP: u8 = 16;
const DHCP_METRIC: u32 = 512;

/// As EKS images have it: forwarding on; reverse-path filtering loose on links (2), off where it would apply to all.
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "2"),
    ("ipv4/conf/all/proxy_arp", "0"),
    ("ipv4/conf/default/proxy_arp", "0"),
    ("ipv4/conf/all/arp_ignore", "0"),
    ("ipv4/conf/default/arp_ignore", "0"),
    ("ipv4/conf/all/arp_announce", "0"),
    ("ipv4/conf/default/arp_announce", "0"),
    ("ipv4/conf/all/accept_local", "0"),
    ("ipv4/conf/default/accept_local", "0"),
];

/// A node of the fabric.
#[derive(Debug)]
pub struct Node {
    name: String,
    instance: InstanceId,
    hop_limit: u8,
    namespace: Namespace,
    environment: BTreeMap<&'static str, String>,
}

impl Node {
    /// Makes the namespace, with no interface yet.
    pub(super) fn up(spec: &NodeSpec, region: &str, ec2: Ipv4Addr) -> Result<Self, FabricError> {
        let namespace = Namespace::create(&spec.name)?;
        sysctl::write(&namespace, SETTINGS)?;
        Ok(Self {
            name: spec.name.clone(),
            instance: spec.instance.clone(),
            hop_limit: spec.hop_limit,
            namespace,
            environment: BTreeMap::from([
                ("AWS_ENDPOINT_URL_EC2", format!("http://{ec2}")),
                ("AWS_REGION", region.to_owned()),
                // The older name, which the AWS CLI and boto3 go by.
                ("AWS_DEFAULT_REGION", region.to_owned()),
            ]),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its instance.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// Through how many hops its metadata gets.
    pub(super) fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    /// Where it is.
    pub fn namespace(&self) -> Namespace {
        self.namespace.clone()
    }

    /// What points any AWS client inside the namespace to this box. It holds no credentials: those are the instance's
    /// role's, which clients take from metadata.
    pub fn environment(&self) -> &BTreeMap<&'static str, String> {
        &self.environment
    }

    /// What gives a client credentials of this node that last, in place of the role's.
    pub fn static_keys(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("AWS_ACCESS_KEY_ID", static_key_id(&self.instance)),
            ("AWS_SECRET_ACCESS_KEY", "not-checked".to_owned()),
        ])
    }
}

/// Configures the first interface as the image's DHCP client does.
pub(super) fn configure(namespace: &Namespace, link: &str, lease: &Lease) -> Result<(), FabricError> {
    let mut socket = namespace.socket()?;
    let index = namespace.index(&mut socket, link)?;
    let address = Ipv4Net::new(lease.address, lease.subnet.prefix_len())
        .map_err(|error| FabricError::Unfit(format!("subnet {}: {error}", lease.subnet)))?;
    let default = Route {
        source: Some(lease.address.into()),
        metric: Some(DHCP_METRIC),
        ..Route::default_via(MAIN, gateway(lease.subnet).into(), index).by(DHCP)
    };
    namespace.apply(
        &mut socket,
        &[
            Change::SetLink(LinkRef::Index(index), LinkSettings::up()),
            Change::AddAddress(Address::new(index, address.into())),
            Change::AddRoute(default),
        ],
    )
}
