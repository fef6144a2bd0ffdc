//! What the network should be, and the steps there: pure, so that it can be tested without a kernel.
//!
//! ```text
//! VpcEvent -> Wiring::follow -> Vec<Step> -> Router::take
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::FabricError;
use crate::vpc::{EniAddresses, EniId, InstanceId, Mac, SimVpc, SubnetId, VpcEvent, VpcId};

/// The VPC that the fabric shows. It grows while the fabric is up; that it has IPv6 or not does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Which it is.
    pub(super) vpc: VpcId,
    /// The VPC's blocks, of both families.
    pub(super) cidrs: Vec<IpNet>,
    /// Its subnets.
    pub(super) subnets: BTreeMap<SubnetId, Subnet>,
}

/// The blocks of a subnet: one at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    pub(super) ipv4: Option<Ipv4Net>,
    pub(super) ipv6: Option<Ipv6Net>,
}

impl Layout {
    /// Reads it from a box. One VPC at most: two may use the same addresses, and the router has one main table.
    pub(super) fn of(vpc: &SimVpc) -> Result<Self, FabricError> {
        let view = vpc.authoritative();
        let vpcs = view.vpcs();
        let [only] = vpcs.as_slice() else {
            return Err(FabricError::Unfit(format!("the fabric shows one VPC; the box has {}", vpcs.len())));
        };
        let ipv6 = only.ipv6_cidr_block.map(IpNet::V6);
        let subnets = view.subnets().into_iter();
        Ok(Self {
            vpc: only.vpc_id,
            cidrs: only.cidr_blocks.iter().copied().map(IpNet::V4).chain(ipv6).collect(),
            subnets: subnets
                .map(|subnet| {
                    let blocks = Subnet { ipv4: subnet.cidr_block, ipv6: subnet.ipv6_cidr_block };
                    (subnet.subnet_id, blocks)
                })
                .collect(),
        })
    }

    /// Whether there is any IPv6 in it.
    pub(super) fn has_ipv6(&self) -> bool {
        self.cidrs.iter().any(|cidr| matches!(cidr, IpNet::V6(_)))
    }
}

/// The IPv4 gateway of a subnet: the VPC's router answers at the first address after the network's own.
pub(super) fn gateway(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from_bits(subnet.network().to_bits() | 1)
}

/// What a node configures on its own first interface, as the image's DHCP client does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    /// The address, and its subnet.
    pub(super) ipv4: Option<(Ipv4Addr, Ipv4Net)>,
    /// The same of IPv6.
    pub(super) ipv6: Option<(Ipv6Addr, Ipv6Net)>,
}

/// A link to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plug {
    pub(super) eni: EniId,
    pub(super) instance: InstanceId,
    /// Place on the card.
    pub(super) device: u32,
    pub(super) card: u32,
    pub(super) mac: Mac,
    /// The IPv6 block of its subnet.
    pub(super) ipv6: Option<Ipv6Net>,
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
    Grant(EniId, IpNet),
    /// Stops doing so, unless another ENI has been granted them since.
    Revoke(EniId, IpNet),
    /// Takes packets from any source on this ENI, or again only from its own addresses.
    CheckSource(EniId, bool),
    /// Lets this address reach the internet and be reached from there. Those of IPv6 all do.
    Publish(Ipv4Addr),
    /// Stops doing so.
    Unpublish(Ipv4Addr),
    /// Answers as the gateway of a subnet.
    Gateway(Ipv4Addr),
    /// Sends nothing for this block beyond the VPC.
    Own(IpNet),
}

/// An ENI that is visible in its instance.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Eni {
    plug: Plug,
    /// What EC2 shows on it.
    shown: BTreeSet<IpNet>,
    source_check: bool,
    public: Option<Ipv4Addr>,
    /// What the router delivers to it; `None` while it has no link.
    granted: Option<BTreeSet<IpNet>>,
}

impl Eni {
    /// From no link to a link with all that EC2 shows.
    fn plug(&mut self) -> Vec<Step> {
        let id = &self.plug.eni;
        let mut steps = vec![Step::Plug(self.plug.clone())];
        if !self.source_check {
            steps.push(Step::CheckSource(*id, false));
        }
        steps.extend(self.public.map(Step::Publish));
        self.granted = Some(BTreeSet::new());
        steps.extend(self.grant());
        steps
    }

    /// From what the router delivers to what EC2 shows.
    fn grant(&mut self) -> Vec<Step> {
        let Some(granted) = &mut self.granted else { return Vec::new() };
        let id = &self.plug.eni;
        let revoked = granted.difference(&self.shown).map(|net| Step::Revoke(*id, *net));
        let added = self.shown.difference(granted).map(|net| Step::Grant(*id, *net));
        let steps = revoked.chain(added).collect();
        granted.clone_from(&self.shown);
        steps
    }

    /// Back to no link. The routes go with it.
    fn unplug(&mut self) -> Vec<Step> {
        if self.granted.take().is_none() {
            return Vec::new();
        }
        self.public.map(Step::Unpublish).into_iter().chain([Step::Unplug(self.plug.eni)]).collect()
    }
}

/// The ENIs that are visible in instances, and the instances that are nodes. Those of others are remembered: an instance
/// may become a node at any time, and a node that boots anew finds what was there.
#[derive(Debug)]
pub(super) struct Wiring {
    layout: Layout,
    nodes: BTreeSet<InstanceId>,
    enis: BTreeMap<EniId, Eni>,
}

impl Wiring {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, nodes: BTreeSet::new(), enis: BTreeMap::new() }
    }

    /// The instance is a node from now on.
    pub(super) fn join(&mut self, instance: &InstanceId) -> Vec<Step> {
        self.nodes.insert(*instance);
        self.of(instance).flat_map(Eni::plug).collect()
    }

    /// It is none any more.
    pub(super) fn leave(&mut self, instance: &InstanceId) -> Vec<Step> {
        self.nodes.remove(instance);
        self.of(instance).flat_map(Eni::unplug).collect()
    }

    fn of(&mut self, instance: &InstanceId) -> impl Iterator<Item = &mut Eni> {
        let mut enis: Vec<&mut Eni> =
            self.enis.values_mut().filter(|eni| eni.plug.instance == *instance).collect();
        enis.sort_by_key(|eni| (eni.plug.card, eni.plug.device));
        enis.into_iter()
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
                // Else it is in another VPC.
                let Some(subnet) = self.layout.subnets.get(subnet).copied() else {
                    return Vec::new();
                };
                // Told twice: the second telling wins.
                let mut steps = self.forget(eni);
                let primary = *device_index == 0 && *network_card == 0;
                let first = addresses.ipv4.first().copied();
                let mut new = Eni {
                    plug: Plug {
                        eni: *eni,
                        instance: *instance,
                        device: *device_index,
                        card: *network_card,
                        mac: *mac,
                        ipv6: subnet.ipv6,
                        lease: primary.then(|| Lease {
                            ipv4: first.zip(subnet.ipv4),
                            ipv6: addresses.ipv6.first().copied().zip(subnet.ipv6),
                        }),
                    },
                    shown: shown(addresses),
                    source_check: *source_dest_check,
                    // In life an address is public when an Elastic IP maps to it. Here the first address of the first
                    // ENI always is, and no other.
                    public: first.filter(|_| primary),
                    granted: None,
                };
                if self.nodes.contains(instance) {
                    steps.extend(new.plug());
                }
                self.enis.insert(*eni, new);
                steps
            }
            VpcEvent::AddressesChanged { eni, addresses, .. } => {
                let Some(eni) = self.enis.get_mut(eni) else { return Vec::new() };
                eni.shown = shown(addresses);
                eni.grant()
            }
            VpcEvent::SourceDestCheckChanged { eni: id, enabled, .. } => {
                let Some(eni) = self.enis.get_mut(id) else { return Vec::new() };
                eni.source_check = *enabled;
                let step = eni.granted.is_some().then_some(Step::CheckSource(*id, *enabled));
                step.into_iter().collect()
            }
            VpcEvent::Detached { eni, .. } => self.forget(eni),
            VpcEvent::InstanceStopped { .. }
            | VpcEvent::InstanceStarted { .. }
            | VpcEvent::InstanceTerminated { .. } => Vec::new(),
            // What the layout was read with may be told again.
            VpcEvent::SubnetAdded { vpc, subnet, ipv4, ipv6 } => {
                if *vpc != self.layout.vpc || self.layout.subnets.contains_key(subnet) {
                    return Vec::new();
                }
                self.layout.subnets.insert(*subnet, Subnet { ipv4: *ipv4, ipv6: *ipv6 });
                ipv4.map(|ipv4| Step::Gateway(gateway(ipv4))).into_iter().collect()
            }
            VpcEvent::CidrAdded { vpc, cidr } => {
                let cidr = IpNet::V4(*cidr);
                if *vpc != self.layout.vpc || self.layout.cidrs.contains(&cidr) {
                    return Vec::new();
                }
                self.layout.cidrs.push(cidr);
                vec![Step::Own(cidr)]
            }
        }
    }

    fn forget(&mut self, id: &EniId) -> Vec<Step> {
        self.enis.remove(id).map_or_else(Vec::new, |mut eni| eni.unplug())
    }
}

/// Every address of an ENI, as the router is told of it.
fn shown(addresses: &EniAddresses) -> BTreeSet<IpNet> {
    let EniAddresses { ipv4, ipv4_prefixes, ipv6, ipv6_prefixes } = addresses;
    let hosts = ipv4.iter().map(|address| IpNet::from(IpAddr::from(*address)));
    let hosts = hosts.chain(ipv6.iter().map(|address| IpNet::from(IpAddr::from(*address))));
    let prefixes = ipv4_prefixes.iter().copied().map(IpNet::V4);
    hosts.chain(prefixes).chain(ipv6_prefixes.iter().copied().map(IpNet::V6)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn wiring() -> Wiring {
        let mut wiring = Wiring::new(Layout {
            vpc: VpcId::new("vpc-1"),
            cidrs: vec![net("10.0.0.0/16")],
            subnets: BTreeMap::from([(
                SubnetId::new("subnet-a"),
                Subnet {
                    ipv4: Some("10.0.0.0/20".parse().unwrap()),
                    ipv6: Some("2600:1f13:a::/64".parse().unwrap()),
                },
            )]),
        });
        assert_eq!(wiring.join(&InstanceId::new("i-1")), []);
        wiring
    }

    fn addresses(texts: &[&str]) -> EniAddresses {
        EniAddresses {
            ipv4: texts.iter().filter_map(|text| text.parse().ok()).collect(),
            ipv4_prefixes: texts.iter().filter_map(|text| text.parse().ok()).collect(),
            ipv6: texts.iter().filter_map(|text| text.parse().ok()).collect(),
            ipv6_prefixes: texts.iter().filter_map(|text| text.parse().ok()).collect(),
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
        assert_eq!(plug.lease.as_ref().and_then(|lease| lease.ipv4).map(|(own, _)| own), Some(*public));
        let second = wiring.follow(&attached("eni-1", 1, &["10.0.0.20"]));
        let [Step::Plug(plug), Step::Grant(..)] = second.as_slice() else { panic!("{second:?}") };
        assert_eq!((plug.device, &plug.lease), (1, &None));
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
    fn ipv6_is_delivered_like_ipv4_and_a_subnet_needs_no_ipv4() {
        let mut wiring = wiring();
        let steps = wiring.follow(&attached("eni-0", 0, &["2600:1f13:a::5", "2600:1f13:a:0:1::/80"]));
        let [Step::Plug(plug), grants @ ..] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!(
            grants,
            [grant("eni-0", "2600:1f13:a::5/128"), grant("eni-0", "2600:1f13:a:0:1::/80")],
            "nothing is published: it needs no Elastic IP"
        );
        let lease = plug.lease.as_ref().unwrap();
        assert_eq!((lease.ipv4, lease.ipv6.unwrap().0), (None, "2600:1f13:a::5".parse().unwrap()));
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
    fn a_subnet_or_block_is_told_once_and_only_of_the_vpc_that_is_shown() {
        let mut wiring = wiring();
        let subnet = |vpc: &str, id: &str, ipv4: Option<&str>| VpcEvent::SubnetAdded {
            vpc: VpcId::new(vpc),
            subnet: SubnetId::new(id),
            ipv4: ipv4.map(|text| text.parse().unwrap()),
            ipv6: None,
        };
        let block =
            |vpc: &str| VpcEvent::CidrAdded { vpc: VpcId::new(vpc), cidr: "100.64.0.0/16".parse().unwrap() };
        assert_eq!(wiring.follow(&block("vpc-2")), []);
        assert_eq!(wiring.follow(&block("vpc-1")), [Step::Own(net("100.64.0.0/16"))]);
        assert_eq!(wiring.follow(&block("vpc-1")), []);
        assert_eq!(
            wiring.follow(&subnet("vpc-1", "subnet-a", Some("10.0.0.0/20"))),
            [],
            "known from the start"
        );
        assert_eq!(wiring.follow(&subnet("vpc-2", "subnet-b", Some("10.0.16.0/20"))), []);
        let mut event = attached("eni-1", 1, &["10.0.16.9"]);
        if let VpcEvent::AttachmentVisible { subnet, .. } = &mut event {
            *subnet = SubnetId::new("subnet-b");
        }
        assert_eq!(wiring.follow(&event), [], "in another VPC");
        let gateway = Step::Gateway("10.0.16.1".parse().unwrap());
        assert_eq!(wiring.follow(&subnet("vpc-1", "subnet-b", Some("10.0.16.0/20"))), [gateway]);
        assert!(matches!(wiring.follow(&event)[..], [Step::Plug(_), Step::Grant(..)]));
        assert_eq!(
            wiring.follow(&subnet("vpc-1", "subnet-c", None)),
            [],
            "IPv6 has one gateway on every link"
        );
    }

    #[test]
    fn an_instance_that_becomes_a_node_finds_what_was_there() {
        let mut wiring = wiring();
        let instance = InstanceId::new("i-2");
        for (eni, device, address) in [("eni-8", 1, "10.0.0.20"), ("eni-9", 0, "10.0.0.10")] {
            let mut event = attached(eni, device, &[address]);
            if let VpcEvent::AttachmentVisible { instance, .. } = &mut event {
                *instance = InstanceId::new("i-2");
            }
            assert_eq!(wiring.follow(&event), [], "no node yet");
        }
        assert_eq!(wiring.follow(&changed("eni-8", &["10.0.0.20", "10.0.0.21"])), []);
        let joined = wiring.join(&instance);
        let [Step::Plug(first), Step::Publish(_), Step::Grant(..), Step::Plug(second), rest @ ..] =
            joined.as_slice()
        else {
            panic!("{joined:?}")
        };
        assert_eq!((first.device, second.device), (0, 1));
        assert_eq!(rest, [grant("eni-8", "10.0.0.20/32"), grant("eni-8", "10.0.0.21/32")]);

        let unplug = |eni: &str| Step::Unplug(EniId::new(eni));
        let left = [Step::Unpublish("10.0.0.10".parse().unwrap()), unplug("eni-9"), unplug("eni-8")];
        assert_eq!(wiring.leave(&instance), left);
        assert_eq!(wiring.follow(&changed("eni-8", &["10.0.0.20"])), []);
        assert_eq!(wiring.join(&instance).len(), 5, "as it is now");
    }

    #[test]
    fn the_gateway_is_the_first_address_after_the_networks_own() {
        assert_eq!(gateway("10.0.16.0/20".parse().unwrap()), Ipv4Addr::new(10, 0, 16, 1));
    }
}
