//! What the network should be, and the steps there: pure, so that it can be tested without a kernel.
//!
//! ```text
//! VpcEvent -> Wiring::follow -> Vec<Step> -> Router::take
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{FabricError, FabricSpec};
use crate::vpc::{EniAddresses, EniId, InstanceId, Mac, SimVpc, SubnetId, VpcEvent};

/// What does not change while the fabric is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The VPC's blocks.
    pub(super) cidrs: Vec<Ipv4Net>,
    /// Its subnets.
    pub(super) subnets: BTreeMap<SubnetId, Ipv4Net>,
    /// The instances that have a namespace.
    pub(super) instances: BTreeSet<InstanceId>,
}

impl Layout {
    /// Reads it from a box. One VPC at most: two may use the same addresses, and the router has one main table.
    pub(super) fn of(vpc: &SimVpc, spec: &FabricSpec) -> Result<Self, FabricError> {
        let view = vpc.authoritative();
        let vpcs = view.vpcs();
        let [only] = vpcs.as_slice() else {
            return Err(FabricError::Unfit(format!("the fabric shows one VPC; the box has {}", vpcs.len())));
        };
        let subnets = view.subnets();
        Ok(Self {
            cidrs: only.cidr_blocks.clone(),
            subnets: subnets
                .into_iter()
                .filter_map(|subnet| Some((subnet.subnet_id, subnet.cidr_block?)))
                .collect(),
            instances: spec.nodes.iter().map(|node| node.instance.clone()).collect(),
        })
    }
}

/// The gateway of a subnet: the VPC's router answers at the first address after the network's own.
pub(super) fn gateway(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from_bits(subnet.network().to_bits() | 1)
}

/// What a node configures on its own first interface, as the image's DHCP client does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    pub(super) subnet: Ipv4Net,
}

/// A link to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plug {
    pub(super) eni: EniId,
    pub(super) instance: InstanceId,
    /// Name in the node.
    pub(super) node_end: String,
    pub(super) mac: Mac,
    /// Of the primary ENI; the others appear down and bare.
    pub(super) lease: Option<Lease>,
}

/// One change of the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Makes the link of an ENI.
    Plug(Plug),
    /// Removes it.
    Unplug(EniId),
    /// Delivers packets for these addresses to this ENI, and takes packets from them there.
    Grant(EniId, Ipv4Net),
    /// Stops doing so, unless another ENI has been granted them since.
    Revoke(EniId, Ipv4Net),
    /// Takes packets from any source on this ENI, or again only from its own addresses.
    CheckSource(EniId, bool),
    /// Lets this address reach the internet and be reached from there.
    Publish(Ipv4Addr),
    /// Stops doing so.
    Unpublish(Ipv4Addr),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Eni {
    granted: BTreeSet<Ipv4Net>,
    public: Option<Ipv4Addr>,
}

/// The ENIs that are visible in nodes.
#[derive(Debug)]
pub(super) struct Wiring {
    layout: Layout,
    enis: BTreeMap<EniId, Eni>,
}

impl Wiring {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, enis: BTreeMap::new() }
    }

    /// The steps that an event calls for. Events about instances that are no node of the fabric call for none.
    pub(super) fn follow(&mut self, event: &VpcEvent) -> Vec<Step> {
        match event {
            VpcEvent::AttachmentVisible {
                instance,
                eni,
                mac,
                device_index,
                network_card,
                subnet,
                addresses,
                source_dest_check,
            } => {
                let Some(subnet) = self.layout.subnets.get(subnet).copied() else {
                    return Vec::new();
                };
                if !self.layout.instances.contains(instance) {
                    return Vec::new();
                }
                // Told twice: the second telling wins.
                let mut steps = self.unplug(eni);
                let primary = *device_index == 0 && *network_card == 0;
                let first = addresses.ipv4.first().copied();
                steps.push(Step::Plug(Plug {
                    eni: eni.clone(),
                    instance: instance.clone(),
                    node_end: link_name(*device_index, *network_card),
                    mac: *mac,
                    lease: first.filter(|_| primary).map(|address| Lease { address, subnet }),
                }));
                if !source_dest_check {
                    steps.push(Step::CheckSource(eni.clone(), false));
                }
                // In life an address is public when an Elastic IP maps to it. Here the first address of the first
                // ENI always is, and no other.
                let public = first.filter(|_| primary);
                steps.extend(public.map(Step::Publish));
                self.enis.insert(eni.clone(), Eni { granted: BTreeSet::new(), public });
                steps.extend(self.grant(eni, addresses));
                steps
            }
            VpcEvent::AddressesChanged { eni, addresses, .. } => self.grant(eni, addresses),
            VpcEvent::SourceDestCheckChanged { eni, enabled, .. } if self.enis.contains_key(eni) => {
                vec![Step::CheckSource(eni.clone(), *enabled)]
            }
            VpcEvent::Detached { eni, .. } => self.unplug(eni),
            VpcEvent::SourceDestCheckChanged { .. }
            | VpcEvent::InstanceStopped { .. }
            | VpcEvent::InstanceStarted { .. }
            | VpcEvent::InstanceTerminated { .. } => Vec::new(),
        }
    }

    fn grant(&mut self, id: &EniId, addresses: &EniAddresses) -> Vec<Step> {
        let Some(eni) = self.enis.get_mut(id) else {
            return Vec::new();
        };
        let hosts = addresses.ipv4.iter().map(|address| Ipv4Net::from(*address));
        let wanted: BTreeSet<Ipv4Net> = hosts.chain(addresses.ipv4_prefixes.iter().copied()).collect();
        let revoked = eni.granted.difference(&wanted).map(|net| Step::Revoke(id.clone(), *net));
        let granted = wanted.difference(&eni.granted).map(|net| Step::Grant(id.clone(), *net));
        let steps = revoked.chain(granted).collect();
        eni.granted = wanted;
        steps
    }

    fn unplug(&mut self, id: &EniId) -> Vec<Step> {
        let Some(eni) = self.enis.remove(id) else {
            return Vec::new();
        };
        // The routes go with the link.
        eni.public.map(Step::Unpublish).into_iter().chain([Step::Unplug(id.clone())]).collect()
    }
}

/// What the image calls the interface: `ens5` for device 0 of card 0, counting on; other cards show their number.
fn link_name(device: u32, card: u32) -> String {
    let number = device.saturating_add(5);
    if card == 0 { format!("ens{number}") } else { format!("ens{number}c{card}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn wiring() -> Wiring {
        Wiring::new(Layout {
            cidrs: vec![net("10.0.0.0/16")],
            subnets: BTreeMap::from([(SubnetId::new("subnet-a"), net("10.0.0.0/20"))]),
            instances: BTreeSet::from([InstanceId::new("i-1")]),
        })
    }

    fn addresses(texts: &[&str]) -> EniAddresses {
        EniAddresses {
            ipv4: texts.iter().filter_map(|text| text.parse().ok()).collect(),
            ipv4_prefixes: texts.iter().filter_map(|text| text.parse().ok()).collect(),
            ..EniAddresses::default()
        }
    }

    fn attached(eni: &str, device_index: u32, texts: &[&str]) -> VpcEvent {
        VpcEvent::AttachmentVisible {
            instance: InstanceId::new("i-1"),
            eni: EniId::new(eni),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            device_index,
            network_card: 0,
            subnet: SubnetId::new("subnet-a"),
            addresses: addresses(texts),
            source_dest_check: true,
        }
    }

    fn changed(eni: &str, texts: &[&str]) -> VpcEvent {
        VpcEvent::AddressesChanged {
            instance: InstanceId::new("i-1"),
            eni: EniId::new(eni),
            addresses: addresses(texts),
        }
    }

    fn grant(eni: &str, text: &str) -> Step {
        Step::Grant(EniId::new(eni), net(text))
    }

    fn revoke(eni: &str, text: &str) -> Step {
        Step::Revoke(EniId::new(eni), net(text))
    }

    #[test]
    fn the_primary_eni_is_configured_and_public_and_the_others_are_neither() {
        let mut wiring = wiring();
        let first = wiring.follow(&attached("eni-0", 0, &["10.0.0.10"]));
        let [Step::Plug(plug), Step::Publish(public), Step::Grant(..)] = first.as_slice() else {
            panic!("{first:?}")
        };
        assert_eq!(plug.node_end, "ens5");
        assert_eq!(plug.lease.as_ref().map(|lease| lease.address), Some(*public));
        let second = wiring.follow(&attached("eni-1", 1, &["10.0.0.20"]));
        let [Step::Plug(plug), Step::Grant(..)] = second.as_slice() else { panic!("{second:?}") };
        assert_eq!((plug.node_end.as_str(), &plug.lease), ("ens6", &None));
    }

    #[test]
    fn only_the_difference_is_changed() {
        let mut wiring = wiring();
        wiring.follow(&attached("eni-1", 1, &["10.0.0.20", "10.0.0.21"]));
        assert_eq!(
            wiring.follow(&changed("eni-1", &["10.0.0.20", "10.0.0.22", "10.0.1.16/28"])),
            [revoke("eni-1", "10.0.0.21/32"), grant("eni-1", "10.0.0.22/32"), grant("eni-1", "10.0.1.16/28")]
        );
        assert_eq!(wiring.follow(&changed("eni-1", &["10.0.0.20", "10.0.0.22", "10.0.1.16/28"])), []);
    }

    #[test]
    fn an_unplugged_eni_is_forgotten() {
        let mut wiring = wiring();
        wiring.follow(&attached("eni-0", 0, &["10.0.0.10"]));
        let detached = VpcEvent::Detached {
            instance: InstanceId::new("i-1"),
            eni: EniId::new("eni-0"),
            mac: Mac([2, 0, 0, 0, 0, 1]),
        };
        let gone = [Step::Unpublish("10.0.0.10".parse().unwrap()), Step::Unplug(EniId::new("eni-0"))];
        assert_eq!(wiring.follow(&detached), gone);
        assert_eq!(wiring.follow(&detached), []);
        assert_eq!(wiring.follow(&changed("eni-0", &["10.0.0.10", "10.0.0.11"])), []);
    }

    #[test]
    fn instances_outside_the_fabric_are_left_out() {
        let mut wiring = wiring();
        let mut event = attached("eni-9", 0, &["10.0.0.10"]);
        if let VpcEvent::AttachmentVisible { instance, .. } = &mut event {
            *instance = InstanceId::new("i-2");
        }
        assert_eq!(wiring.follow(&event), []);
    }

    #[test]
    fn names_fit_the_kernel() {
        for (device, card) in [(0, 0), (14, 0), (1, 31)] {
            assert!(link_name(device, card).len() < 16);
        }
        assert_eq!(link_name(1, 2), "ens6c2");
        assert_eq!(gateway(net("10.0.16.0/20")), Ipv4Addr::new(10, 0, 16, 1));
    }
}
