//! `[internet]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;

/// What the internet host is called by where a scenario does not say: of TEST-NET-2, which nobody routes.
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

/// Where EC2 answers where a scenario does not say.
pub const EC2: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);

/// The same of IPv6: of the prefix for documentation.
pub const INTERNET_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x10);

/// Where EC2 answers over IPv6 where a scenario does not say.
pub const EC2_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x20);

/// `[internet]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternetTable {
    /// Address of the internet host, outside the VPC.
    #[serde(default = "default_internet")]
    pub address: Ipv4Addr,
    /// Where EC2 answers, outside the VPC too.
    #[serde(default = "default_ec2")]
    pub ec2: Ipv4Addr,
    /// The host's IPv6 address.
    #[serde(default = "default_internet_ipv6")]
    pub address_ipv6: Ipv6Addr,
    /// Where EC2 answers over IPv6.
    #[serde(default = "default_ec2_ipv6")]
    pub ec2_ipv6: Ipv6Addr,
}

impl InternetTable {
    /// What it is that has addresses outside of the VPC, and which.
    fn outside(&self) -> [(&'static str, IpAddr); 4] {
        [
            ("the internet host", self.address.into()),
            ("EC2", self.ec2.into()),
            ("the internet host", self.address_ipv6.into()),
            ("EC2", self.ec2_ipv6.into()),
        ]
    }

    /// What cannot be, in words.
    pub(super) fn problem(&self) -> Option<String> {
        // On each node these are the metadata service's.
        let link_local = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        if let Some((what, address)) = self.outside().into_iter().find(|(_, address)| link_local(address)) {
            return Some(format!("{what} cannot have the link-local address {address}"));
        }
        let same = self.address == self.ec2 || self.address_ipv6 == self.ec2_ipv6;
        same.then(|| "the internet host and EC2 cannot both have one address".to_owned())
    }

    /// In words, what a block of the VPC would have inside it that is outside.
    pub fn inside(&self, cidr: IpNet) -> Option<String> {
        let found = self.outside().into_iter().find(|(_, address)| cidr.contains(address));
        found.map(|(what, address)| format!("{what} {address} lies inside the VPC's {cidr}"))
    }
}

impl Default for InternetTable {
    fn default() -> Self {
        Self { address: INTERNET, ec2: EC2, address_ipv6: INTERNET_IPV6, ec2_ipv6: EC2_IPV6 }
    }
}

fn default_internet() -> Ipv4Addr {
    INTERNET
}

fn default_ec2() -> Ipv4Addr {
    EC2
}

fn default_internet_ipv6() -> Ipv6Addr {
    INTERNET_IPV6
}

fn default_ec2_ipv6() -> Ipv6Addr {
    EC2_IPV6
}
