//! A node: the namespace in which its interfaces appear, with IMDS and EC2 at their addresses.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use holdfast_datapath::netlink::{Address, AddressScope, Change, LinkRef, LinkSettings, Route};
use ipnet::Ipv4Net;

use super::wiring::{Lease, gateway};
use super::{FabricError, Namespace, NodeSpec, sysctl};
use crate::server::access_key_id;
use crate::vpc::InstanceId;

/// Where IMDS answers, on port 80: where every AWS client looks for it.
pub const IMDS_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Where the EC2 API answers, on port 80.
pub const EC2_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);

const HTTP: u16 = 80;
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
    namespace: Namespace,
    environment: BTreeMap<&'static str, String>,
}

/// What a node's services listen on, bound inside it.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) instance: InstanceId,
    pub(super) imds: TcpListener,
    pub(super) ec2: TcpListener,
}

impl Node {
    /// Makes the namespace with its services' addresses, and no interface yet.
    pub(super) fn up(spec: &NodeSpec, region: &str) -> Result<(Self, Listeners), FabricError> {
        let namespace = Namespace::create(&spec.name)?;
        sysctl::write(&namespace, SETTINGS)?;
        let mut socket = namespace.socket()?;
        let loopback = namespace.index(&mut socket, "lo")?;
        // Of host scope: what the node sends to its pods must not bear one of these as its source.
        let own = |address: Ipv4Addr| {
            let address = Address::new(loopback, Ipv4Net::from(address).into());
            Change::PutAddress(Address { scope: AddressScope::Host, ..address })
        };
        namespace.apply(&mut socket, &[own(IMDS_ADDRESS), own(EC2_ADDRESS)])?;
        let listeners = Listeners {
            instance: spec.instance.clone(),
            imds: listen(&namespace, IMDS_ADDRESS, HTTP)?,
            ec2: listen(&namespace, EC2_ADDRESS, HTTP)?,
        };
        let node = Self {
            name: spec.name.clone(),
            instance: spec.instance.clone(),
            namespace,
            environment: BTreeMap::from([
                ("AWS_ENDPOINT_URL_EC2", format!("http://{EC2_ADDRESS}")),
                ("AWS_REGION", region.to_owned()),
                // The older name, which the AWS CLI and boto3 go by.
                ("AWS_DEFAULT_REGION", region.to_owned()),
                ("AWS_ACCESS_KEY_ID", access_key_id(&spec.instance)),
                ("AWS_SECRET_ACCESS_KEY", "not-checked".to_owned()),
            ]),
        };
        Ok((node, listeners))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its instance.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// Where it is.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// What points any AWS client inside the namespace to this box. The keys can be left out: IMDS hands out a role.
    pub fn environment(&self) -> &BTreeMap<&'static str, String> {
        &self.environment
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

/// Listens inside a namespace.
pub(super) fn listen(
    namespace: &Namespace,
    address: Ipv4Addr,
    port: u16,
) -> Result<TcpListener, FabricError> {
    let address = SocketAddrV4::new(address, port);
    namespace.run(|| TcpListener::bind(address))?.map_err(|source| FabricError::Listen {
        address: address.to_string(),
        place: namespace.name().to_owned(),
        source,
    })
}
