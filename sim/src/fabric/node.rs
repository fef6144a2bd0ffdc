//! A node: the namespace in which its interfaces appear. Nothing of the box listens there.
//!
//! A node that is switched off or boots anew gets a new namespace: all that its inhabitants made in the old one ends with
//! it, as in life. Its path stays the same.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_datapath::netlink::{Address, Change, LinkRef, LinkSettings, Route};
use ipnet::{Ipv4Net, Ipv6Net};
use nix::fcntl::OFlag;
use nix::unistd::dup3;

use super::discovery::IPV6_GATEWAY;
use super::naming::Interfaces;
use super::wiring::{Lease, gateway};
use super::{FabricError, Namespace, NodeSpec, Sysctls, namespace, sysctl};
use crate::server::static_key_id;
use crate::vpc::InstanceId;

const MAIN: u32 = 254;
/// `RTPROT_DHCP` and `RTPROT_RA`, and the metric that systemd-networkd gives to what it learnt that way.
const DHCP: u8 = 16;
const RA: u8 = 9;
const DHCP_METRIC: u32 = 512;

/// As EKS images have it: forwarding on; reverse-path filtering off where it would apply to all. Of links see
/// [`super::Sysctls`].
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/all/proxy_arp", "0"),
    ("ipv4/conf/default/proxy_arp", "0"),
    ("ipv4/conf/all/arp_ignore", "0"),
    ("ipv4/conf/default/arp_ignore", "0"),
    ("ipv4/conf/all/arp_announce", "0"),
    ("ipv4/conf/default/arp_announce", "0"),
    ("ipv4/conf/all/accept_local", "0"),
    ("ipv4/conf/default/accept_local", "0"),
];

/// A node of the fabric. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Node {
    spec: NodeSpec,
    current: Arc<Mutex<Current>>,
    environment: BTreeMap<&'static str, String>,
}

#[derive(Debug)]
struct Current {
    namespace: Namespace,
    /// A second descriptor whose number never changes: what the node's path names.
    place: OwnedFd,
}

impl Node {
    /// Makes the namespace, with no interface yet.
    pub(super) fn up(spec: &NodeSpec, region: &str, ec2: IpAddr) -> Result<Self, FabricError> {
        let namespace = fresh(spec)?;
        let place = namespace.descriptor().try_clone().map_err(|error| descriptor(&spec.name, error))?;
        Ok(Self {
            spec: spec.clone(),
            current: Arc::new(Mutex::new(Current { namespace, place })),
            environment: environment(region, ec2),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its instance.
    pub fn instance(&self) -> &InstanceId {
        &self.spec.instance
    }

    /// Through how many hops its metadata gets.
    pub(super) fn hop_limit(&self) -> u8 {
        self.spec.hop_limit
    }

    /// What it calls its interfaces.
    pub(super) fn interfaces(&self) -> &Interfaces {
        &self.spec.interfaces
    }

    /// Where it is since it booted last.
    pub fn namespace(&self) -> Namespace {
        self.current().namespace.clone()
    }

    /// As [`Namespace::path`], of wherever the node is: it stays the same when the node boots anew.
    pub fn path(&self) -> PathBuf {
        namespace::path_of(&self.current().place)
    }

    /// What points any AWS client inside the namespace to this box. It holds no credentials: those are the instance's
    /// role's, which clients take from metadata.
    pub fn environment(&self) -> &BTreeMap<&'static str, String> {
        &self.environment
    }

    /// What gives a client credentials of this node that last, in place of the role's.
    pub fn static_keys(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("AWS_ACCESS_KEY_ID", static_key_id(&self.spec.instance)),
            ("AWS_SECRET_ACCESS_KEY", "not-checked".to_owned()),
        ])
    }

    /// Leaves the namespace with all that is in it for a new one.
    pub(super) fn renew(&self) -> Result<(), FabricError> {
        let namespace = fresh(&self.spec)?;
        let mut current = self.current();
        dup3(namespace.descriptor(), &mut current.place, OFlag::O_CLOEXEC)
            .map_err(|errno| descriptor(&self.spec.name, errno.into()))?;
        current.namespace = namespace;
        Ok(())
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `ec2` is of the family that the node speaks.
fn environment(region: &str, ec2: IpAddr) -> BTreeMap<&'static str, String> {
    let endpoint = match ec2 {
        IpAddr::V4(ec2) => format!("http://{ec2}"),
        IpAddr::V6(ec2) => format!("http://[{ec2}]"),
    };
    let mut environment = BTreeMap::from([
        ("AWS_ENDPOINT_URL_CLOUDWATCH", endpoint.clone()),
        ("AWS_ENDPOINT_URL_EC2", endpoint),
        ("AWS_REGION", region.to_owned()),
        // The older name, which the AWS CLI and boto3 go by.
        ("AWS_DEFAULT_REGION", region.to_owned()),
    ]);
    if ec2.is_ipv6() {
        environment.insert("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6".to_owned());
    }
    environment
}

fn fresh(spec: &NodeSpec) -> Result<Namespace, FabricError> {
    let namespace = Namespace::create(&spec.name)?;
    sysctl::write(&namespace, SETTINGS)?;
    let Sysctls { rp_filter } = spec.sysctls;
    // Each link takes it over as it comes.
    sysctl::write(&namespace, &[("ipv4/conf/default/rp_filter", &rp_filter.to_string())])?;
    Ok(namespace)
}

fn descriptor(name: &str, error: std::io::Error) -> FabricError {
    FabricError::Unfit(format!("the descriptor of {name}: {error}"))
}

/// Configures the first interface as the image's DHCP client does, both of them, and what it does with router
/// advertisements.
pub(super) fn configure(namespace: &Namespace, link: &str, lease: &Lease) -> Result<(), FabricError> {
    let mut socket = namespace.socket()?;
    let index = namespace.index(&mut socket, link)?;
    let up = Change::SetLink(LinkRef::Index(index), LinkSettings::up());
    let Some((address, subnet)) = lease.ipv6 else {
        return namespace.apply(&mut socket, &[vec![up], ipv4(index, lease)?].concat());
    };
    // The client reads advertisements by itself. No time is lost on a proof that nobody else has the addresses.
    let (accept_ra, accept_dad) =
        (format!("ipv6/conf/{link}/accept_ra"), format!("ipv6/conf/{link}/accept_dad"));
    sysctl::write(namespace, &[(&accept_ra, "0"), (&accept_dad, "0")])?;
    let own = Ipv6Net::from(address);
    let changes = [
        vec![up],
        ipv4(index, lease)?,
        vec![
            Change::AddAddress(Address::new(index, own.into())),
            Change::AddRoute(Route {
                metric: Some(DHCP_METRIC),
                ..Route::on_link(MAIN, subnet.into(), index).by(RA)
            }),
            Change::AddRoute(Route {
                metric: Some(DHCP_METRIC),
                ..Route::default_via(MAIN, IPV6_GATEWAY.into(), index).by(RA)
            }),
        ],
    ];
    namespace.apply(&mut socket, &changes.concat())?;
    namespace.until_usable(address, index)?;
    sysctl::write(namespace, &[(&accept_dad, "1")])
}

fn ipv4(link: u32, lease: &Lease) -> Result<Vec<Change>, FabricError> {
    let Some((address, subnet)) = lease.ipv4 else { return Ok(Vec::new()) };
    let own = Ipv4Net::new(address, subnet.prefix_len())
        .map_err(|error| FabricError::Unfit(format!("subnet {subnet}: {error}")))?;
    let default = Route {
        source: Some(address.into()),
        metric: Some(DHCP_METRIC),
        ..Route::default_via(MAIN, gateway(subnet).into(), link).by(DHCP)
    };
    Ok(vec![Change::AddAddress(Address::new(link, own.into())), Change::AddRoute(default)])
}
