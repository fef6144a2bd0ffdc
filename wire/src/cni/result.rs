//! What ADD prints, in the layout of the Amazon VPC CNI.
//!
//! Tools on a node read it (Multus, chained plugins, a hand-over in either direction), so its oddities are kept:
//!
//! | entry | name | mac | sandbox |
//! |---|---|---|---|
//! | `interfaces[2i]` | host veth | | |
//! | `interfaces[2i + 1]` | container interface | **route table, decimal** | namespace path |
//! | the last | `dummy` + hash of the pod | VLAN, "0": no branch ENI | **device number, decimal**, of the first address |
//!
//! `ips[i]` belongs to `interfaces[2i + 1]`, is a single address and has no gateway.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::version::CniVersion;
use crate::ids::{IfName, PodRef, host_prefix_len};
use crate::message::Added;
use crate::names;

/// A CNI result of 0.3.0 to 1.1.0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniResult {
    /// The version it is written in: that of the configuration.
    #[serde(rename = "cniVersion")]
    pub cni_version: String,
    /// Interfaces made, see the module.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// Addresses given.
    #[serde(default)]
    pub ips: Vec<Ip>,
    /// Routes: none, as they are the plugin's own business.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Name service: never set by this plugin, printed as `{}`.
    #[serde(default)]
    pub dns: Dns,
}

/// An entry of [`CniResult::interfaces`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// See the module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// See the module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
}

/// An entry of [`CniResult::ips`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ip {
    /// "4" or "6" before 1.0.0, absent since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Index into [`CniResult::interfaces`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<u32>,
    /// The address with its prefix length.
    pub address: IpNet,
    /// The gateway, if it is a part of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

impl Ip {
    /// A single address on an interface of the result.
    fn of(address: IpAddr, version: CniVersion, interface: u32) -> Self {
        let family = if address.is_ipv4() { "4" } else { "6" };
        Self {
            version: version.names_address_family().then(|| family.to_owned()),
            interface: Some(interface),
            address: IpNet::new(address, host_prefix_len(address))
                .expect("the prefix length is the family's own"),
            gateway: None,
        }
    }
}

/// An entry of [`CniResult::routes`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
}

/// Name service settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dns {
    /// Servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Local domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Search list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Resolver options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl CniResult {
    /// The result of an ADD that the daemon answered with `added`.
    pub fn of_add(
        version: CniVersion,
        added: &Added,
        ifname: &IfName,
        netns_path: &str,
        pod: &PodRef,
    ) -> Self {
        let (mut interfaces, mut ips) = (Vec::new(), Vec::new());
        for (face, container) in added.faces().zip((1..).step_by(2)) {
            interfaces.push(Interface { name: face.host_veth.clone(), mac: None, sandbox: None });
            interfaces.push(Interface {
                name: face.ifname.as_ref().unwrap_or(ifname).to_string(),
                mac: Some(face.route_table.to_string()),
                sandbox: Some(netns_path.to_owned()),
            });
            ips.push(Ip::of(face.address, version, container));
        }
        interfaces.push(Interface {
            name: names::dummy_interface(pod),
            mac: Some("0".to_owned()),
            sandbox: Some(added.own.device_number.to_string()),
        });
        Self {
            cni_version: version.as_str().to_owned(),
            interfaces,
            ips,
            routes: Vec::new(),
            dns: Dns::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::message::Face;

    fn own(address: &str) -> Added {
        let own = Face {
            ifname: None,
            address: address.parse().unwrap(),
            device_number: 2,
            route_table: 3,
            host_veth: "enicc21c2d7785".into(),
            host_mac: "02:00:00:00:00:01".into(),
        };
        Added { own, more: Vec::new() }
    }

    fn result(version: CniVersion, added: &Added) -> Value {
        let pod = PodRef { namespace: "default".into(), name: "sample-pod".into(), uid: None };
        let built = CniResult::of_add(version, added, &IfName::new("eth0").unwrap(), "/run/netns/x", &pod);
        let value = serde_json::to_value(&built).unwrap();
        assert_eq!(serde_json::from_value::<CniResult>(value.clone()).unwrap(), built);
        value
    }

    #[test]
    fn the_layout_is_the_incumbents() {
        assert_eq!(
            result(CniVersion::V0_4_0, &own("10.0.5.17")),
            json!({
                "cniVersion": "0.4.0",
                "interfaces": [
                    {"name": "enicc21c2d7785"},
                    {"name": "eth0", "mac": "3", "sandbox": "/run/netns/x"},
                    {"name": "dummycc21c2d7785", "mac": "0", "sandbox": "2"},
                ],
                "ips": [{"version": "4", "interface": 1, "address": "10.0.5.17/32"}],
                "dns": {},
            })
        );
    }

    #[test]
    fn each_interface_has_its_two_entries_and_its_address() {
        let mut added = own("10.0.5.17");
        added.more = vec![Face {
            ifname: Some(IfName::new("mNicIf1").unwrap()),
            address: "10.0.6.18".parse().unwrap(),
            device_number: 0,
            route_table: 10_100,
            host_veth: "eni5c1a2b3c4d5".into(),
            host_mac: "02:00:00:00:00:02".into(),
        }];
        assert_eq!(
            result(CniVersion::V1_0_0, &added),
            json!({
                "cniVersion": "1.0.0",
                "interfaces": [
                    {"name": "enicc21c2d7785"},
                    {"name": "eth0", "mac": "3", "sandbox": "/run/netns/x"},
                    {"name": "eni5c1a2b3c4d5"},
                    {"name": "mNicIf1", "mac": "10100", "sandbox": "/run/netns/x"},
                    {"name": "dummycc21c2d7785", "mac": "0", "sandbox": "2"},
                ],
                "ips": [{"interface": 1, "address": "10.0.5.17/32"}, {"interface": 3, "address": "10.0.6.18/32"}],
                "dns": {},
            })
        );
    }

    #[test]
    fn addresses_name_their_family_before_1_0_0_only() {
        for version in CniVersion::ALL {
            let value = result(version, &own("10.0.5.17"));
            assert_eq!(value["cniVersion"], version.as_str());
            assert_eq!(value["ips"][0].get("version").is_some(), version < CniVersion::V1_0_0, "{version}");
        }
        assert_eq!(result(CniVersion::V0_3_1, &own("fd00::9"))["ips"][0]["version"], "6");
        assert_eq!(result(CniVersion::V1_1_0, &own("fd00::9"))["ips"][0]["address"], "fd00::9/128");
    }
}
